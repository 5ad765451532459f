/* The blocking client with many requests under way, and without memory. */
#include "client_assert.h"

/* --- Pipelining ---------------------------------------------------------------------------------
 */

enum { MANY = 100000 };

/* Sends and receives as the header's example does; returns the number of right answers. */
static unsigned run_pipeline(sttp_client *client, unsigned count)
{
    unsigned sent = 0, received = 0, right = 0;
    sttp_response response;
    char path[32];

    while (received < count) {
        for (; sent < count; sent++) {
            snprintf(path, sizeof path, "/%u", sent);
            if (sttp_client_send(
                    client,
                    &(sttp_request){.action = STTP_ACTION_SHOW, .path = {path, strlen(path)}},
                    NULL) != STTP_OK)
                break;
        }
        snprintf(path, sizeof path, "/%u", received++);
        if (sttp_client_receive(client, &response, NULL) == STTP_OK &&
            response.contents.size == strlen(path) &&
            memcmp(response.contents.data, path, strlen(path)) == 0)
            right++;
    }
    ck_assert_uint_eq(sttp_client_outstanding(client), 0);
    return right;
}

START_TEST(test_pipeline_many)
{
    meter m = {0};
    const sttp_allocator memory = metered(&m);
    echo_server server;
    sttp_client *client;

    echo_start(&server, 0);
    client = make((sttp_client_options){.port = server.port, .allocator = &memory});
    ck_assert_uint_eq(run_pipeline(client, MANY), MANY);
    ck_assert_uint_le(m.peak, 512 * 1024);
    sttp_client_destroy(client);
    echo_stop(&server);
    ck_assert_uint_eq(server.connections, 1);
    ck_assert_uint_eq(m.live, 0);
}
END_TEST

/* Every request gets its answer, however often the connection ends in the middle of things. */
START_TEST(test_pipeline_peer_closes)
{
    static const unsigned answers[] = {1, 2, 3, 50};
    echo_server server;
    sttp_client *client;

    echo_start(&server, answers[_i]);
    client = make((sttp_client_options){.port = server.port, .max_in_flight = 64});
    ck_assert_uint_eq(run_pipeline(client, 300), 300);
    sttp_client_destroy(client);
    echo_stop(&server);
    ck_assert_uint_ge(server.connections, 300 / answers[_i]);
}
END_TEST

START_TEST(test_pipeline_full)
{
    echo_server server;
    sttp_client *client;
    sttp_error error;
    sttp_response response;
    const sttp_request request = request_of(STTP_ACTION_SHOW, "/a");

    echo_start(&server, 0);
    client = make((sttp_client_options){.port = server.port, .max_in_flight = 3});
    for (int i = 0; i < 3; i++)
        send_one(client, STTP_ACTION_SHOW, "/a");
    ck_assert_int_eq(sttp_client_send(client, &request, &error), STTP_ERR_PIPELINE_FULL);
    ck_assert_uint_eq(sttp_client_outstanding(client), 3);
    ck_assert_int_eq(sttp_client_receive(client, &response, &error), STTP_OK);
    ck_assert_int_eq(sttp_client_send(client, &request, &error), STTP_OK);
    for (int i = 0; i < 3; i++)
        assert_receives(client, STTP_OK, STTP_OK);
    assert_receives(client, STTP_ERR_NOTHING_SENT, STTP_ERR_NOTHING_SENT);
    sttp_client_destroy(client);
    echo_stop(&server);
}
END_TEST

/* Two answers must have come before more than one request is under way. */
START_TEST(test_pipeline_begins_carefully)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /1\n"},
                                 {STEP_SILENCE, 0},
                                 {STEP_WRITE, "200 /1 OK\n1\n"},
                                 {STEP_READ, "SHOW /2\n"},
                                 {STEP_SILENCE, 0},
                                 {STEP_WRITE, "200 /2 OK\n2\n"},
                                 {STEP_READ, "SHOW /3\nSHOW /4\n"},
                                 {STEP_WRITE, "200 /3 OK\n3\n200 /4 OK\n4\n"},
                                 {STEP_END, 0}};
    static const char *const paths[] = {"/1", "/2", "/3", "/4"};
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make_for(&p);
    for (size_t i = 0; i < COUNT(paths); i++)
        send_one(client, STTP_ACTION_SHOW, paths[i]);
    for (size_t i = 0; i < COUNT(paths); i++)
        assert_receives(client, STTP_OK, STTP_OK);
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

/* The connection breaks with four requests in flight: what was sent of changes is unknown, the rest
 * goes again, and each has one result. */
START_TEST(test_pipeline_breaks)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /1\n"},
                                 {STEP_WRITE, "200 /1 OK\n1\n"},
                                 {STEP_READ, "SHOW /2\n"},
                                 {STEP_WRITE, "200 /2 OK\n2\n"},
                                 {STEP_READ, "SHOW /3\nCREATE /4 \"x\"\nSHOW /5\nDELETE /6\n"},
                                 {STEP_CLOSE, 0},
                                 {STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /3\n"},
                                 {STEP_WRITE, "200 /3 OK\n3\n"},
                                 {STEP_READ, "SHOW /5\n"},
                                 {STEP_WRITE, "200 /5 OK\n5\n"},
                                 {STEP_READ, "DELETE /7\n"},
                                 {STEP_WRITE, "600 /7 DELETED\n"},
                                 {STEP_END, 0}};
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make_for(&p);
    assert_shows(client, "/1", "1");
    assert_shows(client, "/2", "2");
    send_one(client, STTP_ACTION_SHOW, "/3");
    send_one(client, STTP_ACTION_CREATE, "/4");
    send_one(client, STTP_ACTION_SHOW, "/5");
    send_one(client, STTP_ACTION_DELETE, "/6");
    assert_receives(client, STTP_OK, STTP_OK);
    send_one(client, STTP_ACTION_DELETE, "/7");
    assert_receives(client, STTP_ERR_OUTCOME_UNKNOWN, STTP_ERR_EMPTY_ANSWER);
    assert_receives(client, STTP_OK, STTP_OK);
    assert_receives(client, STTP_ERR_OUTCOME_UNKNOWN, STTP_ERR_EMPTY_ANSWER);
    assert_receives(client, STTP_OK, STTP_OK);
    ck_assert_uint_eq(sttp_client_outstanding(client), 0);
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

/* An answer too many behind the last of several: the request that waits is not sent. */
START_TEST(test_unasked_in_pipeline)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /1\n"},
                                 {STEP_WRITE, "200 /1 OK\n1\n"},
                                 {STEP_READ, "SHOW /2\n"},
                                 {STEP_WRITE, "200 /2 OK\n2\n"},
                                 {STEP_READ, "SHOW /3\nSHOW /4\n"},
                                 {STEP_WRITE, "200 /3 OK\n3\n200 /4 OK\n4\n200 /5 OK\nevil\n"},
                                 {STEP_AWAIT_CLOSE, 0},
                                 {STEP_END, 0}};
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make_for(&p);
    assert_shows(client, "/1", "1");
    assert_shows(client, "/2", "2");
    send_one(client, STTP_ACTION_SHOW, "/3");
    send_one(client, STTP_ACTION_SHOW, "/4");
    assert_receives(client, STTP_OK, STTP_OK);
    send_one(client, STTP_ACTION_UPDATE, "/5");
    assert_receives(client, STTP_OK, STTP_OK);
    assert_receives(client, STTP_ERR_UNASKED_ANSWER, STTP_ERR_UNASKED_ANSWER);
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

/* --- Memory -------------------------------------------------------------------------------------
 */

/* Many requests over connections that end after three answers, from a name; false where the client
 * could not be made. An error is want of memory, and the next call works. */
static bool use_client(const sttp_client_options *options)
{
    sttp_client *client;
    sttp_status status = sttp_client_create(options, &client);
    sttp_response response;
    sttp_error error;

    if (status != STTP_OK) {
        ck_assert_int_eq(status, STTP_ERR_MEMORY);
        return false;
    }
    for (int i = 0; i < 40; i++) {
        const sttp_request request = request_of(STTP_ACTION_SHOW, "/a");

        status = sttp_client_send(client, &request, &error);
        ck_assert_msg(status == STTP_OK || status == STTP_ERR_MEMORY, "%s", error.text);
        if (status == STTP_ERR_MEMORY)
            ck_assert_int_eq(sttp_client_send(client, &request, &error), STTP_OK);
    }
    while (sttp_client_outstanding(client) > 0) {
        status = sttp_client_receive(client, &response, &error);
        ck_assert_msg(status == STTP_OK || status == STTP_ERR_MEMORY, "%s", error.text);
    }
    assert_shows(client, "/a", "/a");
    sttp_client_destroy(client);
    return true;
}

START_TEST(test_every_allocation_fails)
{
    static const char *const addresses[] = {"127.0.0.1"};
    const bool given = _i == 1;
    echo_server server;
    size_t n = 0;
    bool failed = true;

    echo_start(&server, 3);
    while (failed) {
        meter m = {.fails_at = ++n};
        const sttp_allocator memory = metered(&m);
        const sttp_client_options options = {.size = sizeof options,
                                             .host = "localhost",
                                             .family = AF_INET,
                                             .port = server.port,
                                             .addresses = addresses,
                                             .address_count = given,
                                             .allocator = &memory};

        use_client(&options);
        ck_assert_uint_eq(m.live, 0);
        failed = m.failed;
    }
    echo_stop(&server);
    ck_assert_uint_gt(n, 5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_pipeline");
    TCase *pipeline = add_case(suite, "pipeline");
    TCase *memory = add_case(suite, "memory");

    tcase_add_test(pipeline, test_pipeline_many);
    tcase_add_loop_test(pipeline, test_pipeline_peer_closes, 0, 4);
    tcase_add_test(pipeline, test_pipeline_full);
    tcase_add_test(pipeline, test_pipeline_begins_carefully);
    tcase_add_test(pipeline, test_pipeline_breaks);
    tcase_add_test(pipeline, test_unasked_in_pipeline);
    tcase_add_loop_test(memory, test_every_allocation_fails, 0, 2);
    return run_suite(suite);
}
