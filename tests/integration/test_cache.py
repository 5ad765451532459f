"""The cache of sttpd: what it answers, when it asks the storage, what the settings mean."""

import contextlib
import sys
import threading

from faults import Faults
from harness import MEMORY, Server, connect, lines_of, read_line, run_tests, temporary_directory, \
    wait_until

PIPELINED = 64  # max_in_flight of a connection


def behind_its_back(server, path, text):
    (server.docroot / path).write_text(text, encoding="utf-8")


def shown(server, path):
    return lines_of(server, b"SHOW " + path)[-1]


# -- what it answers


def test_what_was_shown_is_cached():
    """SHOW, LIST, and that nothing is there; until a change of it, by whichever connection."""
    with Server() as server:
        (server.docroot / "d").mkdir()
        behind_its_back(server, "d/a", "old")
        assert shown(server, b"/d/a") == b"old"
        assert lines_of(server, b"LIST /d")[1] == b"a"
        assert lines_of(server, b"SHOW /d/b", b"SHOW /e/b") == [b"400 /d/b NOT FOUND",
                                                              b"410 /e/ PATH NOT FOUND"]
        behind_its_back(server, "d/a", "new")
        behind_its_back(server, "d/b", "new")
        (server.docroot / "e").mkdir()
        assert shown(server, b"/d/a") == b"old"
        assert lines_of(server, b"LIST /d")[1] == b"a"
        assert lines_of(server, b"SHOW /d/b", b"SHOW /e/b") == [b"400 /d/b NOT FOUND",
                                                              b"410 /e/ PATH NOT FOUND"]
        assert lines_of(server, b"LIST /d?limit=9")[1] == b"a, b"
        lines_of(server, b"UPDATE /d/a newer", b"CREATE /d/c x", b"DELETE /d/c", b"UPDATE /d/b x")
        assert shown(server, b"/d/a") == b"newer"
        assert lines_of(server, b"LIST /d")[1] == b"a, b"
        assert shown(server, b"/d/b") == b"x"


def check_not_cached(*arguments, warning=None):
    with Server(*arguments) as server:
        for text in ("one", "two"):
            behind_its_back(server, "a", text)
            assert shown(server, b"/a") == text.encode()
        if warning is None:
            assert " warning " not in server.text(), server.text()
        else:
            server.wait_log(" warning " + warning)


def test_it_can_be_turned_off():
    check_not_cached("--cache-enabled", "false")
    check_not_cached("--cache-max-files", "0")


def test_an_expiration_that_keeps_nothing_is_told():
    check_not_cached("--cache-expiration", "0", warning="cache.expiration is 0: nothing is kept")


def test_a_size_that_keeps_little_is_told():
    with Server("--cache-max-size", "1KiB") as server:
        server.wait_log(" warning cache.max_size is 1024 bytes: answers over 64 bytes are not kept")
        behind_its_back(server, "short", "old")
        behind_its_back(server, "long", "old" + 64 * "-")
        lines_of(server, b"SHOW /short", b"SHOW /long")
        behind_its_back(server, "short", "new")
        behind_its_back(server, "long", "new")
        assert shown(server, b"/short") == b"old"
        assert shown(server, b"/long") == b"new"


def test_what_is_old_is_not_given():
    with Server("--cache-expiration", "400ms") as server:
        behind_its_back(server, "a", "old")
        assert shown(server, b"/a") == b"old"
        behind_its_back(server, "a", "new")
        wait_until(lambda: shown(server, b"/a") == b"new", what="the new text")


# -- the storage


@contextlib.contextmanager
def slow_server(call, seconds, *arguments):
    """A server whose store needs a thread and so long for each such call."""
    with temporary_directory(MEMORY) as docroot, Faults() as faults, \
            Server(*arguments, docroot=docroot, program=faults.PROGRAM, env=faults.env) as server:
        faults.delay(call, seconds)
        yield server, faults


def test_10000_requests_that_miss_at_once_ask_the_storage_once():
    with slow_server("read", 1.0) as (server, faults), contextlib.ExitStack() as stack:
        behind_its_back(server, "a", "text")
        connections = [stack.enter_context(connect(server.address)) for _ in range(160)]
        faults.count_from_zero("openat2")
        for connection in connections:
            connection.sendall(b"SHOW /a\n" * PIPELINED)
        for connection in connections:
            for _ in range(PIPELINED):
                assert read_line(connection) == b"200 /a OK\n"
                assert read_line(connection) == b"text\n"
        assert faults.calls("openat2") == 1, faults.calls("openat2")


def test_what_was_read_before_a_change_is_not_kept():
    """A LIST has read the directory when a file comes into it, and answers afterwards."""
    with slow_server("readdir", 0.2) as (server, faults):
        (server.docroot / "d").mkdir()
        for number in range(3):
            behind_its_back(server, f"d/{number}", "x")
        faults.count_from_zero("readdir")
        answers = []
        listing = threading.Thread(target=lambda: answers.append(lines_of(server, b"LIST /d")))
        listing.start()
        # The first of these calls has read all of the directory.
        wait_until(lambda: faults.calls("readdir") > 1, what="a directory that was read")
        assert lines_of(server, b"CREATE /d/new x") == [b"100 /d/new CREATED"]
        assert not answers, "the listing was too fast"
        listing.join()
        assert answers[0][0] == b"200 /d OK", answers
        faults.delay("readdir", 0)
        assert b"new" in lines_of(server, b"LIST /d")[1]


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
