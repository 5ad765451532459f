/* The texts that have a needle, by the index of trigrams: those of the index's hits that are still
 * there, the rows that are not indexed yet, and those that have changed since. Each is checked by
 * the rule for `q`: the index takes more letters for equal, and a text may have the needle's
 * trigrams in other places. */
#include <errno.h>
#include <string.h>

#include "sttpd/store_sqlite_list.h"

enum {
    TRIGRAM = 3,
    RARE = 1 /* texts of those in SQ_SAMPLE that have a trigram which seems to be rare */
};

/* Names that are kept beyond one and a half times the limit, so that small limits do not sort all
 * the time. */
enum { SPARE = 32 };

/* ---- what the index is asked ---- */

/* Where the characters of a needle begin, and where the last one ends. */
struct characters {
    size_t starts[STTP_MAX_CONTENTS_CHARS + 1];
    unsigned count;
};

/* False where there are more than any text has. */
static bool split(sttp_slice needle, struct characters *characters)
{
    characters->count = 0;
    for (size_t i = 0; i < needle.size; i++) {
        if (((unsigned char)needle.data[i] & 0xc0) == 0x80)
            continue;
        if (characters->count == STTP_MAX_CONTENTS_CHARS)
            return false;
        characters->starts[characters->count++] = i;
    }
    characters->starts[characters->count] = needle.size;
    return true;
}

bool sq_can_match(const sttp_query *query)
{
    struct characters characters;

    return query->text.data != NULL &&
           (!split(query->text, &characters) || characters.count >= TRIGRAM);
}

/* The trigrams beside each other that make up a needle, and the last one. */
struct terms {
    sttp_slice term[STTP_MAX_CONTENTS_CHARS / TRIGRAM + 1];
    unsigned count;
};

static void make_terms(sttp_slice needle, const struct characters *characters, struct terms *terms)
{
    const size_t *starts = characters->starts;
    unsigned last = characters->count - TRIGRAM;

    terms->count = 0;
    for (unsigned i = 0;; i = i + TRIGRAM < last ? i + TRIGRAM : last) {
        terms->term[terms->count++] =
            (sttp_slice){needle.data + starts[i], starts[i + TRIGRAM] - starts[i]};
        if (i == last)
            return;
    }
}

/* Each has at most twelve bytes, which may all be quotes, and four more. */
enum { TERM_ROOM = 2 * 4 * TRIGRAM + 4 };
enum { TERMS_ROOM = (STTP_MAX_CONTENTS_CHARS / TRIGRAM + 1) * TERM_ROOM };

/* All of them as FTS5 wants them: each in quotes, its own quotes doubled. */
static sttp_slice join_terms(const struct terms *terms, char *room)
{
    char *end = room;

    for (unsigned i = 0; i < terms->count; i++) {
        *end++ = '"';
        for (size_t j = 0; j < terms->term[i].size; j++) {
            if (terms->term[i].data[j] == '"')
                *end++ = '"';
            *end++ = terms->term[i].data[j];
        }
        end = mempcpy(end, "\" ", 2);
    }
    return (sttp_slice){room, (size_t)(end - room)};
}

/* To ask for several takes as long as the most frequent of them does. Where one seems to be rare,
 * as the texts that came last say, it is asked for alone. STORE_DONE or a failure. */
static store_result choose_rare(struct sq_connection *connection, struct terms *terms)
{
    unsigned counts[sizeof terms->term / sizeof *terms->term] = {0};
    unsigned rarest = 0;
    int code;
    sqlite3_stmt *statement = sq_prepared(connection, SQ_SAMPLE);

    if (statement == NULL)
        return sq_result(connection, sqlite3_extended_errcode(connection->db));
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        sttp_slice text = sq_column(statement, 0);
        for (unsigned i = 0; i < terms->count; i++)
            counts[i] += text.data != NULL && sttp_text_contains(text, terms->term[i]);
    }
    sqlite3_reset(statement);
    if (code != SQLITE_DONE)
        return sq_result(connection, code);
    for (unsigned i = 1; i < terms->count; i++)
        if (counts[i] <= counts[rarest])
            rarest = i;
    if (counts[rarest] <= RARE) {
        terms->term[0] = terms->term[rarest];
        terms->count = 1;
    }
    return STORE_DONE;
}

/* ---- what it finds ---- */

static bool is_below(const struct sq_listing *listing, sttp_slice path)
{
    size_t size = listing->directory.size;

    if (path.data == NULL || path.size <= size || path.size > STTP_MAX_PATH ||
        memcmp(path.data, listing->directory.data, size) != 0)
        return false;
    return listing->query->recursive || memchr(path.data + size, '/', path.size - size) == NULL;
}

/* Whether the name may still be in the answer. */
static bool is_in_page(const struct sq_listing *listing, sttp_slice path)
{
    size_t skipped = listing->directory.size;
    sttp_slice name = {path.data + skipped, path.size - skipped};
    sttp_slice after = listing->query->after;

    if (after.data != NULL && fs_names_compare(name, after) <= 0)
        return false;
    return listing->kept == 0 ||
           fs_names_compare(name, fs_names_at(&listing->names, listing->kept - 1)) < 0;
}

/* With a limit not many more names are kept: what is behind them needs no look at its text. */
static store_result shrink(struct sq_listing *listing)
{
    size_t limit = listing->query->limit;

    if (limit == 0 || listing->names.count < limit + limit / 2 + SPARE)
        return STORE_DONE;
    if (!fs_names_keep(&listing->names, limit)) {
        errno = ENOMEM;
        return STORE_NO_MEMORY;
    }
    listing->kept = listing->names.count == limit ? limit : 0;
    return STORE_DONE;
}

static store_result look_at(struct sq_listing *listing, sqlite3_stmt *statement)
{
    sttp_slice path = sq_column(statement, 0);

    if (!is_below(listing, path) || !is_in_page(listing, path))
        return STORE_DONE;
    if (!sq_is_wanted(listing, path, sq_column(statement, 1)))
        return STORE_DONE;
    store_result result = sq_add_name(listing, path);
    return result == STORE_DONE ? shrink(listing) : result;
}

/* Looks at all rows of a statement, which has a path and a text in each. */
static enum sq_progress look_at_all(struct sq_listing *listing, sqlite3_stmt *statement,
                                    store_result *result)
{
    enum sq_progress progress = SQ_FINISHED;
    int code = SQLITE_DONE;

    while (progress == SQ_FINISHED && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        progress = sq_count_row(listing, result);
        if (progress == SQ_FINISHED)
            *result = look_at(listing, statement);
        if (*result != STORE_DONE)
            progress = SQ_FAILED;
    }
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        *result = sq_result(listing->connection, code);
        progress = SQ_FAILED;
    }
    int error = errno;
    sqlite3_reset(statement);
    errno = error;
    return progress;
}

static enum sq_progress fail(struct sq_listing *listing, store_result *result)
{
    *result = sq_result(listing->connection, sqlite3_extended_errcode(listing->connection->db));
    return SQ_FAILED;
}

static enum sq_progress look_at_hits(struct sq_listing *listing, sttp_slice terms,
                                     store_result *result)
{
    sqlite3_stmt *statement = sq_prepared(listing->connection, SQ_MATCHES);

    if (statement == NULL)
        return fail(listing, result);
    sq_bind(statement, 1, terms);
    return look_at_all(listing, statement, result);
}

static enum sq_progress look_at_changed(struct sq_listing *listing, store_result *result)
{
    sqlite3_stmt *statement = sq_prepared(listing->connection, SQ_CHANGED);

    return statement != NULL ? look_at_all(listing, statement, result) : fail(listing, result);
}

static enum sq_progress look_at_new(struct sq_listing *listing, store_result *result)
{
    sqlite3_stmt *statement = sq_prepared(listing->connection, SQ_NOT_INDEXED);

    return statement != NULL ? look_at_all(listing, statement, result) : fail(listing, result);
}

enum sq_progress sq_match(struct sq_listing *listing, bool again, store_result *result)
{
    char room[TERMS_ROOM];
    struct characters characters;
    struct terms terms;

    *result = STORE_DONE;
    if (!split(listing->query->text, &characters))
        return SQ_FINISHED;
    make_terms(listing->query->text, &characters, &terms);
    if (!again && terms.count > 1)
        *result = choose_rare(listing->connection, &terms);
    if (*result != STORE_DONE)
        return SQ_FAILED;
    enum sq_progress progress = look_at_hits(listing, join_terms(&terms, room), result);
    if (progress == SQ_FINISHED)
        progress = look_at_changed(listing, result);
    if (progress == SQ_FINISHED)
        progress = look_at_new(listing, result);
    return progress;
}
