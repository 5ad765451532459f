/* An answer as it is kept in Redis. All servers that use the same prefix find it, also those of
 * another database; it may have been put there late, or be the copy of an old one. So nothing is
 * trusted because it is there: it says whose it is and when the storage was asked for it, and who
 * reads it decides whether that will do. */
#ifndef STTPD_REDIS_ENTRY_H
#define STTPD_REDIS_ENTRY_H

#include "sttpd/coherence.h"

enum {
    REDIS_ENTRY_HEADER = 56,
    REDIS_ENTRY_MOST = 64 << 10 /* bytes with the header: who waits for a large one behind it would
                                   wait for long */
};

/* Writes an entry: the header, and behind it what sttp_serialize_response makes. `asked`: when the
 * storage was asked for it, in milliseconds of sttp_server_now. Returns its size; 0 where the
 * answer is none that is kept, or does not fit. */
size_t redis_entry_write(struct coherence *coherence, const sttp_response *response, uint64_t asked,
                         char room[REDIS_ENTRY_MOST]);

/* Reads what was found for a request. False where it is no answer to that of this store, or it
 * cannot be said when it was asked for. *response points into it; *asked is when the storage was
 * asked, on this server's clock, and not late. */
bool redis_entry_read(struct coherence *coherence, sttp_slice entry, const sttp_request *request,
                      sttp_response *response, uint64_t *asked);

#endif
