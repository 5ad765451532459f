/* Judges answers: do they belong to their requests, and are they what was hoped for. */
#include <string.h>

#include "worker.h"

/* Whether the answer speaks of what was asked for. */
static bool names_the_path(const worker *w, const pending *request, const sttp_response *response)
{
    const load_phase *phase = w->load->phase;
    const char *prefix = phase->target->prefix;
    char buffer[CONTENT_MAX_PATH];
    sttp_request asked = {.action = request->action,
                          .path = {buffer, content_path(&phase->names, request->key, buffer)}};

    if (*prefix)
        asked.origin = (sttp_slice){prefix, strlen(prefix)};
    return sttp_response_speaks_of(response, &asked);
}

static failure_kind refusal_of(sttp_code code)
{
    switch (code) {
    case STTP_CODE_CLIENT_ERROR:
        return FAILURE_300;
    case STTP_CODE_FILENAME_TOO_LONG:
        return FAILURE_310;
    case STTP_CODE_NOT_FOUND:
        return FAILURE_400;
    case STTP_CODE_PATH_NOT_FOUND:
        return FAILURE_410;
    case STTP_CODE_SERVER_ERROR:
        return FAILURE_500;
    case STTP_CODE_CANNOT_CREATE_PATH:
        return FAILURE_510;
    case STTP_CODE_CREATED:
    case STTP_CODE_OK:
    case STTP_CODE_DELETED:
        break;
    }
    return FAILURE_WRONG_ANSWER; /* a success, but that of another action */
}

/* "SHOW /a -> 200 /b OK \"contents\"" */
static void fail(worker *w, const pending *request, const sttp_response *response,
                 failure_kind kind)
{
    char sample[SAMPLE_SIZE];
    char path[CONTENT_MAX_PATH];
    sttp_slice more = response->message.data ? response->message : response->contents;
    int size;

    answer_missing(w, request);
    if (w->tally->failures[kind] > 0) { /* one sample is enough */
        worker_count_failure(w, kind, STTP_SLICE(""));
        return;
    }
    content_path(&w->load->phase->names, request->key, path);
    size = snprintf(sample, sizeof sample, "%s %s -> %d %.*s %s%s%.*s",
                    sttp_action_name(request->action), path, (int)response->code,
                    (int)(response->echo.size < 80 ? response->echo.size : 80), response->echo.data,
                    sttp_code_phrase((int)response->code), more.data ? ": " : "",
                    (int)(more.size < 160 ? more.size : 160), more.data ? more.data : "");
    if (size >= (int)sizeof sample)
        size = sizeof sample - 1;
    worker_count_failure(w, kind, (sttp_slice){sample, (size_t)size});
}

static bool starts_with(sttp_slice text, sttp_slice start)
{
    return text.size >= start.size && memcmp(text.data, start.data, start.size) == 0;
}

/* Before and after a measurement what was to be reached may be there already. */
static bool is_pardoned(worker *w, const pending *request, const sttp_response *response)
{
    if (!w->load->phase->lenient)
        return false;
    if (request->action == STTP_ACTION_DELETE)
        return response->code == STTP_CODE_NOT_FOUND || response->code == STTP_CODE_PATH_NOT_FOUND;
    if (request->action != STTP_ACTION_CREATE || response->code != STTP_CODE_CLIENT_ERROR ||
        !starts_with(response->message, STTP_SLICE("file already exists")))
        return false;
    w->tally->existing++;
    return true;
}

static void note(worker *w, const pending *request, uint64_t nonce, uint64_t answered, bool write)
{
    if (w->load->phase->history)
        history_add(&w->history, (history_step){.key = request->key,
                                                .nonce = nonce,
                                                .invoked = request->sent,
                                                .answered = answered,
                                                .write = write});
}

/* For --check: the nonce of what a change writes. */
static uint64_t written_nonce(const pending *request)
{
    return request->action == STTP_ACTION_DELETE ? HISTORY_DELETED : request->nonce;
}

/* --verify. The text must be one that was made for this path in this run; that of an UPDATE the
 * very one that was sent. */
static bool has_right_contents(worker *w, const pending *request, sttp_slice contents)
{
    const bench_options *options = w->load->phase->options;
    bool update = request->action == STTP_ACTION_UPDATE;
    uint64_t nonce = written_nonce(request);

    if (!options->verify || request->action == STTP_ACTION_LIST)
        return true;
    if (update || request->action == STTP_ACTION_SHOW) {
        if (!content_read(options->seed, request->key, options->size, contents, &nonce) ||
            (update && nonce != request->nonce))
            return false;
    }
    note(w, request, nonce, w->now, request->action != STTP_ACTION_SHOW);
    return true;
}

/* --check asks for texts that others delete meanwhile. That one is missing is then an answer. */
static bool is_missing_text(worker *w, const pending *request, const sttp_response *response)
{
    if (!w->load->phase->history || !(request->key & CONTENT_FRESH) ||
        response->code != STTP_CODE_NOT_FOUND || request->action == STTP_ACTION_DELETE)
        return false;
    note(w, request, HISTORY_DELETED, w->now, false);
    return true;
}

void answer_missing(worker *w, const pending *request)
{
    if (request->action != STTP_ACTION_SHOW && request->action != STTP_ACTION_LIST)
        note(w, request, written_nonce(request), UINT64_MAX, true);
}

static void succeed(worker *w, const pending *request)
{
    if (request->action == STTP_ACTION_CREATE && !key_list_add(&w->created, request->key))
        w->no_memory = true;
    worker_count_answer(w, request);
}

/* Whether all of it is ASCII without control characters, so no line ends in it: eight bytes at
 * once, by the highest bit of each. */
static bool is_plain(const char *text, size_t size)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t odd = 0, word;

    for (; size >= sizeof word; text += sizeof word, size -= sizeof word) {
        memcpy(&word, text, sizeof word);
        odd |= word | (word - 0x20 * ones);
    }
    word = 0x20 * ones;
    memcpy(&word, text, size);
    odd |= word | (word - 0x20 * ones);
    return (odd & 0x80 * ones) == 0;
}

size_t answer_usual(worker *w, const pending *request, const char *data, size_t size)
{
    static const char codes[][5] = {"200 ", "100 ", "600 "};
    static const char phrases[][10] = {" OK\n", " CREATED\n", " DELETED\n"};
    int kind =
        request->action == STTP_ACTION_CREATE ? 1 : 2 * (request->action == STTP_ACTION_DELETE);
    size_t phrase = kind > 0 ? 9 : 4, text = kind > 0 ? 0 : w->load->phase->options->size;
    size_t length = content_path(&w->load->phase->names, request->key, w->path);
    size_t head = 4 + length + phrase, whole = head + text + (kind == 0);

    if (request->action == STTP_ACTION_LIST || size < whole || memcmp(data, codes[kind], 4) != 0 ||
        memcmp(data + 4, w->path, length) != 0 ||
        memcmp(data + 4 + length, phrases[kind], phrase) != 0 || data[whole - 1] != '\n' ||
        !is_plain(data + head, text) ||
        !has_right_contents(w, request, (sttp_slice){data + head, text}))
        return 0;
    succeed(w, request);
    return whole;
}

bool answer_take(worker *w, const pending *request, const sttp_response *response)
{
    if (!names_the_path(w, request, response)) {
        fail(w, request, response, FAILURE_WRONG_ANSWER);
        return false;
    }
    if (is_missing_text(w, request, response)) {
        worker_count_answer(w, request);
        return true;
    }
    if (response->code != sttp_action_success(request->action) &&
        !is_pardoned(w, request, response)) {
        failure_kind kind = refusal_of(response->code);
        fail(w, request, response, kind);
        return kind != FAILURE_WRONG_ANSWER;
    }
    if (!has_right_contents(w, request, response->contents)) {
        fail(w, request, response, FAILURE_WRONG_CONTENT);
        return true;
    }
    succeed(w, request);
    return true;
}
