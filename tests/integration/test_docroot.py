"""The document root: plain files that last, and what people have put into it by hand
(docs/protocol.md, section 5)."""

import contextlib
import os
import re
import sys
import time

from harness import UNPRIVILEGED, Server, connect, lines_of, names_of, read_line, run_tests, \
    status_of, temporary_directory

EMOJI = "\U0001f600"
INVALID = b'SERVER ERROR "stored file is not a valid short text"'


def visible(docroot):
    """Every file below the document root, but the server's own, with its text."""
    return {str(path.relative_to(docroot)): path.read_bytes().removesuffix(b"\n").decode()
            for path in docroot.rglob("*")
            if path.is_file() and not path.name.startswith(".sttp-")}


def test_store_is_plain_files():
    with temporary_directory() as docroot:
        with Server(docroot=docroot) as server:
            server.exchange(b"CREATE /notes/a.txt Buy milk\nCREATE /notes/old/b \"\"\n")
            assert visible(docroot) == {"notes/a.txt": "Buy milk", "notes/old/b": ""}
            server.exchange(b"UPDATE /notes/a.txt \"\xc3\x89t\xc3\xa9\"\nDELETE /notes/old/b\n")
            assert visible(docroot) == {"notes/a.txt": "Été"}
            assert (docroot / "notes/old").is_dir()
        with Server(docroot=docroot) as server:
            assert server.exchange(b"SHOW /notes/a.txt\nLIST /notes?recursive=1\n") == \
                "200 /notes/a.txt OK\nÉté\n200 /notes OK\na.txt, old/\n".encode()


def test_survives_a_kill():
    """What was acknowledged is there after a SIGKILL, and nothing else is."""
    with temporary_directory() as docroot:
        server = Server(docroot=docroot)
        with contextlib.suppress(AssertionError), server:
            with connect(server.address) as connection:
                connection.sendall(b"".join(b"CREATE /k/%d text-%d\n" % (i, i)
                                            for i in range(400)))
                answers = [read_line(connection) for _ in range(60)]
                server.kill()
        assert answers == [b"100 /k/%d CREATED\n" % i for i in range(60)]
        files = visible(docroot)
        assert all(files.get(f"k/{i}") == f"text-{i}" for i in range(60))
        assert all(text == f"text-{name.split('/')[1]}" for name, text in files.items()), files
        with Server(docroot=docroot) as again:
            assert len(names_of(again, b"LIST /k")) == len(files)
            assert again.exchange(b"SHOW /k/59\n") == b"200 /k/59 OK\ntext-59\n"


# -- section 5: put there by hand


def test_texts_put_by_hand():
    valid = {"plain": b"Buy milk", "final-lf": b"Buy milk\n", "empty": b"", "only-lf": b"\n",
             "tab": b"one\ttwo", "longest": b"x" * 160, "longest-lf": b"x" * 160 + b"\n",
             "emoji": (EMOJI * 160).encode() + b"\n", "quotes": b'"x"'}
    invalid = {"two-lines": b"a\nb", "two-lf": b"a\n\n", "crlf": b"a\r\n", "nul": b"a\0b",
               "escape": b"\x1b[31m", "c1": b"\xc2\x9b", "delete": b"\x7f", "latin1": b"\xe9",
               "cut": b"\xf0\x9f\x98", "surrogate": b"\xed\xa0\x80", "161": b"x" * 161,
               "161-emoji": (EMOJI * 161).encode(), "huge": b"x" * (8 << 20), "bom": b"\xff\xfe"}
    with Server() as server:
        for name, data in {**valid, **invalid}.items():
            (server.docroot / name).write_bytes(data)
        for name, data in valid.items():
            text = data.removesuffix(b"\n")
            assert server.exchange(b"SHOW /%s\n" % name.encode()) == \
                b"200 /%s OK\n%s\n" % (name.encode(), text), name
        for name in invalid:
            path = b"/" + name.encode()
            assert lines_of(server, b"SHOW " + path) == [b"500 " + path + b" " + INVALID], name
        listed = names_of(server, b"LIST /")
        assert listed == sorted(name.encode() for name in {**valid, **invalid})
        assert names_of(server, b"LIST /?q=") == sorted(name.encode() for name in valid)
        assert names_of(server, b"LIST /?q=BUY") == [b"final-lf", b"plain"]
        for name in list(invalid)[::2]:
            path = b"/" + name.encode()
            assert lines_of(server, b"UPDATE %s ok" % path, b"SHOW " + path) == \
                [b"200 %s OK" % path, b"ok"] * 2
        for name in list(invalid)[1::2]:
            path = b"/" + name.encode()
            assert lines_of(server, b"DELETE " + path, b"SHOW " + path) == \
                [b"600 %s DELETED" % path, b"400 %s NOT FOUND" % path]


def test_names_put_by_hand():
    bad = [b"with space", b"what?", b"n" * 33, "ж".encode() * 33, b"\xff\xfe", b"a\tb", b"a\nb",
           b"a\x7f", b"a\xc2\x85", b".sttp-old", b"cut\xf0\x9f", b" "]
    good = [b"a", b"n" * 32, "ж".encode() * 32, b"a,b", b"%41", b"*", b"\"q\"", b".hidden"]
    with Server() as server:
        root = os.fsencode(server.docroot)
        for name in bad + good:
            with open(os.path.join(root, name), "wb") as file:
                file.write(b"x")
        for name in (b"bad dir", b"bad\xff", b"d" * 200, b"sub"):
            os.mkdir(os.path.join(root, name))
            with open(os.path.join(root, name, b"in"), "wb") as file:
                file.write(b"x")
        directories = [b"d" * 200 + b"/", b"sub/"]
        below = [b"d" * 200 + b"/in", b"sub/in"]
        assert names_of(server, b"LIST /") == sorted(good + directories)
        assert names_of(server, b"LIST /?recursive=1") == sorted(good + directories + below)
        assert names_of(server, b"LIST /?recursive=1&q=X") == sorted(good + below)
        for name in good:
            assert lines_of(server, b"SHOW /" + name)[1] == b"x", name
        with open(os.path.join(root, b"sub", b"not listed"), "wb"):
            pass
        assert status_of(server, b"DELETE /sub/in") == (600, b"/sub/in")
        assert names_of(server, b"LIST /sub") == []
        assert status_of(server, b"DELETE /sub/") == (300, b"/sub/")


def test_paths_that_no_request_can_name():
    """Made by hand, so deep that the last file's path has 1,026 bytes."""
    parts = [letter * 255 for letter in "abcd"]
    with Server() as server:
        here = os.getcwd()
        try:
            os.chdir(server.docroot)
            for part in parts:
                os.mkdir(part)
                os.chdir(part)
            open("x", "wb").close()
        finally:
            os.chdir(here)
        listed = names_of(server, b"LIST /?recursive=1&type=file")
        assert listed == [], listed
        listed = names_of(server, b"LIST /" + "/".join(parts[:3]).encode())
        assert listed == [b"d" * 255 + b"/"], listed


def test_many_names():
    """20,000 names in one answer; more than 16 MiB of them are too many."""
    deep = "/".join(letter * 255 for letter in "abc")
    names = sorted(f"{number:05}" + EMOJI * 27 for number in range(20000))
    with Server() as server:
        folder = server.docroot / deep
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).touch()
        path = b"/" + deep.encode()
        expected = [name.encode() for name in names]
        assert names_of(server, b"LIST " + path) == expected
        answer, = lines_of(server, b"LIST /?recursive=1")
        assert answer == b'300 / CLIENT ERROR "too many names; use limit and after"'
        full = [deep.encode() + b"/" + name for name in expected]
        page = names_of(server, b"LIST /?recursive=1&type=file&limit=10000")
        assert page == full[:10000]
        page = names_of(server, b"LIST /?recursive=1&limit=3&after=" + page[-1])
        assert page == full[10000:10003]


# -- rights in the store, and what is logged of them


def test_storage_failures_are_told_and_logged():
    with Server(**UNPRIVILEGED) as server:
        server.exchange(b"CREATE /open/file x\nCREATE /closed/file x\nCREATE /hidden/file x\n")
        (server.docroot / "open" / "file").chmod(0)
        (server.docroot / "closed").chmod(0o555)
        (server.docroot / "hidden").chmod(0)
        expected = [(b"SHOW /open/file", 500, b"/open/file"),
                    (b"UPDATE /closed/file y", 500, b"/closed/file"),
                    (b"DELETE /closed/file", 500, b"/closed/file"),
                    (b"CREATE /closed/new y", 500, b"/closed/new"),
                    (b"CREATE /closed/new/new y", 510, b"/closed/new/"),
                    (b"LIST /hidden", 500, b"/hidden"),
                    (b"SHOW /hidden/file", 500, b"/hidden/file")]
        for request, code, echo in expected:
            answer, = lines_of(server, request)
            assert answer.startswith(b"%d %s " % (code, echo)), (request, answer)
            assert code != 500 or re.search(rb'"[^"]*(?i:permission|denied)[^"]*"$', answer), answer
            assert str(server.docroot).encode() not in answer
            line = server.wait_log(rf"(warning|error) .*{re.escape(request.split()[1].decode())}")
            assert re.search(r"(?i)permission denied", line), line
        assert server.exchange(b"SHOW /closed/file\n") == b"200 /closed/file OK\nx\n"


def test_failures_do_not_fill_the_log():
    """The first ones of each second are logged, the others counted."""
    with Server() as server:
        (server.docroot / "bad").write_bytes(b"\xff")
        started = time.monotonic()
        server.exchange(b"SHOW /bad\n" * 2000)
        while "more failures were not logged" not in server.text():
            assert time.monotonic() - started < 30
            server.exchange(b"SHOW /bad\n")
        logged = server.text().count(" SHOW /bad failed ")
        assert 10 <= logged <= 10 * (time.monotonic() - started + 2), logged


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
