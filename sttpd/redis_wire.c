#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "sttpd/redis_private.h"

/* ---- replies ---- */

/* Replies are not built as hiredis does, which would take memory for any number of elements that
 * somebody announces. The reader only wants to know that there is one. */
static char made;

static void *take(const redisReadTask *task, sttp_slice text, enum redis_kind kind)
{
    struct redis_input *input = task->privdata;

    if (task->parent != NULL || text.size > REDIS_MOST_REPLY)
        return NULL;
    if (text.size > input->room) {
        char *copy = realloc(input->copy, text.size);
        if (copy == NULL)
            return NULL;
        input->copy = copy;
        input->room = text.size;
    }
    if (text.size > 0)
        memcpy(input->copy, text.data, text.size);
    input->reply.kind = kind;
    input->reply.text = (sttp_slice){text.size > 0 ? input->copy : "", text.size};
    return &made;
}

static void *take_string(const redisReadTask *task, char *text, size_t size)
{
    switch (task->type) {
    case REDIS_REPLY_STRING:
        return take(task, (sttp_slice){text, size}, REDIS_VALUE);
    case REDIS_REPLY_STATUS:
        return take(task, (sttp_slice){text, size}, REDIS_STATUS);
    case REDIS_REPLY_ERROR:
        return take(task, (sttp_slice){text, size}, REDIS_REFUSAL);
    default:
        return NULL;
    }
}

static void *take_nothing(const redisReadTask *task)
{
    return take(task, (sttp_slice){NULL, 0}, REDIS_NOTHING);
}

#if HIREDIS_MAJOR >= 1
typedef size_t elements_type;
#else
typedef int elements_type;
#endif

static void *refuse_array(const redisReadTask *task, elements_type elements)
{
    (void)task, (void)elements;
    return NULL;
}

static void *refuse_integer(const redisReadTask *task, long long number)
{
    (void)task, (void)number;
    return NULL;
}

static void free_nothing(void *object)
{
    (void)object;
}

/* Later versions of hiredis know more kinds of replies, none of which is an answer to us. */
static redisReplyObjectFunctions functions = {
    .createString = take_string,
    .createArray = refuse_array,
    .createInteger = refuse_integer,
    .createNil = take_nothing,
    .freeObject = free_nothing,
};

bool redis_input_open(struct redis_input *input)
{
    *input = (struct redis_input){.reader = redisReaderCreateWithFunctions(&functions)};
    if (input->reader == NULL)
        return false;
    input->reader->privdata = input;
    return true;
}

void redis_input_close(struct redis_input *input)
{
    if (input->reader != NULL)
        redisReaderFree(input->reader);
    free(input->copy);
    *input = (struct redis_input){0};
}

bool redis_input_feed(struct redis_input *input, const char *bytes, size_t size)
{
    const redisReader *reader = input->reader;

    return reader->len - reader->pos <= REDIS_MOST_REPLY &&
           redisReaderFeed(input->reader, bytes, size) == REDIS_OK;
}

redis_found redis_input_read(struct redis_input *input)
{
    void *reply = NULL;

    if (redisReaderGetReply(input->reader, &reply) != REDIS_OK)
        return REDIS_GARBAGE;
    if (reply == NULL)
        return REDIS_NO_MORE;
    return reply == &made ? REDIS_FOUND : REDIS_GARBAGE;
}

/* ---- commands ---- */

int redis_command(char **command, int count, const char *const *words, const size_t *sizes)
{
    return redisFormatCommandArgv(command, count, (const char **)(uintptr_t)words, sizes);
}

void redis_command_free(char *command)
{
    redisFreeCommand(command);
}
