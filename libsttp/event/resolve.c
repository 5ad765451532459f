#include "resolve.h"

#include <string.h>
#include <time.h>

#include "resolve_private.h"

enum { LOOK_EVERY = 1000000 };

static uint64_t now_of(const sttp__resolver *resolver)
{
    return sttp__async_now(resolver->async);
}

/* ---- files ---- */

static sttp__file_stamp stamp_of(const char *path)
{
    sttp__file_stamp stamp;
    struct stat file;

    memset(&stamp, 0, sizeof stamp);
    if (stat(path, &file) == 0) {
        stamp.device = file.st_dev;
        stamp.inode = file.st_ino;
        stamp.size = file.st_size;
        stamp.modified = file.st_mtim;
        stamp.changed = file.st_ctim;
    }
    return stamp;
}

static bool has_changed(const char *path, sttp__file_stamp *stamp)
{
    sttp__file_stamp old = *stamp;

    *stamp = stamp_of(path);
    return memcmp(&old, stamp, sizeof old) != 0;
}

/* Those that are followed are asked again at once: the file may have them now, or no more. */
static void hosts_changed(sttp__resolver *resolver)
{
    sttp__name *name;

    resolver->hosts_version++;
    for (size_t i = 0; i < STTP__NAME_BUCKETS; i++) {
        LIST_FOREACH(name, &resolver->buckets[i], in_bucket)
        {
            if (!name->literal && !name->asking && !TAILQ_EMPTY(&name->lookups))
                sttp__timer_set(&name->timer, now_of(resolver));
        }
    }
}

void sttp__resolver_look(sttp__resolver *resolver)
{
    uint64_t now = now_of(resolver);

    if (now < resolver->look_at)
        return;
    resolver->look_at = now + LOOK_EVERY;
    if (has_changed(resolver->hosts_file, &resolver->hosts_stamp))
        hosts_changed(resolver);
    if (!resolver->dns_servers && has_changed(resolver->resolv_conf, &resolver->resolv_stamp))
        sttp__channel_renew(resolver);
}

/* ---- telling ---- */

void sttp__lookup_tell(sttp__lookup *lookup)
{
    sttp__resolver *resolver = lookup->name->resolver;

    if (lookup->turn != 0)
        return;
    lookup->turn = resolver->turn;
    TAILQ_INSERT_TAIL(&resolver->to_tell, lookup, to_tell);
    sttp__timer_set(&resolver->tell_timer, now_of(resolver));
}

static void untell(sttp__resolver *resolver, sttp__lookup *lookup)
{
    if (lookup->turn == 0)
        return;
    TAILQ_REMOVE(&resolver->to_tell, lookup, to_tell);
    lookup->turn = 0;
}

static void set_port(sttp__inet_address *address, uint16_t port)
{
    if (address->any.sa_family == AF_INET6)
        address->ipv6.sin6_port = htons(port);
    else
        address->ipv4.sin_port = htons(port);
}

/* The name, and the resolver too, may be gone when `done` returns. */
static void tell(sttp__lookup *lookup)
{
    sttp__name *name = lookup->name;
    sttp__inet_address addresses[STTP__ADDRESSES_MAX];
    sttp__answer answer = {.status = name->status,
                           .reason = name->reason,
                           .gone = name->gone,
                           .addresses = addresses,
                           .more = name->asking};

    if (name->status == STTP_NEED_MORE)
        return;
    if (name->status == STTP_OK) {
        answer.count = name->count;
        memcpy(addresses, name->addresses, name->count * sizeof *addresses);
        for (size_t i = 0; i < name->count; i++)
            set_port(&addresses[i], lookup->port);
    }
    lookup->waits = answer.more;
    if (answer.status != STTP_OK)
        sttp__lookup_cancel(lookup);
    lookup->done(lookup, &answer);
}

/* Lookups that come meanwhile are told in the next turn, so this ends. */
static void tell_all(sttp__timer *timer)
{
    sttp__resolver *resolver =
        (sttp__resolver *)((char *)timer - offsetof(sttp__resolver, tell_timer));
    bool *outer = resolver->destroyed;
    bool destroyed = false;
    uint64_t turn = resolver->turn++;
    sttp__lookup *lookup;

    resolver->destroyed = &destroyed;
    while (!destroyed && (lookup = TAILQ_FIRST(&resolver->to_tell)) && lookup->turn <= turn) {
        untell(resolver, lookup);
        tell(lookup);
    }
    if (!destroyed)
        resolver->destroyed = outer;
    else if (outer)
        *outer = true;
}

/* ---- lookups ---- */

/* What is known already is told at the next turn. */
static void begin(sttp__resolver *resolver, sttp__lookup *lookup)
{
    sttp__name *name = lookup->name;
    uint64_t now = now_of(resolver);

    if (!name->literal)
        sttp__resolver_look(resolver);
    if (name->asking
            ? now >= name->tell_at
            : name->literal || (now < name->due && name->hosts_version == resolver->hosts_version))
        sttp__lookup_tell(lookup);
    else if (!name->asking)
        sttp__name_revive(name);
    sttp__names_settle(resolver);
}

sttp_status sttp__lookup_start(sttp__resolver *resolver, sttp__lookup *lookup, const char *host,
                               uint16_t port, int family)
{
    sttp__name *name = sttp__name_find(resolver, host, family);

    if (!name)
        name = sttp__name_create(resolver, host, family);
    if (!name)
        return STTP_ERR_MEMORY;
    lookup->port = port;
    lookup->waits = true;
    lookup->turn = 0;
    sttp__name_follow(name, lookup);
    begin(resolver, lookup);
    return STTP_OK;
}

void sttp__lookup_cancel(sttp__lookup *lookup)
{
    sttp__name *name = lookup->name;

    if (!name)
        return;
    untell(name->resolver, lookup);
    sttp__name_leave(name, lookup);
}

/* ---- the resolver ---- */

/* NULL is copied as NULL. */
static bool copy(sttp__resolver *resolver, const char *text, char **to)
{
    size_t size = text ? strlen(text) + 1 : 0;

    if (!text)
        return true;
    *to = sttp__allocate(resolver->memory, size);
    if (*to)
        memcpy(*to, text, size);
    return *to != NULL;
}

static bool copy_options(sttp__resolver *resolver, const sttp__resolver_options *options)
{
    resolver->dns_port = options->dns_port;
    return copy(resolver, options->dns_servers, &resolver->dns_servers) &&
           copy(resolver, options->hosts_file ? options->hosts_file : "/etc/hosts",
                &resolver->hosts_file) &&
           copy(resolver, options->resolv_conf ? options->resolv_conf : "/etc/resolv.conf",
                &resolver->resolv_conf);
}

static void release(sttp__resolver *resolver)
{
    sttp__release(resolver->memory, resolver->dns_servers);
    sttp__release(resolver->memory, resolver->hosts_file);
    sttp__release(resolver->memory, resolver->resolv_conf);
    sttp__release(resolver->memory, resolver);
}

static sttp__resolver *allocate(sttp_async *async)
{
    const sttp_allocator *memory = sttp__async_memory(async);
    sttp__resolver *resolver = sttp__allocate(memory, sizeof *resolver);

    if (!resolver)
        return NULL;
    *resolver =
        (sttp__resolver){.async = async,
                         .memory = memory,
                         .turn = 1,
                         .hosts_version = 1,
                         .tell_timer = {.async = async, .expired = tell_all},
                         .channel_timer = {.async = async, .expired = sttp__channel_expired}};
    TAILQ_INIT(&resolver->idle);
    TAILQ_INIT(&resolver->settled);
    TAILQ_INIT(&resolver->to_tell);
    TAILQ_INIT(&resolver->sockets);
    return resolver;
}

static bool reserve_timers(sttp__resolver *resolver)
{
    if (!sttp__timer_reserve(&resolver->tell_timer))
        return false;
    if (sttp__timer_reserve(&resolver->channel_timer))
        return true;
    sttp__timer_release(&resolver->tell_timer);
    return false;
}

/* The channel is made when a name is asked for: it takes 80 KiB, and many programs need none. */
sttp_status sttp__resolver_create(sttp_async *async, const sttp__resolver_options *options,
                                  sttp__resolver **resolver)
{
    sttp__resolver *made;

    *resolver = NULL;
    if (options->dns_servers && !sttp__dns_servers_are_good(options->dns_servers))
        return STTP_ERR_ARGUMENT;
    made = allocate(async);
    if (!made)
        return STTP_ERR_MEMORY;
    if (!copy_options(made, options) || !reserve_timers(made)) {
        release(made);
        return STTP_ERR_MEMORY;
    }
    *resolver = made;
    return STTP_OK;
}

void sttp__resolver_destroy(sttp__resolver *resolver)
{
    sttp__name *name;
    sttp__lookup *lookup;

    if (!resolver)
        return;
    if (resolver->destroyed)
        *resolver->destroyed = true;
    sttp__channel_close(resolver);
    for (size_t i = 0; i < STTP__NAME_BUCKETS; i++) {
        while ((name = LIST_FIRST(&resolver->buckets[i]))) {
            while ((lookup = TAILQ_FIRST(&name->lookups))) {
                TAILQ_REMOVE(&name->lookups, lookup, of_name);
                lookup->name = NULL;
            }
            sttp__name_destroy(name);
        }
    }
    sttp__timer_release(&resolver->tell_timer);
    sttp__timer_release(&resolver->channel_timer);
    release(resolver);
}
