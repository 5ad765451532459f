/* The prefixes are sorted, with the slash before every other byte: so all that begins with a prefix
 * and a slash follows it at once, and a path would stand behind its longest prefix among the
 * prefixes that this one contains. Each knows the one that contains it; from where the path would
 * stand they lead up to the answer. */
#include "sttp-proxy/route.h"

#include <stdlib.h>
#include <string.h>

#include <sttp/message.h>

typedef struct route {
    sttp_slice prefix; /* without its final slash: empty for "/" */
    size_t index;      /* in the list that was given */
    size_t parent;     /* the longest other prefix that contains it, or ROUTE_NONE */
} route;

struct route_table {
    size_t count;
    route routes[];
};

static sttp_slice without_final_slash(sttp_slice prefix)
{
    if (prefix.size > 0 && prefix.data[prefix.size - 1] == '/')
        prefix.size--;
    return prefix;
}

bool route_prefix_valid(sttp_slice prefix)
{
    return sttp_check_path(STTP_ACTION_LIST, prefix, NULL) == STTP_OK;
}

bool route_prefix_equal(sttp_slice a, sttp_slice b)
{
    a = without_final_slash(a);
    b = without_final_slash(b);
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

static int rank(char c)
{
    return c == '/' ? -1 : (unsigned char)c;
}

static int compare(sttp_slice a, sttp_slice b)
{
    size_t i = 0;

    while (i < a.size && i < b.size && a.data[i] == b.data[i])
        i++;
    if (i == a.size || i == b.size)
        return i < b.size ? -1 : i < a.size;
    return rank(a.data[i]) - rank(b.data[i]);
}

static int compare_routes(const void *a, const void *b)
{
    return compare(((const route *)a)->prefix, ((const route *)b)->prefix);
}

static bool contains(sttp_slice prefix, sttp_slice path)
{
    return path.size >= prefix.size && memcmp(prefix.data, path.data, prefix.size) == 0 &&
           (path.size == prefix.size || path.data[prefix.size] == '/');
}

/* From `at` up to the first that contains `path`. */
static size_t climb(const route_table *table, size_t at, sttp_slice path)
{
    while (at != ROUTE_NONE && !contains(table->routes[at].prefix, path))
        at = table->routes[at].parent;
    return at;
}

static void link_parents(route_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        table->routes[i].parent = climb(table, i ? i - 1 : ROUTE_NONE, table->routes[i].prefix);
}

route_table *route_table_create(const sttp_slice *prefixes, size_t count)
{
    size_t bytes = 0;
    route_table *table;
    char *space;

    for (size_t i = 0; i < count; i++)
        bytes += prefixes[i].size;
    table = calloc(1, sizeof *table + count * sizeof table->routes[0] + bytes);
    if (!table)
        return NULL;
    table->count = count;
    space = (char *)&table->routes[count];
    for (size_t i = 0; i < count; i++) {
        sttp_slice prefix = without_final_slash(prefixes[i]);

        memcpy(space, prefix.data, prefix.size);
        table->routes[i] = (route){.prefix = {space, prefix.size}, .index = i};
        space += prefix.size;
    }
    qsort(table->routes, count, sizeof table->routes[0], compare_routes);
    link_parents(table);
    return table;
}

void route_table_destroy(route_table *table)
{
    free(table);
}

size_t route_find(const route_table *table, sttp_slice path)
{
    size_t low = 0, high = table->count;
    size_t found;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare(table->routes[middle].prefix, path) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    found = climb(table, low ? low - 1 : ROUTE_NONE, path);
    return found == ROUTE_NONE ? ROUTE_NONE : table->routes[found].index;
}
