/* What to ask next, and its bytes. */
#include <string.h>

#include "worker.h"

static const uint64_t WRITTEN = (uint64_t)1 << 63; /* in nonces of texts that replace the first */

uint64_t load_initial_nonce(uint64_t key)
{
    return key & ~WRITTEN;
}

static uint64_t new_nonce(worker *w)
{
    return WRITTEN | (uint64_t)w->index << 40 | w->nonces++;
}

static void choose_create(worker *w, pending *request)
{
    request->action = STTP_ACTION_CREATE;
    request->key = content_fresh_key(w->index, w->fresh++);
    request->nonce = new_nonce(w);
}

/* A text that this thread has created; where none is left one is created, to be deleted later. */
static void choose_delete(worker *w, pending *request)
{
    if (w->created.first == w->created.count)
        choose_create(w, request);
    else
        request->key = w->created.keys[w->created.first++];
}

/* --check: one of the texts that this thread has created lately, or has deleted a moment ago. */
static bool choose_created(worker *w, pending *request)
{
    const size_t lately = 4;
    const key_list *created = &w->created;
    size_t from = created->first > lately ? created->first - lately : 0;
    size_t to = created->count - from > 4 * lately ? from + 4 * lately : created->count;

    if (!w->load->phase->history || from == to || random_below(&w->random, 2) == 0)
        return false;
    request->key = created->keys[from + random_below(&w->random, to - from)];
    return true;
}

static void choose_from_plan(worker *w, pending *request)
{
    const bench_options *options = w->load->phase->options;

    request->action = mix_draw(&options->mix, &w->random);
    if (request->action == STTP_ACTION_CREATE)
        choose_create(w, request);
    else if (request->action == STTP_ACTION_DELETE)
        choose_delete(w, request);
    else if (request->action == STTP_ACTION_LIST)
        request->key = CONTENT_DIRECTORY;
    else if (!choose_created(w, request))
        request->key = distribution_draw(&options->distribution, &w->random);
    if (request->action == STTP_ACTION_UPDATE)
        request->nonce = new_nonce(w);
}

static sttp_action action_of(load_source source)
{
    switch (source) {
    case LOAD_CREATE:
        return STTP_ACTION_CREATE;
    case LOAD_UPDATE:
        return STTP_ACTION_UPDATE;
    case LOAD_DELETE:
    case LOAD_DIRECTORY:
        return STTP_ACTION_DELETE;
    case LOAD_SHOW:
    case LOAD_PLAN:
        break;
    }
    return STTP_ACTION_SHOW;
}

static uint64_t key_of(const load_phase *phase, uint64_t index)
{
    if (phase->source == LOAD_SHOW)
        return index * 10 / 11; /* eleven requests to ten keys */
    if (phase->source == LOAD_DIRECTORY)
        return CONTENT_DIRECTORY;
    if (index < phase->keys)
        return index;
    return phase->extra->keys[phase->extra->first + index - phase->keys];
}

bool request_choose(worker *w, uint64_t due, pending *request)
{
    const load_phase *phase = w->load->phase;
    uint64_t index = 0;

    if (w->load->count != NEVER && due >= w->load->measure_from) {
        index = atomic_fetch_add_explicit(&w->load->issued, 1, memory_order_relaxed);
        if (index >= w->load->count)
            return false;
    }
    *request = (pending){.action = action_of(phase->source),
                         .counted = due >= w->load->measure_from,
                         .intended = due,
                         .sent = w->now};
    if (phase->source == LOAD_PLAN) {
        choose_from_plan(w, request);
        return true;
    }
    request->key = key_of(phase, index);
    request->nonce = load_initial_nonce(request->key);
    return true;
}

size_t request_write(worker *w, const pending *request, char *buffer)
{
    const load_phase *phase = w->load->phase;
    char *at = stpcpy(buffer, sttp_action_name(request->action));

    *at++ = ' ';
    at = stpcpy(at, phase->target->prefix);
    at += content_path(&phase->names, request->key, at);
    if (request->action == STTP_ACTION_CREATE || request->action == STTP_ACTION_UPDATE) {
        at = stpcpy(at, " \"");
        content_write(phase->options->seed, request->key, request->nonce, phase->options->size, at);
        at += phase->options->size;
        *at++ = '"';
    }
    *at++ = '\n';
    if (phase->options->connection_per_request)
        *at++ = '\n'; /* ends the session: the server closes, so no port of ours waits */
    return (size_t)(at - buffer);
}
