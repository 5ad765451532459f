/* Operations of any store that wait for their result. */
#ifndef STTP_TESTS_STORE_OPERATIONS_H
#define STTP_TESTS_STORE_OPERATIONS_H

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "sttpd/store.h"

struct waiting_operation {
    store_operation operation; /* first */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool done;
};

static inline void wake_up(store_operation *operation)
{
    struct waiting_operation *waiting = (struct waiting_operation *)operation;
    pthread_mutex_lock(&waiting->lock);
    waiting->done = true;
    pthread_cond_signal(&waiting->wake);
    pthread_mutex_unlock(&waiting->lock);
}

static inline void prepare(struct waiting_operation *waiting, sttp_action action, const char *path,
                           const char *text)
{
    *waiting = (struct waiting_operation){
        .operation = {.action = action,
                      .path = {path, strlen(path)},
                      .text = {text, text == NULL ? 0 : strlen(text)},
                      .complete = wake_up},
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .wake = PTHREAD_COND_INITIALIZER,
    };
}

static inline void await(struct waiting_operation *waiting)
{
    pthread_mutex_lock(&waiting->lock);
    while (!waiting->done)
        pthread_cond_wait(&waiting->wake, &waiting->lock);
    pthread_mutex_unlock(&waiting->lock);
}

/* The contents of a thread's last outcome. */
static __thread char *kept_contents;

/* To be called by a thread that has run operations, before it ends. */
static inline void forget_contents(void)
{
    free(kept_contents);
    kept_contents = NULL;
}

/* Runs one operation. Its contents are ended by a zero byte and live until the thread's next. */
struct outcome {
    store_result result;
    int error;
    char *contents;
};

static inline struct outcome run_on(store *on, sttp_action action, const char *path,
                                    const char *text, const sttp_query *query)
{
    struct waiting_operation waiting;
    prepare(&waiting, action, path, text);
    if (query != NULL)
        waiting.operation.query = *query;
    on->submit(on, &waiting.operation);
    await(&waiting);
    const store_operation *done = &waiting.operation;
    forget_contents();
    if (done->contents.data != NULL)
        kept_contents = strndup(done->contents.data, done->contents.size);
    free(done->names);
    return (struct outcome){done->result, done->system_errno, kept_contents};
}

#define CREATE STTP_ACTION_CREATE
#define SHOW STTP_ACTION_SHOW
#define LIST STTP_ACTION_LIST
#define UPDATE STTP_ACTION_UPDATE
#define DELETE STTP_ACTION_DELETE

static inline int run_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
