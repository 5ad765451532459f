"""The cache of sttpd: what it answers, when it asks the storage, what the settings mean."""

import collections
import contextlib
import errno
import itertools
import sys
import threading
import time

from faults import Faults
from harness import MEMORY, Server, connect, lines_of, run_tests, temporary_directory, \
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
    """At the very moment when it is as old as it may be, whatever part of a step of the server's
    clock is over by then."""
    with Server("--cache-expiration", "400ms") as server:
        for number in range(4):
            path = f"a{number}"
            behind_its_back(server, path, "old")
            assert shown(server, b"/" + path.encode()) == b"old"
            over = time.monotonic() + 0.4
            behind_its_back(server, path, "new")
            time.sleep(over - time.monotonic())
            assert shown(server, b"/" + path.encode()) == b"new", number


# -- the storage


def read_texts(connection, count):
    """The answers to as many SHOWs of /a, the last of the connection: the text, or the status line
    where there is none."""
    with connection.makefile("rb") as file:
        statuses = (file.readline() for _ in range(count))
        return [file.readline() if status == b"200 /a OK\n" else status for status in statuses]


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
            assert read_texts(connection, PIPELINED) == PIPELINED * [b"text\n"]
        assert faults.calls("openat2") == 1, faults.calls("openat2")


BUSY = b'500 /a SERVER ERROR "server busy"\n'


def show_during_an_update(*arguments):
    """What 160 connections are shown while an UPDATE waits for the disk, visible already; what is
    shown to others when it is answered; and how often the storage was asked."""
    later = []

    def update():
        assert lines_of(server, b"UPDATE /a new") == [b"200 /a OK", b"new"]
        for _ in range(10):
            with connect(server.address) as connection:
                connection.sendall(b"SHOW /a\n")
                later.extend(read_texts(connection, 1))

    with slow_server("fsync", 1.0, *arguments) as (server, faults), \
            contextlib.ExitStack() as stack:
        behind_its_back(server, "a", "old")
        assert shown(server, b"/a") == b"old"
        connections = [stack.enter_context(connect(server.address)) for _ in range(160)]
        faults.count_from_zero("fsync")
        updating = threading.Thread(target=update)
        updating.start()
        wait_until(lambda: faults.calls("fsync") == 2, what="the sync of the directory")
        for call in ("openat2", "openat2_cached"):
            faults.count_from_zero(call)
        for connection in connections:
            connection.sendall(b"SHOW /a\n" * PIPELINED)
        assert not later, "the update was too fast"
        texts = {text for connection in connections for text in read_texts(connection, PIPELINED)}
        updating.join()
        return texts, later, faults.calls("openat2") + faults.calls("openat2_cached")


def test_many_that_ask_during_an_update_ask_the_storage_once():
    texts, later, asked = show_during_an_update()
    assert texts <= {b"old\n", b"new\n"}, texts
    assert later == 10 * [b"new\n"], later
    assert asked <= 4, asked


def test_many_that_ask_during_an_update_without_a_cache():
    texts, later, _ = show_during_an_update("--cache-enabled", "false")
    assert texts <= {b"old\n", b"new\n", BUSY}, texts
    assert len(later) == 10 and set(later) <= {b"new\n", BUSY}, later


# What is in a new directory, and a change of it.
CHANGES = (b"UPDATE {}/f new", b"CREATE {}/n new", b"CREATE {}/x/y/n new", b"DELETE {}/f",
           b"DELETE {}/e/")
# What is asked before and after the change: together they are all that any of them changes.
QUESTIONS = (b"SHOW {}/f", b"SHOW {}/n", b"SHOW {}/x", b"SHOW {}/x/n", b"SHOW {}/x/y/n",
             b"SHOW {}/e/n", b"LIST {}", b"LIST {}/", b"LIST {}/e", b"LIST {}/e/", b"LIST {}/x",
             b"LIST {}/x/y")
# Calls that make a change visible or durable. The first fsyncs are of what is not visible yet.
FAILURES = [(call, first, after) for call, count in
            (("fsync", 5), ("renameat", 1), ("renameat2", 1), ("unlinkat", 1))
            for first in range(1, count + 1) for after in (False, True)]


def truth(docroot, question):
    """The answer, by what is on the disk; None where it says more than the test wants to know."""
    action, path = question.decode().split(" ")
    target = docroot / path.strip("/")
    if not target.parent.is_dir():
        return [f"410 {path.rstrip('/').rpartition('/')[0]}/ PATH NOT FOUND".encode()]
    if not target.exists():
        return [f"400 {path} NOT FOUND".encode()]
    if target.is_dir() != (action == "LIST"):
        return None
    text = target.read_text(encoding="utf-8") if action == "SHOW" else ", ".join(
        sorted(entry.name + "/" * entry.is_dir() for entry in target.iterdir()))
    return [f"200 {path} OK".encode(), text.encode()]


def ask_all(server, name):
    """Asks the questions and checks the answers against the disk."""
    questions = [question.replace(b"{}", name) for question in QUESTIONS]
    lines = iter(lines_of(server, *questions))
    for question in questions:
        status = next(lines)
        got = [status, next(lines)] if status.startswith(b"200 ") else [status]
        expected = truth(server.docroot, question)
        assert got == expected or expected is None and status.startswith(b"300 "), \
            (question, got, expected)


def change_and_fail(server, faults, number, request, failure):
    """A change of what is cached. Its answer; None where it has nothing that could fail so."""
    call, first, after = failure
    name = f"/t{number}".encode()
    directory = server.docroot / name.decode()[1:]
    (directory / "e").mkdir(parents=True)
    (directory / "f").write_text("old", encoding="utf-8")
    ask_all(server, name)
    for counted in ("openat2", "openat2_cached"):
        faults.count_from_zero(counted)
    ask_all(server, name)
    assert faults.calls("openat2") + faults.calls("openat2_cached") == 0, "it is not cached"
    with faults.armed(call, errno.EIO, first=first, after=after):
        answer = lines_of(server, request.replace(b"{}", name))[0]
        has_failed = faults.hits(call) > 0
    ask_all(server, name)
    return answer if has_failed else None


def test_a_change_that_fails_leaves_nothing_untrue():
    """Nor one of which nobody knows whether it has failed: what is asked again is what is on the
    disk."""
    outcomes = collections.Counter()
    with temporary_directory(MEMORY) as docroot, Faults() as faults, \
            Server("--cache-max-files", "10000", docroot=docroot, program=faults.PROGRAM,
                   env=faults.env) as server:
        for number, (request, failure) in enumerate(itertools.product(CHANGES, FAILURES)):
            answer = change_and_fail(server, faults, number, request, failure)
            if answer is None:
                continue
            assert answer.startswith(b"500 ") or failure[0] == "unlinkat", (request, answer)
            outcomes[request, b"outcome unknown" in answer] += 1
    for request in CHANGES:
        assert outcomes[request, True] > 0, (request, outcomes)
    for request in CHANGES[:3]:
        assert outcomes[request, False] > 0, (request, outcomes)


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
