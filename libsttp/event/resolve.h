/* From names to addresses without blocking: c-ares on the client's loop, and a cache.
 *
 * A lookup follows a name: it is told of the name's addresses once they are known, and again each
 * time they have changed, until it is cancelled. So who keeps one has addresses that are as fresh
 * as the name's time to live says, and never waits for a second lookup: a name that is followed is
 * asked again when its time is over, while the old addresses stay in use.
 *
 * All lookups of a name share one query. What nobody follows any more is kept until its time is
 * over, which is one second at least and one hour at most. Where the servers fail, addresses that
 * were good once are used for five minutes more, and the servers are asked again less and less
 * often; each is asked twice, for two and for four seconds. A name that is there no more loses its
 * addresses at once.
 *
 * An address as text needs no lookup, "localhost" and what is below it are the loopback addresses
 * (RFC 6761), what the hosts file has is asked of nobody, and looked at again after five seconds.
 * All are answered in the same manner. A changed hosts file or resolv.conf is noticed when a name
 * is asked next, or a lookup is started a second later.
 *
 * One resolver for each sttp_async, used on its thread alone. */
#ifndef STTP_EVENT_RESOLVE_H
#define STTP_EVENT_RESOLVE_H

#include <netinet/in.h>
#include <sys/queue.h>

#include "async_loop.h"

typedef struct sttp__resolver sttp__resolver;

/* NULL stands for the default everywhere. Texts are copied. */
typedef struct sttp__resolver_options {
    const char *dns_servers; /* "127.0.0.1:5353,[::1]:53"; then names are asked for as they are, and
                                no search list is used. Default: what resolv.conf says */
    const char *hosts_file;  /* default: /etc/hosts */
    const char *resolv_conf; /* default: /etc/resolv.conf; for tests, like the next one */
    uint16_t dns_port;       /* of the servers in resolv_conf; default 53 */
} sttp__resolver_options;

/* STTP_OK; STTP_ERR_MEMORY, or STTP_ERR_ARGUMENT where dns_servers cannot be read. */
sttp_status sttp__resolver_create(sttp_async *async, const sttp__resolver_options *options,
                                  sttp__resolver **resolver);

/* Forgets all lookups; none of them is told anything, and they need not be cancelled. May be called
 * within `done`. NULL is allowed. */
void sttp__resolver_destroy(sttp__resolver *resolver);

/* The most addresses of one name, half of them of each family. What a name has more is dropped. */
enum { STTP__ADDRESSES_MAX = 64 };

typedef union sttp__inet_address {
    struct sockaddr any;
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
} sttp__inet_address;

typedef struct sttp__answer {
    sttp_status status; /* STTP_OK, with at least one address; STTP_ERR_RESOLVE, STTP_ERR_MEMORY */
    const char *reason; /* behind "cannot resolve NAME: "; static; NULL with STTP_OK */
    bool gone;          /* with STTP_ERR_RESOLVE: it has no address. Else nobody could tell */

    /* In the order to try them: RFC 6724, and the families take turns (RFC 8305). They have the
     * port that the lookup has asked for. Valid until `done` returns, whatever it does. */
    const sttp__inet_address *addresses;
    size_t count;

    /* Another query is under way that may bring more, or newer ones: `done` will be called again
     * within seconds, also where nothing comes of it. */
    bool more;
} sttp__answer;

typedef struct sttp__name sttp__name;

/* A member of what it belongs to. Zero at first but for `done`. */
typedef struct sttp__lookup {
    /* Called on the loop, never from within sttp__lookup_start. With STTP_OK the lookup goes on;
     * with any other status it is over, and may be started again at once: the failure is kept for
     * a second and told again until then. Any function may be called within it. */
    void (*done)(struct sttp__lookup *lookup, const sttp__answer *answer);

    /* The resolver's own. */
    sttp__name *name; /* NULL: it is over, or was never started */
    uint16_t port;
    bool waits;    /* it is owed another call: it had none yet, or one that said `more` */
    uint64_t turn; /* not 0: it is to be told, since this turn */
    TAILQ_ENTRY(sttp__lookup) of_name;
    TAILQ_ENTRY(sttp__lookup) to_tell;
} sttp__lookup;

/* Starts to follow `host` (copied). `family` is AF_INET, AF_INET6, or AF_UNSPEC for both. STTP_OK,
 * or STTP_ERR_MEMORY. A lookup that was started and is not over must be cancelled first. */
sttp_status sttp__lookup_start(sttp__resolver *resolver, sttp__lookup *lookup, const char *host,
                               uint16_t port, int family);

/* `done` is not called any more. Harmless where the lookup is over. */
void sttp__lookup_cancel(sttp__lookup *lookup);

#endif
