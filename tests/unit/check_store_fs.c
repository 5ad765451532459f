/* The file system store, one operation at a time. Each case runs with openat2 and renameat2, and
 * with what stands in for them. */
#include <sys/socket.h>
#include <sys/un.h>

#include "store_support.h"

/* Files, directories, links in and out, and what is neither. */
static void furnish(void)
{
    put_file(place("/outside.txt"), "secret");
    mkdir(place("/outside"), 0755);
    put_file(place("/outside/x"), "secret");
    put_file(place("/root/file"), "hello\n");
    mkdir(place("/root/dir"), 0755);
    put_file(place("/root/dir/inner"), "inside");
    mkdir(place("/root/empty"), 0755);
    ck_assert_int_eq(symlink("file", place("/root/link")), 0);
    ck_assert_int_eq(symlink("dir", place("/root/dirlink")), 0);
    ck_assert_int_eq(symlink("../outside.txt", place("/root/out")), 0);
    ck_assert_int_eq(symlink("../outside", place("/root/outdir")), 0);
    ck_assert_int_eq(symlink("nowhere", place("/root/dangling")), 0);
    ck_assert_int_eq(mkfifo(place("/root/fifo"), 0644), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", place("/root/sock"));
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

static const struct refusal {
    sttp_action action;
    const char *path;
    store_result result;
} refusals[] = {
    {SHOW, "/dir", STORE_IS_DIRECTORY},
    {SHOW, "/missing", STORE_NOT_FOUND},
    {SHOW, "/dir/missing", STORE_NOT_FOUND},
    {SHOW, "/missing/x", STORE_PATH_NOT_FOUND},
    {SHOW, "/file/x", STORE_PATH_NOT_FOUND},
    {SHOW, "/link", STORE_NOT_FOUND},
    {SHOW, "/dirlink", STORE_NOT_FOUND},
    {SHOW, "/out", STORE_NOT_FOUND},
    {SHOW, "/dangling", STORE_NOT_FOUND},
    {SHOW, "/fifo", STORE_NOT_FOUND},
    {SHOW, "/sock", STORE_NOT_FOUND},
    {SHOW, "/dirlink/inner", STORE_PATH_NOT_FOUND},
    {SHOW, "/outdir/x", STORE_PATH_NOT_FOUND},
    {SHOW, "/fifo/x", STORE_PATH_NOT_FOUND},
    {SHOW, "/sock/x", STORE_PATH_NOT_FOUND},
    {SHOW, "/../outside.txt", STORE_PATH_NOT_FOUND},
    {SHOW, "/dir/../../outside.txt", STORE_PATH_NOT_FOUND},
    {CREATE, "/file", STORE_EXISTS},
    {CREATE, "/dir", STORE_IS_DIRECTORY},
    {CREATE, "/link", STORE_NOT_A_FILE},
    {CREATE, "/dirlink", STORE_NOT_A_FILE},
    {CREATE, "/out", STORE_NOT_A_FILE},
    {CREATE, "/dangling", STORE_NOT_A_FILE},
    {CREATE, "/fifo", STORE_NOT_A_FILE},
    {CREATE, "/sock", STORE_NOT_A_FILE},
    {CREATE, "/file/x", STORE_CANNOT_CREATE_PATH},
    {CREATE, "/file/x/y/z", STORE_CANNOT_CREATE_PATH},
    {CREATE, "/dirlink/x", STORE_CANNOT_CREATE_PATH},
    {CREATE, "/dirlink/new/x", STORE_CANNOT_CREATE_PATH},
    {CREATE, "/outdir/new", STORE_CANNOT_CREATE_PATH},
    {CREATE, "/dangling/x", STORE_CANNOT_CREATE_PATH},
    {CREATE, "/fifo/x", STORE_CANNOT_CREATE_PATH},
    {CREATE, "/sock/x", STORE_CANNOT_CREATE_PATH},
    {CREATE, "/../new", STORE_CANNOT_CREATE_PATH},
    {UPDATE, "/dir", STORE_IS_DIRECTORY},
    {UPDATE, "/missing", STORE_NOT_FOUND},
    {UPDATE, "/missing/x", STORE_PATH_NOT_FOUND},
    {UPDATE, "/file/x", STORE_PATH_NOT_FOUND},
    {UPDATE, "/link", STORE_NOT_FOUND},
    {UPDATE, "/out", STORE_NOT_FOUND},
    {UPDATE, "/fifo", STORE_NOT_FOUND},
    {UPDATE, "/sock", STORE_NOT_FOUND},
    {UPDATE, "/dirlink/inner", STORE_PATH_NOT_FOUND},
    {UPDATE, "/outdir/x", STORE_PATH_NOT_FOUND},
    {UPDATE, "/../outside.txt", STORE_PATH_NOT_FOUND},
    {DELETE, "/dir", STORE_IS_DIRECTORY},
    {DELETE, "/dir/", STORE_NOT_EMPTY},
    {DELETE, "/", STORE_IS_ROOT},
    {DELETE, "/file/", STORE_IS_FILE},
    {DELETE, "/missing", STORE_NOT_FOUND},
    {DELETE, "/missing/", STORE_NOT_FOUND},
    {DELETE, "/missing/x", STORE_PATH_NOT_FOUND},
    {DELETE, "/missing/x/", STORE_PATH_NOT_FOUND},
    {DELETE, "/file/x", STORE_PATH_NOT_FOUND},
    {DELETE, "/link", STORE_NOT_FOUND},
    {DELETE, "/dirlink/", STORE_NOT_FOUND},
    {DELETE, "/fifo", STORE_NOT_FOUND},
    {DELETE, "/sock", STORE_NOT_FOUND},
    {DELETE, "/sock/", STORE_NOT_FOUND},
    {DELETE, "/dirlink/inner", STORE_PATH_NOT_FOUND},
    {DELETE, "/outdir/x", STORE_PATH_NOT_FOUND},
    {LIST, "/file", STORE_IS_FILE},
    {LIST, "/file/", STORE_IS_FILE},
    {LIST, "/missing", STORE_NOT_FOUND},
    {LIST, "/missing/", STORE_NOT_FOUND},
    {LIST, "/missing/x/", STORE_PATH_NOT_FOUND},
    {LIST, "/file/x", STORE_PATH_NOT_FOUND},
    {LIST, "/dirlink", STORE_NOT_FOUND},
    {LIST, "/outdir/", STORE_NOT_FOUND},
    {LIST, "/fifo", STORE_NOT_FOUND},
    {LIST, "/sock/", STORE_NOT_FOUND},
};

START_TEST(refused)
{
    furnish();
    open_mode(_i);
    int entries = count_entries();
    int descriptors = count_descriptors();
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const struct refusal *refusal = &refusals[i];
        struct outcome outcome = run(refusal->action, refusal->path, "new");
        ck_assert_msg(outcome.result == refusal->result, "%s %s: %d, not %d",
                      sttp_action_name(refusal->action), refusal->path, (int)outcome.result,
                      (int)refusal->result);
        ck_assert_ptr_null(outcome.contents);
        ck_assert_msg(count_entries() == entries, "%s", refusal->path);
    }
    ck_assert_int_eq(count_descriptors(), descriptors);
    ck_assert_str_eq(file_text(place("/outside.txt")), "secret");
    ck_assert_str_eq(file_text(place("/outside/x")), "secret");
    ck_assert_str_eq(file_text(place("/root/file")), "hello\n");
}
END_TEST

START_TEST(life_of_a_file)
{
    open_mode(_i);
    int descriptors = count_descriptors();
    ck_assert_int_eq(result_of(CREATE, "/notes/a.txt", "first"), STORE_DONE);
    ck_assert_str_eq(file_text(place("/root/notes/a.txt")), "first");
    struct outcome shown = run(SHOW, "/notes/a.txt", NULL);
    ck_assert_int_eq(shown.result, STORE_DONE);
    ck_assert_str_eq(shown.contents, "first");
    ck_assert_int_eq(result_of(CREATE, "/notes/a.txt", "second"), STORE_EXISTS);
    struct outcome updated = run(UPDATE, "/notes/a.txt", "second");
    ck_assert_int_eq(updated.result, STORE_DONE);
    ck_assert_str_eq(updated.contents, "second");
    ck_assert_str_eq(run(SHOW, "/notes/a.txt", NULL).contents, "second");
    ck_assert_int_eq(result_of(DELETE, "/notes/", NULL), STORE_NOT_EMPTY);
    ck_assert_int_eq(result_of(DELETE, "/notes/a.txt", NULL), STORE_DONE);
    ck_assert_int_eq(result_of(SHOW, "/notes/a.txt", NULL), STORE_NOT_FOUND);
    ck_assert_str_eq(run(LIST, "/notes", NULL).contents, "");
    ck_assert_int_eq(result_of(DELETE, "/notes/", NULL), STORE_DONE);
    ck_assert_int_eq(result_of(SHOW, "/notes/a.txt", NULL), STORE_PATH_NOT_FOUND);
    ck_assert_int_eq(count_entries(), 1);
    ck_assert_int_eq(count_descriptors(), descriptors);
}
END_TEST

START_TEST(empty_text)
{
    open_mode(_i);
    ck_assert_int_eq(result_of(CREATE, "/a", ""), STORE_DONE);
    ck_assert_str_eq(run(SHOW, "/a", NULL).contents, "");
    ck_assert_str_eq(run(UPDATE, "/a", "x").contents, "x");
    ck_assert_str_eq(run(UPDATE, "/a", "").contents, "");
    ck_assert_str_eq(file_text(place("/root/a")), "");
}
END_TEST

/* As deep as a path can be. */
START_TEST(create_makes_directories)
{
    char path[STTP_MAX_PATH + 1] = "";
    for (int i = 0; i < STTP_MAX_PATH / 2; i++)
        memcpy(path + 2 * i, "/d", 3);
    open_mode(_i);
    int descriptors = count_descriptors();
    ck_assert_int_eq(result_of(CREATE, path, "deep"), STORE_DONE);
    ck_assert_str_eq(run(SHOW, path, NULL).contents, "deep");
    ck_assert_int_eq(count_entries(), 1 + STTP_MAX_PATH / 2);
    /* Half of the directories are there now, and half are missing. */
    path[STTP_MAX_PATH / 2 + 1] = 'e';
    ck_assert_int_eq(result_of(CREATE, path, "other"), STORE_DONE);
    ck_assert_str_eq(run(SHOW, path, NULL).contents, "other");
    ck_assert_int_eq(count_entries(), 1 + STTP_MAX_PATH / 2 + STTP_MAX_PATH / 4);
    ck_assert_int_eq(count_descriptors(), descriptors);
}
END_TEST

START_TEST(update_keeps_mode)
{
    struct stat before, after;
    put_file(place("/root/a"), "old");
    ck_assert_int_eq(chmod(place("/root/a"), 0604), 0);
    ck_assert_int_eq(stat(place("/root/a"), &before), 0);
    umask(077);
    open_mode(_i);
    ck_assert_int_eq(result_of(UPDATE, "/a", "new"), STORE_DONE);
    ck_assert_int_eq(stat(place("/root/a"), &after), 0);
    ck_assert_int_eq(after.st_mode, before.st_mode);
    ck_assert(after.st_ino != before.st_ino);
}
END_TEST

static void expect_text(const char *bytes, size_t size, const char *text)
{
    put_bytes(place("/root/t"), bytes, size);
    struct outcome outcome = run(SHOW, "/t", NULL);
    if (text == NULL) {
        ck_assert_int_eq(outcome.result, STORE_INVALID_TEXT);
        ck_assert_int_eq(result_of(UPDATE, "/t", "good"), STORE_DONE);
        ck_assert_int_eq(result_of(DELETE, "/t", NULL), STORE_DONE);
    } else {
        ck_assert_int_eq(outcome.result, STORE_DONE);
        ck_assert_str_eq(outcome.contents, text);
    }
}

START_TEST(stored_texts)
{
    char longest[STTP_MAX_CONTENTS_BYTES + 5] = "";
    for (int i = 0; i < STTP_MAX_CONTENTS_CHARS; i++)
        strcat(longest, "\xf0\x9f\x98\x80");
    open_mode(_i);
    expect_text("a\n", 2, "a");
    expect_text("\n", 1, "");
    expect_text("", 0, "");
    expect_text("a\tb", 3, "a\tb");
    expect_text("a\n\n", 3, NULL);
    expect_text("a\r\n", 3, NULL);
    expect_text("a\0b", 3, NULL);
    expect_text("\xff", 1, NULL);
    expect_text(longest, STTP_MAX_CONTENTS_BYTES, longest);
    longest[STTP_MAX_CONTENTS_BYTES] = '\n';
    char expected[STTP_MAX_CONTENTS_BYTES + 1] = "";
    memcpy(expected, longest, STTP_MAX_CONTENTS_BYTES);
    expect_text(longest, STTP_MAX_CONTENTS_BYTES + 1, expected);
    longest[STTP_MAX_CONTENTS_BYTES + 1] = '\n';
    expect_text(longest, STTP_MAX_CONTENTS_BYTES + 2, NULL);
    longest[STTP_MAX_CONTENTS_BYTES] = 'x';
    expect_text(longest, STTP_MAX_CONTENTS_BYTES + 1, NULL);
    char large[100000];
    memset(large, 'x', sizeof large);
    expect_text(large, sizeof large, NULL);
}
END_TEST

/* Whoever reads what is in memory needs no thread. */
START_TEST(shows_at_once)
{
    put_file(place("/root/a"), "now");
    open_mode(0);
    if (!can_show_at_once())
        return;
    ck_assert_str_eq(run(SHOW, "/a", NULL).contents, "now");
    ck_assert_int_eq(result_of(SHOW, "/b", NULL), STORE_NOT_FOUND);
    struct waiting_operation found, missing;
    prepare(&found, SHOW, "/a", NULL);
    prepare(&missing, SHOW, "/b", NULL);
    fixture.store->submit(fixture.store, &found.operation);
    fixture.store->submit(fixture.store, &missing.operation);
    bool at_once = found.done && missing.done;
    await(&found);
    await(&missing);
    ck_assert(at_once);
    ck_assert_int_eq(found.operation.result, STORE_DONE);
    ck_assert_int_eq(missing.operation.result, STORE_NOT_FOUND);
}
END_TEST

/* A new time of access may have to wait for the disk: what is read at once leaves none. */
START_TEST(shows_without_a_trace)
{
    struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1500000000}};
    struct stat status;
    put_file(place("/root/a"), "now");
    open_mode(0);
    if (!can_show_at_once())
        return;
    ck_assert_str_eq(run(SHOW, "/a", NULL).contents, "now");
    ck_assert_int_eq(utimensat(AT_FDCWD, place("/root/a"), times, 0), 0);
    ck_assert_str_eq(run(SHOW, "/a", NULL).contents, "now");
    ck_assert_int_eq(stat(place("/root/a"), &status), 0);
    ck_assert_int_eq(status.st_atim.tv_sec, times[0].tv_sec);
}
END_TEST

/* Only file systems that keep what they know in memory are read at once, and nothing that is
 * mounted below the root. */
START_TEST(only_own_memory_is_read_at_once)
{
    struct fs_root root;
    ck_assert_int_eq(fs_root_open(&root, "/proc"), 0);
    ck_assert(!root.cached);
    fs_close(root.fd);
    ck_assert_int_eq(fs_root_open(&root, "/"), 0);
    root.cached = true;
    struct stat above, below;
    ck_assert(stat("/", &above) == 0 && stat("/dev/null", &below) == 0);
    ck_assert(above.st_dev != below.st_dev);
    ck_assert_int_eq(fs_open_cached(&root, "dev/null", O_PATH), -1);
    fs_close(root.fd);
}
END_TEST

START_TEST(other_durability)
{
    static const enum store_durability kinds[] = {STORE_DURABILITY_INTERVAL, STORE_DURABILITY_NONE};
    for (size_t i = 0; i < 2; i++) {
        fixture.store =
            open_store(_i, &(struct store_fs_settings){.durability = kinds[i], .threads = 2});
        ck_assert_int_eq(result_of(CREATE, "/a/b", "x"), STORE_DONE);
        ck_assert_int_eq(result_of(UPDATE, "/a/b", "y"), STORE_DONE);
        close_fixture();
        fixture.store = open_store(_i, NULL);
        ck_assert_str_eq(run(SHOW, "/a/b", NULL).contents, "y");
        ck_assert_int_eq(result_of(DELETE, "/a/b", NULL), STORE_DONE);
        close_fixture();
    }
}
END_TEST

START_TEST(leftovers)
{
    furnish();
    put_file(place("/root/.sttp-1"), "left");
    put_file(place("/root/dir/.sttp-2"), "left");
    mkdir(place("/root/.sttp-3"), 0755);
    mkdir(place("/root/.sttp-3/a"), 0755);
    mkdir(place("/root/.sttp-3/a/b"), 0755);
    mkdir(place("/root/.sttp-3/c"), 0755);
    put_file(place("/root/.sttp-3/a/b/f"), "left");
    put_file(place("/root/.sttp-3/g"), "left");
    ck_assert_int_eq(symlink("../../outside", place("/root/.sttp-3/o")), 0);
    put_file(place("/outside/.sttp-4"), "not in the root");
    int expected = 12; /* what furnish made, and the root itself */
    char error[512];
    store *opened;
    struct store_fs_settings settings = {.docroot = fixture.docroot};
    int descriptors = count_descriptors();
    ck_assert(store_fs_open(&settings, &opened, error, sizeof error));
    ck_assert_str_eq(error, "");
    ck_assert_int_eq(count_descriptors(), descriptors + 1);
    opened->close(opened);
    ck_assert_int_eq(count_entries(), expected);
    ck_assert_str_eq(file_text(place("/outside/.sttp-4")), "not in the root");
    ck_assert_str_eq(file_text(place("/outside/x")), "secret");
}
END_TEST

static void expect_error(const char *docroot, const char *part)
{
    char error[512];
    store *opened;
    struct store_fs_settings settings = {.docroot = docroot};
    int descriptors = count_descriptors();
    ck_assert(!store_fs_open(&settings, &opened, error, sizeof error));
    ck_assert_ptr_null(opened);
    ck_assert_msg(strstr(error, part) != NULL, "%s", error);
    ck_assert_msg(strstr(error, docroot) != NULL, "%s", error);
    ck_assert_ptr_null(strchr(error, '\n'));
    ck_assert_int_eq(count_descriptors(), descriptors);
}

START_TEST(cannot_open)
{
    put_file(place("/root/file"), "x");
    expect_error(place("/missing"), "create it");
    expect_error(place("/root/file"), "directory");
    open_mode(0);
    expect_error(fixture.docroot, "another server");
    close_fixture();
    open_mode(0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_fs");
    TCase *modes = tcase_create("modes");
    tcase_set_timeout(modes, 60);
    tcase_add_checked_fixture(modes, make_root, remove_root);
    tcase_add_loop_test(modes, refused, 0, MODES);
    tcase_add_loop_test(modes, life_of_a_file, 0, MODES);
    tcase_add_loop_test(modes, empty_text, 0, MODES);
    tcase_add_loop_test(modes, create_makes_directories, 0, MODES);
    tcase_add_loop_test(modes, update_keeps_mode, 0, MODES);
    tcase_add_loop_test(modes, stored_texts, 0, MODES);
    tcase_add_loop_test(modes, other_durability, 0, MODES);
    suite_add_tcase(suite, modes);
    TCase *once = tcase_create("once");
    tcase_add_checked_fixture(once, make_root, remove_root);
    tcase_add_test(once, shows_at_once);
    tcase_add_test(once, shows_without_a_trace);
    tcase_add_test(once, only_own_memory_is_read_at_once);
    tcase_add_test(once, leftovers);
    tcase_add_test(once, cannot_open);
    suite_add_tcase(suite, once);
    return run_suite(suite);
}
