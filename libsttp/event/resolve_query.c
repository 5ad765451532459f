#include <arpa/nameser.h>
#include <string.h>

#include "resolve_private.h"

#define SECOND UINT64_C(1000000)

enum { SHORTEST_LIFE = 1, LONGEST_LIFE = 3600 };

static const uint64_t STALE_TIME = 300 * SECOND;

/* ---- answers ---- */

static uint64_t life_of(int ttl)
{
    if (ttl < SHORTEST_LIFE)
        return SHORTEST_LIFE * SECOND;
    return (ttl < LONGEST_LIFE ? (uint64_t)ttl : LONGEST_LIFE) * SECOND;
}

/* Addresses without ports, and the shortest of their times to live. */
typedef struct list {
    sttp__inet_address items[STTP__FAMILY_MAX];
    int count;
    int ttl;
} list;

static int read_ipv6(const unsigned char *bytes, int size, list *to)
{
    struct ares_addr6ttl found[STTP__FAMILY_MAX];
    int result;

    to->count = STTP__FAMILY_MAX;
    result = ares_parse_aaaa_reply(bytes, size, NULL, found, &to->count);
    for (int i = 0; result == ARES_SUCCESS && i < to->count; i++) {
        memset(&to->items[i], 0, sizeof to->items[i]);
        to->items[i].ipv6.sin6_family = AF_INET6;
        memcpy(&to->items[i].ipv6.sin6_addr, &found[i].ip6addr, sizeof found[i].ip6addr);
        if (i == 0 || found[i].ttl < to->ttl)
            to->ttl = found[i].ttl;
    }
    return result;
}

static int read_ipv4(const unsigned char *bytes, int size, list *to)
{
    struct ares_addrttl found[STTP__FAMILY_MAX];
    int result;

    to->count = STTP__FAMILY_MAX;
    result = ares_parse_a_reply(bytes, size, NULL, found, &to->count);
    for (int i = 0; result == ARES_SUCCESS && i < to->count; i++) {
        memset(&to->items[i], 0, sizeof to->items[i]);
        to->items[i].ipv4.sin_family = AF_INET;
        to->items[i].ipv4.sin_addr = found[i].ipaddr;
        if (i == 0 || found[i].ttl < to->ttl)
            to->ttl = found[i].ttl;
    }
    return result;
}

static int read_answer(sttp__family *family, const unsigned char *bytes, int size)
{
    uint64_t now = sttp__async_now(family->name->resolver->async);
    list found;
    int result =
        family->type == AF_INET6 ? read_ipv6(bytes, size, &found) : read_ipv4(bytes, size, &found);

    if (result != ARES_SUCCESS)
        return result;
    if (found.count == 0)
        return ARES_ENODATA;
    if (!sttp__family_take(family, found.items, (size_t)found.count))
        return ARES_ENOMEM;
    family->due = now + life_of(found.ttl);
    family->give_up = family->due + STALE_TIME;
    return ARES_SUCCESS;
}

static void set_outcome(sttp__family *family, int result)
{
    family->no_such_name = result == ARES_ENOTFOUND;
    family->reason = "no DNS server could tell";
    switch (result) {
    case ARES_SUCCESS:
        family->outcome = STTP__FOUND;
        break;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_EBADNAME: /* with a domain of the search list it is too long, say */
        family->outcome = STTP__NONE;
        break;
    case ARES_ENOMEM:
        family->outcome = STTP__NO_MEMORY;
        break;
    case ARES_EDESTRUCTION:
        family->outcome = family->name->resolver->broken ? STTP__NO_MEMORY : STTP__LOST;
        break;
    case ARES_ETIMEOUT:
        family->reason = "no DNS server answered";
        /* fall through */
    default:
        family->outcome = STTP__FAILED;
        break;
    }
}

static void answered(void *context, int result, int timeouts, unsigned char *bytes, int size)
{
    sttp__family *family = context;

    (void)timeouts;
    if (result == ARES_SUCCESS)
        result = read_answer(family, bytes, size);
    set_outcome(family, result);
    sttp__name_answered(family->name);
}

/* ---- questions ---- */

static int count_dots(const char *host)
{
    int dots = 0;

    for (; *host != '\0'; host++)
        dots += *host == '.';
    return dots;
}

/* The `index`th text to ask for: the name as it is, before those with the domains of the search
 * list where it has dots enough, else after them. False: there are no more. */
static bool write_candidate(const sttp__name *name, unsigned index, char text[2 * STTP__NAME_SIZE])
{
    const struct ares_options *config = &name->resolver->config;
    size_t size = strlen(name->host);
    bool only = size > 0 && name->host[size - 1] == '.';
    unsigned domains = only || config->ndomains < 0 ? 0 : (unsigned)config->ndomains;
    bool first = only || count_dots(name->host) >= config->ndots;
    unsigned as_is = first ? 0 : domains;
    const char *domain;

    if (index > domains)
        return false;
    memcpy(text, name->host, size + 1);
    if (index == as_is)
        return true;
    domain = config->domains[first ? index - 1 : index];
    if (strlen(domain) >= STTP__NAME_SIZE)
        domain = "";
    text[size] = '.';
    memcpy(text + size + 1, domain, strlen(domain) + 1);
    return true;
}

static void set_outcomes(sttp__name *name, sttp__outcome outcome)
{
    for (size_t i = 0; i < STTP__FAMILIES; i++) {
        if (sttp__name_wants(name, &name->families[i]))
            name->families[i].outcome = outcome;
    }
}

bool sttp__query(sttp__name *name)
{
    sttp__resolver *resolver = name->resolver;
    char text[2 * STTP__NAME_SIZE];

    if (!resolver->channel && !sttp__channel_open(resolver)) {
        set_outcomes(name, STTP__NO_MEMORY);
        sttp__name_answered(name);
        return true;
    }
    if (!write_candidate(name, name->candidate, text))
        return false;
    name->candidate++;
    set_outcomes(name, STTP__ASKED);
    for (size_t i = 0; i < STTP__FAMILIES; i++) {
        sttp__family *family = &name->families[i];

        if (sttp__name_wants(name, family))
            ares_query(resolver->channel, text, ns_c_in,
                       family->type == AF_INET6 ? ns_t_aaaa : ns_t_a, answered, family);
    }
    sttp__channel_used(resolver);
    return true;
}
