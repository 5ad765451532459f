"""sttpd with its texts in an SQLite database: what it refuses to start with, and that the database
is what other programs may read while it runs."""

import os
import sqlite3
import sys

from harness import Server, StartFailure, run_tests, temporary_directory


def arguments(path):
    return "--storage-backend", "sqlite", "--storage-sqlite-path", path


def refusal_of(path):
    """The one line in which the server says why it does not start."""
    try:
        with Server(*arguments(path)):
            raise AssertionError("the server started")
    except StartFailure as failure:
        assert failure.status not in (None, 0), failure
        lines = [line for line in failure.stderr.splitlines() if " error " in line]
        assert len(lines) == 1, failure.stderr
        return lines[0]


def test_refused():
    with temporary_directory() as directory:
        path = directory / "sttp.db"
        assert "create the directory" in refusal_of(directory / "none" / "sttp.db")
        path.write_text("a file of somebody, and no database\n" * 10)
        assert "is no SQLite database" in refusal_of(path)
        assert path.read_text().startswith("a file of somebody")
        path.unlink()
        with sqlite3.connect(path) as theirs:
            theirs.execute("CREATE TABLE theirs (a)")
        theirs.close()
        assert "of another program" in refusal_of(path)


def test_newer_and_damaged():
    with temporary_directory() as directory:
        path = directory / "sttp.db"
        with Server(*arguments(path)) as server:
            server.exchange(b"".join(b"CREATE /d/%d text\n" % i for i in range(500)))
        whole = path.read_bytes()
        with sqlite3.connect(path) as newer:
            newer.execute("PRAGMA user_version = 99")
        newer.close()
        assert "is of version 99" in refusal_of(path)
        path.write_bytes(whole[:8192] + bytes(4096) + whole[12288:])
        assert "is damaged" in refusal_of(path)
        path.write_bytes(whole)
        with Server(*arguments(path)) as server:
            assert server.exchange(b"SHOW /d/7\n") == b"200 /d/7 OK\ntext\n"


def test_second_server():
    with temporary_directory() as directory:
        path = directory / "sttp.db"
        with Server(*arguments(path)) as server:
            assert "another server uses it" in refusal_of(path)
            assert server.exchange(b"CREATE /a x\n") == b"100 /a CREATED\n"
        with Server(*arguments(path)) as server:
            assert server.exchange(b"SHOW /a\n") == b"200 /a OK\nx\n"


def test_copied_while_it_runs():
    with temporary_directory() as directory:
        path, copy = directory / "sttp.db", directory / "copy.db"
        with Server(*arguments(path)) as server:
            server.exchange(b"CREATE /d/a one\nCREATE /d/b two\n")
            with sqlite3.connect(path) as source, sqlite3.connect(copy) as target:
                source.backup(target)
            source.close()
            target.close()
            assert server.exchange(b"UPDATE /d/a three\n") == b"200 /d/a OK\nthree\n"
        with Server(*arguments(copy)) as server:
            assert server.exchange(b"LIST /?recursive=1\nSHOW /d/a\n") == \
                b"200 / OK\nd/, d/a, d/b\n200 /d/a OK\none\n"
        assert sorted(os.listdir(directory)) == ["copy.db", "sttp.db"]


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
