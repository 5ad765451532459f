#include "histogram.h"

#include <math.h>
#include <string.h>

static const uint64_t largest = ((uint64_t)1 << HISTOGRAM_MAX_BITS) - 1;

/* How many low bits of a value its slot does not tell. */
static unsigned lost_bits(uint64_t value)
{
    unsigned bits = 64 - (unsigned)__builtin_clzll(value | 1);

    return bits > HISTOGRAM_BITS + 1 ? bits - (HISTOGRAM_BITS + 1) : 0;
}

size_t histogram_slot(uint64_t nanoseconds)
{
    uint64_t value = nanoseconds < largest ? nanoseconds : largest;
    unsigned lost = lost_bits(value);

    return ((size_t)lost << HISTOGRAM_BITS) + (size_t)(value >> lost);
}

uint64_t histogram_slot_low(size_t slot)
{
    size_t doubling = slot >> HISTOGRAM_BITS;
    size_t lost = doubling > 0 ? doubling - 1 : 0;

    return (uint64_t)(slot - (lost << HISTOGRAM_BITS)) << lost;
}

uint64_t histogram_slot_high(size_t slot)
{
    return histogram_slot_low(slot + 1) - 1;
}

void histogram_add(histogram *h, uint64_t nanoseconds)
{
    h->slots[histogram_slot(nanoseconds)]++;
    h->saturated += nanoseconds > largest;
    h->sum += nanoseconds;
    if (h->count == 0 || nanoseconds < h->min)
        h->min = nanoseconds;
    if (nanoseconds > h->max)
        h->max = nanoseconds;
    h->count++;
}

void histogram_merge(histogram *to, const histogram *from)
{
    if (from->count == 0)
        return;
    size_t last = histogram_slot(from->max);
    for (size_t i = histogram_slot(from->min); i <= last; i++)
        to->slots[i] += from->slots[i];
    if (to->count == 0 || from->min < to->min)
        to->min = from->min;
    if (from->max > to->max)
        to->max = from->max;
    to->count += from->count;
    to->sum += from->sum;
    to->saturated += from->saturated;
}

/* Only what is in use is touched: one is cleared in every interval of a run. */
void histogram_clear(histogram *h)
{
    if (h->count > 0) {
        size_t first = histogram_slot(h->min);
        memset(&h->slots[first], 0, (histogram_slot(h->max) - first + 1) * sizeof *h->slots);
    }
    h->count = h->sum = h->min = h->max = h->saturated = 0;
}

uint64_t histogram_percentile(const histogram *h, double percent)
{
    /* The rounding of 99.9 / 100 shall not ask for one value more. */
    uint64_t wanted = (uint64_t)ceil(percent * (double)h->count / 100 - 1e-6);
    uint64_t seen = 0;

    if (h->count == 0)
        return 0;
    if (wanted <= 1)
        return h->min;
    for (size_t i = histogram_slot(h->min); i < HISTOGRAM_SLOTS; i++) {
        seen += h->slots[i];
        if (seen >= wanted) {
            uint64_t high = histogram_slot_high(i);
            return high < h->max && i + 1 < HISTOGRAM_SLOTS ? high : h->max;
        }
    }
    return h->max;
}

double histogram_mean(const histogram *h)
{
    return h->count > 0 ? (double)h->sum / (double)h->count : 0;
}
