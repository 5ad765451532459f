/* The cache of answers in front of a storage that others change, too: for how long answers are
 * given, what is taken over from elsewhere, what is given while the storage is away. */
#include "cache_support.h"

/* What the header allows the cache to be early by. */
enum { EARLY = 150, COHERENCE = 1000, EXPIRATION = 10000, STALE = 4000 };

static void create_shared(uint64_t stale_if_error, bool leases_only)
{
    sttp_cache_options options = {.size = sizeof options,
                                  .expiration = EXPIRATION,
                                  .coherence = COHERENCE,
                                  .stale_if_error = stale_if_error,
                                  .leases_only = leases_only};
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_OK);
    clock_now += 100; /* what was asked for when it was made does not count */
}

static void change(sttp_action action, const char *path, const char *made)
{
    sttp_cache_change change = {.action = action, .path = slice_of(path), .made = slice_of(made)};
    sttp_cache_change_begin(cache, &change);
    sttp_cache_change_end(cache, &change);
}

/* ---- how long answers are given ---- */

/* The milliseconds for which an answer is given from now on; it is gone then. */
static uint64_t lasts(sttp_action action, const char *path)
{
    uint64_t begin = clock_now;
    while (is_cached(action, path) && clock_now - begin <= EXPIRATION)
        clock_now++;
    return clock_now - begin - 1;
}

START_TEST(given_for_as_long_as_it_is_coherent)
{
    create_shared(0, false);
    for (int i = 0; i < 100; i++) {
        clock_now += 7;
        ask(SHOW, "/a", STTP_CODE_OK, "x");
        uint64_t time = lasts(SHOW, "/a");
        ck_assert_uint_le(time, COHERENCE);
        ck_assert_uint_ge(time, COHERENCE - EARLY);
    }
    ask(SHOW, "/b", STTP_CODE_NOT_FOUND, NULL);
    ck_assert_uint_le(lasts(SHOW, "/b"), COHERENCE);
    ck_assert_uint_eq(counts().expiries, 99);
}
END_TEST

START_TEST(without_others_it_is_given_until_it_expires)
{
    create(0, 0, EXPIRATION);
    ask(SHOW, "/a", STTP_CODE_OK, "x");
    uint64_t time = lasts(SHOW, "/a");
    ck_assert_uint_le(time, EXPIRATION);
    ck_assert_uint_ge(time, EXPIRATION - EARLY);
}
END_TEST

/* No answer is given for longer than it may be, whatever is vouched for. */
START_TEST(coherence_of_more_than_expiration)
{
    sttp_cache_options options = {
        .size = sizeof options, .expiration = 1000, .coherence = (uint64_t)_i << 40 | 2000};
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_OK);
    ask(SHOW, "/a", STTP_CODE_OK, "x");
    sttp_cache_vouch(cache, clock_now);
    uint64_t time = lasts(SHOW, "/a");
    ck_assert_uint_le(time, 1000);
    ck_assert_uint_ge(time, 1000 - EARLY);
}
END_TEST

/* From the last word on, and until it expires. One that was incoherent meanwhile is so no more. */
START_TEST(given_for_as_long_as_it_is_vouched_for)
{
    create_shared(0, false);
    ask(SHOW, "/a", STTP_CODE_OK, "x");
    uint64_t asked = clock_now;
    for (int i = 0; i < 5; i++) {
        clock_now += 900;
        sttp_cache_vouch(cache, clock_now - 300);
        ck_assert(is_cached(SHOW, "/a"));
    }
    uint64_t time = lasts(SHOW, "/a") + 300;
    ck_assert_uint_le(time, COHERENCE);
    ck_assert_uint_ge(time, COHERENCE - EARLY);
    sttp_cache_vouch(cache, clock_now - 500);
    ck_assert(is_cached(SHOW, "/a"));
    sttp_cache_vouch(cache, clock_now - 900); /* which is known for longer */
    ck_assert(is_cached(SHOW, "/a"));
    while (clock_now < asked + EXPIRATION) {
        ck_assert(is_cached(SHOW, "/a") || clock_now > asked + EXPIRATION - EARLY);
        clock_now++;
        sttp_cache_vouch(cache, clock_now);
    }
    ck_assert(!is_cached(SHOW, "/a"));
}
END_TEST

/* A word for times to come would be one for changes that are not made yet. */
START_TEST(nobody_vouches_for_the_future)
{
    create_shared(0, false);
    ask(SHOW, "/a", STTP_CODE_OK, "x");
    sttp_cache_vouch(cache, _i == 0 ? clock_now + 500 : UINT64_MAX);
    ck_assert_uint_le(lasts(SHOW, "/a"), COHERENCE);
    sttp_cache_vouch(cache, _i == 0 ? 0 : clock_now - 1500);
    ck_assert(!is_cached(SHOW, "/a"));
}
END_TEST

/* What expires is removed; what is only not vouched for may be given again. */
START_TEST(expiring_leaves_what_may_be_vouched_for)
{
    create_shared(0, false);
    ask(SHOW, "/a", STTP_CODE_OK, "x");
    clock_now += 2 * COHERENCE;
    sttp_cache_expire(cache);
    ck_assert_uint_eq(counts().entries, 1);
    clock_now += EXPIRATION;
    sttp_cache_expire(cache);
    ck_assert_uint_eq(counts().entries, 0);
}
END_TEST

/* Nobody gets what was read before the time that he may be behind. */
START_TEST(joined_while_it_is_coherent)
{
    struct waiter first, joined, late, vouched;
    create_shared(0, false);
    ck_assert_int_eq(take(&first, "/a"), STTP_CACHE_FETCH);
    clock_now += COHERENCE - EARLY;
    ck_assert_int_eq(take(&joined, "/a"), STTP_CACHE_WAIT);
    clock_now += EARLY;
    ck_assert_int_eq(take(&late, "/a"), STTP_CACHE_FETCH);
    fill(&first.lease, STTP_CODE_OK, "old");
    ck_assert_int_eq(joined.completed, 1);
    ck_assert(!is_cached(SHOW, "/a"));
    clock_now += 2 * COHERENCE;
    sttp_cache_vouch(cache, clock_now - 100);
    ck_assert_int_eq(take(&vouched, "/a"), STTP_CACHE_WAIT);
    fill(&late.lease, STTP_CODE_OK, "new");
    ck_assert_int_eq(vouched.completed, 1);
    ck_assert_str_eq(cached(SHOW, "/a"), "200 /a OK\nnew\n");
}
END_TEST

/* ---- answers from elsewhere ---- */

/* Whether one that was asked for at a time would do for a new lease, which is ended. */
static bool holds(sttp_action action, const char *path, uint64_t asked)
{
    sttp_cache_lease lease = lease_of(action, path);
    fetch(&lease);
    bool is_so = sttp_cache_lease_holds(cache, &lease, asked);
    fill(&lease, STTP_CODE_SERVER_ERROR, NULL);
    return is_so;
}

START_TEST(holds_within_its_time)
{
    uint64_t made = clock_now;
    create_shared(0, false);
    ck_assert(!holds(SHOW, "/a", 0));
    ck_assert(!holds(SHOW, "/a", made - 1));
    ck_assert(!holds(SHOW, "/a", made));
    ck_assert(holds(SHOW, "/a", made + 50));
    ck_assert(holds(SHOW, "/a", clock_now));
    ck_assert(!holds(SHOW, "/a", clock_now + 1));
    ck_assert(!holds(SHOW, "/a", UINT64_MAX));
    clock_now += 2 * COHERENCE;
    ck_assert(!holds(SHOW, "/a", clock_now - COHERENCE));
    ck_assert(holds(SHOW, "/a", clock_now - COHERENCE + EARLY));
    sttp_cache_vouch(cache, clock_now);
    ck_assert(holds(SHOW, "/a", made + 50));
    clock_now += EXPIRATION;
    sttp_cache_vouch(cache, clock_now);
    ck_assert(!holds(SHOW, "/a", clock_now - EXPIRATION));
    ck_assert(holds(SHOW, "/a", clock_now - EXPIRATION + EARLY));
    sttp_cache_clear(cache);
    clock_now += 50;
    ck_assert(!holds(SHOW, "/a", clock_now - 50));
    ck_assert(holds(SHOW, "/a", clock_now));
}
END_TEST

/* What a change touches, and what it does not. */
static const struct touch {
    sttp_action change;
    const char *path;
    const char *made;
    sttp_action action;
    const char *asked;
    bool touched;
} touches[] = {
    {STTP_ACTION_UPDATE, "/d/a", "", SHOW, "/d/a", true},
    {STTP_ACTION_UPDATE, "/d/a", "", LIST, "/d/a", true},
    {STTP_ACTION_UPDATE, "/d/a", "", LIST, "/d", false},
    {STTP_ACTION_UPDATE, "/d/a", "", SHOW, "/d/b", false},
    {STTP_ACTION_CREATE, "/d/a", "", LIST, "/d/", true},
    {STTP_ACTION_CREATE, "/d/a", "", LIST, "/d", true},
    {STTP_ACTION_CREATE, "/d/a", "", SHOW, "/d/b", false},
    {STTP_ACTION_CREATE, "/d/a", "/d", SHOW, "/d/b", true},
    {STTP_ACTION_CREATE, "/d/a", "/d", LIST, "/", true},
    {STTP_ACTION_DELETE, "/d/a", "", LIST, "/d", true},
    {STTP_ACTION_DELETE, "/d/", "", SHOW, "/d/b", true},
    {STTP_ACTION_DELETE, "/d/", "", LIST, "/", true},
};

/* Of paths that no change touches, how many are taken for changed by so many changes of others:
 * the fewer, the more counters there are. */
START_TEST(holds_through_changes_of_others)
{
    enum { ASKED = 1000, CHANGES = 20000 };
    static const size_t counters[] = {0, 5000, (1 << 18) - 1};
    static const int least[] = {0, 10, 850}, most[] = {50, 250, ASKED};
    sttp_cache_options options = {
        .size = sizeof options, .leases_only = true, .counters = counters[_i]};
    char path[32];
    int held = 0;
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_OK);
    uint64_t asked = clock_now += 100;
    clock_now += 100;
    for (int i = 0; i < CHANGES; i++) {
        snprintf(path, sizeof path, "/changed/%d", i);
        change(STTP_ACTION_UPDATE, path, "");
    }
    for (int i = 0; i < ASKED; i++) {
        snprintf(path, sizeof path, "/asked/%d", i);
        held += holds(SHOW, path, asked);
    }
    ck_assert_msg(held >= least[_i] && held <= most[_i], "%d", held);
    teardown();
    options.counters = ((size_t)1 << 24) + 1;
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_ERR_ARGUMENT);
    ck_assert_ptr_null(cache);
}
END_TEST

/* Two things that have nothing to do with each other are taken for one now and then, by chance: so
 * a case in which nothing is touched may have to be tried again with another cache. */
enum { TRIES = 5 };

static void try_to_hold(const struct touch *touch, bool *held)
{
    sttp_cache_change begun = {
        .action = touch->change, .path = slice_of(touch->path), .made = slice_of(touch->made)};
    create_shared(0, false);
    uint64_t before = clock_now;
    clock_now += 100;
    sttp_cache_change_begin(cache, &begun);
    uint64_t during = clock_now += 100;
    held[0] = holds(touch->action, touch->asked, during);
    uint64_t end = clock_now += 100;
    sttp_cache_change_end(cache, &begun);
    clock_now += 100;
    held[1] = holds(touch->action, touch->asked, before);
    held[2] = holds(touch->action, touch->asked, during);
    held[3] = holds(touch->action, touch->asked, end);
    ck_assert(holds(touch->action, touch->asked, clock_now));
    teardown();
}

START_TEST(holds_where_nothing_has_changed)
{
    const struct touch *touch = &touches[_i];
    bool held[4], all = false;
    for (int i = 0; i < TRIES && !all; i++) {
        try_to_hold(touch, held);
        ck_assert(!touch->touched || !(held[0] || held[1] || held[2] || held[3]));
        all = held[0] && held[1] && held[2] && held[3];
    }
    ck_assert_int_eq(all, !touch->touched);
}
END_TEST

/* What others have done to a directory that is removed or made here may not be known here: whatever
 * was known below it goes, however deep, and what was asked for comes too late. */
START_TEST(directories_take_with_them_what_is_below)
{
    sttp_action action = _i == 0 ? STTP_ACTION_DELETE : STTP_ACTION_CREATE;
    sttp_cache_lease lease = lease_of(SHOW, "/d/e/late");
    struct waiter waiter;
    create_shared(STALE, false);
    uint64_t before = clock_now;
    clock_now += 100;
    ask(SHOW, "/d/e/f", STTP_CODE_OK, "x");
    ask(LIST, "/d/e/", STTP_CODE_OK, "f");
    ask(SHOW, "/da", STTP_CODE_OK, "x");
    ask(SHOW, "/d", STTP_CODE_NOT_FOUND, NULL);
    fetch(&lease);
    change(action, _i == 0 ? "/d/" : "/d/x", _i == 0 ? "" : "/d");
    ck_assert(!is_cached(SHOW, "/d/e/f"));
    ck_assert(!is_cached(LIST, "/d/e/"));
    ck_assert(is_cached(SHOW, "/da"));
    ck_assert_int_eq(take(&waiter, "/d/e/late"), STTP_CACHE_FETCH);
    fill(&lease, STTP_CODE_OK, "x");
    ck_assert(!is_cached(SHOW, "/d/e/late"));
    fill(&waiter.lease, STTP_CODE_PATH_NOT_FOUND, NULL);
    ck_assert(is_cached(SHOW, "/d/e/late"));
    clock_now += 100;
    ck_assert(!holds(SHOW, "/d/e/f", before));
    ck_assert(!holds(LIST, "/d/e/g/h", before));
    ck_assert(holds(SHOW, "/d/e/f", clock_now));
}
END_TEST

START_TEST(directories_of_a_storage_without_others)
{
    create(0, 0, 0);
    ask(SHOW, "/d/e/f", STTP_CODE_OK, "x");
    change(STTP_ACTION_DELETE, "/d/", "");
    ck_assert(is_cached(SHOW, "/d/e/f"));
}
END_TEST

/* What is kept of it is as old as it is. */
START_TEST(kept_from_when_it_was_asked_for)
{
    create_shared(0, false);
    clock_now += COHERENCE;
    sttp_cache_lease lease = lease_of(SHOW, "/a");
    struct waiter waiter;
    fetch(&lease);
    ck_assert(sttp_cache_lease_holds(cache, &lease, clock_now - 400));
    ck_assert(sttp_cache_lease_holds(cache, &lease, clock_now - 300));
    clock_now += 100;
    ck_assert_int_eq(take(&waiter, "/a"), STTP_CACHE_WAIT);
    fill(&lease, STTP_CODE_OK, "x");
    ck_assert_int_eq(waiter.completed, 1);
    uint64_t time = lasts(SHOW, "/a") + 500;
    ck_assert_uint_le(time, COHERENCE);
    ck_assert_uint_ge(time, COHERENCE - EARLY);
}
END_TEST

/* A change that comes between the question and the answer ends it as ever. */
START_TEST(not_kept_where_it_has_changed_since)
{
    create_shared(0, false);
    sttp_cache_lease lease = lease_of(SHOW, "/a");
    fetch(&lease);
    ck_assert(sttp_cache_lease_holds(cache, &lease, clock_now));
    change(STTP_ACTION_UPDATE, "/a", "");
    fill(&lease, STTP_CODE_OK, "old");
    ck_assert(!is_cached(SHOW, "/a"));
}
END_TEST

START_TEST(leases_alone)
{
    struct waiter waiter;
    create_shared(STALE, true);
    sttp_cache_lease lease = lease_of(SHOW, "/a");
    fetch(&lease);
    ck_assert_int_eq(take(&waiter, "/a"), STTP_CACHE_WAIT);
    fill(&lease, STTP_CODE_OK, "x");
    ck_assert_int_eq(waiter.completed, 1);
    ck_assert(!is_cached(SHOW, "/a"));
    ck_assert_uint_eq(counts().entries, 0);
    uint64_t before = clock_now;
    clock_now += 100;
    change(STTP_ACTION_UPDATE, "/a", "");
    clock_now += 100;
    ck_assert(!holds(SHOW, "/a", before));
    ck_assert(holds(SHOW, "/b", before));
}
END_TEST

/* ---- while the storage is not available ---- */

/* Ends a lease for which the storage was not available. Whether there was something else. */
static bool is_given_old(sttp_cache_lease *lease)
{
    sttp_response response = response_of(STTP_CODE_SERVER_ERROR, lease->path, NULL);
    return sttp_cache_fill_unavailable(cache, lease, &response, copy, &cache);
}

/* Asks while the storage is away. The bytes of the answer; NULL for that of the storage. */
static const char *ask_in_vain(sttp_action action, const char *path)
{
    sttp_cache_lease lease = lease_of(action, path);
    fetch(&lease);
    return is_given_old(&lease) ? hit : NULL;
}

START_TEST(given_while_the_storage_is_away)
{
    create_shared(STALE, false);
    ask(SHOW, "/a", STTP_CODE_OK, "x");
    ask(SHOW, "/n/b", STTP_CODE_PATH_NOT_FOUND, NULL);
    ask(LIST, "/d", STTP_CODE_OK, "");
    uint64_t asked = clock_now;
    ck_assert_ptr_null(ask_in_vain(SHOW, "/other"));
    for (clock_now += COHERENCE; clock_now <= asked + STALE - EARLY; clock_now += 50) {
        ck_assert(!is_cached(SHOW, "/a"));
        ck_assert_str_eq(ask_in_vain(SHOW, "/a"), "200 /a OK\nx\n");
        ck_assert_str_eq(ask_in_vain(SHOW, "/n/b"), "410 /n/ PATH NOT FOUND\n");
        ck_assert_str_eq(ask_in_vain(LIST, "/d"), "200 /d OK\n\n");
        ck_assert_uint_eq(counts().entries, 3);
    }
    clock_now = asked + STALE;
    ck_assert_ptr_null(ask_in_vain(SHOW, "/a"));
    ck_assert_ptr_null(ask_in_vain(LIST, "/d"));
    sttp_cache_vouch(cache, asked + 500); /* it is as old as that */
    ck_assert_str_eq(ask_in_vain(SHOW, "/a"), "200 /a OK\nx\n");
    clock_now += 500;
    ck_assert_ptr_null(ask_in_vain(SHOW, "/a"));
    ask(SHOW, "/a", STTP_CODE_OK, "y");
    ck_assert_str_eq(cached(SHOW, "/a"), "200 /a OK\ny\n");
    clock_now += COHERENCE;
    ck_assert_str_eq(ask_in_vain(SHOW, "/a"), "200 /a OK\ny\n");
}
END_TEST

START_TEST(not_given_unless_it_is_asked_for)
{
    create_shared(0, false);
    ask(SHOW, "/a", STTP_CODE_OK, "x");
    clock_now += COHERENCE;
    ck_assert_ptr_null(ask_in_vain(SHOW, "/a"));
    ck_assert_uint_eq(counts().entries, 0);
}
END_TEST

/* Not even then is anything given for longer than it may be kept. */
START_TEST(expires_also_while_the_storage_is_away)
{
    create_shared(10 * EXPIRATION, false);
    ask(SHOW, "/a", STTP_CODE_OK, "x");
    clock_now += EXPIRATION - EARLY;
    ck_assert_ptr_nonnull(ask_in_vain(SHOW, "/a"));
    clock_now += EARLY;
    ck_assert_ptr_null(ask_in_vain(SHOW, "/a"));
    ck_assert_uint_eq(counts().entries, 0);
}
END_TEST

/* All that asked meanwhile get the same; so do those whose question came when the first one had
 * waited for too long to be joined. */
START_TEST(waiting_while_the_storage_is_away)
{
    struct waiter first, joined, late, later;
    create_shared(STALE, false);
    ask(SHOW, "/a", STTP_CODE_NOT_FOUND, NULL);
    clock_now += COHERENCE;
    ck_assert_int_eq(take(&first, "/a"), STTP_CACHE_FETCH);
    ck_assert_int_eq(take(&joined, "/a"), STTP_CACHE_WAIT);
    clock_now += COHERENCE;
    ck_assert_int_eq(take(&late, "/a"), STTP_CACHE_FETCH);
    ck_assert_int_eq(take(&later, "/a"), STTP_CACHE_WAIT);
    ck_assert(is_given_old(&late.lease));
    ck_assert_str_eq(hit, "400 /a NOT FOUND\n");
    ck_assert_int_eq(later.completed, 1);
    ck_assert_int_eq(later.code, STTP_CODE_NOT_FOUND);
    ck_assert(!is_given_old(&first.lease));
    ck_assert_int_eq(joined.completed, 1);
    ck_assert_int_eq(joined.code, STTP_CODE_SERVER_ERROR);
    ck_assert_str_eq(ask_in_vain(SHOW, "/a"), "400 /a NOT FOUND\n");
}
END_TEST

/* A listing of more than is copied under a lock. */
START_TEST(large_answers_while_the_storage_is_away)
{
    static char names[60001];
    static char whole[60100];
    struct waiter first, joined;
    memset(names, 'x', sizeof names - 1);
    snprintf(whole, sizeof whole, "200 /a OK\n%s\n", names);
    create_shared(STALE, false);
    ask(SHOW, "/a", STTP_CODE_OK, names);
    for (int i = 0; i < 2; i++) {
        clock_now += COHERENCE;
        ck_assert_int_eq(take(&first, "/a"), STTP_CACHE_FETCH);
        ck_assert_int_eq(take(&joined, "/a"), STTP_CACHE_WAIT);
        ck_assert(is_given_old(&first.lease));
        ck_assert_str_eq(hit, whole);
        ck_assert_int_eq(joined.code, STTP_CODE_OK);
    }
    clock_now += COHERENCE;
    ck_assert_int_eq(take(&first, "/a"), STTP_CACHE_FETCH);
    sttp_cache_clear(cache);
    ck_assert(!is_given_old(&first.lease));
}
END_TEST

/* What is known to be untrue is not given: a change that was begun before the question, during it,
 * of what stands above; and a clear. */
static void try_while_away(const struct touch *touch, bool *given)
{
    sttp_code code = touch->action == SHOW ? STTP_CODE_NOT_FOUND : STTP_CODE_OK;
    sttp_cache_change begun = {
        .action = touch->change, .path = slice_of(touch->path), .made = slice_of(touch->made)};
    sttp_cache_lease lease = lease_of(touch->action, touch->asked);
    create_shared(STALE, false);
    ask(touch->action, touch->asked, code, "");
    clock_now += COHERENCE;
    change(touch->change, touch->path, touch->made);
    given[0] = ask_in_vain(touch->action, touch->asked) != NULL;
    ask(touch->action, touch->asked, code, "");
    clock_now += COHERENCE;
    fetch(&lease);
    change(touch->change, touch->path, touch->made);
    given[1] = is_given_old(&lease);
    ask(touch->action, touch->asked, code, "");
    clock_now += COHERENCE;
    fetch(&lease);
    sttp_cache_change_begin(cache, &begun);
    given[2] = is_given_old(&lease);
    fetch(&lease);
    sttp_cache_change_end(cache, &begun);
    given[3] = is_given_old(&lease);
    ask(touch->action, touch->asked, code, "");
    clock_now += COHERENCE;
    fetch(&lease);
    sttp_cache_clear(cache);
    ck_assert(!is_given_old(&lease));
    ck_assert_ptr_null(ask_in_vain(touch->action, touch->asked));
    teardown();
}

START_TEST(no_untrue_answer_while_the_storage_is_away)
{
    const struct touch *touch = &touches[_i];
    bool given[4], all = false;
    for (int i = 0; i < TRIES && !all; i++) {
        try_while_away(touch, given);
        ck_assert(!touch->touched || !(given[0] || given[1] || given[2] || given[3]));
        all = given[0] && given[1] && given[2] && given[3];
    }
    ck_assert_int_eq(all, !touch->touched);
}
END_TEST

/* A failure of another kind says nothing about what was there; an answer that is not kept does. */
START_TEST(failures_leave_what_was_there)
{
    create_shared(STALE, false);
    ask(SHOW, "/a", STTP_CODE_OK, "x");
    clock_now += COHERENCE;
    ask(SHOW, "/a", STTP_CODE_SERVER_ERROR, NULL);
    ck_assert_str_eq(ask_in_vain(SHOW, "/a"), "200 /a OK\nx\n");
    ask(SHOW, "/a", STTP_CODE_CLIENT_ERROR, NULL);
    ck_assert_ptr_null(ask_in_vain(SHOW, "/a"));
}
END_TEST

/* Where others have taken its room meanwhile, it is given once more, and gone. */
START_TEST(room_is_taken_by_others)
{
    sttp_cache_options options = {
        .size = sizeof options, .max_entries = 1, .coherence = COHERENCE, .stale_if_error = STALE};
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_OK);
    sttp_cache_lease lease = lease_of(SHOW, "/a");
    ask(SHOW, "/a", STTP_CODE_OK, "x");
    clock_now += COHERENCE;
    fetch(&lease);
    ask(SHOW, "/b", STTP_CODE_OK, "y");
    ck_assert(is_given_old(&lease));
    ck_assert_str_eq(hit, "200 /a OK\nx\n");
    ck_assert_uint_eq(counts().entries, 1);
    ck_assert(is_cached(SHOW, "/b"));
    ck_assert_ptr_null(ask_in_vain(SHOW, "/a"));
}
END_TEST

/* ---- the same with answers from elsewhere ---- */

static void spare(sttp_cache_lease *lease, sttp_code code, const char *text, uint64_t asked)
{
    sttp_response response = response_of(code, lease->path, text);
    sttp_cache_lease_spare(cache, lease, &response, asked);
}

/* Asks in vain, where an answer from elsewhere was asked for at a time. */
static const char *spare_in_vain(sttp_action action, const char *path, uint64_t asked)
{
    sttp_cache_lease lease = lease_of(action, path);
    fetch(&lease);
    spare(&lease, STTP_CODE_OK, "x", asked);
    return is_given_old(&lease) ? hit : NULL;
}

/* `_i`: the cache keeps no answers itself; then it does not keep this one either. */
START_TEST(from_elsewhere_while_the_storage_is_away)
{
    struct waiter first, joined;
    uint64_t made = clock_now;
    create_shared(STALE, _i == 1);
    uint64_t asked = clock_now;
    clock_now += STALE - EARLY;
    ck_assert_int_eq(take(&first, "/a"), STTP_CACHE_FETCH);
    ck_assert_int_eq(take(&joined, "/a"), STTP_CACHE_WAIT);
    ck_assert(!sttp_cache_lease_holds(cache, &first.lease, asked));
    spare(&first.lease, STTP_CODE_OK, "x", asked);
    ck_assert(is_given_old(&first.lease));
    ck_assert_str_eq(hit, "200 /a OK\nx\n");
    ck_assert_int_eq(joined.completed, 1);
    ck_assert_int_eq(joined.code, STTP_CODE_OK);
    ck_assert_uint_eq(counts().entries, _i == 0);
    ck_assert_int_eq(ask_in_vain(SHOW, "/a") != NULL, _i == 0);
    ck_assert_ptr_null(spare_in_vain(SHOW, "/b", made));
    ck_assert_ptr_null(spare_in_vain(SHOW, "/b", made - 1));
    ck_assert_ptr_null(spare_in_vain(SHOW, "/b", clock_now + 1));
    ck_assert_ptr_null(spare_in_vain(SHOW, "/b", UINT64_MAX));
    clock_now = asked + STALE;
    ck_assert_ptr_null(spare_in_vain(SHOW, "/c", asked));
    sttp_cache_vouch(cache, asked + 500);
    ck_assert_ptr_nonnull(spare_in_vain(SHOW, "/c", asked));
    sttp_cache_clear(cache);
    ck_assert_ptr_null(spare_in_vain(SHOW, "/d", clock_now - 50));
}
END_TEST

START_TEST(from_elsewhere_only_where_it_is_asked_for)
{
    create_shared(0, _i == 1);
    ck_assert_ptr_null(spare_in_vain(SHOW, "/a", clock_now));
    teardown();
    create(0, 0, EXPIRATION);
    clock_now += 100;
    ck_assert_ptr_null(spare_in_vain(SHOW, "/a", clock_now));
}
END_TEST

/* Also of one that the cache has had itself. */
START_TEST(the_later_one_is_given)
{
    create_shared(STALE, false);
    ask(SHOW, "/a", STTP_CODE_OK, "own");
    uint64_t own = clock_now;
    clock_now += COHERENCE;
    sttp_cache_lease lease = lease_of(SHOW, "/a");
    fetch(&lease);
    spare(&lease, STTP_CODE_OK, "earlier", own - 90);
    spare(&lease, STTP_CODE_NOT_FOUND, NULL, own + 200);
    spare(&lease, STTP_CODE_OK, "between", own + 100);
    ck_assert(is_given_old(&lease));
    ck_assert_str_eq(hit, "400 /a NOT FOUND\n");
    ck_assert_uint_eq(counts().entries, 1);
    clock_now = own + 200 + STALE - EARLY;
    ck_assert_str_eq(ask_in_vain(SHOW, "/a"), "400 /a NOT FOUND\n");
}
END_TEST

/* An answer that is known to be untrue: by a change since it was asked for, before or after the
 * lease was taken, or just when it is given. */
static void try_from_elsewhere(const struct touch *touch, bool *given)
{
    sttp_cache_change begun = {
        .action = touch->change, .path = slice_of(touch->path), .made = slice_of(touch->made)};
    sttp_cache_lease lease = lease_of(touch->action, touch->asked);
    create_shared(STALE, true);
    uint64_t asked = clock_now;
    clock_now += COHERENCE;
    fetch(&lease);
    change(touch->change, touch->path, touch->made);
    spare(&lease, STTP_CODE_NOT_FOUND, NULL, asked);
    given[0] = is_given_old(&lease);
    given[1] = spare_in_vain(touch->action, touch->asked, asked) != NULL;
    asked = clock_now += 100;
    clock_now += 100;
    fetch(&lease);
    spare(&lease, STTP_CODE_NOT_FOUND, NULL, asked);
    sttp_cache_change_begin(cache, &begun);
    given[2] = is_given_old(&lease);
    given[3] = spare_in_vain(touch->action, touch->asked, asked) != NULL;
    sttp_cache_change_end(cache, &begun);
    asked = clock_now += 100;
    clock_now += 100;
    fetch(&lease);
    spare(&lease, STTP_CODE_NOT_FOUND, NULL, asked);
    sttp_cache_clear(cache);
    ck_assert(!is_given_old(&lease));
    teardown();
}

START_TEST(no_untrue_answer_from_elsewhere)
{
    const struct touch *touch = &touches[_i];
    bool given[4], all = false;
    for (int i = 0; i < TRIES && !all; i++) {
        try_from_elsewhere(touch, given);
        ck_assert(!touch->touched || !(given[0] || given[1] || given[2] || given[3]));
        all = given[0] && given[1] && given[2] && given[3];
    }
    ck_assert_int_eq(all, !touch->touched);
}
END_TEST

int main(void)
{
    enum { TOUCHES = sizeof touches / sizeof touches[0] };
    Suite *suite = suite_create("cache_coherence");
    TCase *tests = tcase_create("cache_coherence");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, NULL, teardown);
    tcase_add_test(tests, given_for_as_long_as_it_is_coherent);
    tcase_add_test(tests, without_others_it_is_given_until_it_expires);
    tcase_add_loop_test(tests, coherence_of_more_than_expiration, 0, 2);
    tcase_add_test(tests, given_for_as_long_as_it_is_vouched_for);
    tcase_add_loop_test(tests, nobody_vouches_for_the_future, 0, 2);
    tcase_add_test(tests, expiring_leaves_what_may_be_vouched_for);
    tcase_add_test(tests, joined_while_it_is_coherent);
    tcase_add_test(tests, holds_within_its_time);
    tcase_add_loop_test(tests, holds_where_nothing_has_changed, 0, TOUCHES);
    tcase_add_loop_test(tests, holds_through_changes_of_others, 0, 3);
    tcase_add_loop_test(tests, directories_take_with_them_what_is_below, 0, 2);
    tcase_add_test(tests, directories_of_a_storage_without_others);
    tcase_add_test(tests, kept_from_when_it_was_asked_for);
    tcase_add_test(tests, not_kept_where_it_has_changed_since);
    tcase_add_test(tests, leases_alone);
    tcase_add_test(tests, given_while_the_storage_is_away);
    tcase_add_test(tests, not_given_unless_it_is_asked_for);
    tcase_add_test(tests, expires_also_while_the_storage_is_away);
    tcase_add_test(tests, waiting_while_the_storage_is_away);
    tcase_add_test(tests, large_answers_while_the_storage_is_away);
    tcase_add_loop_test(tests, no_untrue_answer_while_the_storage_is_away, 0, TOUCHES);
    tcase_add_test(tests, failures_leave_what_was_there);
    tcase_add_test(tests, room_is_taken_by_others);
    tcase_add_loop_test(tests, from_elsewhere_while_the_storage_is_away, 0, 2);
    tcase_add_loop_test(tests, from_elsewhere_only_where_it_is_asked_for, 0, 2);
    tcase_add_test(tests, the_later_one_is_given);
    tcase_add_loop_test(tests, no_untrue_answer_from_elsewhere, 0, TOUCHES);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
