#include "client_queue.h"

#include <string.h>

#include <sttp/serializer.h>

#include "memory.h"

enum {
    FIRST_ITEMS = 16,
    FIRST_LINES = 2 * STTP_MAX_REQUEST_LINE,
    ENOUGH = 64 * 1024 /* bytes for one write: a long queue is not looked through for each */
};

void sttp__queue_free(sttp__queue *queue)
{
    sttp__release(queue->memory, queue->items);
    sttp__release(queue->memory, queue->lines);
}

sttp__outstanding *sttp__queue_at(const sttp__queue *queue, size_t index)
{
    return &queue->items[(queue->first + index) & (queue->capacity - 1)];
}

static bool grow_items(sttp__queue *queue)
{
    size_t capacity = queue->capacity ? 2 * queue->capacity : FIRST_ITEMS;
    sttp__outstanding *items = sttp__allocate(queue->memory, capacity * sizeof *items);

    if (!items)
        return false;
    for (size_t i = 0; i < queue->count; i++)
        items[i] = *sttp__queue_at(queue, i);
    sttp__release(queue->memory, queue->items);
    queue->items = items;
    queue->capacity = capacity;
    queue->first = 0;
    return true;
}

/* Makes room for one line of the greatest size. Bytes are moved only when at least as many were
 * dropped, so that each line is moved a bounded number of times. */
static bool reserve_line(sttp__queue *queue)
{
    size_t used = queue->lines_end - queue->lines_start;
    size_t capacity = queue->lines_capacity ? 2 * queue->lines_capacity : FIRST_LINES;

    if (queue->lines_capacity - queue->lines_end >= STTP_MAX_REQUEST_LINE)
        return true;
    if (queue->lines_start >= used && queue->lines_capacity - used >= STTP_MAX_REQUEST_LINE) {
        memmove(queue->lines, queue->lines + queue->lines_start, used);
        queue->lines_start = 0;
        queue->lines_end = used;
        return true;
    }
    if (!sttp__resize(queue->memory, &queue->lines, capacity))
        return false;
    queue->lines_capacity = capacity;
    return true;
}

sttp_status sttp__queue_add(sttp__queue *queue, const sttp_request *request, sttp_problem *problem)
{
    size_t size;
    sttp_status status;

    if (!reserve_line(queue) || (queue->count == queue->capacity && !grow_items(queue)))
        return STTP_ERR_MEMORY;
    status = sttp_serialize_request(request, queue->lines + queue->lines_end,
                                    queue->lines_capacity - queue->lines_end, &size, problem);
    if (status != STTP_OK)
        return status;
    *sttp__queue_at(queue, queue->count++) = (sttp__outstanding){
        .line_at = queue->lines_dropped + (queue->lines_end - queue->lines_start),
        .line_size = size,
        .origin_size = request->origin.size,
        .path_size = request->path.size,
        .action = request->action,
    };
    queue->lines_end += size;
    return STTP_OK;
}

sttp_slice sttp__queue_line(const sttp__queue *queue, const sttp__outstanding *item)
{
    size_t at = queue->lines_start + (size_t)(item->line_at - queue->lines_dropped);

    return (sttp_slice){queue->lines + at, item->line_size};
}

sttp_request sttp__queue_request(const sttp__queue *queue, const sttp__outstanding *item)
{
    const char *target =
        sttp__queue_line(queue, item).data + strlen(sttp_action_name(item->action)) + 1;
    sttp_request request = {.action = item->action,
                            .path = {target + item->origin_size, item->path_size}};

    if (item->origin_size > 0)
        request.origin = (sttp_slice){target, item->origin_size};
    return request;
}

bool sttp__queue_oldest_sent(const sttp__queue *queue)
{
    return queue->next > 0 || queue->next_bytes > 0;
}

sttp_slice sttp__queue_to_send(sttp__queue *queue, size_t window)
{
    size_t room = window > queue->in_flight ? window - queue->in_flight : 0;
    size_t size = 0;
    sttp_slice line;

    while (queue->next < queue->count && sttp__queue_at(queue, queue->next)->lost != STTP_OK)
        queue->next++;
    if (queue->next_bytes > 0)
        room++;
    for (size_t i = queue->next; i < queue->count && room > 0 && size < ENOUGH; i++, room--) {
        const sttp__outstanding *item = sttp__queue_at(queue, i);

        if (item->lost != STTP_OK)
            break;
        size += item->line_size;
    }
    if (size == 0)
        return (sttp_slice){0};
    line = sttp__queue_line(queue, sttp__queue_at(queue, queue->next));
    return (sttp_slice){line.data + queue->next_bytes, size - queue->next_bytes};
}

void sttp__queue_sent(sttp__queue *queue, size_t size)
{
    while (size > 0) {
        size_t left = sttp__queue_at(queue, queue->next)->line_size - queue->next_bytes;

        if (queue->next_bytes == 0)
            queue->in_flight++;
        if (size < left) {
            queue->next_bytes += size;
            return;
        }
        size -= left;
        queue->next_bytes = 0;
        queue->next++;
    }
}

void sttp__queue_pop(sttp__queue *queue)
{
    const sttp__outstanding *item = sttp__queue_at(queue, 0);

    if (sttp__queue_oldest_sent(queue) && item->lost == STTP_OK)
        queue->in_flight--;
    if (queue->next > 0)
        queue->next--;
    else
        queue->next_bytes = 0;
    queue->lines_dropped += item->line_size;
    queue->lines_start += item->line_size;
    queue->first = (queue->first + 1) & (queue->capacity - 1);
    queue->count--;
    if (queue->count == 0)
        queue->lines_start = queue->lines_end = 0;
}

void sttp__queue_rewind(sttp__queue *queue, sttp_status why)
{
    size_t written = queue->next + (queue->next_bytes > 0);

    for (size_t i = 0; i < written; i++) {
        sttp__outstanding *item = sttp__queue_at(queue, i);

        if (item->lost == STTP_OK && sttp_action_is_change(item->action))
            item->lost = why;
    }
    queue->next = 0;
    queue->next_bytes = 0;
    queue->in_flight = 0;
}
