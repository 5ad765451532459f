"""kill -9 under load, then a new server on the same store: all that was acknowledged is there,
whole, and nothing else. STTP_SEED repeats a run's choices."""

import contextlib
import random
import sys
import threading
import time

from disk_model import has_leftovers, read_tree, view_of
from harness import (FULL, IO_TIMEOUT, SEED, STOP_DEADLINE, STORE, Server, connect, of_files,
                     run_tests, temporary_directory)
from history import DIRECTORY, History, faults, served_view
from syscalls import Traced

KILLS = 60 if FULL else 8
WRITERS = 16


class Writer(threading.Thread):
    """Sends random requests until its connection ends, some at a time, and notes each of them with
    its answer: (line, answer or None, asked, ended)."""

    def __init__(self, server, number, round_, rng, acknowledged):
        super().__init__(daemon=True)
        self.server, self.number, self.round, self.rng = server, number, round_, rng
        self.acknowledged = acknowledged
        self.sent = 0
        self.notes = []

    def _request(self):
        self.sent += 1
        own = b"/own%d" % self.number
        path = self.rng.choice([
            b"/shared%d" % self.rng.randrange(4), own, b"/d%d/%d" % (self.number % 3, self.number),
            b"/new%d/%d/file" % (self.round, self.rng.randrange(9)), own + b"/",
            b"%s.d/%d/%d/file" % (own, self.round, self.sent)])
        text = b'"%d.%d.%d%s"' % (self.round, self.number, self.sent, b"x" * self.sent)[:140]
        if path.endswith(b"/"):
            return b"DELETE /new%d/%d/" % (self.round, self.rng.randrange(9))
        action = self.rng.choice([b"CREATE", b"CREATE", b"UPDATE", b"UPDATE", b"DELETE", b"SHOW"])
        return b" ".join([action, path] + ([text] if action in (b"CREATE", b"UPDATE") else []))

    def _exchange(self, connection, answers):
        requests = [self._request() for _ in range(self.rng.randint(1, 4))]
        asked = time.monotonic_ns()
        received = []
        try:
            connection.sendall(b"".join(request + b"\n" for request in requests))
            for _ in requests:
                status = answers.readline()
                contents = answers.readline() if status.startswith(b"200 ") else b"\n"
                if not (status.endswith(b"\n") and contents.endswith(b"\n")):
                    raise ConnectionError
                received.append(((status[:-1], contents[:-1]), time.monotonic_ns()))
                self.acknowledged.release()
        finally:
            received += [(None, time.monotonic_ns())] * (len(requests) - len(received))
            self.notes += [(request, answer, asked, ended)
                           for request, (answer, ended) in zip(requests, received)]

    def run(self):
        with contextlib.suppress(ConnectionError), connect(self.server.address) as connection, \
                connection.makefile("rb") as answers:
            while True:
                self._exchange(connection, answers)


def kill_under_load(server, round_, rng, history):
    """Returns how much was answered, and how much was not."""
    acknowledged = threading.Semaphore(0)
    writers = [Writer(server, number, round_, random.Random(rng.random()), acknowledged)
               for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    for _ in range(rng.randrange(1, 400)):
        assert acknowledged.acquire(timeout=IO_TIMEOUT)
    server.process.kill()
    for writer in writers:
        writer.join()
        for note in writer.notes:
            history.add(*note)
    server.wait(STOP_DEADLINE)
    notes = [note for writer in writers for note in writer.notes]
    return sum(bool(note[1]) for note in notes), sum(not note[1] for note in notes)


def test_kill_under_load_loses_nothing_acknowledged_and_leaves_nothing_else():
    rng = random.Random(SEED)
    history, view = History(), {}
    answered = unanswered = leftovers = 0
    with temporary_directory() as docroot:
        for round_ in range(KILLS):
            history.start_from(view)
            with Server(docroot=docroot, stop_status=-9) as server:
                some, others = kill_under_load(server, round_, rng, history)
            answered, unanswered = answered + some, unanswered + others
            leftovers += STORE == "fs" and has_leftovers(read_tree(docroot))
            with Server(docroot=docroot) as server:
                if STORE == "fs":
                    tree = read_tree(docroot)
                view = served_view(server)
                server.stop()
            if STORE == "fs":
                assert not has_leftovers(tree), f"seed {SEED}, kill {round_}"
                assert view == view_of(tree), f"seed {SEED}, kill {round_}"
            found = faults(view, history.rules())
            assert not found, f"seed {SEED}, kill {round_}: " + "\n".join(found)
    print(f"{KILLS} kills, {answered} answered, {unanswered} not, {len(view)} names at the end; "
          f"{leftovers} kills had left something unfinished")
    assert unanswered > 0 and (leftovers > 0 or STORE != "fs")


@of_files
def test_what_a_crash_leaves_is_gone_at_the_next_start():
    """A kill at each sync of a CREATE with two new directories, and of an UPDATE."""
    for request, syncs in ((b"CREATE /keep/d/e/f new", 3), (b"UPDATE /keep/old new", 1)):
        for number in range(1, syncs + 1):
            with temporary_directory() as directory:
                docroot = directory / "files"
                (docroot / "keep").mkdir(parents=True)
                (docroot / "keep" / "old").write_text("old")
                kill = f"fsync:signal=KILL:when={number}"
                with Traced(directory / "trace", docroot=docroot, inject=[kill],
                            stop_status=-9) as server:
                    with contextlib.suppress(ConnectionError):
                        assert server.exchange(request + b"\n", half_close=False) == b""
                    server.wait(STOP_DEADLINE)
                assert has_leftovers(read_tree(docroot)), (request, number)
                with Server(docroot=docroot) as server:
                    assert read_tree(docroot) == {b"keep": {b"old": b"old"}}, (request, number)
                    listed = server.exchange(b"LIST /?recursive=1\n")
                    assert listed == b"200 / OK\nkeep/, keep/old\n", (request, number)
                    assert " warning " not in server.text()


def test_the_judge_finds_what_is_lost_stale_torn_or_never_asked_for():
    history = History()
    done = (b"100 /a CREATED", b"")
    history.add(b'CREATE /a "one"', done, 1, 2)
    history.add(b'UPDATE /a "two"', (b"200 /a OK", b"two"), 3, 4)
    history.add(b'UPDATE /a "three"', None, 5, 6)
    history.add(b'CREATE /d/b "four"', done, 1, 2)
    history.add(b"DELETE /d/b", (b"600 /d/b DELETED", b""), 3, 4)
    history.add(b'CREATE /refused "five"', (b"300 /refused CLIENT ERROR", b""), 1, 2)
    history.add(b'UPDATE /e/f "seven"', None, 1, 2)
    history.add(b"SHOW /e/f", (b"200 /e/f OK", b"seven"), 3, 4)
    good = {b"/a": b"two", b"/d/": DIRECTORY, b"/e/f": b"seven"}
    assert faults(good, history.rules()) == []
    assert faults({**good, b"/a": b"three"}, history.rules()) == []
    for path, value in ((b"/a", b"one"), (b"/a", None), (b"/a", b"tw"), (b"/d/b", b"four"),
                        (b"/d/", None), (b"/refused", b"five"), (b"/other/", DIRECTORY),
                        (b"/e/f", None)):
        bad = {**good, path: value}
        bad = {path: value for path, value in bad.items() if value is not None}
        assert len(faults(bad, history.rules())) == 1, (path, value)


def test_the_judge_finds_what_comes_back_after_a_listing_without_it():
    done = (b"100 /a CREATED", b"")
    for listing, path, lacks in (
            (b"LIST /d", b"/d/a", True), (b"LIST /d/", b"/d/a", True), (b"LIST /", b"/d/a", False),
            (b"LIST /?recursive=1", b"/d/a", True), (b"LIST /d?name=b*", b"/d/a", False),
            (b"LIST /e", b"/d/a", False), (b"LIST /", b"/d/", True)):
        history = History()
        history.add(b'CREATE /d/a "one"', done, 1, 2)
        # The listing came before the answer to what it has seen.
        history.add(b"DELETE " + path, None, 3, 9)
        history.add(listing, (b"200 / OK", b"b"), 4, 5)
        before, = history.allowed(path, 2.5)
        expected = {None} if lacks else {None, before}
        assert history.allowed(path, 6) == expected, (listing, history.allowed(path, 6))
    history = History()
    history.add(b'CREATE /a "one"', done, 1, 2)
    history.add(b'UPDATE /a "two"', None, 3, 9)
    history.add(b"LIST /", (b"200 / OK", b""), 4, 5)
    assert history.allowed(b"/a") == {b"one", b"two"}, "a file may be missed while it is replaced"


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
