/* The tables of the lists of mappings in the settings of sttp-proxy. Private to options*.c. */
#ifndef STTP_PROXY_OPTIONS_RECORDS_H
#define STTP_PROXY_OPTIONS_RECORDS_H

#include "sttp-proxy/options.h"

enum { ROUTE_FIELD_COUNT = 8, FAULT_FIELD_COUNT = 5, MAX_UPSTREAMS = 256 };

extern const settings_option route_fields[ROUTE_FIELD_COUNT];
extern const settings_option fault_fields[FAULT_FIELD_COUNT];

/* In the order of enum send_proxy. */
extern const char *const send_proxy_words[];

#endif
