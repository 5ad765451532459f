/* What requests to a forward proxy have before their path. docs/protocol.md, section 7. */
#include <string.h>

#include "ascii.h"
#include "problem.h"
#include "rules.h"
#include "url_rules.h"

sttp_slice sttp__cut_origin(sttp_slice *target)
{
    static const sttp_scheme schemes[] = {STTP_SCHEME_STTP, STTP_SCHEME_STTPS};
    const sttp_slice whole = *target;
    size_t i;

    for (i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        sttp_slice prefix = sttp__scheme_prefix(schemes[i]);
        const char *slash;
        size_t size;

        if (!sttp__begins_fold(whole, prefix))
            continue;
        slash = memchr(whole.data + prefix.size, '/', whole.size - prefix.size);
        size = slash ? (size_t)(slash - whole.data) : whole.size;
        *target = (sttp_slice){whole.data + size, whole.size - size};
        return (sttp_slice){whole.data, size};
    }
    return (sttp_slice){NULL, 0};
}

sttp_status sttp__check_origin(sttp_slice origin, sttp_problem *problem)
{
    char buffer[STTP_MAX_REQUEST_LINE];
    sttp_url url;
    size_t offset;
    sttp_status status = sttp_origin_parse(origin, buffer, sizeof buffer, &url, &offset);

    return status == STTP_OK ? STTP_OK : sttp__fail(problem, status, offset, 0);
}
