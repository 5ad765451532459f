"""sttpd-admin export and import, which are lines of JSON, and check; and output that nobody takes.
STTP_SEED repeats a run's choices."""

import contextlib
import json
import os
import random
import re
import subprocess
import sys

from admin_support import (ADMIN, CLEANUP, DATABASES, SMILE, TIMEOUT, Files, Postgres, Run, Sqlite,
                           copy, everything, large_tree, paths_of, read_tree, two_roots)
from harness import SEED, Server, run_tests, temporary_directory, wait_until


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
