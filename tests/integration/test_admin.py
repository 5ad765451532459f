"""sttpd-admin: texts that move between stores, by copy and as lines of JSON; what is told where
something is wrong; and kills in the middle. STTP_SEED repeats a run's choices."""

import contextlib
import json
import os
import pathlib
import random
import re
import sqlite3
import subprocess
import sys

import postgres_support
from harness import (BIN, FULL, MEMORY, MODULES, SANITIZED, SANITIZER_REPORT, SEED, Server,
                     run_tests, temporary_directory, wait_until)

ADMIN = BIN / "sttpd-admin"
MANUAL = pathlib.Path(__file__).parents[2] / "docs" / "sttpd-admin.1.scd"
TIMEOUT = 120
SMILE = "\U0001f600"
TEXTS = {
    b"plain": b"Buy milk", b"empty": b"", b"quoted": b'"quoted"', b"quote": b'"',
    b"two quotes": b'""', b"backslash": b"\\n\\", b"tab": b"a\tb", b"spaces": b"  a  ",
    b"json": b'{"path": "/a"}', b"comma": b"a, b", b"four bytes": (SMILE * 160).encode(),
    b"longest": b"x" * 160, b"line separator": "\u2028\u202e".encode(), b"zero": b"0",
}
RULES = re.compile(r"copied (\d+) texts and (\d+) empty directories; (\d+) were there, "
                   r"(\d+) replaced, (\d+) differ and stay, (\d+) failed")


def with_fault(fault):
    """The options of a run some of whose system calls fail. A leak cannot be looked for there."""
    calls = fault.partition(":")[0]
    return {"wrapper": ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e",
                        f"trace={calls}", "-e", f"inject={fault}"],
            "env": {**os.environ,
                    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}}


class Run:
    """A run of sttpd-admin that ends by itself."""

    def __init__(self, *arguments, stdin=b"", wrapper=(), status=0, **options):
        done = subprocess.run([*wrapper, str(ADMIN), *map(str, arguments)], input=stdin,
                              capture_output=True, timeout=TIMEOUT, check=False, **options)
        self.out = done.stdout.decode()
        self.error = done.stderr.decode()
        self.told = [line for line in self.error.splitlines() if not line.startswith("==")]
        assert not SANITIZER_REPORT.search(self.error), self.error
        assert done.returncode == status, f"status {done.returncode}\n{self.out}{self.error}"

    @property
    def counts(self):
        """made, directories made, there before, replaced, differing, failed"""
        return tuple(map(int, RULES.search(self.out).groups()))

    @property
    def digest(self):
        return re.search(r"XXH3-128 ([0-9a-f]{32})\b", self.out + self.error).group(1)


def copy(source, target, *arguments, **options):
    return Run("copy", "--from", source, "--to", target, *arguments, **options)


# -- stores


class Files:
    """A document root. `place` is what the command line calls it."""

    def __init__(self, directory):
        self.root = directory / "files"
        self.root.mkdir(parents=True)
        self.place = f"fs:{self.root}"


class Sqlite:
    def __init__(self, directory):
        directory.mkdir()
        self.file = directory / "sttp.db"
        self.place = f"sqlite:{self.file}"

    TABLE = "entry"

    def sql(self, text):
        with contextlib.closing(sqlite3.connect(self.file)) as connection, connection:
            return ["|".join(map(str, row)) for row in connection.execute(text)]


class Postgres:
    """A new database of a cluster that the tests share."""

    TABLE = "sttp_entry"
    cluster = None

    def __init__(self, _directory):
        if Postgres.cluster is None:
            Postgres.cluster = CLEANUP.enter_context(postgres_support.Cluster())
        self.database = CLEANUP.enter_context(Postgres.cluster.database())
        self.place = f"postgres:{self.database.conninfo}"

    def sql(self, text):
        return self.database.sql(text)


CLEANUP = contextlib.ExitStack()
DATABASES = [kind for kind, name in ((Sqlite, "sqlite"), (Postgres, "postgres"))
             if (MODULES / f"sttpd-{name}.so").exists()]


# -- trees


def write_tree(root, tree):
    """{name: text, or another tree}"""
    root = os.fsencode(root)
    for name, value in tree.items():
        path = os.path.join(root, name)
        if isinstance(value, dict):
            os.mkdir(path)
            write_tree(path, value)
        else:
            with open(path, "wb") as file:
                file.write(value)


def read_tree(root):
    tree = {}
    for entry in os.scandir(os.fsencode(root)):
        if entry.is_dir(follow_symlinks=False):
            tree[entry.name] = read_tree(entry.path)
        else:
            with open(entry.path, "rb") as file:
                tree[entry.name] = file.read()
    return tree


def everything():
    """A tree with all kinds of texts and names."""
    longest = b"d" * 255
    tree = {name.replace(b" ", b"_"): text for name, text in TEXTS.items()}
    tree.update({
        (SMILE * 32).encode(): b"name of 128 bytes",
        b'"\\': b"name to be escaped", b"a,b": b"", b"%41": b"literal",
        b"none": {}, b"nothing": {b"in": {b"here": {}}},
        longest: {longest: {longest: {b"deep": b"deep", b"hollow": {}}}},
        # The order of a listing: a-x, a.txt, a/, a/b, a0.
        b"a-x": b"1", b"a.txt": b"2", b"a": {b"b": b"3", b"-": {b"c": b"4"}}, b"a0": b"5",
    })
    # The longest paths: of a text, and of an empty directory that a request can make.
    deep = tree[b"long"] = {}
    size = len(b"/long/")
    while size + 101 < 1000:
        deep[b"n" * 100] = deep = {}
        size += 101
    deep[b"m" * (1022 - size)] = {}
    deep[b"t" * 20] = b"text"
    return tree


def paths_of(tree, above=b"/"):
    """{path: text} of all texts; of directories with nothing in them the path ends with a slash."""
    found = {}
    for name, value in tree.items():
        if not isinstance(value, dict):
            found[above + name] = value
        elif value:
            found.update(paths_of(value, above + name + b"/"))
        else:
            found[above + name + b"/"] = None
    return found


@contextlib.contextmanager
def two_roots(tree, other=None, where=None):
    with temporary_directory(where) as directory:
        source, target = Files(directory / "source"), Files(directory / "target")
        write_tree(source.root, tree)
        write_tree(target.root, other or {})
        yield source, target


# -- copy


def test_a_copy_from_store_to_store_and_back_is_the_same():
    tree = everything()
    for kind in (Files, *DATABASES):
        with two_roots(tree) as (source, back), temporary_directory() as directory:
            middle = kind(directory / "middle")
            there = copy(source.place, middle.place)
            empty = sum(text is None for text in paths_of(tree).values())
            assert there.counts == (len(paths_of(tree)) - empty, empty, 0, 0, 0, 0), there.out
            assert there.told == []
            again = copy(source.place, middle.place)
            assert again.counts == (0, 0, len(paths_of(tree)), 0, 0, 0), again.out
            assert copy(middle.place, back.place).digest == there.digest
            assert read_tree(back.root) == tree
            check = Run("check", middle.place)
            assert check.digest == there.digest == again.digest
            assert check.out.startswith(f"{len(paths_of(tree)) - empty} texts and "), check.out


def test_the_digest_tells_of_each_difference():
    digests = set()
    trees = [{}, {b"a": b""}, {b"a": {}}, {b"b": b""}, {b"a": b"b"}, {b"a": {b"b": b""}},
             {b"a": {b"b": {}}}, {b"a": b"", b"b": b""}]
    for tree in trees:
        with two_roots(tree) as (source, _):
            digests.add(Run("check", source.place).digest)
    assert len(digests) == len(trees)


def test_what_differs_is_told_and_stays_or_is_replaced():
    tree = {b"a": b"new", b"d": {b"b": b"same"}, b"bad": b"short"}
    other = {b"a": b"old", b"d": {b"b": b"same", b"c": b"more"}, b"bad": b"l\nl\n", b"more": {}}
    with two_roots(tree, other) as (source, target):
        run = copy(source.place, target.place, status=1)
        assert run.counts == (0, 0, 1, 0, 2, 0), run.out
        assert "2 more names are at the target and stay\n" in run.out
        assert [line for line in run.told if "another text is at the target and stays" in line] == \
            [f"sttpd-admin: {path}: another text is at the target and stays; --overwrite replaces it"
             for path in ("/a", "/bad")], run.error
        assert "the target is not as the source" in run.told[-1], run.error
        assert read_tree(target.root) == other
        run = copy(source.place, target.place, "--overwrite")
        assert run.counts == (0, 0, 1, 2, 0, 0), run.out
        assert run.told == []
        assert read_tree(target.root) == {**other, **tree, b"d": {b"b": b"same", b"c": b"more"}}
        assert read_tree(source.root) == tree


def long_directory(inside):
    """A tree with an empty directory that has room for a name of one byte alone."""
    return {b"x" * 255: {b"x" * 255: {b"x" * 255: {b"y" * 252: inside}}}}


def test_a_text_in_a_directory_with_a_long_path_stays():
    with two_roots(long_directory({}), long_directory({b"d": b"precious"})) as (source, target):
        run = copy(source.place, target.place)
        assert run.counts == (0, 0, 1, 0, 0, 0), run.out
        assert "1 more names are at the target and stay\n" in run.out
        assert read_tree(target.root) == long_directory({b"d": b"precious"})


def test_lines_of_a_directory_with_a_long_path_and_of_a_text_in_it():
    (directory,) = paths_of(long_directory({}))
    lines = [json.dumps({"directory": directory.decode()}),
             json.dumps({"path": directory.decode() + "d", "text": "precious"})]
    for order in (lines, lines[::-1]):
        for kind in (Files, *DATABASES):
            with two_roots({}) as (_, back), temporary_directory() as folder:
                target = kind(folder / "target")
                Run("import", target.place, stdin=("\n".join(order) + "\n").encode())
                copy(target.place, back.place)
                assert read_tree(back.root) == long_directory({b"d": b"precious"})


def test_a_source_that_is_not_there_is_not_taken_for_an_empty_one():
    with two_roots({}) as (_, target), temporary_directory() as directory:
        place = f"sqlite:{directory}/mistyped.db"
        for arguments in (("export", place), ("check", place),
                          ("copy", "--from", place, "--to", target.place)):
            run = Run(*arguments, status=1)
            assert run.told == [f"sttpd-admin: database {directory}/mistyped.db: "
                                "No such file or directory"], run.error
            assert run.out == "" and not list(directory.iterdir())


def test_files_and_directories_of_one_name_are_told():
    tree = {b"a": b"text", b"b": {b"c": b"text"}, b"d": {}, b"good": b"text"}
    other = {b"a": {}, b"b": b"text", b"d": b"text"}
    with two_roots(tree, other) as (source, target):
        run = copy(source.place, target.place, status=1)
        assert run.counts == (1, 0, 0, 0, 0, 3), run.out
        told = sorted(run.told)[:3]
        for line, wanted in zip(told, ("/a: the target: a directory has its name",
                                       "/b/c: the target: a directory that it needs cannot be made",
                                       "/d/: the target: a file has its name")):
            assert line.startswith(f"sttpd-admin: {wanted}"), run.error
        assert read_tree(target.root) == {**other, b"good": b"text"}


def test_what_cannot_be_read_is_told_and_the_rest_is_copied():
    tree = {b"long": b"x" * 161, b"lines": b"a\nb", b"bytes": b"\xff", b"good": b"text"}
    with two_roots(tree) as (source, target):
        run = copy(source.place, target.place, status=1)
        assert run.counts == (1, 0, 0, 0, 0, 3), run.out
        for name in ("long", "lines", "bytes"):
            assert f"sttpd-admin: /{name}: the source: is not a valid short text" in run.told
        assert "sttpd-admin: 3 texts of the source cannot be read and were not compared" in run.told
        assert "verified 1 texts and 0 directories: " in run.out
        assert read_tree(target.root) == {b"good": b"text"}


def test_one_directory_in_the_other_is_refused():
    with temporary_directory() as directory:
        (directory / "a" / "b").mkdir(parents=True)
        (directory / "ab").mkdir()
        a, b = f"fs:{directory}/a", f"fs:{directory}/a/b/"
        for source, target in ((a, b), (b, a), (a, a)):
            run = copy(source, target, status=1)
            assert len(run.told) == 1 and "one is in the other" in run.told[0], run.error
        copy(a, f"fs:{directory}/ab")


def large_tree(directories, files):
    return {b"d%d" % d: {b"f%d" % f: b"text %d %d" % (d, f) for f in range(files)} or {}
            for d in range(directories)} | {b"e%d" % d: {b"e": {}} for d in range(directories)}


def test_a_copy_that_is_killed_goes_on_where_it_was():
    rng = random.Random(SEED)
    tree = large_tree(20, 40 if SANITIZED else 200)
    total = len(paths_of(tree))
    for kill in range(20 if FULL else 4):
        with two_roots(tree, where=MEMORY) as (source, target):
            wanted = rng.randrange(1, total)
            process = subprocess.Popen([str(ADMIN), "copy", "--from", source.place, "--to",
                                        target.place], stdout=subprocess.DEVNULL)

            def is_reached():
                texts = sum(len(names) for _, _, names in os.walk(target.root))
                return process.poll() is not None or texts >= wanted

            wait_until(is_reached, timeout=TIMEOUT, what="texts at the target")
            process.kill()
            process.wait()
            run = copy(source.place, target.place)
            made, directories, there, *others = run.counts
            assert others == [0, 0, 0] and made + directories + there == total, run.out
            assert there >= min(wanted, total) - 41, f"seed {SEED}, kill {kill}: {run.out}"
            assert run.told == [], run.error
            assert read_tree(target.root) == tree, f"seed {SEED}, kill {kill}"


def rows_of(database):
    """How many there are; none where it has no table yet, or another one is about to make it."""
    try:
        return int(database.sql(f"SELECT count(*) FROM {database.TABLE}")[0])
    except (AssertionError, sqlite3.Error):
        return 0


def start_copy(source, target, wanted, **options):
    """A copy into a database that has got so far, or has ended."""
    process = subprocess.Popen([str(ADMIN), "copy", "--from", source.place, "--to", target.place],
                               **options)
    wait_until(lambda: process.poll() is not None or rows_of(target) >= wanted, timeout=TIMEOUT,
               what="rows at the target")
    return process


def test_a_copy_into_a_database_that_is_killed_goes_on_where_it_was():
    rng = random.Random(SEED)
    tree = large_tree(20, 40 if SANITIZED else 400)
    total = len(paths_of(tree))
    for kind in DATABASES:
        for kill in range(10 if FULL else 2):
            with two_roots(tree, where=MEMORY) as (source, back), \
                    temporary_directory(MEMORY) as directory:
                target = kind(directory / "target")
                process = start_copy(source, target, rng.randrange(1, total),
                                     stdout=subprocess.DEVNULL)
                process.kill()
                process.wait()
                run = copy(source.place, target.place)
                made, directories, there, *others = run.counts
                assert others == [0, 0, 0] and made + directories + there == total, run.out
                assert there > 0, f"seed {SEED}, kill {kill}: {run.out}"
                copy(target.place, back.place)
                assert read_tree(back.root) == tree, f"seed {SEED}, kill {kill}"


def test_a_database_that_goes_away_stops_the_copy_and_the_next_run_goes_on():
    tree = large_tree(20, 300 if SANITIZED else 1500)
    total = len(paths_of(tree))
    if Postgres not in DATABASES:
        return
    with two_roots(tree, where=MEMORY) as (files, _), temporary_directory(MEMORY) as directory:
        # ThreadSanitizer does not see by which call a document root's files are opened, and would take
        # a descriptor for the connection that had its number before. It knows those of SQLite.
        source = DATABASES[0](directory / "source")
        copy(files.place, source.place)
        target = Postgres(None)
        process = start_copy(source, target, 1, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        Postgres.cluster.kill()
        out, error = (text.decode() for text in process.communicate(timeout=TIMEOUT))
        Postgres.cluster.start()
        assert process.returncode == 1, out + error
        assert error.endswith("sttpd-admin: stopped; run it again and it goes on\n"), error
        assert "verified" not in out
        made, directories, there, *others = copy(source.place, target.place).counts
        assert others == [0, 0, 0] and made + directories + there == total and there > 0


def test_a_kill_while_a_directory_is_made_leaves_nothing():
    """A directory is made with a file in it, which no listing shows and the next run removes."""
    tree = {b"a": {b"b": {}}}
    with two_roots(tree) as (source, target):
        copy(source.place, target.place, status=-9, **with_fault("unlinkat:signal=KILL"))
        left = read_tree(target.root)
        assert left[b"a"][b"b"] != {} and all(name.startswith(b".sttp-") for name in left[b"a"][b"b"])
        assert copy(source.place, target.place).counts == (0, 0, 1, 0, 0, 0)
        assert read_tree(target.root) == tree


def test_what_a_kill_left_in_a_directory_with_a_long_path_goes():
    """It has a name that may be somebody's, and is known by its text."""
    tree = long_directory({})
    with two_roots(tree) as (source, target):
        copy(source.place, target.place, status=-9, **with_fault("unlinkat:signal=KILL"))
        left = read_tree(target.root)
        assert re.search(rb"{b'd': b'sttpd-admin made this [^']+'}", repr(left).encode()), left
        assert copy(source.place, target.place).counts == (0, 0, 1, 0, 0, 0)
        assert read_tree(target.root) == tree


def test_what_a_kill_left_in_a_database_is_not_seen_and_goes():
    tree = {b"a": {b"b": {}}}
    left = {Sqlite: "INSERT INTO entry (path, text) VALUES ('/a/b/.sttp-d', '')",
            Postgres: "INSERT INTO sttp_entry (parent, name, directory, contents) "
                      "VALUES ('/a/b/', '.sttp-d', false, '')"}
    for kind in DATABASES:
        with two_roots(tree) as (source, _), temporary_directory() as directory:
            database = kind(directory / "middle")
            copy(source.place, database.place)
            database.sql(left[kind])
            assert Run("export", database.place).out == '{"directory": "/a/b/"}\n'
            assert copy(source.place, database.place).counts == (0, 0, 1, 0, 0, 0)
            database.sql(left[kind])  # which fails where it is still there


def test_a_full_disk_stops_the_copy_and_the_next_run_goes_on():
    tree = {b"d": {b"f%d" % i: b"text" for i in range(1000)}}
    with two_roots(tree) as (source, target):
        fault = "renameat2,renameat,linkat:error=ENOSPC:when=9+"
        run = copy(source.place, target.place, status=1, **with_fault(fault))
        assert len(run.told) == 2, run.error
        assert re.fullmatch(r"sttpd-admin: /d/f\d+: the target: no space is left "
                            r"\(No space left on device\)", run.told[0]), run.error
        assert run.told[1] == "sttpd-admin: stopped; run it again and it goes on"
        assert "verified" not in run.out
        made = run.counts[0]
        assert 0 < made < 1000, run.out
        assert copy(source.place, target.place).counts == (1000 - made, 0, made, 0, 0, 0)
        assert read_tree(target.root) == tree


# -- stores in use, and how they are named


def test_a_store_in_use_is_refused_with_one_line():
    with Server("--cache-enabled", "false") as server, two_roots({b"a": b"text"}) as (other, _):
        used = f"fs:{server.docroot}"
        for arguments in (("check", used), ("export", used), ("import", used),
                          ("copy", "--from", used, "--to", other.place),
                          ("copy", "--from", other.place, "--to", used)):
            run = Run(*arguments, status=1)
            assert run.told == [f"sttpd-admin: document root {server.docroot}: another server uses "
                                "it; stop that one or choose another directory"], run.error
            assert run.out == ""
        server.stop()
        copy(other.place, used)
        assert read_tree(server.docroot) == {b"a": b"text"}
    with temporary_directory() as directory:
        for kind in set(DATABASES) & {Sqlite}:
            database = kind(directory / "database")
            with Server("--storage-backend", "sqlite", "--storage-sqlite-path", database.file):
                run = Run("check", database.place, status=1)
                assert len(run.told) == 1 and "another server uses it" in run.told[0], run.error
            Run("check", database.place)


def test_a_store_may_be_named_by_a_settings_file():
    with two_roots({b"a": b"text"}) as (source, _), temporary_directory() as directory:
        settings = directory / "sttpd.yaml"
        settings.write_text(f"docroot: '{source.root}'\nport: 1\n")
        assert Run("export", f"settings:{settings}").out == '{"path": "/a", "text": "text"}\n'
        settings.write_text("port: none\n")
        run = Run("export", f"settings:{settings}", status=1)
        assert run.error.startswith(f"{settings}:1:"), run.error
        run = Run("check", f"settings:{directory}/missing", status=1)
        assert "missing" in run.error and "No such file" in run.error, run.error


def test_mistakes_of_the_command_line():
    for arguments, wanted in (
            ([], "what to do?"), (["move"], "not move"), (["copy"], "--from and --to"),
            (["copy", "--from", "fs:/a"], "--from and --to"),
            (["copy", "--from", "fs:/a", "--to", "fs:/b", "c"], "one word too many: c"),
            (["export", "--from", "fs:/a"], "are for copy, not export"),
            (["check", "--overwrite"], "for copy and import, not check"),
            (["check", "fs:/a", "fs:/b"], "one word too many: fs:/b"),
            (["check", "/a"], "'/a' is no store; expected fs:DIRECTORY"),
            (["check", "fs:"], "'fs:' is no store"), (["check", "settings:"], "is no store"),
            (["check", "ftp:/a"], "is no store"), (["--nothing"], "--nothing")):
        run = Run(*arguments, status=2)
        assert wanted in run.error and run.out == "", run.error
    assert Run("--help").out.startswith("usage: sttpd-admin copy ")
    assert Run("-V").out.startswith("sttpd-admin 0.")


def test_the_manual_tells_of_all():
    manual = MANUAL.read_text(encoding="utf-8")
    for word in re.findall(r"--\w+|\w+:[A-Z]+", Run("--help").out):
        assert word.partition(":")[0] in manual, word


# -- export and import


def test_export_and_import_bring_everything_over():
    tree = everything()
    for kind in (Files, *DATABASES):
        with two_roots(tree) as (source, back), temporary_directory() as directory:
            middle = kind(directory / "middle")
            export = Run("export", source.place)
            rows = [json.loads(line) for line in export.out.split("\n")[:-1]]
            found = {row["path"].encode(): row["text"].encode() for row in rows if "path" in row}
            found |= {row["directory"].encode(): None for row in rows if "directory" in row}
            assert found == paths_of(tree)
            assert all(set(row) in ({"path", "text"}, {"directory"}) for row in rows)
            count = f"{len([text for text in found.values() if text is not None])} texts"
            run = Run("import", middle.place, stdin=export.out.encode())
            assert run.out.startswith(f"imported {count} and "), run.out
            again = Run("export", middle.place)
            assert again.out == export.out and again.digest == export.digest
            lines = re.findall(".*\n", export.out)
            random.Random(SEED).shuffle(lines)
            Run("import", back.place, stdin="".join(lines).encode())
            assert read_tree(back.root) == tree, f"seed {SEED}"


def import_lines(target, data, status=1, *arguments):
    return Run("import", target.place, *arguments, stdin=data, status=status)


def test_every_hostile_line_is_told_with_its_number_and_the_others_are_imported():
    expected = r'expected {"path": '
    deep = b'{"path":' + b"[" * 5000 + b"]" * 5000 + b"}"
    lines = [
        (b"nothing", "is no JSON"), (b"{", "is no JSON"), (b"\x00", "is no JSON"),
        (b"\xef\xbb\xbf{}", "is no JSON"), (b'{"path": "/a", "text": "a"} x', "is no JSON"),
        (b'{"path": "/a", "text": "\xff"}', "is no JSON"), (b'{"path": "/a", "text": "a', "is no JSON"),
        (b'{"path": "/a", "text": "\\ud83d"}', "is no JSON"),
        (b'{"path": "/a", "text": "\\u0000"}', "is no JSON"),
        (b'{"path": "/a", "path": "/b", "text": "a"}', "is no JSON.*uplicate"),
        (b"[" * 30000, "is no JSON"), (deep, "is no JSON"),
        (b"{}", expected), (b"[]", expected), (b'"text"', r"is no JSON|expected"),
        (b'{"path": "/a"}', expected), (b'{"text": "a"}', expected),
        (b'{"path": "/a", "text": 1}', expected), (b'{"path": null, "text": "a"}', expected),
        (b'{"path": "/a", "text": "a", "more": 1}', expected),
        (b'{"directory": "/a/", "text": "a"}', expected),
        (b'{"path": "", "text": "a"}', '"path": '), (b'{"path": "a", "text": "a"}', '"path": '),
        (b'{"path": "/a/", "text": "a"}', '"path": '), (b'{"path": "/../a", "text": "a"}', '"path": '),
        (b'{"path": "/a b", "text": "a"}', '"path": '), (b'{"path": "/a?q", "text": "a"}', '"path": '),
        (b'{"path": "/.sttp-a", "text": "a"}', '"path": '),
        (b'{"path": "/a\\n", "text": "a"}', '"path": '),
        (b'{"path": "/' + b"x" * 33 + b'", "text": "a"}', '"path": .*32'),
        (b'{"path": "' + b"/x" * 513 + b'", "text": "a"}', '"path": .*1,?024'),
        (b'{"path": "/' + b"x" * 256 + b'/a", "text": "a"}', '"path": .*255'),
        (b'{"path": "/a", "text": "a\\nb"}', '"text": '), (b'{"path": "/a", "text": "\\u009f"}', '"text": '),
        (b'{"path": "/a", "text": "' + b"x" * 161 + b'"}', '"text": .*160'),
        (b'{"directory": "/a"}', '"directory": .*ends with /'), (b'{"directory": ""}', '"directory": '),
        (b'{"directory": "//"}', '"directory": '), (b'{"directory": "/../"}', '"directory": '),
        (b"x" * 40000, "the line is too long"), (b" " * 1000000, "the line is too long"),
    ]
    data = b"".join(line + b"\n" + b'{"path": "/good/%d", "text": "t"}\n' % number
                    for number, (line, _) in enumerate(lines))
    with two_roots({}) as (_, target):
        run = import_lines(target, data)
        assert len(run.told) == len(lines) + 1, run.error
        for number, ((line, wanted), told) in enumerate(zip(lines, run.told)):
            start = f"sttpd-admin: stdin:{2 * number + 1}: "
            assert told.startswith(start), (line[:80], told)
            assert re.search(wanted, told.replace("\\\\", "\\")), (line[:80], told)
            assert "\x1b" not in told
        assert run.told[-1] == f"sttpd-admin: {len(lines)} lines were passed over"
        assert read_tree(target.root) == {b"good": {b"%d" % i: b"t" for i in range(len(lines))}}


def test_a_file_that_is_cut_off_is_told():
    with two_roots({}) as (_, target):
        run = import_lines(target, b'{"path": "/a", "text": "a"}\n{"path": "/b", "text": "b"}')
        assert "stdin:2: the last line is cut off" in run.told[0], run.error
        assert read_tree(target.root) == {b"a": b"a"}
        assert import_lines(target, b"\n\n", 0).told == []


def test_a_file_of_something_else_ends_the_import_soon():
    with two_roots({}) as (_, target):
        run = import_lines(target, b"x\n" * 100000)
        assert len(run.told) == 102 and "too many mistakes; stopped" in run.told[100], run.error


def test_two_lines_of_one_path():
    data = b"".join(b'{"path": "/a", "text": "%d"}\n' % i for i in range(500))
    with two_roots({}) as (_, target):
        run = import_lines(target, data)
        assert read_tree(target.root) == {b"a": b"0"}
        assert len(run.told) == 499 and run.told[0].startswith("sttpd-admin: stdin:2: /a: "), run.error
        import_lines(target, data, 0, "--overwrite")
        assert read_tree(target.root) == {b"a": b"499"}


def redirected(redirection, *arguments, status=1, **options):
    """A run of the shell, for streams that only it can close. Returns what was told."""
    done = subprocess.run(["/bin/sh", "-c", f'exec "$0" "$@" {redirection}', str(ADMIN), *arguments],
                          stderr=subprocess.PIPE, timeout=TIMEOUT, check=False,
                          **{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **options})
    told = done.stderr.decode()
    assert done.returncode == status, f"{redirection} {arguments}: {done.returncode}\n{told}"
    return told


def test_output_that_cannot_be_written_is_a_failure():
    """Nor does a file of a store get the number of the closed stream."""
    for tree in ({b"f": b"text"}, {b"f%d" % i: b"x" * 160 for i in range(1000)}):
        for kind in (Files, *{Sqlite} & set(DATABASES)):
            with two_roots(tree) as (files, other), temporary_directory() as directory:
                store = kind(directory / "middle")
                copy(files.place, store.place)
                commands = (["--help"], ["--version"], ["export", store.place],
                            ["check", store.place], ["import", store.place],
                            ["copy", "--from", store.place, "--to", other.place])
                for redirection, reason in ((">/dev/full", "No space left on device"),
                                            (">&-", "Bad file descriptor")):
                    for arguments in commands:
                        told = redirected(redirection, *arguments)
                        assert f"sttpd-admin: standard output: {reason}\n" in told, told
                for arguments in commands:
                    assert redirected("<&- >&- 2>&-", *arguments) == ""
                Run("check", store.place)
                assert read_tree(other.root) == tree


def test_input_that_cannot_be_read_is_a_failure():
    with two_roots({}) as (_, target):
        told = redirected("<&-", "import", target.place)
        assert "sttpd-admin: standard input: Bad file descriptor\n" in told, told


# -- check


def test_check_tells_of_all_that_is_wrong():
    tree = {b"long": b"x" * 161, b"good": b"text", b"with space": b"text", b"x" * 33: b"text",
            b"d": {b"what?": {b"in": b"text"}, b"\xff": b"text", b"\x1b[2J": b"text"}}
    with two_roots(tree) as (source, _):
        root = source.root
        (root / "link").symlink_to("/etc/passwd")
        os.mkfifo(root / "d" / "fifo")
        (root / ".sttp-left").mkdir()
        (root / ".sttp-left" / "file").touch()
        run = Run("check", source.place, status=1)
        assert "1 texts and 1 directories are good, 1 of them empty" in run.out, run.out
        assert "1 texts cannot be read, 7 more things are wrong\n" in run.out, run.out
        assert len(run.told) == 8, run.error
        for wanted in (r"/long: is not a valid short text", r"/with space: .*space", "/x{33}: .*32",
                       r"/d/what\?: ", r"/d/\\xff: .*UTF-8", r"/d/\\x1b\[2J: ", "/link: .*symbolic",
                       "/d/fifo: .*neither"):
            assert any(re.search(wanted, line) for line in run.told), (wanted, run.error)
        assert not (root / ".sttp-left").exists()


ROWS = [  # path, is a directory, text, what is told of it
    (b"/with space", False, "text", ["a path has no space"]), (b"/.sttp-left", False, "text", ["begin with .sttp-"]),
    (b"/" + b"x" * 33, False, "text", ["32"]), (b"/a//b", False, "text", ["two slashes", "is not there"]),
    (b"/d/..", True, None, ["has no . and no .."]), (b"/gone/file", False, "text", ["is not there"]),
    (b"/gone/too/far", True, None, ["is not there"]), (b"/none", False, None, ["has no text"]),
    (b"/both", True, "text", ["is a directory and has a text"]),
    (b"/good/file", False, "text", []), (b"/good", True, None, []), (b"/good/d", True, None, []),
    (b"/long", False, "x" * 161, ["is not a valid short text"]),
]


def put_row(database, path, is_directory, text):
    text = "NULL" if text is None else f"'{text}'"
    path = path.decode()
    parent, name = path[:path.rindex("/") + 1], path[path.rindex("/") + 1:]
    if isinstance(database, Sqlite):
        slash = "/" if is_directory else ""
        database.sql(f"INSERT INTO entry (path, text) VALUES ('{path}{slash}', {text})")
    else:
        database.sql("INSERT INTO sttp_entry (parent, name, directory, contents) "
                     f"VALUES ('{parent}', '{name}', {is_directory}, {text})")


def test_check_tells_of_rows_that_somebody_else_wrote():
    for kind in DATABASES:
        with temporary_directory() as directory:
            database = kind(directory / "middle")
            Run("import", database.place)
            assert Run("check", database.place).out.startswith("0 texts and 0 directories are good")
            for path, is_directory, text, _ in ROWS:
                put_row(database, path, is_directory, text)
            run = Run("check", database.place, status=1)
            for path, is_directory, _, wanted in ROWS:
                shown = path.decode() + ("/" if is_directory else "")
                told = [line for line in run.told if line.startswith(f"sttpd-admin: {shown}: ")]
                for words in wanted:
                    assert any(re.search(words, line) for line in told), (kind, path, words, run.error)
                assert len(told) >= len(wanted) and bool(told) == bool(wanted), (path, run.error)


def test_check_tells_of_a_name_with_a_slash():
    with temporary_directory() as directory:
        for kind in set(DATABASES) & {Postgres}:
            database = kind(directory / "middle")
            Run("check", database.place)
            database.sql("INSERT INTO sttp_entry (parent, name, directory, contents) VALUES "
                         "('/', 'd', true, NULL), ('/', 'd/a', false, 'text')")
            run = Run("check", database.place, status=1)
            assert run.told == ["sttpd-admin: /d/a: its name has a slash"], run.error


def test_check_tells_of_a_damaged_file():
    with temporary_directory() as directory:
        for kind in set(DATABASES) & {Sqlite}:
            database = kind(directory / "middle")
            lines = b"".join(b'{"path": "/f%d", "text": "text"}\n' % i for i in range(2000))
            Run("import", database.place, stdin=lines)
            # Their log is in the file once the last connection has closed. A path and its entry in
            # the index differ from now on.
            with open(database.file, "r+b") as file:
                data = file.read()
                at = data.rindex(b"/f1234")
                file.seek(at)
                file.write(b"/g1234")
            run = Run("check", database.place, status=1)
            assert any("database" in line for line in run.told), run.error


@contextlib.contextmanager
def indexed_database():
    """A database whose texts are all in its index for search."""
    texts = [f"text {i} of {i % 7}" for i in range(3000)] + ["", "ab", "\u00e4b", SMILE * 3, '"""']
    lines = [json.dumps({"path": f"/f{i}", "text": text}) for i, text in enumerate(texts)]
    with temporary_directory() as directory:
        database = Sqlite(directory / "middle")
        Run("import", database.place, stdin=("\n".join(lines) + "\n").encode())
        with Server("--storage-backend", "sqlite", "--storage-sqlite-path", database.file):
            wait_until(lambda: database.sql("SELECT indexed >= (SELECT max(id) FROM entry) "
                                            "FROM progress") == ["1"], what="the index")
        yield database


def test_check_tells_of_a_damaged_index():
    advice = "searches miss texts; sttpd-admin copy to a new database makes a new one"
    damages = {
        "UPDATE search_data SET block = zeroblob(length(block)) WHERE id > 10": "is damaged",
        "DELETE FROM search_data WHERE id > 10": "is damaged",
        "INSERT INTO search (search, rowid, text) SELECT 'delete', id, text FROM entry "
        "WHERE path IN ('/f7', '/f2000', '/f3003', '/f3004')": "lacks 4 texts",
    }
    for damage, wanted in damages.items() if Sqlite in DATABASES else ():
        with indexed_database() as database, temporary_directory() as directory:
            Run("check", database.place)
            database.sql(damage)
            run = Run("check", database.place, status=1)
            assert run.told == [f"sttpd-admin: the index for search: {wanted}: {advice}"], run.error
            assert "0 texts cannot be read, 1 more things are wrong\n" in run.out, run.out
            copied = Sqlite(directory / "copy")
            copy(database.place, copied.place)
            assert Run("check", copied.place).digest == run.digest


def test_progress_is_told_to_a_terminal():
    import pty
    tree = large_tree(5, 400)
    with two_roots(tree) as (source, _):
        main, terminal = pty.openpty()
        process = subprocess.Popen([str(ADMIN), "check", source.place], stdout=subprocess.DEVNULL,
                                   stderr=terminal, close_fds=True)
        os.close(terminal)
        told = b""
        with contextlib.suppress(OSError):
            while data := os.read(main, 4096):
                told += data
        os.close(main)
        assert process.wait(TIMEOUT) == 0
        assert not told or re.search(rb"checked \d+, \d+ a second\r\x1b\[K$", told), told


if __name__ == "__main__":
    with CLEANUP:
        STATUS = run_tests(globals())
    sys.exit(STATUS)
