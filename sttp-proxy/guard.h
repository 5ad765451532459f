/* Who may use the forward proxy, and where it goes for them. What no rule admits is denied.
 *
 * A rule of `forward.allow` is a host and a port, or `*` for every port:
 *
 *     example.org:8080                     the name
 *     *.example.org:*                      names below it, not the name itself; `*` alone: all
 * names 192.0.2.1:8080  10.0.0.0/8:*         an address, or a range of them
 *     [::1]:8080      [fd00::]/8:8080      the same of IPv6
 *
 * A destination is judged twice: by host and port before its name is resolved, then each address,
 * just before it is connected to. A rule by name admits those of its addresses that are global
 * unicast, and no others. A rule by address admits the address, whatever led there: an address in
 * the request, or any name at all that resolves to it. An IPv4 address that is mapped into IPv6 is
 * that IPv4 address; other clothes of IPv4 (NAT64, 6to4, Teredo) are IPv6 addresses.
 *
 * A host is read as <sttp/url.h> writes it: case and one final dot do not count. Whatever some
 * resolver could take for an IPv4 address ("127.1", "0x7f000001", "2130706433") and is not written
 * as four decimal numbers is no host at all, and neither is an IPv6 address with a zone. */
#ifndef STTP_PROXY_GUARD_H
#define STTP_PROXY_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sttp/base.h>

struct sockaddr;

/* What is wrong with a rule, a phrase for people as in "a port is missing: ..."; NULL where it is
 * good. Static memory. */
const char *guard_rule_mistake(sttp_slice rule);

/* The rules of a proxy. They never change; any number of threads may use them. */
typedef struct guard_rules guard_rules;

/* From good rules, and ranges of clients as sttp_network_parse reads them (one that is not good
 * admits nothing). Keeps copies. NULL where memory is out. */
guard_rules *guard_create(char *const *allow, size_t allow_count, char *const *clients,
                          size_t client_count);

/* NULL is allowed. */
void guard_destroy(guard_rules *guard);

/* Whether a client with this address may use the forward proxy. Who comes by a Unix socket may:
 * that is for the socket's permissions to decide. */
bool guard_admits_client(const guard_rules *guard, const struct sockaddr *address);

/* What is known of a destination before its name is resolved. The rules never change, so neither
 * does this: it can be kept. */
typedef enum guard_verdict {
    GUARD_NO_HOST = 0, /* denied: neither a name nor an address that can be a target */
    GUARD_NO_RULE,     /* denied */
    GUARD_BY_ADDRESS,  /* a name without a rule: only addresses with a rule of their own */
    GUARD_BY_NAME,     /* a name with a rule */
    GUARD_LITERAL      /* an address with a rule */
} guard_verdict;

/* Judges a target's host (of sttp_url: no brackets) and port. A proxy with a parent, which resolves
 * no name, admits GUARD_BY_NAME and GUARD_LITERAL; another one asks for each address, too, unless
 * this is GUARD_NO_HOST or GUARD_NO_RULE. */
guard_verdict guard_judge(const guard_rules *guard, sttp_slice host, uint16_t port);

/* Whether a destination with this verdict and port may be connected to at this address. `port` is
 * the target's; that of the address is not looked at. */
bool guard_admits_address(const guard_rules *guard, guard_verdict verdict,
                          const struct sockaddr *address, uint16_t port);

/* For the log, not for the client: why GUARD_NO_HOST and GUARD_NO_RULE deny a target; of the others
 * why guard_admits_address did not admit an address. Static memory. */
const char *guard_reason(guard_verdict verdict);

#endif
