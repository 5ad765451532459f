/* A hash table with chains under one mutex. It is touched only when a connection is accepted or
 * closed, and only where a limit per address is set. It grows with the addresses, which are never
 * more than the connections; it does not shrink. The hash is keyed, because clients can choose
 * among many IPv6 addresses. */
#include "address_count.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>

#include "memory.h"

struct entry {
    struct entry *next;
    unsigned char bytes[16]; /* see make_key */
    unsigned connections;
};

struct sttp__address_count {
    const sttp_allocator *allocator;
    unsigned limit;
    uint64_t key[2];
    pthread_mutex_t mutex; /* guards all below */
    struct entry **buckets;
    size_t bucket_count; /* a power of two */
    size_t entries;
};

enum { FIRST_BUCKETS = 64 };

static struct entry **make_buckets(const sttp_allocator *allocator, size_t count)
{
    struct entry **buckets = sttp__allocate(allocator, count * sizeof(struct entry *));
    for (size_t i = 0; buckets != NULL && i < count; i++)
        buckets[i] = NULL;
    return buckets;
}

struct sttp__address_count *sttp__address_count_create(const sttp_allocator *allocator,
                                                       unsigned limit)
{
    int error = ENOMEM;
    struct sttp__address_count *count = sttp__allocate(allocator, sizeof *count);
    struct entry **buckets = make_buckets(allocator, FIRST_BUCKETS);
    if (count == NULL || buckets == NULL)
        goto failed;
    *count = (struct sttp__address_count){
        .allocator = allocator, .limit = limit, .buckets = buckets, .bucket_count = FIRST_BUCKETS};
    if (getrandom(count->key, sizeof count->key, 0) != (ssize_t)sizeof count->key) {
        error = errno;
        goto failed;
    }
    error = pthread_mutex_init(&count->mutex, NULL);
    if (error == 0)
        return count;
failed:
    sttp__release(allocator, buckets);
    sttp__release(allocator, count);
    errno = error;
    return NULL;
}

void sttp__address_count_destroy(struct sttp__address_count *count)
{
    if (count == NULL)
        return;
    for (size_t i = 0; i < count->bucket_count; i++) {
        while (count->buckets[i] != NULL) {
            struct entry *entry = count->buckets[i];
            count->buckets[i] = entry->next;
            sttp__release(count->allocator, entry);
        }
    }
    pthread_mutex_destroy(&count->mutex);
    sttp__release(count->allocator, count->buckets);
    sttp__release(count->allocator, count);
}

/* Multiplies and folds the two halves of the address, each mixed with a secret. */
static size_t hash(const struct sttp__address_count *count, const unsigned char *bytes)
{
    uint64_t half[2];
    memcpy(half, bytes, sizeof half);
    uint64_t value = count->key[0];
    for (int i = 0; i < 2; i++) {
        value = (value ^ half[i]) * (count->key[1] | 1);
        value ^= value >> 32;
        value *= UINT64_C(0x9e3779b97f4a7c15);
        value ^= value >> 29;
    }
    return (size_t)value;
}

/* What is counted as one address. A host of IPv6 has a /64 to choose its addresses from. */
static void make_key(const struct sttp__address *address, unsigned char key[16])
{
    memcpy(key, address->bytes, 16);
    if (address->family == AF_INET6)
        memset(key + 8, 0, 8);
}

/* Where the address's entry hangs, or where a new one can be hung. */
static struct entry **find(struct sttp__address_count *count, const unsigned char *bytes)
{
    struct entry **place = &count->buckets[hash(count, bytes) & (count->bucket_count - 1)];
    while (*place != NULL && memcmp((*place)->bytes, bytes, sizeof(*place)->bytes) != 0)
        place = &(*place)->next;
    return place;
}

/* Doubles the buckets. Where memory is out the chains get longer, and that is all. */
static void grow(struct sttp__address_count *count)
{
    size_t old_count = count->bucket_count;
    struct entry **old = count->buckets;
    struct entry **buckets = make_buckets(count->allocator, 2 * old_count);
    if (buckets == NULL)
        return;
    count->buckets = buckets;
    count->bucket_count = 2 * old_count;
    for (size_t i = 0; i < old_count; i++) {
        while (old[i] != NULL) {
            struct entry *entry = old[i];
            old[i] = entry->next;
            struct entry **bucket = &buckets[hash(count, entry->bytes) & (2 * old_count - 1)];
            entry->next = *bucket;
            *bucket = entry;
        }
    }
    sttp__release(count->allocator, old);
}

static sttp_status add_entry(struct sttp__address_count *count, struct entry **place,
                             const unsigned char *bytes)
{
    struct entry *entry = sttp__allocate(count->allocator, sizeof *entry);
    if (entry == NULL)
        return STTP_ERR_MEMORY;
    entry->next = NULL;
    entry->connections = 1;
    memcpy(entry->bytes, bytes, sizeof entry->bytes);
    *place = entry;
    count->entries++;
    if (count->entries > count->bucket_count)
        grow(count);
    return STTP_OK;
}

sttp_status sttp__address_count_add(struct sttp__address_count *count,
                                    const struct sttp__address *address)
{
    sttp_status status = STTP_OK;
    unsigned char key[16];
    make_key(address, key);
    pthread_mutex_lock(&count->mutex);
    struct entry **place = find(count, key);
    if (*place == NULL)
        status = add_entry(count, place, key);
    else if ((*place)->connections == count->limit)
        status = STTP_ERR_STATE;
    else
        (*place)->connections++;
    pthread_mutex_unlock(&count->mutex);
    return status;
}

void sttp__address_count_remove(struct sttp__address_count *count,
                                const struct sttp__address *address)
{
    unsigned char key[16];
    make_key(address, key);
    pthread_mutex_lock(&count->mutex);
    struct entry **place = find(count, key);
    struct entry *entry = *place;
    if (--entry->connections == 0) {
        *place = entry->next;
        count->entries--;
        sttp__release(count->allocator, entry);
    }
    pthread_mutex_unlock(&count->mutex);
}
