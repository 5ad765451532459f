/* What the parts of a URL may hold, once they are decoded: the same for those that are read and for
 * those that are written. */
#ifndef STTP_SRC_URL_RULES_H
#define STTP_SRC_URL_RULES_H

#include <sttp/url.h>

/* "sttp://", "sttps://", "sttp+unix:"; an empty slice for what is no scheme. */
sttp_slice sttp__scheme_prefix(sttp_scheme scheme);

/* 0 where the scheme has no port. */
uint16_t sttp__scheme_port(sttp_scheme scheme);

/* Each tells in *at the place of what is wrong. */
sttp_status sttp__check_socket(sttp_slice socket, size_t *at);
sttp_status sttp__check_url_path(sttp_slice path, size_t *at);
sttp_status sttp__check_url_query(sttp_slice query, size_t *at);

#endif
