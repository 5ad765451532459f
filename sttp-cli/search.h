/* list and find: the query that the options ask for, and the pages of a long listing. */
#ifndef CLI_SEARCH_H
#define CLI_SEARCH_H

#include "options.h"
#include "result.h"
#include "target.h"

typedef struct cli_search {
    char query[STTP_MAX_REQUEST_LINE];
    size_t size;
    size_t common;             /* the part of `query` that all pages share */
    size_t limit;              /* names of a page */
    char after[STTP_MAX_PATH]; /* the last name of the page before */
    size_t after_size;
} cli_search;

/* Adds what the options ask for to the query of a LIST. It points into *search from then on. False
 * where that makes no request, told in *result. */
bool cli_search_begin(const cli_options *options, cli_target *target, cli_search *search,
                      cli_result *result);

/* Whether the listing in *result fills its page; then *target asks for the next page. False as well
 * where the server does not go on behind a page, told in *result. */
bool cli_search_next(cli_search *search, cli_target *target, cli_result *result);

#endif
