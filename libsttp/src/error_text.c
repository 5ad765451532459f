#include "error_text.h"

enum { MAX_SHOWN_TARGET = 100 };

void sttp__text_add_request(sttp__text *text, const sttp_request *request)
{
    sttp_slice target = request->path;
    bool cut;

    if (request->origin.data != NULL)
        target = (sttp_slice){request->origin.data, request->origin.size + request->path.size};
    cut = target.size > MAX_SHOWN_TARGET;
    target.size = cut ? MAX_SHOWN_TARGET : target.size;
    while (cut && ((unsigned char)target.data[target.size] & 0xc0) == 0x80)
        target.size--; /* to the start of a character */
    sttp__text_add(text, sttp_action_name(request->action));
    sttp__text_add(text, " ");
    sttp__text_add_slice(text, target);
    sttp__text_add(text, cut ? "..." : "");
}

void sttp__text_add_received(sttp__text *text, sttp_slice received)
{
    if (received.size == 0)
        return;
    sttp__text_add(text, "; what came begins with ");
    sttp__text_add_bytes(text, received);
}

void sttp__text_add_excess(sttp__text *text, const sttp_request *request, uint64_t most)
{
    sttp__text_add(text, "the answer to ");
    sttp__text_add_request(text, request);
    sttp__text_add(text, " has more than ");
    sttp__text_add_number(text, most);
    sttp__text_add(text, " bytes of contents");
}

void sttp__text_add_nonsense(sttp__text *text, bool first, sttp_slice received,
                             const sttp_problem *problem)
{
    char why[STTP_MAX_MESSAGE + 1];

    sttp__text_add(text, first ? " is no STTP server; it answered: "
                               : " sent what is no STTP response: ");
    sttp__text_add_bytes(text, received);
    sttp_explain(problem, why, sizeof why);
    sttp__text_add(text, " (");
    sttp__text_add(text, why);
    sttp__text_add(text, ")");
}

void sttp__text_add_wrong_answer(sttp__text *text, const sttp_request *request,
                                 const sttp_response *response)
{
    sttp__text_add(text, " answered ");
    sttp__text_add_request(text, request);
    sttp__text_add(text, " with a response that speaks of ");
    sttp__text_add_bytes(text, response->echo);
    sttp__text_add(text, " (");
    sttp__text_add_number(text, (uint64_t)response->code);
    sttp__text_add(text, " ");
    sttp__text_add(text, sttp_code_phrase((int)response->code));
    sttp__text_add(text, ")");
}

void sttp__text_add_unasked(sttp__text *text, sttp_slice received)
{
    sttp__text_add(text, " sent what no request asked for: ");
    sttp__text_add_bytes(text, received);
}
