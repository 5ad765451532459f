#include <string.h>

#include "resolve_private.h"

enum { MOST_IDLE = 1024 };

/* FNV-1a. Who chooses names that fall together slows down a search among some thousands. */
static struct sttp__bucket *bucket_of(sttp__resolver *resolver, const char *host)
{
    uint32_t hash = 2166136261u;

    for (; *host != '\0'; host++)
        hash = (hash ^ (unsigned char)sttp__fold(*host)) * 16777619u;
    return &resolver->buckets[(hash ^ hash >> 16) % STTP__NAME_BUCKETS];
}

static bool is_host(const sttp__name *name, const char *host)
{
    size_t i = 0;

    while (host[i] != '\0' && sttp__fold(host[i]) == name->host[i])
        i++;
    return host[i] == name->host[i];
}

sttp__name *sttp__name_find(sttp__resolver *resolver, const char *host, int family)
{
    sttp__name *name;

    LIST_FOREACH(name, bucket_of(resolver, host), in_bucket)
    {
        if (name->family == family && is_host(name, host))
            return name;
    }
    return NULL;
}

/* ---- families ---- */

bool sttp__family_take(sttp__family *family, const sttp__inet_address *found, size_t count)
{
    const sttp_allocator *memory = family->name->resolver->memory;
    sttp__inet_address *addresses = sttp__allocate(memory, count * sizeof *addresses);

    if (!addresses)
        return false;
    memcpy(addresses, found, count * sizeof *addresses);
    sttp__release(memory, family->addresses);
    family->addresses = addresses;
    family->count = count;
    return true;
}

void sttp__family_drop(sttp__family *family)
{
    sttp__release(family->name->resolver->memory, family->addresses);
    family->addresses = NULL;
    family->count = 0;
}

/* ---- what is known ---- */

static const char *no_address(int family)
{
    if (family == AF_UNSPEC)
        return "it has no IPv4 or IPv6 address";
    return family == AF_INET ? "it has no IPv4 address" : "it has no IPv6 address";
}

static void set_failure(sttp__name *name, sttp_status status, const char *reason, bool gone)
{
    name->status = status;
    name->reason = reason;
    name->gone = gone;
}

/* Why there is no address. */
static void explain(sttp__name *name)
{
    bool no_such_name = !name->literal;

    for (size_t i = 0; i < STTP__FAMILIES; i++) {
        const sttp__family *family = &name->families[i];

        if (family->outcome == STTP__NO_MEMORY) {
            set_failure(name, STTP_ERR_MEMORY, sttp_status_text(STTP_ERR_MEMORY), false);
            return;
        }
        if (family->outcome == STTP__FAILED) {
            set_failure(name, STTP_ERR_RESOLVE, family->reason, false);
            return;
        }
        if (sttp__name_wants(name, family) && !family->no_such_name)
            no_such_name = false;
    }
    set_failure(name, STTP_ERR_RESOLVE, no_such_name ? "no such name" : no_address(name->family),
                true);
}

/* False where memory is out, and then there is what was before. */
static bool take(sttp__name *name, const sttp__inet_address *addresses, size_t count)
{
    size_t size = count * sizeof *addresses;
    sttp__inet_address *copy = NULL;

    if (count > 0) {
        copy = sttp__allocate(name->resolver->memory, size);
        if (!copy)
            return false;
        memcpy(copy, addresses, size);
    }
    sttp__release(name->resolver->memory, name->addresses);
    name->addresses = copy;
    name->count = count;
    return true;
}

static void set_known(sttp__name *name, const sttp__inet_address *addresses, size_t count)
{
    if (!take(name, addresses, count)) {
        if (name->count == 0)
            set_failure(name, STTP_ERR_MEMORY, sttp_status_text(STTP_ERR_MEMORY), false);
    } else if (count == 0) {
        explain(name);
    } else {
        name->status = STTP_OK;
        name->reason = NULL;
        name->gone = false;
    }
}

void sttp__name_forget(sttp__name *name)
{
    for (size_t i = 0; i < STTP__FAMILIES; i++)
        sttp__family_drop(&name->families[i]);
    take(name, NULL, 0);
    name->status = STTP_NEED_MORE;
}

void sttp__name_publish(sttp__name *name)
{
    sttp__inet_address addresses[STTP__ADDRESSES_MAX];
    sttp_status status = name->status;
    sttp__lookup *lookup;
    size_t count = 0;
    bool changed;

    for (size_t i = 0; i < STTP__FAMILIES; i++) {
        const sttp__family *family = &name->families[i];

        if (family->count > 0)
            memcpy(addresses + count, family->addresses, family->count * sizeof *addresses);
        count += family->count;
    }
    sttp__addresses_order(addresses, count);
    changed = status != STTP_OK || count != name->count ||
              (count > 0 && memcmp(addresses, name->addresses, count * sizeof *addresses) != 0);
    if (changed)
        set_known(name, addresses, count);
    TAILQ_FOREACH(lookup, &name->lookups, of_name)
    {
        if (changed || lookup->waits)
            sttp__lookup_tell(lookup);
    }
}

/* ---- life ---- */

static bool take_literal(sttp__name *name, const sttp__inet_address *address)
{
    for (size_t i = 0; i < STTP__FAMILIES; i++) {
        sttp__family *family = &name->families[i];

        if (family->type == address->any.sa_family && sttp__name_wants(name, family))
            return sttp__family_take(family, address, 1);
    }
    return true;
}

static bool take_localhost(sttp__name *name)
{
    sttp__inet_address address;

    sttp__inet_address_parse("::1", &address);
    if (!take_literal(name, &address))
        return false;
    sttp__inet_address_parse("127.0.0.1", &address);
    return take_literal(name, &address);
}

/* What needs no asking. False where memory is out. */
static bool read_text(sttp__name *name)
{
    sttp__inet_address address;
    bool done = true;

    name->literal = true;
    name->due = STTP__NEVER;
    if (sttp__inet_address_parse(name->host, &address)) {
        done = take_literal(name, &address);
    } else if (sttp__host_is_localhost(name->host)) {
        done = take_localhost(name);
    } else if (!sttp__host_is_name(name->host)) {
        name->families[0].outcome = STTP__FAILED;
        name->families[0].reason = "it is not a host name";
    } else {
        name->literal = false;
        name->due = 0;
        return true;
    }
    sttp__name_publish(name);
    return done && name->status != STTP_ERR_MEMORY;
}

static sttp__name *allocate(sttp__resolver *resolver, const char *host, int family)
{
    static const int types[STTP__FAMILIES] = {AF_INET6, AF_INET};
    size_t size = strlen(host) + 1;
    sttp__name *name = sttp__allocate(resolver->memory, sizeof *name + size);

    if (!name)
        return NULL;
    *name = (sttp__name){
        .resolver = resolver,
        .timer = {.async = resolver->async, .expired = sttp__name_expired},
        .family = family,
        .status = STTP_NEED_MORE,
    };
    TAILQ_INIT(&name->lookups);
    for (size_t i = 0; i < STTP__FAMILIES; i++)
        name->families[i] = (sttp__family){.name = name, .type = types[i], .outcome = STTP__NONE};
    for (size_t i = 0; i < size; i++)
        name->host[i] = sttp__fold(host[i]);
    return name;
}

sttp__name *sttp__name_create(sttp__resolver *resolver, const char *host, int family)
{
    sttp__name *name = allocate(resolver, host, family);

    if (!name)
        return NULL;
    if (!sttp__timer_reserve(&name->timer)) {
        sttp__release(resolver->memory, name);
        return NULL;
    }
    LIST_INSERT_HEAD(bucket_of(resolver, host), name, in_bucket);
    if (!read_text(name)) {
        sttp__name_destroy(name);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&resolver->idle, name, in_idle);
    resolver->idle_count++;
    return name;
}

void sttp__name_destroy(sttp__name *name)
{
    const sttp_allocator *memory = name->resolver->memory;

    LIST_REMOVE(name, in_bucket);
    sttp__timer_release(&name->timer);
    for (size_t i = 0; i < STTP__FAMILIES; i++)
        sttp__family_drop(&name->families[i]);
    sttp__release(memory, name->addresses);
    sttp__release(memory, name);
}

void sttp__name_follow(sttp__name *name, sttp__lookup *lookup)
{
    if (TAILQ_EMPTY(&name->lookups)) {
        TAILQ_REMOVE(&name->resolver->idle, name, in_idle);
        name->resolver->idle_count--;
        sttp__timer_set(&name->timer, name->asking ? name->tell_at : name->due);
    }
    TAILQ_INSERT_TAIL(&name->lookups, lookup, of_name);
    lookup->name = name;
}

/* The one that has been idle for longest goes; its memory is what an answer that still comes would
 * be written to, so it is not one that is asking. */
static void make_room(sttp__resolver *resolver)
{
    sttp__name *name = TAILQ_FIRST(&resolver->idle);

    while (name && name->asking)
        name = TAILQ_NEXT(name, in_idle);
    if (!name)
        return;
    TAILQ_REMOVE(&resolver->idle, name, in_idle);
    resolver->idle_count--;
    sttp__name_destroy(name);
}

void sttp__name_leave(sttp__name *name, sttp__lookup *lookup)
{
    sttp__resolver *resolver = name->resolver;

    TAILQ_REMOVE(&name->lookups, lookup, of_name);
    lookup->name = NULL;
    if (!TAILQ_EMPTY(&name->lookups))
        return;
    sttp__timer_set(&name->timer, STTP__NEVER);
    TAILQ_INSERT_TAIL(&resolver->idle, name, in_idle);
    if (++resolver->idle_count > MOST_IDLE)
        make_room(resolver);
}
