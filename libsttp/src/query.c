/* The query of a LIST, docs/protocol.md, section 4.1: pairs from left to right, the first mistake
 * ends it. Values are decoded character by character, so that what an escape spells is judged by
 * the same rule as what stands there plainly, with or without a buffer to write it to. */
#include <sttp/message.h>

#include "ascii.h"
#include "problem.h"
#include "rules.h"
#include "utf8.h"

#include <string.h>

enum key { KEY_TEXT, KEY_NAME, KEY_RECURSIVE, KEY_TYPE, KEY_LIMIT, KEY_AFTER, KEY_COUNT };

static const char *const KEYS[KEY_COUNT] = {"q", "name", "recursive", "type", "limit", "after"};

/* Where a decoded value goes: what does not fit is counted, not written. */
struct sink {
    char *data;
    size_t capacity;
    size_t size;
};

struct reader {
    sttp_slice encoded;
    char *buffer; /* NULL: check only */
    size_t used;
    unsigned seen; /* one bit for each key */
    sttp_query *query;
    sttp_problem *problem;
};

static int hex_value(char c)
{
    unsigned char letter = sttp__lower(c);

    if (sttp__is_digit(c))
        return c - '0';
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* The byte at *at, escaped or plain; false where it is neither. */
static bool decode_byte(sttp_slice value, size_t *at, char *byte)
{
    const char *from = value.data + *at;
    int high, low;

    if (*from != '%') {
        *byte = *from;
        *at += 1;
        return *from != ' ';
    }
    if (value.size - *at < 3)
        return false;
    high = hex_value(from[1]);
    low = hex_value(from[2]);
    *byte = (char)(high * 16 + low);
    *at += 3;
    return high >= 0 && low >= 0;
}

/* The size of the character that is decoded from *at on, 0 where there is none that is allowed. */
static size_t decode_character(sttp_slice value, size_t *at, char character[4])
{
    size_t size = 0;

    while (size < 4 && *at < value.size && decode_byte(value, at, &character[size])) {
        size++;
        if (sttp__character_size(character, size) == size)
            return sttp__is_control(character, size) ? 0 : size;
    }
    return 0;
}

static sttp_status decode_value(const struct reader *reader, sttp_slice value, struct sink *sink)
{
    size_t at = 0;

    while (at < value.size) {
        char character[4];
        size_t start = at;
        size_t size = decode_character(value, &at, character);

        if (size == 0)
            return sttp__fail(reader->problem, STTP_ERR_QUERY_ESCAPE,
                              (size_t)(value.data - reader->encoded.data) + start, 0);
        if (sink->size + size <= sink->capacity)
            memcpy(sink->data + sink->size, character, size);
        sink->size += size;
    }
    return STTP_OK;
}

static sttp_status read_text(struct reader *reader, sttp_slice value, sttp_slice *text)
{
    struct sink sink = {NULL, 0, 0};
    sttp_status status;

    if (reader->buffer)
        sink = (struct sink){reader->buffer + reader->used, value.size, 0};
    status = decode_value(reader, value, &sink);
    *text = (sttp_slice){reader->buffer ? sink.data : value.data, sink.size};
    reader->used += sink.size;
    return status;
}

/* Of at most eight digits: the number cannot overflow. */
static bool read_limit(sttp_slice digits, uint32_t *limit)
{
    uint32_t number = 0;
    size_t i;

    for (i = 0; i < digits.size; i++) {
        if (!sttp__is_digit(digits.data[i]) || (i == 0 && digits.data[i] == '0'))
            return false;
        number = number * 10 + (uint32_t)(digits.data[i] - '0');
    }
    *limit = number;
    return number >= 1 && number <= STTP_MAX_LIST_LIMIT;
}

static bool equals(sttp_slice slice, const char *word)
{
    return slice.size == strlen(word) && memcmp(slice.data, word, slice.size) == 0;
}

static bool read_type(sttp_slice word, sttp_list_type *type)
{
    if (equals(word, "file"))
        *type = STTP_LIST_FILES;
    else if (equals(word, "dir"))
        *type = STTP_LIST_DIRECTORIES;
    else if (equals(word, "all"))
        *type = STTP_LIST_ALL;
    else
        return false;
    return true;
}

/* Values that are one of few short words: a longer one is wrong without being read. */
static sttp_status read_word(struct reader *reader, enum key key, sttp_slice value, bool *valid)
{
    char buffer[8];
    struct sink sink = {buffer, sizeof(buffer), 0};
    sttp_status status = decode_value(reader, value, &sink);
    sttp_slice word = {buffer, sink.size};

    if (status != STTP_OK || sink.size > sizeof(buffer)) {
        *valid = false;
    } else if (key == KEY_LIMIT) {
        *valid = read_limit(word, &reader->query->limit);
    } else if (key == KEY_TYPE) {
        *valid = read_type(word, &reader->query->type);
    } else {
        reader->query->recursive = equals(word, "1");
        *valid = reader->query->recursive || equals(word, "0");
    }
    return status;
}

static sttp_status read_value(struct reader *reader, enum key key, sttp_slice value)
{
    sttp_query *query = reader->query;
    sttp_status status = STTP_OK;
    bool valid = true;

    switch (key) {
    case KEY_TEXT:
        status = read_text(reader, value, &query->text);
        break;
    case KEY_NAME:
        status = read_text(reader, value, &query->name);
        valid = query->name.size > 0;
        break;
    case KEY_AFTER:
        status = read_text(reader, value, &query->after);
        valid = query->after.size > 0;
        break;
    case KEY_RECURSIVE:
    case KEY_TYPE:
    case KEY_LIMIT:
    case KEY_COUNT:
        status = read_word(reader, key, value, &valid);
        break;
    }
    if (status != STTP_OK || valid)
        return status;
    return sttp__fail_word(reader->problem, STTP_ERR_QUERY_VALUE,
                           (size_t)(value.data - reader->encoded.data),
                           (sttp_slice){KEYS[key], strlen(KEYS[key])});
}

static enum key find_key(sttp_slice name)
{
    int key = 0;

    while (key < KEY_COUNT && !equals(name, KEYS[key]))
        key++;
    return (enum key)key;
}

static sttp_status read_pair(struct reader *reader, sttp_slice pair)
{
    const char *equal = memchr(pair.data, '=', pair.size);
    sttp_slice name = {pair.data, equal ? (size_t)(equal - pair.data) : pair.size};
    size_t offset = (size_t)(pair.data - reader->encoded.data);
    enum key key = find_key(name);

    if (!equal)
        return sttp__fail_word(reader->problem, STTP_ERR_QUERY_KEY, offset, (sttp_slice){"", 0});
    if (key == KEY_COUNT)
        return sttp__fail_word(reader->problem, STTP_ERR_QUERY_KEY, offset,
                               sttp_nearest_word(name, KEYS, KEY_COUNT));
    if (reader->seen & 1u << key)
        return sttp__fail_word(reader->problem, STTP_ERR_QUERY_TWICE, offset,
                               (sttp_slice){KEYS[key], name.size});
    reader->seen |= 1u << key;
    return read_value(reader, key, (sttp_slice){equal + 1, pair.size - name.size - 1});
}

sttp_status sttp_query_parse(sttp_slice encoded, char *buffer, sttp_query *query,
                             sttp_problem *problem)
{
    struct reader reader = {
        .encoded = encoded, .buffer = buffer, .query = query, .problem = problem};
    size_t start = 0;

    *query = (sttp_query){.type = STTP_LIST_ALL};
    /* An empty query is one pair without a key: it is judged, not skipped. */
    while (encoded.data && start <= encoded.size) {
        const char *from = encoded.data + start;
        const char *end = memchr(from, '&', encoded.size - start);
        sttp_slice pair = {from, end ? (size_t)(end - from) : encoded.size - start};
        sttp_status status = read_pair(&reader, pair);

        if (status != STTP_OK)
            return status;
        start += pair.size + 1;
    }
    if (query->text.data && !(reader.seen & 1u << KEY_TYPE))
        query->type = STTP_LIST_FILES;
    return STTP_OK;
}

sttp_status sttp__check_query(sttp_action action, sttp_slice query, sttp_problem *problem)
{
    sttp_query parsed;

    if (!query.data)
        return STTP_OK;
    if (action != STTP_ACTION_LIST)
        return sttp__fail_word(problem, STTP_ERR_QUERY_ACTION, 0, sttp__action_word(action));
    return sttp_query_parse(query, NULL, &parsed, problem);
}
