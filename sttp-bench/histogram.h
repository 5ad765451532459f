/* How often each length of time was seen, to 3 significant digits from 1 us to 73 minutes.
 *
 * Log-linear: up to 2,048 ns every nanosecond has a slot; above, each doubling has 1,024 slots, so
 * a slot is never wider than 1/1024 of what it holds. Histograms of threads, runs and machines add
 * up without loss. Not thread-safe. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

enum {
    HISTOGRAM_BITS = 10,     /* 1 << HISTOGRAM_BITS slots for each doubling */
    HISTOGRAM_MAX_BITS = 42, /* values stay below 1 << HISTOGRAM_MAX_BITS nanoseconds */
    HISTOGRAM_SLOTS = (HISTOGRAM_MAX_BITS - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS
};

/* All zero: an empty one. */
typedef struct histogram {
    uint64_t count;
    uint64_t sum;       /* nanoseconds */
    uint64_t min, max;  /* exact; 0 while it is empty */
    uint64_t saturated; /* values above the largest slot; they count as that */
    uint64_t slots[HISTOGRAM_SLOTS];
} histogram;

void histogram_add(histogram *h, uint64_t nanoseconds);

/* Adds all that `from` has seen to `to`. */
void histogram_merge(histogram *to, const histogram *from);

void histogram_clear(histogram *h);

/* The value that `percent` (0 to 100) of all values do not exceed: the highest one of its slot,
 * never more than the maximum. 0 where the histogram is empty. */
uint64_t histogram_percentile(const histogram *h, double percent);

double histogram_mean(const histogram *h);

/* The slot of a value, and the lowest and the highest value of a slot. */
size_t histogram_slot(uint64_t nanoseconds);
uint64_t histogram_slot_low(size_t slot);
uint64_t histogram_slot_high(size_t slot);

#endif
