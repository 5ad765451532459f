/* From results of the store to responses: docs/protocol.md, sections 3 to 5. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include <sttp/serializer.h>

#include "sttpd/handler.h"

static const struct answer {
    sttp_action action;
    const char *path;
    store_result result;
    const char *contents; /* of the operation; NULL where it has none */
    const char *line;     /* the response; "*" at the end: any message */
} answers[] = {
    {STTP_ACTION_CREATE, "/a/b", STORE_DONE, NULL, "100 /a/b CREATED\n"},
    {STTP_ACTION_SHOW, "/a/b", STORE_DONE, "text", "200 /a/b OK\ntext\n"},
    {STTP_ACTION_SHOW, "/a/b", STORE_DONE, "", "200 /a/b OK\n\n"},
    {STTP_ACTION_UPDATE, "/a/b", STORE_DONE, "new", "200 /a/b OK\nnew\n"},
    {STTP_ACTION_LIST, "/", STORE_DONE, "a, b/", "200 / OK\na, b/\n"},
    {STTP_ACTION_DELETE, "/a/b", STORE_DONE, NULL, "600 /a/b DELETED\n"},
    {STTP_ACTION_SHOW, "/a/b", STORE_NOT_FOUND, NULL, "400 /a/b NOT FOUND\n"},
    {STTP_ACTION_SHOW, "/a/b", STORE_PATH_NOT_FOUND, NULL, "410 /a/ PATH NOT FOUND\n"},
    {STTP_ACTION_DELETE, "/a/b/", STORE_PATH_NOT_FOUND, NULL, "410 /a/ PATH NOT FOUND\n"},
    {STTP_ACTION_CREATE, "/a/b", STORE_CANNOT_CREATE_PATH, NULL, "510 /a/ CANNOT CREATE PATH\n"},
    {STTP_ACTION_CREATE, "/a", STORE_EXISTS, NULL,
     "300 /a CLIENT ERROR \"file already exists; use UPDATE\"\n"},
    {STTP_ACTION_SHOW, "/a", STORE_IS_DIRECTORY, NULL,
     "300 /a CLIENT ERROR \"is a directory; use LIST\"\n"},
    {STTP_ACTION_CREATE, "/a", STORE_IS_DIRECTORY, NULL, "300 /a CLIENT ERROR *"},
    {STTP_ACTION_UPDATE, "/a", STORE_IS_DIRECTORY, NULL, "300 /a CLIENT ERROR *"},
    {STTP_ACTION_DELETE, "/a", STORE_IS_DIRECTORY, NULL, "300 /a CLIENT ERROR *"},
    {STTP_ACTION_LIST, "/a", STORE_IS_FILE, NULL, "300 /a CLIENT ERROR \"is a file; use SHOW\"\n"},
    {STTP_ACTION_DELETE, "/a/", STORE_IS_FILE, NULL, "300 /a/ CLIENT ERROR *"},
    {STTP_ACTION_CREATE, "/a", STORE_NOT_A_FILE, NULL, "300 /a CLIENT ERROR *"},
    {STTP_ACTION_DELETE, "/a/", STORE_NOT_EMPTY, NULL, "300 /a/ CLIENT ERROR *"},
    {STTP_ACTION_DELETE, "/", STORE_IS_ROOT, NULL, "300 / CLIENT ERROR *"},
    {STTP_ACTION_LIST, "/", STORE_TOO_MANY_NAMES, NULL,
     "300 / CLIENT ERROR \"too many names; use limit and after\"\n"},
    {STTP_ACTION_SHOW, "/a", STORE_INVALID_TEXT, NULL,
     "500 /a SERVER ERROR \"stored file is not a valid short text\"\n"},
    {STTP_ACTION_SHOW, "/a", STORE_DENIED, NULL, "500 /a SERVER ERROR *"},
    {STTP_ACTION_CREATE, "/a", STORE_NO_SPACE, NULL, "500 /a SERVER ERROR *"},
    {STTP_ACTION_CREATE, "/a", STORE_QUOTA, NULL, "500 /a SERVER ERROR *"},
    {STTP_ACTION_CREATE, "/a", STORE_READ_ONLY, NULL, "500 /a SERVER ERROR *"},
    {STTP_ACTION_CREATE, "/a", STORE_NO_MEMORY, NULL,
     "500 /a SERVER ERROR \"out of memory; try again later\"\n"},
    {STTP_ACTION_CREATE, "/a", STORE_NO_DESCRIPTORS, NULL, "500 /a SERVER ERROR *"},
    {STTP_ACTION_CREATE, "/a", STORE_BUSY, NULL, "500 /a SERVER ERROR \"server busy\"\n"},
    {STTP_ACTION_LIST, "/", STORE_TOO_MUCH_WORK, NULL,
     "500 / SERVER ERROR \"too much to search in one request; name a directory further down, or "
     "fewer files with name\"\n"},
    {STTP_ACTION_SHOW, "/a", STORE_UNAVAILABLE, NULL,
     "500 /a SERVER ERROR \"the database is not available; try again later\"\n"},
    {STTP_ACTION_CREATE, "/a", STORE_IO, NULL, "500 /a SERVER ERROR *"},
    {STTP_ACTION_CREATE, "/a", STORE_EARLIER_LOST, NULL, "500 /a SERVER ERROR *"},
    {STTP_ACTION_UPDATE, "/a", STORE_OUTCOME_UNKNOWN, NULL,
     "500 /a SERVER ERROR \"outcome unknown\"\n"},
};

/* Through the serializer, which refuses what the protocol does not allow. */
START_TEST(response_of_result)
{
    const struct answer *answer = &answers[_i];
    store_operation operation = {
        .action = answer->action,
        .path = {answer->path, strlen(answer->path)},
        .result = answer->result,
    };
    char line[STTP_MAX_STATUS_LINE + 1];
    size_t size;

    if (answer->contents != NULL)
        operation.contents = (sttp_slice){answer->contents, strlen(answer->contents)};
    sttp_response response = handler_response(&operation);
    ck_assert_int_eq(sttp_serialize_response(&response, line, sizeof line - 1, &size, NULL),
                     STTP_OK);
    line[size] = '\0';
    size_t fixed = strcspn(answer->line, "*");
    if (answer->line[fixed] == '\0') {
        ck_assert_str_eq(line, answer->line);
        return;
    }
    ck_assert_msg(strncmp(line, answer->line, fixed) == 0, "%s", line);
    ck_assert_msg(size > fixed + 4 && line[fixed] == '"' && line[fixed + 1] != '"', "%s", line);
}
END_TEST

START_TEST(every_result_is_in_the_test)
{
    bool seen[STORE_OUTCOME_UNKNOWN + 1] = {false};

    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
        seen[answers[i].result] = true;
    for (size_t i = 0; i <= STORE_OUTCOME_UNKNOWN; i++)
        ck_assert_msg(seen[i], "result %zu", i);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("handler");
    TCase *tests = tcase_create("handler");
    SRunner *runner = srunner_create(suite);

    tcase_add_loop_test(tests, response_of_result, 0, (int)(sizeof answers / sizeof answers[0]));
    tcase_add_test(tests, every_result_is_in_the_test);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
