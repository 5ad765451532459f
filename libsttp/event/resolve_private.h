/* The parts of the resolver.
 *
 *     sttp__resolver
 *       ├ names     in buckets; those that nobody follows also in the order they were given up
 *       │   ├ families[]   what DNS or the hosts file has said of IPv6 and IPv4
 *       │   └ lookups      who follows the name
 *       └ channel   c-ares: its sockets and its timer
 *
 * c-ares calls back from within nearly each of its functions, and must not be destroyed then. So
 * its callbacks note what has come and no more; sttp__names_settle looks at that when c-ares has
 * returned. Who follows a name is told by a timer, when nothing of the resolver is on the stack. */
#ifndef STTP_EVENT_RESOLVE_PRIVATE_H
#define STTP_EVENT_RESOLVE_PRIVATE_H

#include <sys/stat.h>

#include <ares.h>

#include "memory.h"
#include "resolve.h"

enum {
    STTP__FAMILIES = 2,
    STTP__FAMILY_MAX = STTP__ADDRESSES_MAX / STTP__FAMILIES, /* addresses of each */
    STTP__NAME_BUCKETS = 256,
    STTP__NAME_SIZE = 256 /* what can be asked for is shorter */
};

/* What has come of asking for one family's addresses. */
typedef enum sttp__outcome {
    STTP__ASKED,     /* nothing yet */
    STTP__FOUND,     /* addresses */
    STTP__NONE,      /* there are none */
    STTP__FAILED,    /* nobody could say */
    STTP__NO_MEMORY, /* nor could we ask */
    STTP__LOST       /* the channel was replaced meanwhile: to be asked again */
} sttp__outcome;

typedef struct sttp__family {
    sttp__name *name;
    int type; /* AF_INET6, AF_INET */
    sttp__outcome outcome;
    const char *reason;            /* with STTP__FAILED */
    bool no_such_name;             /* with STTP__NONE: nor is there anything else of that name */
    sttp__inet_address *addresses; /* the last ones found, NULL: none */
    size_t count;
    uint64_t due;     /* when their time is over */
    uint64_t give_up; /* when they are of no use any more even where nobody has newer ones */
} sttp__family;

TAILQ_HEAD(sttp__lookups, sttp__lookup);
TAILQ_HEAD(sttp__names, sttp__name);
LIST_HEAD(sttp__bucket, sttp__name);

struct sttp__name {
    LIST_ENTRY(sttp__name) in_bucket;
    TAILQ_ENTRY(sttp__name) in_idle;    /* where it has no lookups */
    TAILQ_ENTRY(sttp__name) in_settled; /* where `settling` */
    sttp__resolver *resolver;
    struct sttp__lookups lookups;
    sttp__timer timer; /* of a name that is followed: while it is being asked, when what is known is
                          to be told (`tell_at`); else when it is to be asked again (`due`) */

    int family;
    bool literal; /* an address or localhost: nobody is ever asked */
    bool from_hosts;
    bool asking;   /* queries are under way */
    bool settling; /* something has come that is not looked at */
    unsigned hosts_version;
    unsigned candidate; /* how many of the search list have been asked for */
    unsigned failures;  /* how often in a row the servers have failed */
    uint64_t tell_at;
    uint64_t due;
    sttp__family families[STTP__FAMILIES]; /* the unused one stays STTP__NONE */

    sttp_status status; /* STTP_NEED_MORE: nothing is known yet */
    const char *reason;
    bool gone;
    sttp__inet_address *addresses; /* of both families, in the order to try them */
    size_t count;
    char host[]; /* in lower case, ended by a zero byte */
};

/* What tells whether a file is still the same. All zero: there is none. */
typedef struct sttp__file_stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed;
} sttp__file_stamp;

TAILQ_HEAD(sttp__resolver_sockets, sttp__resolver_socket);

struct sttp__resolver {
    sttp_async *async;
    const sttp_allocator *memory;
    char *dns_servers, *hosts_file, *resolv_conf; /* dns_servers may be NULL */
    uint16_t dns_port;

    struct sttp__bucket buckets[STTP__NAME_BUCKETS];
    struct sttp__names idle;    /* those without lookups, the longest unused first */
    struct sttp__names settled; /* c-ares has called back, sttp__names_settle is to look */
    size_t idle_count, asking_count;

    struct sttp__lookups to_tell;
    sttp__timer tell_timer;
    uint64_t turn;   /* of telling */
    bool *destroyed; /* where lookups are being told: set when the resolver goes meanwhile */

    unsigned hosts_version; /* counts its changes, from 1 */
    sttp__file_stamp hosts_stamp, resolv_stamp;
    uint64_t look_at; /* when the files are to be looked at again */

    ares_channel channel;       /* NULL: not made yet */
    struct ares_options config; /* its search list */
    struct sttp__resolver_sockets sockets;
    sttp__timer channel_timer;
    unsigned budget; /* what may still be received this time */
    bool broken;     /* the loop had no memory for a socket: the channel is of no use */
};

/* ---- resolve.c: lookups, and who is told ---- */

/* The lookup is told at the next turn what is known of its name then. */
void sttp__lookup_tell(sttp__lookup *lookup);

/* Looks whether the hosts file or resolv.conf has changed, at most once a second. */
void sttp__resolver_look(sttp__resolver *resolver);

/* ---- resolve_name.c: the names, and what is known of them ---- */

/* NULL: it is not there. Case makes no difference. */
sttp__name *sttp__name_find(sttp__resolver *resolver, const char *host, int family);

/* A name without lookups. NULL where memory is out. */
sttp__name *sttp__name_create(sttp__resolver *resolver, const char *host, int family);

/* Must not be asking. */
void sttp__name_destroy(sttp__name *name);

/* One lookup more, or one less: then the name may be gone. */
void sttp__name_follow(sttp__name *name, sttp__lookup *lookup);
void sttp__name_leave(sttp__name *name, sttp__lookup *lookup);

/* Whether addresses of that family are asked for. */
static inline bool sttp__name_wants(const sttp__name *name, const sttp__family *family)
{
    return name->family == AF_UNSPEC || name->family == family->type;
}

/* Takes what has been found: at most STTP__FAMILY_MAX. False where memory is out. */
bool sttp__family_take(sttp__family *family, const sttp__inet_address *found, size_t count);

/* Forgets them. */
void sttp__family_drop(sttp__family *family);

/* Nothing is known of it any more. Tells nobody. */
void sttp__name_forget(sttp__name *name);

/* Puts together what is known of both families. Tells the lookups that wait, and all where it is
 * something else than before. */
void sttp__name_publish(sttp__name *name);

/* ---- resolve_ask.c: when names are asked, and what is made of the answers ---- */

/* Asks for a name that is not asked for. What was known is told at `tell_at` to who waits. */
void sttp__name_ask(sttp__name *name, uint64_t tell_at);

/* The same for a name that nobody has followed, and whose time is over. */
void sttp__name_revive(sttp__name *name);

/* A family has an outcome. May be called from within c-ares. */
void sttp__name_answered(sttp__name *name);

/* Looks at all that has come since. Not from within c-ares. */
void sttp__names_settle(sttp__resolver *resolver);

/* The name's timer. */
void sttp__name_expired(sttp__timer *timer);

static inline char sttp__fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* ---- resolve_host.c: what a host's text says by itself ---- */

/* Reads an IPv4 address of four numbers, or an IPv6 one, with its zone where it has one. */
bool sttp__inet_address_parse(const char *text, sttp__inet_address *address);

/* "localhost" or a name below it. */
bool sttp__host_is_localhost(const char *host);

/* Whether somebody can be asked for it: the host rule of URLs. */
bool sttp__host_is_name(const char *host);

/* Whether it is a list of addresses with or without ports: c-ares takes almost anything for one. */
bool sttp__dns_servers_are_good(const char *list);

/* ---- resolve_hosts.c ---- */

/* The addresses that the hosts file has for `host` (in lower case), at most `capacity`; how many.
 * A file that cannot be read has none. */
size_t sttp__hosts_find(const char *path, const char *host, int family, sttp__inet_address *found,
                        size_t capacity);

/* ---- resolve_order.c ---- */

/* Sorts as RFC 6724, section 6, and lets the families take turns (RFC 8305, section 4). */
void sttp__addresses_order(sttp__inet_address *addresses, size_t count);

/* ---- resolve_channel.c: c-ares ---- */

/* Makes the channel. False where memory is out. */
bool sttp__channel_open(sttp__resolver *resolver);

/* Closes it. What is under way is STTP__LOST, or STTP__NO_MEMORY where it was broken. */
void sttp__channel_close(sttp__resolver *resolver);

/* Its timer. */
void sttp__channel_expired(sttp__timer *timer);

/* Makes a new one, as resolv.conf has changed; where that fails the old one stays for a while. What
 * is under way is STTP__LOST. */
void sttp__channel_renew(sttp__resolver *resolver);

/* To be called when c-ares has been: sets its timer, closes it where it is broken. */
void sttp__channel_used(sttp__resolver *resolver);

/* ---- resolve_query.c: what is asked of DNS, and what it says ---- */

/* Asks for the name's next candidate, both families at once; outcomes may be there when it returns.
 * False: all have been asked for. */
bool sttp__query(sttp__name *name);

#endif
