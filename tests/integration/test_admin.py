"""sttpd-admin copy: texts that move between stores, what is told where something is wrong, and kills
in the middle; and how stores are named. STTP_SEED repeats a run's choices."""

import json
import os
import pathlib
import random
import re
import sqlite3
import subprocess
import sys

from admin_support import (ADMIN, CLEANUP, DATABASES, TIMEOUT, Files, Postgres, Run, Sqlite, copy,
                           everything, large_tree, paths_of, read_tree, two_roots, with_fault)
from harness import FULL, MEMORY, SANITIZED, SEED, Server, run_tests, temporary_directory, wait_until

MANUAL = pathlib.Path(__file__).parents[2] / "docs" / "sttpd-admin.1.scd"


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


if __name__ == "__main__":
    with CLEANUP:
        STATUS = run_tests(globals())
    sys.exit(STATUS)
