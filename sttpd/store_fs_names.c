#include "sttpd/store_fs_names.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 1 << 30 };

/* Makes room for `needed` elements of `size` bytes. */
static bool grow(void **memory, size_t *room, size_t needed, size_t size)
{
    if (needed <= *room)
        return true;
    size_t wanted = *room == 0 ? 64 : *room * 2;
    if (wanted < needed)
        wanted = needed;
    void *grown = realloc(*memory, wanted * size);
    if (grown == NULL)
        return false;
    *memory = grown;
    *room = wanted;
    return true;
}

bool fs_names_add(struct fs_names *names, sttp_slice name)
{
    void *text = names->text, *slots = names->names;
    bool done = names->used + name.size <= MAX_TEXT &&
                grow(&text, &names->room, names->used + name.size, 1) &&
                grow(&slots, &names->slots, names->count + 1, sizeof *names->names);
    names->text = text;
    names->names = slots;
    if (!done)
        return false;
    memcpy(names->text + names->used, name.data, name.size);
    names->names[names->count++] = (struct fs_name){(uint32_t)names->used, (uint32_t)name.size};
    names->used += name.size;
    return true;
}

sttp_slice fs_names_at(const struct fs_names *names, size_t index)
{
    return (sttp_slice){names->text + names->names[index].start, names->names[index].size};
}

sttp_slice fs_names_pop(struct fs_names *names)
{
    sttp_slice name = fs_names_at(names, --names->count);
    names->used = names->names[names->count].start;
    return name;
}

int fs_names_compare(sttp_slice a, sttp_slice b)
{
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    if (order == 0)
        order = (a.size > b.size) - (a.size < b.size);
    return order;
}

static int compare_in(const void *a, const void *b, void *text)
{
    const struct fs_name *left = a, *right = b;
    return fs_names_compare((sttp_slice){(char *)text + left->start, left->size},
                            (sttp_slice){(char *)text + right->start, right->size});
}

void fs_names_sort(struct fs_names *names)
{
    if (names->count < 2)
        return;
    qsort_r(names->names, names->count, sizeof *names->names, compare_in, names->text);
    size_t count = 1;
    for (size_t i = 1; i < names->count; i++)
        if (compare_in(&names->names[count - 1], &names->names[i], names->text) != 0)
            names->names[count++] = names->names[i];
    names->count = count;
}

bool fs_names_keep(struct fs_names *names, size_t count)
{
    struct fs_names kept = {0};
    fs_names_sort(names);
    bool done = true;
    for (size_t i = 0; done && i < count && i < names->count; i++)
        done = fs_names_add(&kept, fs_names_at(names, i));
    if (!done) {
        fs_names_free(&kept);
        return false;
    }
    fs_names_free(names);
    *names = kept;
    return true;
}

char *fs_names_join(const struct fs_names *names, size_t *size)
{
    char *joined = malloc(names->used + 2 * names->count + 1);
    if (joined == NULL)
        return NULL;
    char *end = joined;
    for (size_t i = 0; i < names->count; i++) {
        sttp_slice name = fs_names_at(names, i);
        if (i > 0)
            end = mempcpy(end, ", ", 2);
        end = mempcpy(end, name.data, name.size);
    }
    *size = (size_t)(end - joined);
    return joined;
}

void fs_names_free(struct fs_names *names)
{
    free(names->text);
    free(names->names);
    *names = (struct fs_names){0};
}
