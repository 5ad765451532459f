/* The server that is put under load: its address, found once before the load begins. */
#ifndef BENCH_TARGET_H
#define BENCH_TARGET_H

#include <sys/socket.h>

#include "options.h"

typedef struct bench_target {
    struct sockaddr_storage address;
    socklen_t size;
    char name[160];   /* "127.0.0.1:8080", "unix:/run/sttpd.sock" */
    char prefix[300]; /* through a proxy: what stands before each path, "sttp://host:8080" */
} bench_target;

/* Resolves the name and takes the first address that accepts a connection. Returns
 * BENCH_EXIT_OK; else a message is on standard error and the exit status returned. */
int target_find(const bench_options *options, bench_target *target);

/* A socket that does not block and has begun to connect; -1 with errno. */
int target_connect(const bench_target *target);

#endif
