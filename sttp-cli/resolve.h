/* --resolve HOST:PORT:ADDR[,ADDR...]: addresses to use in place of asking the resolver. */
#ifndef CLI_RESOLVE_H
#define CLI_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CLI_MAX_ADDRESSES = 32 };

typedef struct cli_resolve {
    char *text; /* owned; cut into the parts below */
    const char *host;
    unsigned port;
    const char *addresses[CLI_MAX_ADDRESSES];
    size_t address_count;
} cli_resolve;

/* Reads one argument. NULL, or what is wrong with it: static memory. `resolve` may be destroyed in
 * both cases. */
const char *cli_resolve_parse(const char *argument, cli_resolve *resolve);
void cli_resolve_destroy(cli_resolve *resolve);

bool cli_resolve_matches(const cli_resolve *resolve, const char *host, uint16_t port);

#endif
