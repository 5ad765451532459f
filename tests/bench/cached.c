/* The cache alone, filled with answers to SHOW of 20 bytes of path and 100 of text:
 *     cached fill ANSWERS             fills it, and waits to be measured: "empty", then "full";
 * goes on with a line each cached hit THREADS HITS         each thread asks HITS times for one of
 * 1,000; prints seconds */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sttp/cache.h>

enum { PATH_SIZE = 20, TEXT_SIZE = 100, KEYS = 1000, ANSWER_ROOM = 256 };

struct load {
    sttp_cache *cache;
    pthread_barrier_t *start;
    unsigned long hits;
    uint64_t random;
    bool failed;
};

static sttp_slice path_of(unsigned long number, char path[PATH_SIZE + 1])
{
    snprintf(path, PATH_SIZE + 1, "/snippet_%07lu.txt", number % 10000000);
    return (sttp_slice){path, PATH_SIZE};
}

static sttp_cache *create(size_t entries)
{
    sttp_cache_options options = {.size = sizeof options,
                                  .max_entries = entries,
                                  .max_bytes = entries * 1024,
                                  .expiration = 3600 * 1000};
    sttp_cache *cache;
    return sttp_cache_create(&options, &cache) == STTP_OK ? cache : NULL;
}

static void copy(void *answer, sttp_slice response)
{
    memcpy(answer, response.data, response.size);
}

static bool fill(sttp_cache *cache, unsigned long answers)
{
    char path[PATH_SIZE + 1], text[TEXT_SIZE];
    sttp_cache_statistics statistics;

    memset(text, 'x', sizeof text);
    for (unsigned long i = 0; i < answers; i++) {
        sttp_cache_lease lease = {.action = STTP_ACTION_SHOW, .path = path_of(i, path)};
        if (sttp_cache_lease_take(cache, &lease, copy, NULL) != STTP_CACHE_FETCH)
            return false;
        sttp_cache_fill(cache, &lease,
                        &(sttp_response){.code = STTP_CODE_OK,
                                         .echo = lease.path,
                                         .contents = {text, sizeof text}});
    }
    sttp_cache_count(cache, &statistics);
    return statistics.entries == answers;
}

/* Says where it is, and waits for a line. */
static void pause_at(const char *where)
{
    puts(where);
    fflush(stdout);
    while (getchar() != '\n')
        continue;
}

static int measure_memory(unsigned long answers)
{
    sttp_cache *cache = create(answers);
    if (cache == NULL)
        return 1;
    pause_at("empty");
    if (!fill(cache, answers))
        return 1;
    pause_at("full");
    sttp_cache_destroy(cache);
    return 0;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static void *ask(void *argument)
{
    struct load *load = argument;
    char paths[KEYS][PATH_SIZE + 1];
    for (unsigned long i = 0; i < KEYS; i++)
        path_of(i, paths[i]);
    pthread_barrier_wait(load->start);
    for (unsigned long left = load->hits; left > 0; left--) {
        sttp_slice path = {paths[next_random(&load->random) % KEYS], PATH_SIZE};
        char answer[ANSWER_ROOM];
        if (!sttp_cache_get(load->cache, STTP_ACTION_SHOW, path, copy, answer)) {
            load->failed = true;
            break;
        }
    }
    return NULL;
}

static double seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static bool run(struct load *loads, unsigned threads, pthread_barrier_t *start)
{
    bool failed = false;
    pthread_t *ids = calloc(threads, sizeof *ids);
    if (ids == NULL)
        return false;
    for (unsigned i = 0; i < threads; i++) {
        if (pthread_create(&ids[i], NULL, ask, &loads[i]) != 0)
            exit(1);
    }
    pthread_barrier_wait(start);
    double began = seconds();
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        failed |= loads[i].failed;
    }
    printf("%.6f\n", seconds() - began);
    free(ids);
    return !failed;
}

static int measure_hits(unsigned threads, unsigned long hits)
{
    pthread_barrier_t start;
    sttp_cache *cache = create(KEYS);
    struct load *loads = calloc(threads, sizeof *loads);
    if (cache == NULL || loads == NULL || !fill(cache, KEYS) ||
        pthread_barrier_init(&start, NULL, threads + 1) != 0)
        return 1;
    for (unsigned i = 0; i < threads; i++)
        loads[i] = (struct load){
            .cache = cache, .start = &start, .hits = hits, .random = 88172645463325252U + i * 7919};
    bool done = run(loads, threads, &start);
    pthread_barrier_destroy(&start);
    free(loads);
    sttp_cache_destroy(cache);
    return done ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "fill") == 0)
        return measure_memory(strtoul(argv[2], NULL, 10));
    if (argc == 4 && strcmp(argv[1], "hit") == 0)
        return measure_hits((unsigned)strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10));
    return 2;
}
