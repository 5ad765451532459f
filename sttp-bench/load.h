/* Puts load on a server: threads, each with an event loop and its share of the connections. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <signal.h>

#include "content.h"
#include "history.h"
#include "result.h"
#include "target.h"

/* Where the requests of a phase come from. */
typedef enum load_source {
    LOAD_PLAN,     /* drawn from the mix and the distribution */
    LOAD_SHOW,     /* a SHOW of each key, with every tenth twice */
    LOAD_CREATE,   /* a CREATE of each key */
    LOAD_UPDATE,   /* an UPDATE of each key */
    LOAD_DELETE,   /* a DELETE of each key */
    LOAD_DIRECTORY /* a DELETE of the directory that they were in */
} load_source;

/* A list of keys that grows. */
typedef struct key_list {
    uint64_t *keys;
    size_t first; /* those before it were taken out */
    size_t count, capacity;
} key_list;

bool key_list_add(key_list *list, uint64_t key);
void key_list_destroy(key_list *list);

typedef struct load_phase {
    const char *name;
    load_source source;
    uint64_t keys;    /* of all sources but LOAD_PLAN: 0 .. keys - 1, and then `extra` */
    key_list *extra;  /* LOAD_PLAN adds what it created and did not delete; may be NULL */
    history *history; /* what --check looks at is added here; may be NULL */
    bool lenient; /* before and after a measurement: "already exists" and "not found" are fine */
    const bench_options *options;
    const bench_target *target;
    bench_names names;
} load_phase;

/* Runs a phase to its end and fills *result; false where memory or threads are out. */
bool load_run(const load_phase *phase, bench_phase_result *result);

/* Ends the phase that is running, and all that come. Safe in a signal handler. */
extern volatile sig_atomic_t load_interrupted;

/* The nonce of the text that every key has before the measurement. */
uint64_t load_initial_nonce(uint64_t key);

#endif
