/* The order of operations on one path. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "sttpd/path_queue.h"

static path_queue *queue;

static void setup(void)
{
    queue = path_queue_create(16);
    ck_assert_ptr_nonnull(queue);
}

static void teardown(void)
{
    path_queue_destroy(queue);
}

static store_operation operation_on(const char *path, sttp_action action)
{
    return (store_operation){.action = action, .path = {path, strlen(path)}};
}

static store_operation *leave(store_operation *operation)
{
    return path_queue_leave(queue, path_queue_turn(queue, operation));
}

START_TEST(reads_share)
{
    store_operation first = operation_on("/a", STTP_ACTION_SHOW);
    store_operation second = operation_on("/a", STTP_ACTION_SHOW);
    ck_assert_int_eq(path_queue_enter(queue, &first), PATH_QUEUE_RUN);
    ck_assert_int_eq(path_queue_enter(queue, &second), PATH_QUEUE_RUN);
    ck_assert(!path_queue_changing(queue, first.path));
    ck_assert_ptr_null(leave(&first));
    ck_assert_ptr_null(leave(&second));
}
END_TEST

START_TEST(changes_run_alone_in_order)
{
    store_operation read = operation_on("/a", STTP_ACTION_SHOW);
    store_operation change = operation_on("/a", STTP_ACTION_UPDATE);
    store_operation reads[2] = {operation_on("/a", STTP_ACTION_SHOW),
                                operation_on("/a", STTP_ACTION_LIST)};
    store_operation last = operation_on("/a", STTP_ACTION_DELETE);
    ck_assert_int_eq(path_queue_enter(queue, &read), PATH_QUEUE_RUN);
    ck_assert_int_eq(path_queue_enter(queue, &change), PATH_QUEUE_WAIT);
    ck_assert(path_queue_changing(queue, read.path));
    ck_assert_int_eq(path_queue_enter(queue, &reads[0]), PATH_QUEUE_WAIT);
    ck_assert_int_eq(path_queue_enter(queue, &reads[1]), PATH_QUEUE_WAIT);
    ck_assert_int_eq(path_queue_enter(queue, &last), PATH_QUEUE_WAIT);
    ck_assert_ptr_eq(leave(&read), &change);
    ck_assert_ptr_null(change.next);
    ck_assert_ptr_eq(leave(&change), &reads[0]);
    ck_assert_ptr_eq(reads[0].next, &reads[1]);
    ck_assert_ptr_null(reads[1].next);
    ck_assert(path_queue_changing(queue, read.path));
    ck_assert_ptr_null(leave(&reads[1]));
    ck_assert_ptr_eq(leave(&reads[0]), &last);
    ck_assert_ptr_null(leave(&last));
    ck_assert(!path_queue_changing(queue, read.path));
}
END_TEST

START_TEST(paths_are_apart)
{
    static const char *const paths[] = {"/a", "/b", "/a/b", "/", "/aa"};
    store_operation changes[5];
    for (size_t i = 0; i < 5; i++) {
        changes[i] = operation_on(paths[i], STTP_ACTION_CREATE);
        ck_assert_int_eq(path_queue_enter(queue, &changes[i]), PATH_QUEUE_RUN);
    }
    for (size_t i = 0; i < 5; i++)
        ck_assert(path_queue_changing(queue, changes[i].path));
    ck_assert(!path_queue_changing(queue, STTP_SLICE("/c")));
    for (size_t i = 0; i < 5; i++)
        ck_assert_ptr_null(leave(&changes[i]));
}
END_TEST

START_TEST(final_slash)
{
    store_operation change = operation_on("/a/", STTP_ACTION_DELETE);
    store_operation read = operation_on("/a", STTP_ACTION_LIST);
    ck_assert_int_eq(path_queue_enter(queue, &change), PATH_QUEUE_RUN);
    ck_assert(path_queue_changing(queue, read.path));
    ck_assert_int_eq(path_queue_enter(queue, &read), PATH_QUEUE_WAIT);
    ck_assert_ptr_eq(leave(&change), &read);
    ck_assert_ptr_null(leave(&read));
}
END_TEST

/* More paths than buckets, and the operation is gone before its turn ends. */
START_TEST(many_paths)
{
    enum { PATHS = 1000 };
    static char paths[PATHS][16];
    struct path_turn turns[PATHS];
    for (int i = 0; i < PATHS; i++) {
        sprintf(paths[i], "/%d", i);
        store_operation *change = malloc(sizeof *change);
        *change = operation_on(paths[i], STTP_ACTION_UPDATE);
        ck_assert_int_eq(path_queue_enter(queue, change), PATH_QUEUE_RUN);
        turns[i] = path_queue_turn(queue, change);
        free(change);
    }
    for (int i = 0; i < PATHS; i++) {
        sttp_slice path = {paths[i], strlen(paths[i])};
        ck_assert(path_queue_changing(queue, path));
        ck_assert_ptr_null(path_queue_leave(queue, turns[i]));
        ck_assert(!path_queue_changing(queue, path));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("path_queue");
    TCase *tests = tcase_create("order");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, reads_share);
    tcase_add_test(tests, changes_run_alone_in_order);
    tcase_add_test(tests, paths_are_apart);
    tcase_add_test(tests, final_slash);
    tcase_add_test(tests, many_paths);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
