/* What the files of the Redis client share.
 *
 *     redis.c         the client, and who it talks to at the start
 *     redis_link.c    a connection: from its making to its end, and its times
 *     redis_talk.c    what goes over it, in both directions
 *     redis_wire.c    commands and replies as bytes, by hiredis
 *
 * All but the mailbox of a link belongs to its worker. */
#ifndef STTPD_REDIS_PRIVATE_H
#define STTPD_REDIS_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include <event2/event.h>
#include <hiredis/read.h>

#include "sttpd/redis.h"
#include "sttpd/redis_entry.h"

enum {
    REDIS_MOST_EXPECTED = 16384, /* replies that are waited for, and so the next three in bytes */
    REDIS_MOST_UNSENT = 1 << 20, /* beyond it nothing is asked for and nothing given */
    REDIS_MOST_POSTED = 1 << 20, /* values on their way from other threads */
    REDIS_MOST_REPLY = REDIS_ENTRY_MOST + 1024,
    REDIS_MOST_KEY = REDIS_MAX_PREFIX + 1 + STTP_MAX_PATH + 1
};

/* ---- redis_wire.c ---- */

/* A reply of Redis, of the few kinds that there are to what we say. */
enum redis_kind { REDIS_VALUE, REDIS_NOTHING, REDIS_STATUS, REDIS_REFUSAL };

struct redis_reply {
    enum redis_kind kind;
    sttp_slice text; /* lives until the next is read */
};

/* Takes bytes and gives replies; bounded. */
struct redis_input {
    redisReader *reader;
    struct redis_reply reply;
    char *copy;
    size_t room;
};

bool redis_input_open(struct redis_input *input);
void redis_input_close(struct redis_input *input);

/* False where memory is out, or there are too many bytes that make no reply. */
bool redis_input_feed(struct redis_input *input, const char *bytes, size_t size);

typedef enum redis_found {
    REDIS_FOUND,   /* input->reply */
    REDIS_NO_MORE, /* until there are more bytes */
    REDIS_GARBAGE  /* whatever it is, it is nothing that Redis says to us; or memory is out */
} redis_found;

redis_found redis_input_read(struct redis_input *input);

/* Commands in memory that redis_command_free frees; -1 where there is none left, else their size.
 */
int redis_command(char **command, int count, const char *const *words, const size_t *sizes);
void redis_command_free(char *command);

/* ---- redis.c ---- */

struct redis_address {
    struct sockaddr_storage name;
    socklen_t size;
};

struct redis {
    struct redis_settings settings;
    struct redis_address address;
    pthread_mutex_t lock;
    redis_link *links;   /* under the lock; all that were opened */
    atomic_bool is_away; /* the log was told so, and so the next */
    atomic_bool is_refusing;
};

/* A socket that is connected, or will be; -1 with errno set. Does not block. */
int redis_connect(const redis *client);

/* Tells the log when Redis goes, and when it is back. */
void redis_tell_away(redis *client, const char *reason);
void redis_tell_back(redis *client);

/* The same for the first refusal since then. */
void redis_tell_refusal(redis *client, sttp_slice text);

/* ---- redis_link.c ---- */

/* A reply that is to come. */
struct redis_expected {
    struct redis_get *get; /* NULL: to what nobody waits for */
    bool is_get;
    uint64_t since;
};

/* A command from another thread. */
struct redis_message {
    struct redis_message *next;
    char *command;
    size_t size;
};

enum redis_state {
    REDIS_DOWN,     /* until the timer says to try again */
    REDIS_STARTING, /* it connects, or waits for the first reply: to PING */
    REDIS_UP
};

struct redis_link {
    redis_link *next;
    redis *client;
    pthread_t thread;
    struct event_base *base;
    struct event *wake, *timer, *flush, *readable, *writable; /* the last two while there is a fd */
    int fd, wake_fd;
    enum redis_state state;
    unsigned failures; /* since it was last up */
    uint64_t since;    /* when the state began */
    uint64_t timer_at; /* 0: it is not set */
    uint64_t random;

    struct redis_input input;
    char *output;
    size_t output_size, output_sent, output_room;

    struct redis_expected *expected; /* a ring */
    size_t first, count, room;
    size_t late; /* the first ones of it that nobody waits for any more, since they took too long */

    _Atomic bool takes_values; /* up and not late */
    pthread_mutex_t lock;
    bool is_closed; /* under the lock, and so the next */
    struct redis_message *posted, **posted_end;
    size_t posted_size;
};

/* Ends the connection; it is tried again after a while. */
void redis_link_fail(redis_link *link, const char *reason);

/* The connection has shown that there is a Redis behind it. */
void redis_link_is_up(redis_link *link);

/* Sets the timer to a time, unless it is set to an earlier one. False where memory is out: then it
 * is as it was. */
bool redis_link_arm(redis_link *link, uint64_t at);

/* Sees to it that a connection that is down will be tried again, where there was no memory for
 * that when it went down. */
void redis_link_revive(redis_link *link);

/* ---- redis_talk.c ---- */

/* Puts a command behind what is to be sent. False where it is too much, or memory is out: nothing
 * is sent of it. */
bool redis_say(redis_link *link, const char *command, size_t size, struct redis_get *get,
               bool is_get);

/* Sends what there is, as far as the socket takes it; reads what has come. */
void redis_send(redis_link *link);
void redis_receive(redis_link *link);

/* Takes what other threads have posted. */
void redis_take_posted(redis_link *link);

/* Ends with nothing what has waited for too long; fails where the oldest reply is overdue. */
void redis_expire(redis_link *link, uint64_t now);

/* Ends with nothing all that waits. */
void redis_forget(redis_link *link);

#endif
