/* The header, numbers with their highest byte first:
 *
 *      0  "sttp"
 *      4  the format, 1
 *      8  what is stored: the identity of the store
 *     24  the name of the server that has asked, drawn when it was started
 *     40  when it did, on its clock: milliseconds of CLOCK_MONOTONIC
 *     48  the same on the database's clock: microseconds, or 0 where that is not known
 *
 * For who has written it the first time counts, for all others the second. */
#include "sttpd/redis_entry.h"

#include <string.h>

#include <sttp/parser.h>
#include <sttp/serializer.h>

static const char head[8] = {'s', 't', 't', 'p', 0, 0, 0, 1};

enum { STORED = 8, SERVER = 24, OWN_TIME = 40, STAMP = 48 };

static void put_number(char *bytes, uint64_t number)
{
    for (int i = 7; i >= 0; i--, number >>= 8)
        bytes[i] = (char)(number & 0xff);
}

static uint64_t get_number(const char *bytes)
{
    uint64_t number = 0;

    for (int i = 0; i < 8; i++)
        number = number << 8 | (unsigned char)bytes[i];
    return number;
}

static bool is_kept(const sttp_response *response)
{
    return response->code == STTP_CODE_OK || response->code == STTP_CODE_NOT_FOUND ||
           response->code == STTP_CODE_PATH_NOT_FOUND;
}

size_t redis_entry_write(struct coherence *coherence, const sttp_response *response, uint64_t asked,
                         char room[REDIS_ENTRY_MOST])
{
    size_t size;
    int64_t stamp;

    if (!is_kept(response) ||
        sttp_serialize_response(response, room + REDIS_ENTRY_HEADER,
                                REDIS_ENTRY_MOST - REDIS_ENTRY_HEADER, &size, NULL) != STTP_OK)
        return 0;
    if (!coherence_stamp(coherence, asked, &stamp))
        stamp = 0;
    memcpy(room, head, sizeof head);
    memcpy(room + STORED, coherence->stored, STORE_IDENTITY);
    memcpy(room + SERVER, coherence->server, COHERENCE_NAME);
    put_number(room + OWN_TIME, asked);
    put_number(room + STAMP, (uint64_t)stamp);
    return REDIS_ENTRY_HEADER + size;
}

static bool read_time(struct coherence *coherence, const char *entry, uint64_t *asked)
{
    if (memcmp(entry + SERVER, coherence->server, COHERENCE_NAME) == 0) {
        *asked = get_number(entry + OWN_TIME);
        return true;
    }
    int64_t stamp = (int64_t)get_number(entry + STAMP);
    return stamp != 0 && coherence_time(coherence, stamp, asked);
}

/* Whether it is what the store could have said. */
static bool is_answer(const sttp_response *response, const sttp_request *request)
{
    return is_kept(response) && sttp_response_speaks_of(response, request) &&
           (response->code != STTP_CODE_OK || request->action != STTP_ACTION_SHOW ||
            sttp_check_text(response->contents, NULL) == STTP_OK);
}

bool redis_entry_read(struct coherence *coherence, sttp_slice entry, const sttp_request *request,
                      sttp_response *response, uint64_t *asked)
{
    sttp_parser parser = {0};
    size_t consumed;

    if (entry.size <= REDIS_ENTRY_HEADER || memcmp(entry.data, head, sizeof head) != 0 ||
        memcmp(entry.data + STORED, coherence->stored, STORE_IDENTITY) != 0)
        return false;
    sttp_slice answer = {entry.data + REDIS_ENTRY_HEADER, entry.size - REDIS_ENTRY_HEADER};
    if (sttp_parse_response(&parser, answer.data, answer.size, REDIS_ENTRY_MOST, false, &consumed,
                            response, NULL) != STTP_OK)
        return false;
    return consumed == answer.size && is_answer(response, request) &&
           read_time(coherence, entry.data, asked);
}
