/* Answers that go wrong on purpose, as `faults` in the settings says: to test clients with. Where
 * there are such rules each answer of a relay, from the cache or not, is sent by way of this. */
#ifndef STTP_PROXY_FAULTS_H
#define STTP_PROXY_FAULTS_H

#include <sttp/server.h>

#include "sttp-proxy/options.h"

/* The rules. Any number of threads may use them. */
typedef struct fault_rules fault_rules;

/* The options must stay where they are. NULL where memory is out. */
fault_rules *fault_rules_create(const struct fault_options *options, size_t count);

/* When the last worker has ended and sends nothing for others any more. NULL is allowed. */
void fault_rules_destroy(fault_rules *rules);

/* What goes wrong with the answer to a request for `path`: one of the options, or NULL. `random` is
 * below 2^32. Of the rules with the longest prefix that the path belongs to, each has its
 * percentage of all numbers. */
const struct fault_options *fault_rules_pick(const fault_rules *rules, sttp_slice path,
                                             uint64_t random);

/* Those of one worker of the engine: the answers that it is late with. */
struct faults;

/* On the worker's thread. NULL where memory or descriptors are out. */
struct faults *faults_begin(fault_rules *rules, struct event_base *base);

/* On the worker's thread when its last connection is closed: drops all answers. What others send
 * for that worker from now on comes to nothing; the object lives as long as the rules. NULL is
 * allowed. */
void faults_end(struct faults *faults);

/* As sttp_reply_send, for a reply of that worker and the path that was asked for, but what is sent
 * may be late or wrong. From any thread. */
sttp_status faults_send(struct faults *faults, sttp_reply *reply, sttp_slice path,
                        const sttp_response *response);

/* As sttp_reply_send_bytes, in the same manner. */
sttp_status faults_send_bytes(struct faults *faults, sttp_reply *reply, sttp_slice path,
                              sttp_slice answer);

#endif
