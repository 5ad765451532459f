/* The cache of answers: what a change makes untrue, and who waits for whom. */
#include "cache_support.h"

/* ---- changes ---- */

static void change(sttp_action action, const char *path, const char *made)
{
    sttp_cache_change change = {.action = action, .path = slice_of(path), .made = slice_of(made)};
    sttp_cache_change_begin(cache, &change);
    sttp_cache_change_end(cache, &change);
}

/* What a change does to an answer. The list of docs/protocol.md, section 8. */
static const struct effect {
    sttp_action change;
    const char *path;
    const char *made;
    sttp_action action;
    const char *answered;
    sttp_code code;
    bool goes;
} effects[] = {
    /* its own path */
    {STTP_ACTION_CREATE, "/d/a", "", SHOW, "/d/a", STTP_CODE_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/a", "", LIST, "/d/a", STTP_CODE_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/a", "", LIST, "/d/a/", STTP_CODE_NOT_FOUND, true},
    {STTP_ACTION_UPDATE, "/d/a", "", SHOW, "/d/a", STTP_CODE_OK, true},
    {STTP_ACTION_DELETE, "/d/a", "", SHOW, "/d/a", STTP_CODE_OK, true},
    {STTP_ACTION_DELETE, "/d/", "", LIST, "/d", STTP_CODE_OK, true},
    {STTP_ACTION_DELETE, "/d/", "", LIST, "/d/", STTP_CODE_OK, true},
    {STTP_ACTION_CREATE, "/d/a", "", SHOW, "/d/b", STTP_CODE_NOT_FOUND, false},
    {STTP_ACTION_UPDATE, "/d/a", "", SHOW, "/d/b", STTP_CODE_OK, false},
    {STTP_ACTION_DELETE, "/d/a", "", SHOW, "/d/b", STTP_CODE_OK, false},
    /* the listing of its parent */
    {STTP_ACTION_CREATE, "/d/a", "", LIST, "/d", STTP_CODE_OK, true},
    {STTP_ACTION_CREATE, "/d/a", "", LIST, "/d/", STTP_CODE_OK, true},
    {STTP_ACTION_CREATE, "/a", "", LIST, "/", STTP_CODE_OK, true},
    {STTP_ACTION_DELETE, "/d/a", "", LIST, "/d", STTP_CODE_OK, true},
    {STTP_ACTION_DELETE, "/a", "", LIST, "/", STTP_CODE_OK, true},
    {STTP_ACTION_DELETE, "/d/", "", LIST, "/", STTP_CODE_OK, true},
    {STTP_ACTION_UPDATE, "/d/a", "", LIST, "/d", STTP_CODE_OK, false},
    {STTP_ACTION_CREATE, "/d/a", "", LIST, "/", STTP_CODE_OK, false},
    {STTP_ACTION_CREATE, "/d/a", "", LIST, "/d/e", STTP_CODE_OK, false},
    /* the listing of the parent of each directory that it makes */
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", LIST, "/", STTP_CODE_OK, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d/e", LIST, "/d", STTP_CODE_OK, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d/e", LIST, "/", STTP_CODE_OK, false},
    /* 400s and 410s of these directories, and of what is in them */
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", SHOW, "/d", STTP_CODE_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", LIST, "/d/", STTP_CODE_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", LIST, "/d/e/f", STTP_CODE_PATH_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", SHOW, "/d/x", STTP_CODE_PATH_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", LIST, "/d/x/", STTP_CODE_PATH_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", SHOW, "/d/e/x", STTP_CODE_PATH_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", SHOW, "/d/e/f/x", STTP_CODE_PATH_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", SHOW, "/d/e/f/a", STTP_CODE_PATH_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", SHOW, "/d/y/z", STTP_CODE_PATH_NOT_FOUND, false},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d/e", SHOW, "/d/x", STTP_CODE_NOT_FOUND, false},
    {STTP_ACTION_DELETE, "/d/e/", "", SHOW, "/d/e/x", STTP_CODE_NOT_FOUND, true},
    {STTP_ACTION_DELETE, "/d/e/", "", LIST, "/d/e/x/", STTP_CODE_NOT_FOUND, true},
    {STTP_ACTION_DELETE, "/d/e/", "", SHOW, "/d/x", STTP_CODE_NOT_FOUND, false},
};

/* Two paths may share a truth by chance, so an answer that should stay may go, and is asked for
 * with other chances then. */
enum { CHANCES = 4 };

/* Whether the answer is there after a change of it, or of something else. */
static bool outlives(const struct effect *effect)
{
    create(0, 0, 0);
    ask(effect->action, effect->answered, effect->code, "x");
    ck_assert(is_cached(effect->action, effect->answered));
    change(effect->change, effect->path, effect->made);
    return is_cached(effect->action, effect->answered);
}

START_TEST(change_takes_out)
{
    const struct effect *effect = &effects[_i];
    bool stays = outlives(effect);
    if (effect->goes) {
        ck_assert(!stays);
        sttp_cache_lease lease = lease_of(effect->action, effect->answered);
        fetch(&lease);
        fill(&lease, STTP_CODE_SERVER_ERROR, NULL);
        ck_assert_uint_eq(counts().entries, 0);
        ck_assert_uint_eq(counts().revocations, 1);
        return;
    }
    for (int i = 1; !stays && i < CHANCES; i++) {
        teardown();
        stays = outlives(effect);
    }
    ck_assert(stays);
    ck_assert_uint_eq(counts().entries, 1);
    ck_assert_uint_eq(counts().revocations, 0);
}
END_TEST

/* Whether what was asked of the storage before the change is kept while it is under way. */
static bool is_kept_during(const struct effect *effect, const sttp_cache_change *begun)
{
    create(0, 0, 0);
    sttp_cache_lease before = lease_of(effect->action, effect->answered);
    fetch(&before);
    sttp_cache_change_begin(cache, begun);
    if (effect->goes) {
        sttp_cache_lease during = lease_of(effect->action, effect->answered);
        fetch(&during);
        fill(&during, effect->code, "old");
        ck_assert(!is_cached(effect->action, effect->answered));
    }
    fill(&before, effect->code, "old");
    return is_cached(effect->action, effect->answered);
}

START_TEST(change_revokes)
{
    const struct effect *effect = &effects[_i];
    sttp_cache_change begun = {
        .action = effect->change, .path = slice_of(effect->path), .made = slice_of(effect->made)};
    bool is_kept = is_kept_during(effect, &begun);
    for (int i = 1; !effect->goes && !is_kept && i < CHANCES; i++) {
        teardown();
        is_kept = is_kept_during(effect, &begun);
    }
    ck_assert_int_eq(is_kept, !effect->goes);
    sttp_cache_change_end(cache, &begun);
    ck_assert_int_eq(is_cached(effect->action, effect->answered), !effect->goes);
    if (effect->goes) {
        sttp_cache_lease after = lease_of(effect->action, effect->answered);
        fetch(&after);
        fill(&after, effect->code, "new");
        ck_assert(is_cached(effect->action, effect->answered));
    }
}
END_TEST

/* Asked while the change is under way, answered after it: what was read may be from before. */
START_TEST(lease_from_within_a_change)
{
    sttp_cache_change begun = {.action = STTP_ACTION_UPDATE, .path = slice_of("/a")};
    create(0, 0, 0);
    sttp_cache_lease lease = lease_of(SHOW, "/a");
    sttp_cache_change_begin(cache, &begun);
    fetch(&lease);
    sttp_cache_change_end(cache, &begun);
    fill(&lease, STTP_CODE_OK, "old");
    ck_assert(!is_cached(SHOW, "/a"));
}
END_TEST

/* What is not there stays known, whatever changes at other paths. */
START_TEST(absence_outlives_other_changes)
{
    enum { ABSENT = 2000 };
    char path[32];
    create(2 * ABSENT, 0, 0);
    for (int i = 0; i < ABSENT; i++) {
        snprintf(path, sizeof path, "/d%d/a", i);
        ask(SHOW, path, i % 2 ? STTP_CODE_NOT_FOUND : STTP_CODE_PATH_NOT_FOUND, NULL);
    }
    for (int i = 0; i < 20000; i++) {
        snprintf(path, sizeof path, "/d%d/b%d", i % ABSENT, i);
        change(i % 2 ? STTP_ACTION_UPDATE : STTP_ACTION_CREATE, path, "");
        change(STTP_ACTION_DELETE, path, "");
    }
    for (int i = 0; i < ABSENT; i++) {
        snprintf(path, sizeof path, "/d%d/a", i);
        ck_assert(is_cached(SHOW, path));
    }
}
END_TEST

/* Whoever finds the old answer gone asks the storage, whose answer may be old as well. */
static bool is_removing;

static void refill(void *memory, void *context)
{
    (void)context;
    free(memory);
    if (!is_removing)
        return;
    is_removing = false;
    ask(SHOW, "/a", STTP_CODE_OK, "old");
}

START_TEST(refilled_while_it_is_removed)
{
    static const sttp_allocator allocator = {plain_allocate, plain_reallocate, refill, NULL};
    sttp_cache_options options = {.size = sizeof options, .allocator = &allocator};
    sttp_cache_change begun = {.action = STTP_ACTION_UPDATE, .path = slice_of("/a")};
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_OK);
    ask(SHOW, "/a", STTP_CODE_OK, "old");
    is_removing = true;
    sttp_cache_change_begin(cache, &begun);
    ck_assert(!is_removing);
    ck_assert(!is_cached(SHOW, "/a"));
    sttp_cache_change_end(cache, &begun);
    ck_assert(!is_cached(SHOW, "/a"));
}
END_TEST

/* Clearing ends what was asked before, as a change of everything would. */
START_TEST(clearing_revokes)
{
    create(0, 0, 0);
    sttp_cache_lease before = lease_of(SHOW, "/a");
    fetch(&before);
    sttp_cache_clear(cache);
    sttp_cache_lease after = lease_of(SHOW, "/a");
    fetch(&after);
    fill(&before, STTP_CODE_OK, "old");
    ck_assert(!is_cached(SHOW, "/a"));
    fill(&after, STTP_CODE_OK, "new");
    ck_assert_str_eq(cached(SHOW, "/a"), "200 /a OK\nnew\n");
}
END_TEST

/* ---- single flight ---- */

/* Whatever comes of it, a failure included, all that asked meanwhile are told. */
START_TEST(the_storage_is_asked_once)
{
    enum { MANY = 10000 };
    static struct waiter waiters[MANY];
    static const sttp_code codes[] = {STTP_CODE_OK, STTP_CODE_NOT_FOUND, STTP_CODE_SERVER_ERROR};
    create(0, 0, 0);
    ck_assert_int_eq(take(&waiters[0], "/a"), STTP_CACHE_FETCH);
    for (int i = 1; i < MANY; i++)
        ck_assert_int_eq(take(&waiters[i], "/a"), STTP_CACHE_WAIT);
    fill(&waiters[0].lease, codes[_i], "x");
    ck_assert_int_eq(waiters[0].completed, 0);
    for (int i = 1; i < MANY; i++) {
        ck_assert_int_eq(waiters[i].completed, 1);
        ck_assert_int_eq(waiters[i].code, codes[_i]);
    }
    ck_assert_uint_eq(counts().misses, 1);
    ck_assert_uint_eq(counts().waiters, MANY - 1);
    ck_assert_uint_eq(counts().entries, codes[_i] != STTP_CODE_SERVER_ERROR);
}
END_TEST

/* Who asks after a change does not get what was read before it. */
START_TEST(nobody_joins_across_a_change)
{
    struct waiter first, joined, second, last;
    create(0, 0, 0);
    ck_assert_int_eq(take(&first, "/a"), STTP_CACHE_FETCH);
    ck_assert_int_eq(take(&joined, "/a"), STTP_CACHE_WAIT);
    change(STTP_ACTION_UPDATE, "/a", "");
    ck_assert_int_eq(take(&second, "/a"), STTP_CACHE_FETCH);
    ck_assert_int_eq(take(&last, "/a"), STTP_CACHE_WAIT);
    fill(&first.lease, STTP_CODE_OK, "old");
    ck_assert_int_eq(joined.completed, 1);
    ck_assert_int_eq(last.completed, 0);
    ck_assert(!is_cached(SHOW, "/a"));
    fill(&second.lease, STTP_CODE_OK, "new");
    ck_assert_int_eq(last.completed, 1);
    ck_assert_str_eq(cached(SHOW, "/a"), "200 /a OK\nnew\n");
}
END_TEST

/* The storage holds a SHOW back until a change of its path has ended; so all wait for one. A LIST
 * it may answer at once, and differently from the one before. */
START_TEST(many_ask_during_a_change)
{
    struct waiter first, joined, after, listing, other;
    sttp_cache_change begun = {.action = STTP_ACTION_CREATE, .path = slice_of("/d/a")};
    create(0, 0, 0);
    sttp_cache_change_begin(cache, &begun);
    ck_assert_int_eq(take(&first, "/d/a"), STTP_CACHE_FETCH);
    ck_assert_int_eq(take(&joined, "/d/a"), STTP_CACHE_WAIT);
    for (int i = 0; i < 2; i++) {
        struct waiter *waiter = i == 0 ? &listing : &other;
        *waiter = (struct waiter){.lease = lease_of(LIST, "/d")};
        ck_assert_int_eq(take_lease(&waiter->lease), STTP_CACHE_FETCH);
    }
    sttp_cache_change_end(cache, &begun);
    ck_assert_int_eq(take(&after, "/d/a"), STTP_CACHE_FETCH);
    fill(&first.lease, STTP_CODE_OK, "x");
    ck_assert_int_eq(joined.completed, 1);
    ck_assert_int_eq(after.completed, 0);
    ck_assert(!is_cached(SHOW, "/d/a"));
    fill(&after.lease, STTP_CODE_OK, "x");
    ck_assert(is_cached(SHOW, "/d/a"));
    fill(&listing.lease, STTP_CODE_OK, "x");
    fill(&other.lease, STTP_CODE_OK, "x");
    ck_assert(!is_cached(LIST, "/d"));
}
END_TEST

/* Of other paths that it changes the storage may show the change before its end: what is there by
 * then is not what somebody read a moment ago. */
static const struct other {
    sttp_action change;
    const char *path;
    const char *made;
    const char *asked;
} others[] = {
    {STTP_ACTION_CREATE, "/d/e/a", "/d", "/d"},   {STTP_ACTION_CREATE, "/d/e/a", "/d", "/d/x"},
    {STTP_ACTION_CREATE, "/d/e/a", "/d", "/d/e"}, {STTP_ACTION_CREATE, "/d/e/a", "/d", "/d/e/x"},
    {STTP_ACTION_DELETE, "/d/", "", "/d/x"},
};

START_TEST(nobody_joins_what_a_change_may_have_shown)
{
    const struct other *other = &others[_i];
    struct waiter first, second;
    sttp_cache_change begun = {
        .action = other->change, .path = slice_of(other->path), .made = slice_of(other->made)};
    create(0, 0, 0);
    sttp_cache_change_begin(cache, &begun);
    ck_assert_int_eq(take(&first, other->asked), STTP_CACHE_FETCH);
    ck_assert_int_eq(take(&second, other->asked), STTP_CACHE_FETCH);
    fill(&first.lease, STTP_CODE_PATH_NOT_FOUND, NULL);
    fill(&second.lease, STTP_CODE_NOT_FOUND, NULL);
    sttp_cache_change_end(cache, &begun);
    ck_assert(!is_cached(SHOW, other->asked));
}
END_TEST

/* Nobody gets what was read longer ago than an answer may be given. */
START_TEST(nobody_joins_what_takes_too_long)
{
    struct waiter first, joined, late;
    create(0, 0, 10000);
    ck_assert_int_eq(take(&first, "/a"), STTP_CACHE_FETCH);
    clock_now += 9900;
    ck_assert_int_eq(take(&joined, "/a"), STTP_CACHE_WAIT);
    clock_now += 100;
    ck_assert_int_eq(take(&late, "/a"), STTP_CACHE_FETCH);
    fill(&first.lease, STTP_CODE_OK, "old");
    ck_assert_int_eq(joined.completed, 1);
    ck_assert(!is_cached(SHOW, "/a"));
    fill(&late.lease, STTP_CODE_OK, "new");
    ck_assert_str_eq(cached(SHOW, "/a"), "200 /a OK\nnew\n");
}
END_TEST

/* Somebody was faster between the two looks. */
START_TEST(second_look_may_hit)
{
    create(0, 0, 0);
    sttp_cache_lease lease = lease_of(SHOW, "/a");
    ask(SHOW, "/a", STTP_CODE_OK, "x");
    ck_assert_int_eq(take_lease(&lease), STTP_CACHE_HIT);
    ck_assert_str_eq(hit, "200 /a OK\nx\n");
    ck_assert_uint_eq(counts().hits, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache_changes");
    TCase *tests = tcase_create("cache_changes");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, NULL, teardown);
    tcase_add_loop_test(tests, change_takes_out, 0, sizeof effects / sizeof effects[0]);
    tcase_add_loop_test(tests, change_revokes, 0, sizeof effects / sizeof effects[0]);
    tcase_add_test(tests, lease_from_within_a_change);
    tcase_add_test(tests, absence_outlives_other_changes);
    tcase_add_test(tests, refilled_while_it_is_removed);
    tcase_add_test(tests, clearing_revokes);
    tcase_add_loop_test(tests, the_storage_is_asked_once, 0, 3);
    tcase_add_test(tests, many_ask_during_a_change);
    tcase_add_loop_test(tests, nobody_joins_what_a_change_may_have_shown, 0,
                        sizeof others / sizeof others[0]);
    tcase_add_test(tests, nobody_joins_what_takes_too_long);
    tcase_add_test(tests, nobody_joins_across_a_change);
    tcase_add_test(tests, second_look_may_hit);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
