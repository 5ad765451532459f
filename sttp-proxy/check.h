/* What is wrong, or strange, between several settings. */
#ifndef STTP_PROXY_CHECK_H
#define STTP_PROXY_CHECK_H

#include "sttp-proxy/options.h"

/* The `check` of proxy_program; `values` is a struct proxy_options. Settles where to listen
 * (daemon/listen.h), and reports
 *
 *   - a prefix that is given twice, and an upstream twice below one prefix;
 *   - a parent or an upstream that is this proxy: one of its own addresses and ports, where it
 *     listens on all addresses any of this machine, or its own Unix socket. Names are not resolved,
 *     but for localhost;
 *   - faults without the flag that allows them, and those that are more than all answers;
 *
 * and warns of a forward proxy that goes nowhere, and of a proxy that does nothing at all. */
void proxy_check(void *values, const settings_command *command, settings_report *report);

#endif
