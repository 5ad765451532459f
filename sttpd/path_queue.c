/* A hash table of the paths that have operations; each shard of the buckets has a mutex. An entry
 * counts what runs on its path and holds what waits. Whoever comes waits when a change runs or
 * anything waits already: so nothing overtakes, and a stream of reads cannot hold up a change for
 * ever. */
#include "sttpd/path_queue.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SHARDS = 16, MAX_BUCKETS = 1 << 16 };

struct path_entry {
    struct path_entry *next;
    store_operation *first; /* that wait */
    store_operation **last;
    unsigned readers; /* that run */
    unsigned changes; /* that run or wait */
    bool changing;    /* one runs */
    uint64_t hash;
    size_t size;
    char path[];
};

struct path_queue {
    atomic_size_t changes; /* of all entries */
    size_t mask;           /* number of buckets - 1 */
    struct path_entry **buckets;
    pthread_mutex_t locks[SHARDS];
};

path_queue *path_queue_create(size_t capacity)
{
    path_queue *queue = calloc(1, sizeof *queue);
    if (queue == NULL)
        return NULL;
    size_t buckets = SHARDS;
    while (buckets < capacity && buckets < MAX_BUCKETS)
        buckets *= 2;
    queue->mask = buckets - 1;
    queue->buckets = calloc(buckets, sizeof *queue->buckets);
    if (queue->buckets == NULL) {
        free(queue);
        return NULL;
    }
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_init(&queue->locks[i], NULL);
    return queue;
}

void path_queue_destroy(path_queue *queue)
{
    if (queue == NULL)
        return;
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_destroy(&queue->locks[i]);
    free(queue->buckets);
    free(queue);
}

static sttp_slice without_final_slash(sttp_slice path)
{
    if (path.size > 1 && path.data[path.size - 1] == '/')
        path.size--;
    return path;
}

/* FNV-1a. The table holds no more than the store takes, so nobody can make a long chain of it. */
static uint64_t hash_of(sttp_slice path)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < path.size; i++)
        hash = (hash ^ (unsigned char)path.data[i]) * 0x100000001b3;
    return hash ^ hash >> 32;
}

static pthread_mutex_t *lock_of(path_queue *queue, uint64_t hash)
{
    return &queue->locks[hash % SHARDS];
}

/* Where the entry of `path` is linked, or the end of its chain. The lock is held. */
static struct path_entry **find(path_queue *queue, sttp_slice path, uint64_t hash)
{
    struct path_entry **link = &queue->buckets[hash & queue->mask];
    while (*link != NULL && ((*link)->hash != hash || (*link)->size != path.size ||
                             memcmp((*link)->path, path.data, path.size) != 0))
        link = &(*link)->next;
    return link;
}

static struct path_entry *create_entry(sttp_slice path, uint64_t hash)
{
    struct path_entry *entry = calloc(1, sizeof *entry + path.size);
    if (entry == NULL)
        return NULL;
    entry->last = &entry->first;
    entry->hash = hash;
    entry->size = path.size;
    memcpy(entry->path, path.data, path.size);
    return entry;
}

/* Lets an operation run, or wait. The lock is held. */
static enum path_queue_result join(struct path_entry *entry, store_operation *operation)
{
    bool change = sttp_action_is_change(operation->action);
    if (change)
        entry->changes++;
    operation->next = NULL;
    if (entry->changing || entry->first != NULL || (change && entry->readers > 0)) {
        *entry->last = operation;
        entry->last = &operation->next;
        return PATH_QUEUE_WAIT;
    }
    if (change)
        entry->changing = true;
    else
        entry->readers++;
    return PATH_QUEUE_RUN;
}

enum path_queue_result path_queue_enter(path_queue *queue, store_operation *operation)
{
    sttp_slice path = without_final_slash(operation->path);
    uint64_t hash = hash_of(path);
    enum path_queue_result result = PATH_QUEUE_NO_MEMORY;
    pthread_mutex_lock(lock_of(queue, hash));
    struct path_entry **link = find(queue, path, hash);
    if (*link == NULL)
        *link = create_entry(path, hash);
    if (*link != NULL) {
        if (sttp_action_is_change(operation->action))
            atomic_fetch_add(&queue->changes, 1);
        result = join(*link, operation);
    }
    pthread_mutex_unlock(lock_of(queue, hash));
    return result;
}

struct path_turn path_queue_turn(path_queue *queue, const store_operation *operation)
{
    sttp_slice path = without_final_slash(operation->path);
    uint64_t hash = hash_of(path);
    pthread_mutex_lock(lock_of(queue, hash));
    struct path_entry *entry = *find(queue, path, hash);
    pthread_mutex_unlock(lock_of(queue, hash));
    return (struct path_turn){entry, sttp_action_is_change(operation->action)};
}

/* Takes what may run next from an entry on which nothing runs: one change, or all reads up to the
 * next change. */
static store_operation *release_next(struct path_entry *entry)
{
    store_operation *released = entry->first;
    store_operation **end = &entry->first;
    if (sttp_action_is_change(released->action)) {
        entry->changing = true;
        end = &released->next;
    } else {
        while (*end != NULL && !sttp_action_is_change((*end)->action)) {
            entry->readers++;
            end = &(*end)->next;
        }
    }
    store_operation *rest = *end;
    *end = NULL;
    entry->first = rest;
    if (rest == NULL)
        entry->last = &entry->first;
    return released;
}

store_operation *path_queue_leave(path_queue *queue, struct path_turn turn)
{
    struct path_entry *entry = turn.entry;
    uint64_t hash = entry->hash;
    store_operation *released = NULL;
    pthread_mutex_lock(lock_of(queue, hash));
    if (turn.change) {
        entry->changing = false;
        entry->changes--;
        atomic_fetch_sub(&queue->changes, 1);
    } else {
        entry->readers--;
    }
    if (entry->readers == 0 && entry->first != NULL) {
        released = release_next(entry);
    } else if (entry->readers == 0) {
        *find(queue, (sttp_slice){entry->path, entry->size}, hash) = entry->next;
        free(entry);
    }
    pthread_mutex_unlock(lock_of(queue, hash));
    return released;
}

bool path_queue_changing(path_queue *queue, sttp_slice path)
{
    if (atomic_load(&queue->changes) == 0)
        return false;
    path = without_final_slash(path);
    uint64_t hash = hash_of(path);
    pthread_mutex_lock(lock_of(queue, hash));
    const struct path_entry *entry = *find(queue, path, hash);
    bool changing = entry != NULL && entry->changes > 0;
    pthread_mutex_unlock(lock_of(queue, hash));
    return changing;
}
