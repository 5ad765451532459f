"""The threads that wait for storage: how many there are, what is refused when too much waits, and
a stop beside storage that does not come back."""

import collections
import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import termios
import time

from crowd import crowd
from faults import EVER, Faults
from harness import IO_TIMEOUT, MEMORY, NO_CACHE, Server, connect, lines_of, read_line, \
    receive_all, run_tests, temporary_directory, wait_until

# Storage that hangs.
FOR_EVER = 3600.0
# What the manual gives storage beyond stop_timeout.
GRACE = 1.0
# To start and to end processes on a machine that has much else to do.
SLACK = 3.0
BUSY = b'500 %s SERVER ERROR "server busy"\n'


@contextlib.contextmanager
def slow_server(seconds, *args):
    """Every sync takes so long: two of them for a change."""
    with temporary_directory(MEMORY) as docroot, Faults() as faults, \
            Server(*NO_CACHE, *args, docroot=docroot, program=Faults.PROGRAM,
                   env=faults.env) as server:
        faults.delay("fsync", seconds)
        yield server, faults


# Fields of /proc/PID/task/TID/stat, counted from the one behind the name.
NICE = 16
POLICY = 38


def stats_of_threads(server):
    """What the system tells of each thread for storage: the words behind its name."""
    stats = []
    tasks = f"/proc/{server.process.pid}/task"
    for task in os.listdir(tasks):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), \
                open(f"{tasks}/{task}/stat", encoding="ascii") as stat:
            name, _, words = stat.read().partition(" (")[2].rpartition(") ")
            if name == "store":
                stats.append(words.split())
    return stats


def threads_of(server):
    """How many threads for storage there are."""
    return len(stats_of_threads(server))


def send(stack, server, *requests):
    """Sends each request on a connection of its own, and waits for none of the answers."""
    connections = [stack.enter_context(connect(server.address)) for _ in requests]
    for connection, request in zip(connections, requests):
        connection.sendall(request + b"\n")
    return connections


def creates(count):
    return [b"CREATE /f%d x" % i for i in range(count)]


def answered(connections):
    return [i for i, connection in enumerate(connections)
            if select.select([connection], [], [], 0)[0]]


def created(i):
    return b"100 /f%d CREATED\n" % i


def test_threads_grow_with_what_waits():
    with slow_server(FOR_EVER, "--stop-timeout", "0s") as (server, faults), \
            contextlib.ExitStack() as stack:
        assert threads_of(server) == 0
        send(stack, server, b"CREATE /first x")
        wait_until(lambda: faults.calls("fsync") == 1, what="the first request under way")
        assert threads_of(server) == 1
        send(stack, server, *creates(99))
        wait_until(lambda: faults.calls("fsync") == 64, what="64 requests under way")
        assert threads_of(server) == 64


def test_threads_are_nicer_than_the_workers():
    """Those who only look do not wait behind many changes for a processor."""
    with slow_server(FOR_EVER, "--stop-timeout", "0s") as (server, faults), \
            contextlib.ExitStack() as stack:
        send(stack, server, *creates(64))
        wait_until(lambda: faults.calls("fsync") == 64, what="64 requests under way")
        nice = os.getpriority(os.PRIO_PROCESS, server.process.pid)
        assert {(int(words[NICE]), int(words[POLICY])) for words in stats_of_threads(server)} == \
            {(min(nice + 16, 19), os.SCHED_BATCH)}


def make_many_threads(server):
    answers, _ = crowd(server, creates(100), IO_TIMEOUT)
    assert answers == [created(i) for i in range(100)]
    assert threads_of(server) > 32


def test_threads_shrink():
    """To none where there is nothing to do. To about what is needed where requests go on to come:
    one after another needs one or two threads."""
    with slow_server(0.1) as (idle, _), slow_server(0.1) as (busy, faults):
        make_many_threads(idle)
        make_many_threads(busy)
        faults.delay("fsync", 0)
        with connect(busy.address) as connection:
            def is_small():
                connection.sendall(b"UPDATE /f1 y\n")
                assert read_line(connection) + read_line(connection) == b"200 /f1 OK\ny\n"
                return threads_of(busy) <= 8

            wait_until(is_small, 10 + IO_TIMEOUT, "few threads beside a little work")
        wait_until(lambda: threads_of(idle) == 0, 10 + IO_TIMEOUT, "no threads without work")
        for server in idle, busy:
            assert lines_of(server, b"CREATE /again x") == [b"100 /again CREATED"]


def test_what_is_over_the_queue_is_refused():
    """At once, since nothing here ever gets a thread; and the connection goes on."""
    small = ("--storage-threads", 2, "--storage-queue", 3, "--stop-timeout", "0s")
    with slow_server(FOR_EVER, *small) as (server, _), contextlib.ExitStack() as stack:
        connections = send(stack, server, *creates(20))
        wait_until(lambda: len(answered(connections)) == 15, what="15 answers")
        refused = [(i, connections[i]) for i in answered(connections)]
        for i, connection in refused:
            assert read_line(connection) == BUSY % b"/f%d" % i
        for i, connection in refused * 20:
            connection.sendall(b"UPDATE /f%d x\nLIST /\nshow /\n" % i)
            assert read_line(connection) == BUSY % b"/f%d" % i
            assert read_line(connection) == BUSY % b"/"
            assert read_line(connection).startswith(b"300 / ")
        assert threads_of(server) == 2
        assert not answered(connections)


def test_what_is_in_the_queue_is_done():
    with slow_server(0.1, "--storage-threads", 2, "--storage-queue", 3) as (server, _), \
            contextlib.ExitStack() as stack:
        connections = send(stack, server, *creates(20))
        answers = [read_line(connection) for connection in connections]
        refused = [i for i, answer in enumerate(answers) if answer == BUSY % b"/f%d" % i]
        assert len(refused) <= 15
        assert all(answers[i] == created(i) for i in range(20) if i not in refused), answers
        for i in refused[:3]:
            connections[i].sendall(b"CREATE /f%d x\n" % i)
            assert read_line(connections[i]) == created(i)


# -- the default queue

THREADS, QUEUE = 64, 4096


def is_received(connection):
    """Whether the server has read all that was sent; only a Unix socket tells that."""
    left = fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4))
    return struct.unpack("i", left)[0] == 0


def fill_queue(stack, server, faults):
    """One change for each thread and, 64 on a connection, as many SHOWs as may wait; then one more
    change at a time until one is refused. The connections of the three; None where storage went on
    before that."""
    changes = send(stack, server, *creates(THREADS))
    wait_until(lambda: faults.calls("fsync") >= THREADS, what="all threads hang")
    shows = send(stack, server, *[b"\n".join([b"SHOW /text"] * 64)] * (QUEUE // 64))
    wait_until(lambda: all(map(is_received, shows)), what="all is received")
    more = []
    # The first is, but where a thread has read a SHOW and not looked at it yet.
    while faults.calls("fsync") == THREADS and len(more) < 4:
        more += send(stack, server, b"CREATE /more%d x" % len(more))
        if select.select(more[-1:], [], [], 1)[0]:
            assert read_line(more[-1]) == BUSY % b"/more%d" % (len(more) - 1)
            return (changes, shows, more) if faults.calls("fsync") == THREADS else None
    assert faults.calls("fsync") > THREADS, "nothing is refused"
    return None


def held_default_queue(hold):
    """False where storage, which hangs for so long, went on too soon to tell anything."""
    with temporary_directory() as directory, contextlib.ExitStack() as stack, \
            slow_server(hold, "--listen", f"unix:{directory}/s") as (server, faults):
        (server.docroot / "text").write_text("x", encoding="ascii")
        # SHOWs take a thread each, as where a text is not in the kernel's cache.
        faults.arm("openat2_cached", errno.EAGAIN, times=EVER)
        held = fill_queue(stack, server, faults)
        faults.delay("fsync", 0)
        if held is None:
            return False
        changes, shows, more = held
        assert not answered(changes + shows + more)
        assert [read_line(change) for change in changes] == [created(i) for i in range(THREADS)]
        answers = collections.Counter()
        for connection in shows:
            connection.shutdown(socket.SHUT_WR)
            answers.update(receive_all(connection).replace(b"OK\n", b"OK ").splitlines())
        late = len(more) - 1
        expected = {b"200 /text OK x": QUEUE - late, BUSY[:-1] % b"/text": late}
        assert answers == collections.Counter(expected), answers
        return True


def test_default_queue():
    """4,096 operations wait beside 64 that hang, the next is refused while they do, and all others
    are done when storage goes on."""
    hold = 2.0
    while not held_default_queue(hold):
        hold *= 2
        assert hold < 60, "the server is too slow to fill its queue"


# -- a stop


def stop_beside_hanging(timeout, signals, deadline):
    """SIGTERM while storage hangs: the server ends in time, with status 0; nobody is answered."""
    with slow_server(FOR_EVER, "--stop-timeout", timeout, "--storage-threads", 4) as \
            (server, faults), contextlib.ExitStack() as stack:
        connections = send(stack, server, *creates(10))
        connections += send(stack, server, b"LIST /\nCREATE /f0 x", b"")
        wait_until(lambda: faults.calls("fsync") == 4, what="all threads hang")
        for _ in range(signals - 1):
            server.process.send_signal(signal.SIGTERM)
            server.wait_log("stopping$")
        started = time.monotonic()
        server.stop()
        seconds = time.monotonic() - started
        print(f"     stopped after {seconds:.2f} s", flush=True)
        assert seconds <= deadline + GRACE + SLACK, seconds
        server.wait_log(r"the storage does not answer; \d+ operations under way are abandoned")
        for connection in connections[:10]:
            assert receive(connection) == b""


def receive(connection):
    with contextlib.suppress(ConnectionResetError):
        return receive_all(connection)
    return b""


def test_stop_beside_storage_that_hangs():
    stop_beside_hanging("1s", 1, 1.0)


def test_stop_at_once_beside_storage_that_hangs():
    stop_beside_hanging("1h", 2, 0.0)


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
