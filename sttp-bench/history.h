/* --check: whether what all connections saw of each text can have happened in some order. */
#ifndef BENCH_HISTORY_H
#define BENCH_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The nonce that stands for no text. A key is deleted once at most, and never created again, so it
 * is that of one write, too: the DELETE. Who finds no text has read it. */
#define HISTORY_DELETED UINT64_MAX

/* A SHOW that was answered, or a CREATE, UPDATE or DELETE. Every text is written once only, so its
 * nonce names the write. Times are of one clock. */
typedef struct history_step {
    uint64_t key;
    uint64_t nonce;
    uint64_t invoked;
    uint64_t answered; /* UINT64_MAX: no answer came, so it may take effect at any time or never */
    bool write;
} history_step;

typedef struct history {
    history_step *steps;
    size_t count, capacity;
    bool no_memory; /* steps are missing */
} history;

void history_add(history *h, history_step step);
void history_append(history *to, const history *from);
void history_destroy(history *h);

/* Judges each key by itself, whose text at first was that of `initial(key)`. Returns the number of
 * keys whose steps fit no order, and writes about the first of them into `why`. Sorts the steps.
 *
 * The method is that of Gibbons and Korach (Testing shared memories, 1997) for registers whose
 * every value is written once: a text is there from its write to its last read, and these zones may
 * not be in each other's way. It is exact, and takes n log n. */
size_t history_check(history *h, uint64_t (*initial)(uint64_t key), char *why, size_t capacity);

#endif
