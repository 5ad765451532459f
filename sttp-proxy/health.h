/* Whether an upstream is asked. What speaks for and against it is told from outside: by requests
 * that live on it, and by active checks where there are any. Time is passed in: milliseconds of a
 * monotonic clock. Every function may be called from any thread.
 *
 *   - A refused or reset connection, and a name without an address, ejects at once; other failures
 * do when `fall` requests in a row fail, or `fall` checks in a row. Requests and checks are counted
 * apart: each finds what the other does not see.
 *   - With active checks, an ejected upstream returns when `rise` of them in a row succeed.
 *   - Without, one request is let through as a trial after HEALTH_MIN_EJECTION; if it fails, after
 *     twice that time, up to HEALTH_MAX_EJECTION. Who stays up for that long begins anew. A trial
 *     of which nothing is heard for as long as the ejection lasted makes room for another.
 *   - Who returns is given a tenth of its weight at first, and all of it after `slow_start`.
 *
 * An upstream begins as up, with all of its weight. */
#ifndef STTP_PROXY_HEALTH_H
#define STTP_PROXY_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

enum {
    HEALTH_MIN_EJECTION = 1000, /* milliseconds */
    HEALTH_MAX_EJECTION = 60000
};

typedef struct health_options {
    bool checked;        /* there are active checks */
    unsigned rise, fall; /* 1 or more */
    uint64_t slow_start; /* milliseconds; 0: none */
} health_options;

/* What came of a request or a check. */
typedef enum health_result {
    HEALTH_OK = 0,
    HEALTH_TIMEOUT,    /* no connection, or no answer, in time */
    HEALTH_INVALID,    /* an answer that is none */
    HEALTH_CLOSED,     /* the connection ended in good order, without an answer */
    HEALTH_REFUSED,    /* no connection: refused, unreachable, no such socket */
    HEALTH_UNRESOLVED, /* its name has no address */
    HEALTH_RESET
} health_result;

/* "timed out", "connection refused". Static memory. */
const char *health_result_text(health_result result);

typedef enum health_state {
    HEALTH_UP = 0,
    HEALTH_EJECTED,
    HEALTH_TRIAL /* one request decides */
} health_state;

/* "up", "ejected", "on trial". Static memory. */
const char *health_state_text(health_state state);

/* What a report has led to. Of all that are told at the same time one gets it: that is who logs. */
typedef enum health_change { HEALTH_SAME = 0, HEALTH_WENT_DOWN, HEALTH_CAME_UP } health_change;

typedef struct health_record health_record;

/* NULL where memory is out. */
health_record *health_create(const health_options *options);

/* NULL is allowed. */
void health_destroy(health_record *health);

/* Whether the upstream may be given a request now: it is up, or ready for a trial. Changes nothing;
 * takes no lock. */
bool health_usable(const health_record *health, uint64_t now);

/* The part of its weight that the upstream has now, in percent: 10 to 100. Takes no lock. */
unsigned health_weight(const health_record *health, uint64_t now);

/* Gives the upstream a request: true where it is up, or where this request is the trial. false:
 * another one must be found (the trial has just been taken, or it was ejected). *epoch is for
 * health_report. An upstream that is up takes no lock. */
bool health_admit(health_record *health, uint64_t now, uint32_t *epoch);

/* Tells what came of a request that health_admit let through. What began before the upstream was
 * last ejected, tried or taken back says nothing about it now: it is ignored. So one lost
 * connection with many requests on it counts once. Success on an upstream that is up and has no
 * failures costs one atomic load. */
health_change health_report(health_record *health, uint32_t epoch, health_result result,
                            uint64_t now);

/* The epoch of now: to report what belongs to no request, a connection that could not be made. Take
 * it when the attempt begins. */
uint32_t health_epoch(const health_record *health);

/* Tells what came of an active check. */
health_change health_check(health_record *health, health_result result, uint64_t now);

/* What a log can show. */
typedef struct health_view {
    health_state state;
    uint64_t since;      /* the time when it came to this state; 0: from the start */
    health_result cause; /* of the last ejection; HEALTH_OK: there was none */
    bool by_check;       /* it was an active check that told of it */
    unsigned in_a_row;   /* so many failed in a row; 1 for refused and reset ones */
    uint64_t ejections;  /* since the start */
} health_view;

health_view health_look(health_record *health);

#endif
