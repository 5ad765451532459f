/* One linear buffer, since the parser works in place. It grows with what an answer needs, which the
 * parser bounds: it refuses a line over its limit before the line's end has come. */
#include "client_private.h"

#include <string.h>

#include "memory.h"

enum {
    SMALL = 16 * 1024, /* the usual capacity */
    ROOM = 4 * 1024,   /* the least worth a read */
    LARGE = 64 * 1024  /* more is given back */
};

sttp_slice sttp__input_bytes(const sttp__input *input)
{
    if (input->start == input->end)
        return (sttp_slice){0};
    return (sttp_slice){input->data + input->start, input->end - input->start};
}

static void move_to_front(sttp__input *input)
{
    memmove(input->data, input->data + input->start, input->end - input->start);
    input->end -= input->start;
    input->start = 0;
}

bool sttp__input_reserve(sttp__input *input)
{
    size_t capacity = input->capacity ? 2 * input->capacity : SMALL;

    if (input->capacity - input->end >= ROOM)
        return true;
    if (input->start > 0)
        move_to_front(input);
    if (input->capacity - input->end >= ROOM)
        return true;
    if (!sttp__resize(input->memory, &input->data, capacity))
        return false;
    input->capacity = capacity;
    return true;
}

void sttp__input_consume(sttp__input *input, size_t size)
{
    input->start += size;
}

void sttp__input_clear(sttp__input *input)
{
    input->start = input->end = 0;
}

void sttp__input_shrink(sttp__input *input)
{
    if (input->capacity <= LARGE || input->end - input->start > SMALL)
        return;
    move_to_front(input);
    if (sttp__resize(input->memory, &input->data, SMALL))
        input->capacity = SMALL;
}
