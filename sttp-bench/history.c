#include "history.h"

#include <stdio.h>
#include <stdlib.h>

static bool reserve(history *h, size_t more)
{
    if (h->count + more <= h->capacity)
        return true;
    size_t capacity = h->capacity ? h->capacity : 1024;
    while (capacity < h->count + more)
        capacity *= 2;
    history_step *grown = reallocarray(h->steps, capacity, sizeof *grown);
    if (grown == NULL) {
        h->no_memory = true;
        return false;
    }
    h->steps = grown;
    h->capacity = capacity;
    return true;
}

void history_add(history *h, history_step step)
{
    if (reserve(h, 1))
        h->steps[h->count++] = step;
}

void history_append(history *to, const history *from)
{
    to->no_memory |= from->no_memory;
    for (size_t i = 0; i < from->count; i++)
        history_add(to, from->steps[i]);
}

void history_destroy(history *h)
{
    free(h->steps);
    *h = (history){0};
}

/* By key, then by text, the write before its reads. */
static int compare_steps(const void *a, const void *b)
{
    const history_step *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    if (x->nonce != y->nonce)
        return x->nonce < y->nonce ? -1 : 1;
    return (int)y->write - (int)x->write;
}

/* The time that a text takes: it must have been there between any two moments of which one is the
 * earliest answer and the other the latest request about it. Where the answer is earlier, it was
 * there all the time from it to the request (forward). Else it was there at some moment between. */
typedef struct zone {
    uint64_t from, to;
    bool forward;
} zone;

static int compare_zones(const void *a, const void *b)
{
    const zone *x = a, *y = b;

    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return x->to < y->to ? -1 : x->to > y->to;
}

typedef struct verdict {
    uint64_t key;
    char *why;
    size_t capacity;
    bool told;
} verdict;

static bool object(verdict *v, const char *what, uint64_t from, uint64_t to)
{
    if (!v->told)
        snprintf(v->why, v->capacity, "key %llu: %s (between %llu.%06llu and %llu.%06llu s)",
                 (unsigned long long)v->key, what, (unsigned long long)(from / 1000000000),
                 (unsigned long long)(from % 1000000000 / 1000),
                 (unsigned long long)(to / 1000000000),
                 (unsigned long long)(to % 1000000000 / 1000));
    v->told = true;
    return false;
}

/* The zone of the steps about one text. A write whose answer is not known has no answer. */
static bool make_zone(const history_step *steps, size_t count, bool is_initial, verdict *v, zone *z)
{
    bool written = steps[0].write || is_initial;
    bool deleted = steps[0].nonce == HISTORY_DELETED;
    uint64_t write_begin = is_initial ? 0 : steps[0].invoked;
    uint64_t answered = is_initial ? 0 : UINT64_MAX;
    uint64_t invoked = write_begin;

    if (!written)
        return object(v,
                      deleted ? "a text was missing that nobody deleted"
                              : "a text was shown that nobody wrote",
                      steps[0].invoked, steps[0].answered);
    for (size_t i = 0; i < count; i++) {
        if (steps[i].answered < write_begin)
            return object(v,
                          deleted ? "a text was missing before it was deleted"
                                  : "a text was shown before it was written",
                          steps[i].answered, write_begin);
        if (steps[i].answered < answered)
            answered = steps[i].answered;
        if (steps[i].invoked > invoked)
            invoked = steps[i].invoked;
    }
    if (deleted)
        invoked = UINT64_MAX; /* from then on for ever */
    z->forward = answered < invoked;
    z->from = z->forward ? answered : invoked;
    z->to = z->forward ? invoked : answered;
    return true;
}

/* No two texts may be there at once, and none may have to fit into the time of another. */
static bool zones_fit(zone *zones, size_t count, verdict *v)
{
    const zone *last =
        NULL; /* the forward zone that begins last before the one that is looked at */

    qsort(zones, count, sizeof *zones, compare_zones);
    for (size_t i = 0; i < count; i++) {
        if (!zones[i].forward)
            continue;
        if (last && zones[i].from < last->to)
            return object(v, "an older text was shown after a newer one", zones[i].from, last->to);
        last = &zones[i];
    }
    last = NULL;
    for (size_t i = 0; i < count; i++) {
        if (zones[i].forward)
            last = &zones[i];
        else if (last && zones[i].from > last->from && zones[i].to < last->to)
            return object(v, "a text that was replaced was shown again", last->from, last->to);
    }
    return true;
}

static bool is_unseen(const history_step *steps, size_t count)
{
    return count == 1 && steps[0].write && steps[0].answered == UINT64_MAX;
}

static bool key_fits(const history_step *steps, size_t count, uint64_t initial, zone *zones,
                     verdict *v)
{
    size_t zone_count = 0;

    v->key = steps[0].key;
    for (size_t i = 0, next; i < count; i = next) {
        for (next = i + 1; next < count && steps[next].nonce == steps[i].nonce; next++)
            continue;
        if (is_unseen(&steps[i], next - i))
            continue; /* it may never have happened */
        if (!make_zone(&steps[i], next - i, steps[i].nonce == initial, v, &zones[zone_count++]))
            return false;
    }
    return zones_fit(zones, zone_count, v);
}

size_t history_check(history *h, uint64_t (*initial)(uint64_t key), char *why, size_t capacity)
{
    verdict v = {.why = why, .capacity = capacity};
    zone *zones = h->count ? calloc(h->count, sizeof *zones) : NULL;
    size_t wrong = 0;

    if (h->count > 0 && zones == NULL) {
        h->no_memory = true;
        return 0;
    }
    if (h->count > 0)
        qsort(h->steps, h->count, sizeof *h->steps, compare_steps);
    for (size_t i = 0, next; i < h->count; i = next) {
        for (next = i + 1; next < h->count && h->steps[next].key == h->steps[i].key; next++)
            continue;
        wrong += !key_fits(&h->steps[i], next - i, initial(h->steps[i].key), zones, &v);
    }
    free(zones);
    return wrong;
}
