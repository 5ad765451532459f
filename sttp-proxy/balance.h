/* Which of several upstreams a request goes to. No clock, no socket: what is known of the upstreams
 * is given with each call, and random numbers come from a seed.
 *
 * A backup is asked only where no other upstream is usable; then backups are balanced as the others
 * are. An upstream with weight 0 is given nothing. */
#ifndef STTP_PROXY_BALANCE_H
#define STTP_PROXY_BALANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sttp/base.h>

enum {
    BALANCE_MAX_UPSTREAMS = 4096,
    BALANCE_MAX_WEIGHT = 1 << 20 /* of a candidate: the weight of the settings, scaled */
};

#define BALANCE_NONE SIZE_MAX

typedef enum balance_kind {
    /* The fewest requests in flight for its weight, the new one counted: (in_flight + 1) / weight.
     * Where that is one with nothing in flight, all such share in turns, by weight; so do those
     * that are equal. */
    BALANCE_LEAST_IN_FLIGHT = 0,
    /* In turns, by weight, each one's turns spread evenly ("smooth": 5, 1, 1 gives a a b a c a a).
     * An upstream that was away, or whose weight has changed, neither catches up nor waits. */
    BALANCE_ROUND_ROBIN,
    /* Two different ones drawn by weight, of these the one with fewer in flight as above. Where
     * both have nothing in flight, or are equal: the one that was drawn first. */
    BALANCE_RANDOM_TWO,
    /* The same path goes to the same upstream: consistent hashing with bounded loads (Mirrokni,
     * Thorup, Zadimoghaddam). No usable upstream of weight w, of all usable weights W, is given
     * more than ceil(1.25 * m * w / W) of the m requests in flight, the new one counted; what it
     * has no room for goes to the next one on the ring. Without load, one of N that becomes
     * unusable moves the paths it had, a share of 1/N, and no other. */
    BALANCE_HASH
} balance_kind;

/* What is known of an upstream. The requests in flight are those of whoever balances: of a worker,
 * or of all. */
typedef struct balance_candidate {
    uint32_t weight; /* at most BALANCE_MAX_WEIGHT */
    uint32_t in_flight;
    bool usable;
    bool backup;
} balance_candidate;

/* The places of the upstreams of a set on the ring of BALANCE_HASH. They follow from the address
 * texts and weights alone, so all workers and all proxies place a path alike, in whatever order
 * the upstreams are listed. A ring never changes; any number of threads may use it. */
typedef struct balance_ring balance_ring;

typedef struct balance_place {
    sttp_slice address; /* as its text; no two may be equal */
    uint32_t weight;    /* as in the settings, not scaled; 0 counts as 1 */
} balance_place;

/* For 1 to BALANCE_MAX_UPSTREAMS upstreams; keeps nothing of `places`. About 4 KiB for each
 * upstream and unit of weight, 4 MiB at most. NULL where memory is out. */
balance_ring *balance_ring_create(const balance_place *places, size_t count);

/* NULL is allowed. */
void balance_ring_destroy(balance_ring *ring);

/* Who balances over a set of upstreams: has turns and random numbers of its own. One thread. */
typedef struct balancer balancer;

/* For `count` upstreams, 1 to BALANCE_MAX_UPSTREAMS. BALANCE_HASH needs a ring of the same
 * upstreams in the same order, which must outlive the balance; other kinds take NULL. A seed of its
 * own for each worker lets them begin with different upstreams. NULL where memory is out. */
balancer *balance_create(balance_kind kind, const balance_ring *ring, size_t count, uint64_t seed);

/* NULL is allowed. */
void balance_destroy(balancer *balance);

/* The index of the upstream that the next request, for `path`, goes to; BALANCE_NONE where none is
 * usable. `candidates` are as many as balance_create was told of, in the same order. To try another
 * one after a failure, call it again with that one's `usable` false. */
size_t balance_pick(balancer *balance, const balance_candidate *candidates, sttp_slice path);

#endif
