#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sttp/server.h>

#include "sttpd/redis_private.h"

enum {
    CHUNK = 16 << 10,
    CHUNKS = 16,   /* that are read before others have their turn */
    OVERDUE = 1000 /* milliseconds beyond the timeout after which a reply will not come */
};

/* ---- what is expected ---- */

static struct redis_expected *expected_at(const redis_link *link, size_t i)
{
    return &link->expected[(link->first + i) % link->room];
}

static bool grow_expected(redis_link *link)
{
    size_t room = link->room > 0 ? 2 * link->room : 64;
    struct redis_expected *grown = malloc(room * sizeof *grown);

    if (grown == NULL)
        return false;
    for (size_t i = 0; i < link->count; i++)
        grown[i] = *expected_at(link, i);
    free(link->expected);
    link->expected = grown;
    link->first = 0;
    link->room = room;
    return true;
}

/* For the first reply that is late, or will be overdue. False where memory is out. */
static bool arm(redis_link *link)
{
    uint64_t timeout = link->client->settings.timeout;

    if (link->count == 0 || link->state != REDIS_UP)
        return true;
    return redis_link_arm(link, expected_at(link, 0)->since + timeout + OVERDUE) &&
           (link->late == link->count ||
            redis_link_arm(link, expected_at(link, link->late)->since + timeout));
}

static void complete(struct redis_expected *expected, sttp_slice value)
{
    struct redis_get *get = expected->get;

    expected->get = NULL;
    if (get != NULL)
        get->complete(get, value);
}

static const sttp_slice nothing = {NULL, 0};

void redis_expire(redis_link *link, uint64_t now)
{
    uint64_t timeout = link->client->settings.timeout;

    for (; link->late < link->count; link->late++) {
        struct redis_expected *expected = expected_at(link, link->late);
        if (now < expected->since + timeout)
            break;
        complete(expected, nothing);
    }
    if (link->late > 0)
        atomic_store(&link->takes_values, false);
    if (link->count > 0 && now >= expected_at(link, 0)->since + timeout + OVERDUE)
        redis_link_fail(link, "it does not answer");
    else if (!arm(link))
        redis_link_fail(link, "out of memory");
}

void redis_forget(redis_link *link)
{
    for (size_t i = 0; i < link->count; i++)
        complete(expected_at(link, i), nothing);
    link->count = link->late = 0;
}

/* ---- sending ---- */

static bool make_room(redis_link *link, size_t size)
{
    if (link->output_sent > 0) {
        link->output_size -= link->output_sent;
        memmove(link->output, link->output + link->output_sent, link->output_size);
        link->output_sent = 0;
    }
    size_t room = link->output_room > 0 ? link->output_room : CHUNK;
    while (room < link->output_size + size)
        room *= 2;
    if (room == link->output_room)
        return true;
    char *grown = realloc(link->output, room);
    if (grown == NULL)
        return false;
    link->output = grown;
    link->output_room = room;
    return true;
}

bool redis_say(redis_link *link, const char *command, size_t size, struct redis_get *get,
               bool is_get)
{
    if (link->count == REDIS_MOST_EXPECTED ||
        link->output_size - link->output_sent + size > REDIS_MOST_UNSENT ||
        (link->count == link->room && !grow_expected(link)) ||
        (link->output_size + size > link->output_room && !make_room(link, size)))
        return false;
    *expected_at(link, link->count++) =
        (struct redis_expected){.get = get, .is_get = is_get, .since = sttp_server_now()};
    if (!arm(link)) {
        link->count--;
        return false;
    }
    memcpy(link->output + link->output_size, command, size);
    link->output_size += size;
    return true;
}

void redis_send(redis_link *link)
{
    char reason[128];

    if (link->fd == -1 || link->output_sent == link->output_size)
        return;
    ssize_t sent = send(link->fd, link->output + link->output_sent,
                        link->output_size - link->output_sent, MSG_NOSIGNAL);
    if (sent == -1 && errno != EAGAIN && errno != EINTR && errno != EINPROGRESS) {
        snprintf(reason, sizeof reason, "%s: %s",
                 link->state == REDIS_STARTING ? "cannot connect" : "connection lost",
                 strerrordesc_np(errno));
        redis_link_fail(link, reason);
        return;
    }
    link->output_sent += sent > 0 ? (size_t)sent : 0;
    if (link->output_sent == link->output_size)
        link->output_sent = link->output_size = 0;
    else if (event_add(link->writable, NULL) != 0)
        redis_link_fail(link, "out of memory");
}

static void send_soon(redis_link *link)
{
    if (link->state == REDIS_UP)
        event_active(link->flush, EV_WRITE, 0);
}

/* ---- receiving ---- */

/* Takes one reply. NULL, or what is wrong. */
static const char *take_reply(redis_link *link)
{
    const struct redis_reply *reply = &link->input.reply;

    if (link->count == 0)
        return "it answers what nobody has asked";
    if (reply->kind == REDIS_REFUSAL)
        redis_tell_refusal(link->client, reply->text);
    struct redis_expected expected = *expected_at(link, 0);
    bool fits = reply->kind == REDIS_REFUSAL || reply->kind == REDIS_NOTHING ||
                reply->kind == (expected.is_get ? REDIS_VALUE : REDIS_STATUS);
    if (!fits || (link->state == REDIS_STARTING && reply->kind != REDIS_STATUS))
        return reply->kind == REDIS_REFUSAL ? "it refuses to serve us"
                                            : "it says what is no answer";
    link->first = (link->first + 1) % link->room;
    link->count--;
    link->late -= link->late > 0;
    if (link->state == REDIS_STARTING)
        redis_link_is_up(link);
    else if (link->late == 0)
        atomic_store(&link->takes_values, true);
    complete(&expected, reply->kind == REDIS_VALUE ? reply->text : nothing);
    return NULL;
}

/* NULL, or what is wrong. */
static const char *take_replies(redis_link *link)
{
    const char *wrong = NULL;
    redis_found found;

    while (wrong == NULL && (found = redis_input_read(&link->input)) != REDIS_NO_MORE)
        wrong = found == REDIS_FOUND ? take_reply(link) : "it says what is no answer";
    return wrong;
}

void redis_receive(redis_link *link)
{
    char bytes[CHUNK], text[128];
    const char *wrong = NULL;

    for (int i = 0; i < CHUNKS && wrong == NULL; i++) {
        ssize_t got = recv(link->fd, bytes, sizeof bytes, 0);
        if (got == -1 && (errno == EAGAIN || errno == EINTR))
            break;
        if (got == -1)
            snprintf(text, sizeof text, "connection lost: %s", strerrordesc_np(errno));
        if (got <= 0)
            wrong = got == 0 ? "it has closed the connection" : text;
        else if (!redis_input_feed(&link->input, bytes, (size_t)got))
            wrong = "it says more than is an answer";
        else
            wrong = take_replies(link);
        if (got < (ssize_t)sizeof bytes)
            break;
    }
    if (wrong != NULL)
        redis_link_fail(link, wrong);
}

/* ---- commands ---- */

static size_t write_key(const redis *client, sttp_action action, sttp_slice path,
                        char key[REDIS_MOST_KEY])
{
    size_t size = strlen(client->settings.prefix);

    if (path.size > STTP_MAX_PATH + 1)
        return 0;
    memcpy(key, client->settings.prefix, size);
    key[size++] = action == STTP_ACTION_LIST ? 'L' : 'S';
    memcpy(key + size, path.data, path.size);
    return size + path.size;
}

bool redis_link_get(redis_link *link, struct redis_get *get, sttp_action action, sttp_slice path)
{
    char key[REDIS_MOST_KEY];
    size_t key_size = write_key(link->client, action, path, key);
    const char *words[] = {"GET", key};
    size_t sizes[] = {3, key_size};
    char *command;

    redis_link_revive(link);
    if (link->state != REDIS_UP || link->late > 0 || key_size == 0)
        return false;
    int size = redis_command(&command, 2, words, sizes);
    if (size < 0)
        return false;
    bool is_said = redis_say(link, command, (size_t)size, get, true);
    redis_command_free(command);
    if (is_said)
        send_soon(link);
    return is_said;
}

static void free_message(struct redis_message *message)
{
    redis_command_free(message->command);
    free(message);
}

/* Woken under the lock, or its descriptor may be closed. (A counter that is full wakes, too.) */
static bool post(redis_link *link, struct redis_message *message)
{
    uint64_t one = 1;

    pthread_mutex_lock(&link->lock);
    bool fits = !link->is_closed && link->posted_size + message->size <= REDIS_MOST_POSTED;
    if (fits) {
        bool is_first = link->posted == NULL;
        *link->posted_end = message;
        link->posted_end = &message->next;
        link->posted_size += message->size;
        if (is_first && write(link->wake_fd, &one, sizeof one) != sizeof one)
            errno = 0;
    }
    pthread_mutex_unlock(&link->lock);
    return fits;
}

static void post_command(redis_link *link, char *command, size_t size)
{
    struct redis_message *message = malloc(sizeof *message);

    if (message == NULL) {
        redis_command_free(command);
        return;
    }
    *message = (struct redis_message){.command = command, .size = size};
    if (!post(link, message))
        free_message(message);
}

void redis_link_set(redis_link *link, sttp_action action, sttp_slice path, sttp_slice value)
{
    char key[REDIS_MOST_KEY], expiration[24];
    size_t key_size = write_key(link->client, action, path, key);
    const char *words[] = {"SET", key, value.data, "PX", expiration};
    size_t sizes[] = {3, key_size, value.size, 2, 0};
    char *command;

    if (!atomic_load(&link->takes_values) || key_size == 0)
        return;
    sizes[4] = (size_t)snprintf(expiration, sizeof expiration, "%llu",
                                (unsigned long long)link->client->settings.expiration);
    int size = redis_command(&command, 5, words, sizes);
    if (size < 0)
        return;
    if (!pthread_equal(pthread_self(), link->thread)) {
        post_command(link, command, (size_t)size);
        return;
    }
    if (redis_say(link, command, (size_t)size, NULL, false))
        send_soon(link);
    redis_command_free(command);
}

void redis_take_posted(redis_link *link)
{
    pthread_mutex_lock(&link->lock);
    struct redis_message *message = link->posted;
    link->posted = NULL;
    link->posted_end = &link->posted;
    link->posted_size = 0;
    pthread_mutex_unlock(&link->lock);
    bool is_said = false;
    while (message != NULL) {
        struct redis_message *next = message->next;
        if (link->state == REDIS_UP && link->late == 0)
            is_said |= redis_say(link, message->command, message->size, NULL, false);
        free_message(message);
        message = next;
    }
    if (is_said)
        send_soon(link);
}
