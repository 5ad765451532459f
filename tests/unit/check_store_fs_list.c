/* Listings of the file system store: what is listed, in which order, what a query takes out. */
#include <sys/wait.h>

#include "store_support.h"

static sttp_slice slice(const char *text)
{
    return (sttp_slice){text, strlen(text)};
}

static void expect(const char *path, sttp_query query, const char *names)
{
    struct outcome outcome = run_query(LIST, path, NULL, &query);
    ck_assert_int_eq(outcome.result, STORE_DONE);
    ck_assert_str_eq(outcome.contents, names);
}

#define QUERY(...) ((sttp_query){__VA_ARGS__})

/* Many names of one file: quicker to make and to remove than many files. */
static void add_link(int directory, const char *name)
{
    ck_assert_int_eq(linkat(AT_FDCWD, place("/one"), directory, name, 0), 0);
}

static void furnish(void)
{
    static const char *const directories[] = {"d", "d/e", "d/e/f", "empty"};
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
        ck_assert_int_eq(mkdir(place("/root/%s", directories[i]), 0755), 0);
    put_file(place("/root/d-x"), "Alpha");
    put_file(place("/root/d.txt"), "beta\n");
    put_file(place("/root/d/in"), "ALPHABET");
    put_file(place("/root/d/e/deep.txt"), "gamma alpha");
    put_file(place("/root/d/e/f/bad"), "alpha\nalpha");
}

START_TEST(order)
{
    furnish();
    open_mode(_i);
    int descriptors = count_descriptors();
    expect("/", QUERY(0), "d-x, d.txt, d/, empty/");
    expect("/d", QUERY(0), "e/, in");
    expect("/d/", QUERY(0), "e/, in");
    expect("/empty", QUERY(0), "");
    expect("/", QUERY(.recursive = true),
           "d-x, d.txt, d/, d/e/, d/e/deep.txt, d/e/f/, d/e/f/bad, d/in, empty/");
    expect("/d/", QUERY(.recursive = true), "e/, e/deep.txt, e/f/, e/f/bad, in");
    ck_assert_int_eq(count_descriptors(), descriptors);
}
END_TEST

START_TEST(filters)
{
    furnish();
    open_mode(_i);
    expect("/", QUERY(.type = STTP_LIST_FILES), "d-x, d.txt");
    expect("/", QUERY(.type = STTP_LIST_DIRECTORIES), "d/, empty/");
    expect("/", QUERY(.name = slice("d*")), "d-x, d.txt, d/");
    expect("/", QUERY(.name = slice("?")), "d/");
    expect("/", QUERY(.name = slice("*.txt"), .recursive = true), "d.txt, d/e/deep.txt");
    expect("/", QUERY(.name = slice("e"), .recursive = true), "d/e/");
    expect("/", QUERY(.text = slice("ALPHA"), .type = STTP_LIST_FILES), "d-x");
    expect("/", QUERY(.text = slice("alpha"), .type = STTP_LIST_FILES, .recursive = true),
           "d-x, d/e/deep.txt, d/in");
    expect("/", QUERY(.text = slice("alpha"), .recursive = true), "d-x, d/e/deep.txt, d/in");
    expect("/", QUERY(.text = slice("alpha"), .type = STTP_LIST_DIRECTORIES, .recursive = true),
           "");
    expect("/", QUERY(.text = slice(""), .type = STTP_LIST_FILES, .recursive = true),
           "d-x, d.txt, d/e/deep.txt, d/in");
    expect("/", QUERY(.text = slice("alpha"), .name = slice("*.txt"), .recursive = true),
           "d/e/deep.txt");
}
END_TEST

START_TEST(pages)
{
    furnish();
    open_mode(_i);
    expect("/", QUERY(.limit = 2), "d-x, d.txt");
    expect("/", QUERY(.limit = 2, .after = slice("d.txt")), "d/, empty/");
    expect("/", QUERY(.after = slice("d")), "d-x, d.txt, d/, empty/");
    expect("/", QUERY(.after = slice("d.z")), "d/, empty/");
    expect("/", QUERY(.after = slice("")), "d-x, d.txt, d/, empty/");
    expect("/", QUERY(.after = slice("zzz")), "");
    expect("/", QUERY(.after = slice("d/e/"), .limit = 2, .recursive = true),
           "d/e/deep.txt, d/e/f/");
    expect("/", QUERY(.after = slice("d/e/f/a"), .recursive = true), "d/e/f/bad, d/in, empty/");
    expect("/", QUERY(.after = slice("d/e/f/bad"), .limit = 1, .recursive = true), "d/in");
    expect("/", QUERY(.limit = 1, .type = STTP_LIST_DIRECTORIES), "d/");
    expect("/", QUERY(.limit = 1, .text = slice("gamma"), .recursive = true), "d/e/deep.txt");
}
END_TEST

/* Links, pipes, reserved names, and names that no request can name. */
START_TEST(not_listed)
{
    char longest[40] = "";
    mkdir(place("/outside"), 0755);
    put_file(place("/outside/x"), "secret");
    put_file(place("/root/good,name%%41"), "x");
    put_file(place("/root/a b"), "x");
    put_file(place("/root/a?b"), "x");
    put_file(place("/root/a\tb"), "x");
    put_file(place("/root/a\nb"), "x");
    put_file(place("/root/\x7f"), "x");
    put_file(place("/root/\xc2\x80"), "x");
    put_file(place("/root/\xff\xfe"), "x");
    put_file(place("/root/.hidden"), "x");
    mkdir(place("/root/sp ace"), 0755);
    put_file(place("/root/sp ace/inner"), "x");
    ck_assert_int_eq(symlink("../outside", place("/root/link")), 0);
    ck_assert_int_eq(symlink(".hidden", place("/root/filelink")), 0);
    ck_assert_int_eq(mkfifo(place("/root/fifo"), 0644), 0);
    memset(longest, 'l', STTP_MAX_FILENAME_CHARS);
    put_file(place("/root/%s", longest), "x");
    put_file(place("/root/%sl", longest), "x");
    mkdir(place("/root/%sd", longest), 0755);
    open_mode(_i);
    put_file(place("/root/.sttp-1"), "x");
    mkdir(place("/root/.sttp-2"), 0755);
    put_file(place("/root/.sttp-2/x"), "x");
    char expected[200];
    snprintf(expected, sizeof expected, ".hidden, good,name%%41, %s, %sd/", longest, longest);
    expect("/", QUERY(0), expected);
    expect("/", QUERY(.recursive = true), expected);
}
END_TEST

/* 32 characters, not bytes. */
START_TEST(long_names)
{
    char name[4 * STTP_MAX_FILENAME_CHARS + 4] = "";
    for (int i = 0; i < STTP_MAX_FILENAME_CHARS; i++)
        strcat(name, "\xf0\x9f\x98\x80");
    put_file(place("/root/%s", name), "x");
    put_file(place("/root/%sx", name), "x");
    open_mode(_i);
    expect("/", QUERY(0), name);
}
END_TEST

/* Whatever page size, the pages together are the whole listing. */
START_TEST(pages_make_the_whole)
{
    enum { FILES = 3000, LIMIT = 170 };
    static char whole[FILES * 16], joined[FILES * 16];
    put_file(place("/one"), "x");
    mkdir(place("/root/sub"), 0755);
    int root = open(fixture.docroot, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < FILES; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s%d", i % 3 == 0 ? "sub/" : "", i * 7919 % FILES);
        add_link(root, name);
    }
    close(root);
    open_mode(0);
    strcpy(whole, run_query(LIST, "/", NULL, &QUERY(.recursive = true)).contents);
    char after[32] = "";
    int taken = 0;
    for (int page = 0; page <= FILES / LIMIT + 1; page++) {
        struct outcome outcome = run_query(
            LIST, "/", NULL, &QUERY(.recursive = true, .limit = LIMIT, .after = slice(after)));
        ck_assert_int_eq(outcome.result, STORE_DONE);
        if (outcome.contents[0] == '\0')
            break;
        strcat(strcat(joined, joined[0] == '\0' ? "" : ", "), outcome.contents);
        const char *last = strrchr(outcome.contents, ' ');
        strcpy(after, last == NULL ? outcome.contents : last + 1);
        taken++;
    }
    ck_assert_str_eq(joined, whole);
    ck_assert_int_eq(taken, FILES / LIMIT + 1);
}
END_TEST

/* Exactly what a contents line holds passes, also where one of the files is replaced meanwhile, and
 * one byte more does not, but for a limit: a few long directories below each other, and many files.
 */
START_TEST(longest_listing)
{
    enum { PREFIX = 4 * 241, EACH = PREFIX + 5 + 2 };
    /* Without the directories' own names: each file with a separator, but for the last, and LF. */
    int files = STTP_MAX_CONTENTS_LINE / EACH;
    int rest = STTP_MAX_CONTENTS_LINE - (files * EACH - 2 + 1);
    char path[STTP_MAX_PATH] = "", segment[241] = "";
    memset(segment, 'p', 240);
    for (int i = 0; i < 4; i++) {
        sprintf(path + strlen(path), "/%s", segment);
        ck_assert_int_eq(mkdir(place("/root%s", path), 0755), 0);
    }
    put_file(place("/one"), "x");
    int directory = open(place("/root%s", path), O_RDONLY | O_DIRECTORY);
    char name[40], longer[sizeof name + 1];
    for (int i = 0; i < files; i++) {
        /* The rest is made up of longer names. */
        int extra = rest > 27 ? 27 : rest;
        rest -= extra;
        snprintf(name, sizeof name, "%05d%.*s", i, extra, "xxxxxxxxxxxxxxxxxxxxxxxxxxx");
        add_link(directory, name);
    }
    ck_assert_int_eq(rest, 0);
    open_mode(0);
    sttp_query query = QUERY(.recursive = true, .type = STTP_LIST_FILES);
    struct outcome outcome = run_query(LIST, "/", NULL, &query);
    ck_assert_int_eq(outcome.result, STORE_DONE);
    ck_assert_uint_eq(strlen(outcome.contents), STTP_MAX_CONTENTS_LINE - 1);
    sprintf(path + strlen(path), "/%s", name);
    struct fs_path replaced;
    ck_assert(fs_path_set(&replaced, slice(path)));
    struct fs_step step = {.operation = &(store_operation){0}, .path = &replaced, .replaces = true};
    fs_step_begin((struct store_fs *)fixture.store, &step);
    outcome = run_query(LIST, "/", NULL, &query);
    fs_step_end((struct store_fs *)fixture.store, &step, STORE_DONE);
    ck_assert_int_eq(outcome.result, STORE_DONE);
    ck_assert_uint_eq(strlen(outcome.contents), STTP_MAX_CONTENTS_LINE - 1);
    snprintf(longer, sizeof longer, "%sx", name);
    ck_assert_int_eq(renameat(directory, name, directory, longer), 0);
    close(directory);
    outcome = run_query(LIST, "/", NULL, &query);
    ck_assert_int_eq(outcome.result, STORE_TOO_MANY_NAMES);
    ck_assert_ptr_null(outcome.contents);
    query.limit = STTP_MAX_LIST_LIMIT;
    outcome = run_query(LIST, "/", NULL, &query);
    ck_assert_int_eq(outcome.result, STORE_DONE);
    ck_assert_str_eq(strrchr(outcome.contents, '/'), "/09999");
}
END_TEST

/* So many links to two files, since one can have few, named by number behind `prefix`. */
static void add_links(const char *directory, const char *prefix, int count)
{
    enum { OF_ONE = 30000 };
    int fd = open(place("/root%s", directory), O_RDONLY | O_DIRECTORY);
    ck_assert_int_ne(fd, -1);
    for (int i = 0; i < count; i++) {
        const char *file = i < OF_ONE ? "/one" : "/two";
        char name[32];
        snprintf(name, sizeof name, "%s%05d", prefix, i);
        ck_assert_int_eq(linkat(AT_FDCWD, place("%s", file), fd, name, 0), 0);
    }
    close(fd);
}

static store_result search(const char *path, sttp_query query, const char *names)
{
    struct outcome outcome = run_query(LIST, path, NULL, &query);
    if (outcome.result == STORE_DONE)
        ck_assert_str_eq(outcome.contents, names);
    else
        ck_assert_int_eq(outcome.error, 0);
    return outcome.result;
}

/* What is read counts, and each name that is looked at; what filters and `after` leave out is not
 * read. Without q and recursive nothing is too much. */
START_TEST(work_of_a_search)
{
    enum { MOST = STORE_FS_SEARCH_FILES, EACH = STORE_FS_SEARCH_NAMES / MOST };
    put_file(place("/one"), "text");
    put_file(place("/two"), "text");
    mkdir(place("/root/d"), 0755);
    mkdir(place("/root/e"), 0755);
    add_links("/d", "f", MOST);
    open_mode(0);
    sttp_query text = QUERY(.text = slice("needle"), .type = STTP_LIST_FILES);
    ck_assert_int_eq(search("/d", text, ""), STORE_DONE);
    put_file(place("/root/d/last"), "needle");
    ck_assert_int_eq(search("/d", text, "last"), STORE_TOO_MUCH_WORK);
    text.name = slice("l*");
    ck_assert_int_eq(search("/d", text, "last"), STORE_DONE);
    text.name = slice("*");
    text.after = slice("f49000");
    ck_assert_int_eq(search("/d", text, "last"), STORE_DONE);
    ck_assert_int_eq(search("/d", QUERY(.limit = 1), "f00000"), STORE_DONE);
    /* Three files less make room for two directories, and for names that are only looked at. */
    ck_assert_int_eq(remove(place("/root/d/last")), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(remove(place("/root/d/f%05d", i)), 0);
    sttp_query all = QUERY(.text = slice("needle"), .name = slice("f*"), .recursive = true);
    add_links("/e", "x", EACH);
    ck_assert_int_eq(search("/", all, ""), STORE_DONE);
    put_file(place("/root/e/y"), "text");
    ck_assert_int_eq(search("/", all, ""), STORE_TOO_MUCH_WORK);
    ck_assert_int_eq(search("/", QUERY(.recursive = true, .limit = 1), "d/"), STORE_DONE);
}
END_TEST

/* Deep trees take neither stack nor descriptors; what is too deep to be named is not listed. */
START_TEST(deep_tree)
{
    int directory = open(fixture.docroot, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 600; i++) {
        ck_assert_int_eq(mkdirat(directory, "d", 0755), 0);
        int below = openat(directory, "d", O_RDONLY | O_DIRECTORY);
        close(directory);
        directory = below;
    }
    close(directory);
    open_mode(_i);
    struct outcome outcome = run_query(LIST, "/", NULL, &QUERY(.recursive = true));
    ck_assert_int_eq(outcome.result, STORE_DONE);
    int names = 1;
    for (const char *comma = outcome.contents; (comma = strchr(comma, ',')) != NULL; comma++)
        names++;
    ck_assert_int_eq(names, STTP_MAX_PATH / 2);
}
END_TEST

/* Files that may not be read do not match; of directories nothing below is listed. */
START_TEST(unreadable)
{
    furnish();
    chmod(place("/root/d-x"), 0);
    chmod(place("/root/d/e"), 0);
    chmod(fixture.directory, 0755);
    chmod(fixture.docroot, 0777);
    int status;
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        char error[512];
        struct store_fs_settings settings = {.docroot = fixture.docroot};
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(1);
        if (!store_fs_open(&settings, &fixture.store, error, sizeof error))
            _exit(2);
        sttp_query all = QUERY(.recursive = true);
        if (strcmp(run_query(LIST, "/", NULL, &all).contents,
                   "d-x, d.txt, d/, d/e/, d/in, empty/") != 0)
            _exit(3);
        sttp_query alpha = QUERY(.recursive = true, .text = slice("alpha"));
        if (strcmp(run_query(LIST, "/", NULL, &alpha).contents, "d/in") != 0)
            _exit(4);
        close_fixture();
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    chmod(place("/root/d/e"), 0755);
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    ck_assert(WIFEXITED(status));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_fs_list");
    TCase *modes = tcase_create("listings");
    tcase_set_timeout(modes, 60);
    tcase_add_checked_fixture(modes, make_root, remove_root);
    tcase_add_loop_test(modes, order, 0, MODES);
    tcase_add_loop_test(modes, filters, 0, MODES);
    tcase_add_loop_test(modes, pages, 0, MODES);
    tcase_add_loop_test(modes, not_listed, 0, MODES);
    tcase_add_loop_test(modes, long_names, 0, MODES);
    tcase_add_loop_test(modes, deep_tree, 0, MODES);
    tcase_add_test(modes, pages_make_the_whole);
    tcase_add_test(modes, longest_listing);
    tcase_add_test(modes, work_of_a_search);
    tcase_add_test(modes, unreadable);
    suite_add_tcase(suite, modes);
    return run_suite(suite);
}
