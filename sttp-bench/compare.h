/* `sttp-bench compare A.json B.json` */
#ifndef BENCH_COMPARE_H
#define BENCH_COMPARE_H

/* Says how B differs from A, and what of it is no more than noise. `count` operands. Returns the
 * exit status: BENCH_EXIT_OK, BENCH_EXIT_SLO where B is worse, BENCH_EXIT_USAGE where a file is no
 * result of sttp-bench. */
int compare_files(int count, char **names);

#endif
