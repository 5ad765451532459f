/* How a rule's breach is told: one call fills an sttp_problem, if there is one, and gives the
 * status back. */
#ifndef STTP_SRC_PROBLEM_H
#define STTP_SRC_PROBLEM_H

#include <sttp/message.h>

static inline sttp_status sttp__fail(sttp_problem *problem, sttp_status status, size_t offset,
                                     size_t length)
{
    if (problem)
        *problem = (sttp_problem){.status = status, .offset = offset, .length = length};
    return status;
}

/* The same, with the word that is meant: a string of static memory. */
static inline sttp_status sttp__fail_word(sttp_problem *problem, sttp_status status, size_t offset,
                                          sttp_slice word)
{
    sttp__fail(problem, status, offset, 0);
    if (problem)
        problem->word = word;
    return status;
}

/* A part of a message was judged on its own: moves the place to where the part begins. Gives
 * `status` back. */
static inline sttp_status sttp__shift(sttp_problem *problem, sttp_status status, size_t offset)
{
    if (status != STTP_OK && problem)
        problem->offset += offset;
    return status;
}

#endif
