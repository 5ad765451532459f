/* Addresses as text and localhost, which need no resolver: what there is until c-ares is asked. The
 * definitions are weak, so that the resolver's own take their place. */
#include <netdb.h>
#include <string.h>
#include <strings.h>

#include "memory.h"
#include "resolve.h"

struct sttp__resolver {
    sttp_async *async;
    sttp__timer timer;
    TAILQ_HEAD(, sttp__lookup) to_tell;
};

struct sttp__name {
    sttp__resolver *resolver;
    sttp__inet_address addresses[2];
    size_t count;
};

static bool read_address(const char *text, uint16_t port, int family, sttp__inet_address *address)
{
    const struct addrinfo hints = {
        .ai_flags = AI_NUMERICHOST, .ai_family = family, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;

    if (getaddrinfo(text, NULL, &hints, &found) != 0)
        return false;
    memset(address, 0, sizeof *address);
    memcpy(address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (address->any.sa_family == AF_INET6)
        address->ipv6.sin6_port = htons(port);
    else
        address->ipv4.sin_port = htons(port);
    return true;
}

static void tell(sttp__timer *timer)
{
    sttp__resolver *resolver = (sttp__resolver *)((char *)timer - offsetof(sttp__resolver, timer));
    sttp__lookup *lookup = TAILQ_FIRST(&resolver->to_tell);

    if (lookup == NULL)
        return;
    TAILQ_REMOVE(&resolver->to_tell, lookup, to_tell);
    lookup->telling = false;
    if (!TAILQ_EMPTY(&resolver->to_tell))
        sttp__timer_set(timer, sttp__async_now(resolver->async));
    if (lookup->name->count > 0) {
        lookup->done(lookup, &(sttp__answer){.addresses = lookup->name->addresses,
                                             .count = lookup->name->count});
        return;
    }
    sttp__lookup_cancel(lookup);
    lookup->done(lookup, &(sttp__answer){.status = STTP_ERR_RESOLVE,
                                         .reason = "names are not looked up yet"});
}

__attribute__((weak)) sttp_status sttp__resolver_create(sttp_async *async,
                                                        const sttp__resolver_options *options,
                                                        sttp__resolver **resolver)
{
    sttp__resolver *made = sttp__allocate(sttp__async_memory(async), sizeof *made);

    (void)options;
    if (made == NULL)
        return STTP_ERR_MEMORY;
    *made = (sttp__resolver){.async = async, .timer = {.async = async, .expired = tell}};
    TAILQ_INIT(&made->to_tell);
    if (!sttp__timer_reserve(&made->timer)) {
        sttp__release(sttp__async_memory(async), made);
        return STTP_ERR_MEMORY;
    }
    *resolver = made;
    return STTP_OK;
}

__attribute__((weak)) void sttp__resolver_destroy(sttp__resolver *resolver)
{
    sttp__timer_release(&resolver->timer);
    sttp__release(sttp__async_memory(resolver->async), resolver);
}

__attribute__((weak)) sttp_status sttp__lookup_start(sttp__resolver *resolver, sttp__lookup *lookup,
                                                     const char *host, uint16_t port, int family)
{
    sttp__name *name = sttp__allocate(sttp__async_memory(resolver->async), sizeof *name);

    if (name == NULL)
        return STTP_ERR_MEMORY;
    *name = (sttp__name){.resolver = resolver};
    name->count = read_address(host, port, family, &name->addresses[0]);
    if (strcasecmp(host, "localhost") == 0) {
        name->count = read_address("::1", port, family, &name->addresses[0]);
        name->count += read_address("127.0.0.1", port, family, &name->addresses[name->count]);
    }
    lookup->name = name;
    lookup->telling = true;
    TAILQ_INSERT_TAIL(&resolver->to_tell, lookup, to_tell);
    sttp__timer_set(&resolver->timer, sttp__async_now(resolver->async));
    return STTP_OK;
}

__attribute__((weak)) void sttp__lookup_cancel(sttp__lookup *lookup)
{
    sttp__resolver *resolver;

    if (lookup->name == NULL)
        return;
    resolver = lookup->name->resolver;
    if (lookup->telling)
        TAILQ_REMOVE(&resolver->to_tell, lookup, to_tell);
    lookup->telling = false;
    sttp__release(sttp__async_memory(resolver->async), lookup->name);
    lookup->name = NULL;
}
