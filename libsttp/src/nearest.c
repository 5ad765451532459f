/* The near word of a misspelt one: optimal string alignment distance, where a letter wrong, missing
 * or too many, or two neighbours swapped, counts one each. */
#include "ascii.h"
#include "rules.h"

#include <string.h>

enum { MAX_WORD = 63 };

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool same_letter(char a, char b)
{
    return sttp__lower(a) == sttp__lower(b);
}

/* Three rows of the usual table, since a swap looks two rows back. */
size_t sttp_word_distance(sttp_slice a, sttp_slice b)
{
    size_t rows[3][MAX_WORD + 1];
    size_t i, j;

    if (a.size > MAX_WORD || b.size > MAX_WORD)
        return SIZE_MAX;
    for (j = 0; j <= b.size; j++)
        rows[0][j] = j;
    for (i = 1; i <= a.size; i++) {
        const size_t *above = rows[(i - 1) % 3];
        size_t *row = rows[i % 3];

        row[0] = i;
        for (j = 1; j <= b.size; j++) {
            size_t replaced = above[j - 1] + !same_letter(a.data[i - 1], b.data[j - 1]);

            row[j] = smaller(replaced, smaller(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && same_letter(a.data[i - 1], b.data[j - 2]) &&
                same_letter(a.data[i - 2], b.data[j - 1]))
                row[j] = smaller(row[j], rows[(i - 2) % 3][j - 2] + 1);
        }
    }
    return rows[a.size % 3][b.size];
}

sttp_slice sttp_nearest_word(sttp_slice text, const char *const *words, size_t count)
{
    sttp_slice best = {"", 0};
    size_t best_distance = SIZE_MAX;
    size_t i;

    if (text.size == 0)
        return best;
    for (i = 0; i < count; i++) {
        sttp_slice word = {words[i], strlen(words[i])};
        size_t d = sttp_word_distance(text, word);

        /* More than a third of the letters wrong is another word. */
        if (d <= word.size / 3 && d < best_distance) {
            best = word;
            best_distance = d;
        }
    }
    return best;
}
