/* The near word of a misspelt one: optimal string alignment distance, where a letter wrong, missing
 * or too many, or two neighbours swapped, counts one each. */
#include "ascii.h"
#include "rules.h"

#include <string.h>

enum { MAX_WORD = 16 };

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t distance(sttp_slice a, sttp_slice b)
{
    size_t cost[MAX_WORD + 1][MAX_WORD + 1];
    size_t i, j;

    for (i = 0; i <= a.size; i++)
        cost[i][0] = i;
    for (j = 0; j <= b.size; j++)
        cost[0][j] = j;
    for (i = 1; i <= a.size; i++) {
        for (j = 1; j <= b.size; j++) {
            unsigned char x = sttp__lower(a.data[i - 1]);
            unsigned char y = sttp__lower(b.data[j - 1]);

            cost[i][j] =
                smaller(smaller(cost[i - 1][j], cost[i][j - 1]) + 1, cost[i - 1][j - 1] + (x != y));
            if (i > 1 && j > 1 && x == sttp__lower(b.data[j - 2]) &&
                y == sttp__lower(a.data[i - 2]))
                cost[i][j] = smaller(cost[i][j], cost[i - 2][j - 2] + 1);
        }
    }
    return cost[a.size][b.size];
}

sttp_slice sttp__nearest(sttp_slice given, const char *const *known, size_t count)
{
    sttp_slice best = {"", 0};
    size_t best_distance = SIZE_MAX;
    size_t i;

    if (given.size == 0 || given.size > MAX_WORD)
        return best;
    for (i = 0; i < count; i++) {
        sttp_slice word = {known[i], strlen(known[i])};
        size_t d = distance(given, word);

        /* More than a third of the letters wrong is another word. */
        if (d <= word.size / 3 && d < best_distance) {
            best = word;
            best_distance = d;
        }
    }
    return best;
}
