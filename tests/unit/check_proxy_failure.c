/* What an error of the client means for the request that it ends, and for who was asked. */
#include <errno.h>

#include "proxy_support.h"
#include "sttp-proxy/failure.h"

static const struct {
    sttp_status status, cause;
    sttp_phase phase;
    int system_errno;
    enum proxy_count count;
    const char *message;
    bool was_sent;
    bool tells;
    health_result result;
} cases[] = {
    {STTP_ERR_PIPELINE_FULL, STTP_ERR_PIPELINE_FULL, STTP_PHASE_NONE, 0, COUNT_QUEUE_FULL,
     "max_queued", false, false, HEALTH_OK},
    {STTP_ERR_BUSY, STTP_ERR_BUSY, STTP_PHASE_NONE, 0, COUNT_ORIGINS_FULL, "too many hosts", false,
     false, HEALTH_OK},
    {STTP_ERR_TIMEOUT, STTP_ERR_TIMEOUT, STTP_PHASE_QUEUE, 0, COUNT_QUEUE_TIMEOUT, "queue_timeout",
     false, false, HEALTH_OK},
    {STTP_ERR_TIMEOUT, STTP_ERR_TIMEOUT, STTP_PHASE_RESOLVE, 0, COUNT_CONNECT_TIMEOUT,
     "connect_timeout", false, true, HEALTH_TIMEOUT},
    {STTP_ERR_TIMEOUT, STTP_ERR_TIMEOUT, STTP_PHASE_CONNECT, 0, COUNT_CONNECT_TIMEOUT,
     "connect_timeout", false, true, HEALTH_TIMEOUT},
    {STTP_ERR_TIMEOUT, STTP_ERR_TIMEOUT, STTP_PHASE_RECEIVE, 0, COUNT_RESPONSE_TIMEOUT,
     "response_timeout", true, true, HEALTH_TIMEOUT},
    {STTP_ERR_RESOLVE, STTP_ERR_RESOLVE, STTP_PHASE_RESOLVE, 0, COUNT_UNREACHABLE, "connected",
     false, true, HEALTH_UNRESOLVED},
    {STTP_ERR_CONNECT, STTP_ERR_CONNECT, STTP_PHASE_CONNECT, ECONNREFUSED, COUNT_UNREACHABLE,
     "connected", false, true, HEALTH_REFUSED},
    {STTP_ERR_EMPTY_ANSWER, STTP_ERR_EMPTY_ANSWER, STTP_PHASE_RECEIVE, 0, COUNT_LOST, "closed",
     true, true, HEALTH_CLOSED},
    {STTP_ERR_CONNECTION_LOST, STTP_ERR_CONNECTION_LOST, STTP_PHASE_RECEIVE, ECONNRESET, COUNT_LOST,
     "closed", true, true, HEALTH_RESET},
    {STTP_ERR_BAD_ANSWER, STTP_ERR_BAD_ANSWER, STTP_PHASE_RECEIVE, 0, COUNT_INVALID,
     "invalid answer from upstream", true, true, HEALTH_INVALID},
    {STTP_ERR_WRONG_ANSWER, STTP_ERR_WRONG_ANSWER, STTP_PHASE_RECEIVE, 0, COUNT_INVALID,
     "invalid answer from upstream", true, true, HEALTH_INVALID},
    {STTP_ERR_OUTCOME_UNKNOWN, STTP_ERR_CONNECTION_LOST, STTP_PHASE_RECEIVE, ECONNRESET, COUNT_LOST,
     "outcome unknown", true, true, HEALTH_RESET},
    {STTP_ERR_OUTCOME_UNKNOWN, STTP_ERR_TIMEOUT, STTP_PHASE_RECEIVE, 0, COUNT_RESPONSE_TIMEOUT,
     "outcome unknown", true, true, HEALTH_TIMEOUT},
    {STTP_ERR_MEMORY, STTP_ERR_MEMORY, STTP_PHASE_NONE, 0, COUNT_MEMORY, "out of memory", false,
     false, HEALTH_OK},
    {STTP_ERR_CONNECT, STTP_ERR_CONNECT, STTP_PHASE_CONNECT, ENOMEM, COUNT_MEMORY, "out of memory",
     false, false, HEALTH_OK},
    {STTP_ERR_CONNECT, STTP_ERR_CONNECT, STTP_PHASE_CONNECT, EMFILE, COUNT_DESCRIPTORS,
     "descriptor", false, false, HEALTH_OK},
    {STTP_ERR_CANCELLED, STTP_ERR_CANCELLED, STTP_PHASE_RECEIVE, 0, COUNT_STOPPED, "stopped", true,
     false, HEALTH_OK},
    {STTP_ERR_CANCELLED, STTP_ERR_CANCELLED, STTP_PHASE_QUEUE, 0, COUNT_STOPPED, "stopped", false,
     false, HEALTH_OK},
    {STTP_ERR_OUTCOME_UNKNOWN, STTP_ERR_CANCELLED, STTP_PHASE_RECEIVE, 0, COUNT_STOPPED,
     "outcome unknown", true, false, HEALTH_OK},
};

START_TEST(error_is_judged)
{
    sttp_error error = {.status = cases[_i].status,
                        .cause = cases[_i].cause,
                        .phase = cases[_i].phase,
                        .system_errno = cases[_i].system_errno};
    struct failure failure = failure_of(&error);

    ck_assert_int_eq(failure.count, cases[_i].count);
    ck_assert_ptr_nonnull(strstr(failure.message, cases[_i].message));
    ck_assert_int_eq(failure.was_sent, cases[_i].was_sent);
    ck_assert_int_eq(failure.tells, cases[_i].tells);
    if (failure.tells)
        ck_assert_int_eq(failure.result, cases[_i].result);
}
END_TEST

/* Many requests of one connection: the answer to the oldest was no good, and the connection ended
 * with it. That is one failure; the others can be asked for again. */
START_TEST(connection_fails_once)
{
    sttp_error oldest = {
        .status = STTP_ERR_BAD_ANSWER, .cause = STTP_ERR_BAD_ANSWER, .phase = STTP_PHASE_RECEIVE};
    sttp_error behind = oldest;
    sttp_error closed = {.status = STTP_ERR_EMPTY_ANSWER,
                         .cause = STTP_ERR_EMPTY_ANSWER,
                         .phase = STTP_PHASE_RECEIVE,
                         .behind = true};
    sttp_error reset = {.status = STTP_ERR_CONNECTION_LOST,
                        .cause = STTP_ERR_CONNECTION_LOST,
                        .phase = STTP_PHASE_RECEIVE,
                        .system_errno = ECONNRESET,
                        .behind = true};

    behind.behind = true;
    ck_assert_int_eq(failure_of(&oldest).count, COUNT_INVALID);
    ck_assert(failure_of(&oldest).tells);
    ck_assert_int_eq(failure_of(&behind).count, COUNT_LOST);
    ck_assert(!failure_of(&behind).tells && failure_of(&behind).was_sent);
    ck_assert(!failure_of(&closed).tells);
    ck_assert(failure_of(&reset).tells);
}
END_TEST

/* A message that begins with "it" has a name in front of it, and no other one has. */
START_TEST(hop_is_named)
{
    sttp_error error = {.status = cases[_i].status,
                        .cause = cases[_i].cause,
                        .phase = cases[_i].phase,
                        .system_errno = cases[_i].system_errno};
    struct failure failure = failure_of(&error);
    bool of_it =
        strstr(failure.message, "it ") != NULL || strstr(failure.message, "for it") != NULL;

    ck_assert_int_eq(failure.of_hop, of_it);
}
END_TEST

START_TEST(each_count_has_a_name)
{
    ck_assert_ptr_nonnull(failure_name((enum proxy_count)_i));
    ck_assert_str_ne(failure_name((enum proxy_count)_i), "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy failure");
    TCase *tests = tcase_create("failure");

    tcase_add_loop_test(tests, error_is_judged, 0, sizeof cases / sizeof cases[0]);
    tcase_add_loop_test(tests, hop_is_named, 0, sizeof cases / sizeof cases[0]);
    tcase_add_test(tests, connection_fails_once);
    tcase_add_loop_test(tests, each_count_has_a_name, 0, PROXY_COUNTS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
