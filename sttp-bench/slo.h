/* What a run has to reach: "p99<2ms,errors<0.1%,rate>10000". */
#ifndef BENCH_SLO_H
#define BENCH_SLO_H

#include <stdbool.h>
#include <stddef.h>

enum { SLO_MAX_TERMS = 16 };

typedef enum slo_kind { SLO_PERCENTILE, SLO_MAXIMUM, SLO_MEAN, SLO_ERRORS, SLO_RATE } slo_kind;

typedef struct slo_term {
    slo_kind kind;
    double percent; /* of SLO_PERCENTILE */
    bool below;     /* "<"; else ">" */
    double limit;   /* nanoseconds; percent of requests; requests a second */
    char text[32];  /* as it was written */
} slo_term;

typedef struct bench_slo {
    slo_term terms[SLO_MAX_TERMS];
    size_t count;
} bench_slo;

/* Terms with commas between: pN<TIME, max<TIME, mean<TIME, errors<N%, rate>N; "<" or ">" in each.
 */
bool slo_parse(const char *text, bench_slo *slo);

#endif
