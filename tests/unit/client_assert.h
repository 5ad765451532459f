/* What the client's tests say most often: make a client, ask it, and what must come of it. */
#ifndef CLIENT_ASSERT_H
#define CLIENT_ASSERT_H

#include <time.h>

#include "client_support.h"

static inline sttp_client *make(sttp_client_options options)
{
    sttp_client *client;

    options.size = sizeof options;
    if (!options.host && !options.socket_path)
        options.host = "127.0.0.1";
    ck_assert_int_eq(sttp_client_create(&options, &client), STTP_OK);
    return client;
}

static inline sttp_client *make_for(const peer *p)
{
    return make((sttp_client_options){.port = p->port});
}

static inline sttp_request request_of(sttp_action action, const char *path)
{
    sttp_request request = {.action = action, .path = {path, strlen(path)}};

    if (action == STTP_ACTION_CREATE || action == STTP_ACTION_UPDATE)
        request.contents = STTP_SLICE("x");
    return request;
}

static inline sttp_status ask(sttp_client *client, sttp_action action, const char *path,
                              sttp_response *response, sttp_error *error)
{
    const sttp_request request = request_of(action, path);
    sttp_status status = sttp_client_request(client, &request, response, error);

    ck_assert_int_eq(error->status, status);
    ck_assert_uint_eq(sttp_client_outstanding(client), 0);
    if (status != STTP_OK) {
        ck_assert_ptr_null(response->echo.data);
        ck_assert_int_ne(error->text[0], '\0');
    }
    return status;
}

/* SHOW `path` gives `text`. */
static inline void assert_shows(sttp_client *client, const char *path, const char *text)
{
    sttp_response response;
    sttp_error error;

    ck_assert_msg(ask(client, STTP_ACTION_SHOW, path, &response, &error) == STTP_OK, "%s",
                  error.text);
    ck_assert_int_eq(response.code, STTP_CODE_OK);
    ck_assert_msg(response.contents.size == strlen(text) &&
                      memcmp(response.contents.data, text, strlen(text)) == 0,
                  "\"%.*s\", not \"%s\"", (int)response.contents.size, response.contents.data,
                  text);
}

static inline sttp_error assert_fails(sttp_client *client, sttp_action action, const char *path,
                                      sttp_status expected)
{
    sttp_response response;
    sttp_error error;
    sttp_status status = ask(client, action, path, &response, &error);

    ck_assert_msg(status == expected, "%s: %s", sttp_status_name(status), error.text);
    return error;
}

static inline void send_one(sttp_client *client, sttp_action action, const char *path)
{
    const sttp_request request = request_of(action, path);

    ck_assert_int_eq(sttp_client_send(client, &request, NULL), STTP_OK);
}

static inline void assert_receives(sttp_client *client, sttp_status expected, sttp_status cause)
{
    sttp_response response;
    sttp_error error;
    sttp_status status = sttp_client_receive(client, &response, &error);

    ck_assert_msg(status == expected, "%s: %s", sttp_status_name(status), error.text);
    ck_assert_int_eq(error.cause, cause);
}

static inline double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static inline void assert_contains(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "\"%s\" does not hold \"%s\"", text, part);
}

static inline TCase *add_case(Suite *suite, const char *name)
{
    TCase *tests = tcase_create(name);

    tcase_set_timeout(tests, 60);
    suite_add_tcase(suite, tests);
    return tests;
}

static inline int run_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
