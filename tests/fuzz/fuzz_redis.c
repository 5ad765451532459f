/* What comes from Redis: replies that come in pieces are those that come in one, and bounded; and
 * an entry that is used is an answer to what was asked, which the store could have given. */
#include <sttp/serializer.h>

#include "sttpd/redis_private.h"

#include "property.h"

enum { MOST_REPLIES = 64 };

/* ---- replies ---- */

struct replies {
    struct {
        enum redis_kind kind;
        char *text;
        size_t size;
    } all[MOST_REPLIES];
    size_t count;
    bool is_garbage;
};

/* Takes what is there by now. */
static void take(struct redis_input *input, struct replies *replies)
{
    redis_found found = REDIS_FOUND;

    while (replies->count < MOST_REPLIES && (found = redis_input_read(input)) == REDIS_FOUND) {
        sttp_slice text = input->reply.text;
        require(text.size <= REDIS_MOST_REPLY, "a reply has a bound");
        replies->all[replies->count].kind = input->reply.kind;
        replies->all[replies->count].text = exact_copy(text.data, text.size);
        replies->all[replies->count++].size = text.size;
    }
    replies->is_garbage = found == REDIS_GARBAGE;
}

static struct replies read_replies(const char *data, size_t size, bool in_pieces)
{
    struct replies replies = {0};
    struct redis_input input;
    bool goes_on = true;

    require(redis_input_open(&input), "memory");
    for (size_t given = 0; given < size && goes_on && !replies.is_garbage;) {
        size_t step = in_pieces ? next_step(given, size) : size;
        char *copy = exact_copy(data + given, step);
        goes_on = redis_input_feed(&input, copy, step);
        free(copy);
        given += step;
        take(&input, &replies);
    }
    redis_input_close(&input);
    return replies;
}

static void check_replies(const char *data, size_t size)
{
    struct replies whole = read_replies(data, size, false);
    struct replies pieces = read_replies(data, size, true);

    require(whole.count == pieces.count && whole.is_garbage == pieces.is_garbage,
            "pieces are as many replies");
    for (size_t i = 0; i < whole.count; i++) {
        require(whole.all[i].kind == pieces.all[i].kind &&
                    whole.all[i].size == pieces.all[i].size &&
                    memcmp(whole.all[i].text, pieces.all[i].text, whole.all[i].size) == 0,
                "pieces change no reply");
        free(whole.all[i].text);
        free(pieces.all[i].text);
    }
}

/* ---- entries ---- */

static struct coherence coherence;
static char room[REDIS_ENTRY_MOST];

static void check_entry(const char *data, size_t size, const sttp_request *request)
{
    sttp_response response;
    uint64_t asked;

    if (!redis_entry_read(&coherence, (sttp_slice){data, size}, request, &response, &asked))
        return;
    require(is_inside(response.echo, data, size) && is_inside(response.contents, data, size),
            "an answer is in its entry");
    require(sttp_response_speaks_of(&response, request), "it answers what was asked");
    require(request->action == STTP_ACTION_LIST || response.code != STTP_CODE_OK ||
                sttp_check_text(response.contents, NULL) == STTP_OK,
            "it is a text");
    size_t written = redis_entry_write(&coherence, &response, asked, room);
    require(written == size || memchr(data, '\r', size) != NULL, "it is what is written");
}

/* The bytes as they are, and behind a header of our own. */
static void check_entries(const char *data, size_t size)
{
    static const sttp_request requests[] = {
        {.action = STTP_ACTION_SHOW, .path = STTP_SLICE("/d/a")},
        {.action = STTP_ACTION_LIST, .path = STTP_SLICE("/d/a")},
    };
    sttp_response absence = {.code = STTP_CODE_NOT_FOUND, .echo = requests[0].path};

    for (int i = 0; i < 2; i++) {
        char *copy = exact_copy(data, size);
        check_entry(copy, size, &requests[i]);
        free(copy);
        if (size > REDIS_ENTRY_MOST - REDIS_ENTRY_HEADER)
            continue;
        require(redis_entry_write(&coherence, &absence, 1, room) > 0, "an absence is kept");
        memcpy(room + REDIS_ENTRY_HEADER, data, size);
        copy = exact_copy(room, REDIS_ENTRY_HEADER + size);
        check_entry(copy, REDIS_ENTRY_HEADER + size, &requests[i]);
        free(copy);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const unsigned char identity[STORE_IDENTITY];

    if (coherence.watcher.context == NULL) {
        require(coherence_init(&coherence, 1000, 1000), "random bytes");
        coherence_begin(&coherence, NULL, identity);
    }
    check_replies((const char *)bytes, size);
    check_entries((const char *)bytes, size);
    return 0;
}
