"""Connections whose sockets are ready together are served together: receives first, then the
answers. What ends one of them must not touch the others, and each gets what is its own."""

import contextlib
import pathlib
import random
import signal
import socket
import struct
import sys

import harness
from harness import SEED, Server, connect, receive_all, wait_until

ROUNDS = 1000 if harness.FULL else 50
CONNECTIONS = 40  # some times as many as are served together
TEXT = b"x" * 100
SHOW, ANSWER = b"SHOW /k\n", b"200 /k OK\n" + TEXT + b"\n"


def send(data, half_close=False):
    def act(connection):
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
    return act


def reset(connection):
    connection.sendall(SHOW)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def receives(expected):
    def check(connection):
        received = bytearray()
        while len(received) < len(expected):
            block = connection.recv(len(expected) - len(received))
            if not block:
                break
            received += block
        assert received == expected, (bytes(received), expected)
    return check


def is_closed(*begins):
    """Answered by lines that begin so, and closed by the server."""
    def check(connection):
        lines = receive_all(connection).split(b"\n")
        assert len(lines) > len(begins), (lines, begins)
        for line, begin in zip(lines, begins):
            assert line.startswith(begin), (line, begin)
    return check


def nothing(_connection):
    pass


# What happens to a connection while the server does not look, and what it receives then.
KINDS = [
    (send(SHOW), receives(ANSWER)),
    (send(3 * SHOW), receives(3 * ANSWER)),
    (send(20 * SHOW), receives(20 * ANSWER)),
    (send(b"SHOW /"), nothing),
    (send(b"LIST /\n"), receives(b"200 / OK\nk\n")),
    (send(b"SHOW /none\n"), receives(b"400 /none")),
    (send(SHOW, half_close=True), is_closed(b"200 /k OK", TEXT)),
    (send(b"", half_close=True), is_closed()),
    (send(SHOW + b"SHOW /k", half_close=True), is_closed(b"200 /k OK", TEXT, b"300 -")),
    (send(SHOW + b"\n"), is_closed(b"200 /k OK", TEXT)),
    (send(b"SHOW /" + 9000 * b"a"), is_closed(b"300 -")),
    (reset, nothing),
]


def is_stopped(process):
    stat = pathlib.Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii")
    return stat.rpartition(")")[2].split()[0] == "T"


@contextlib.contextmanager
def stopped(process):
    """All that happens meanwhile is ready together when the process goes on."""
    process.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: is_stopped(process))
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def one_round(server, chance):
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(connect(server.address)) for _ in range(CONNECTIONS)]
        for connection in opened:
            connection.sendall(SHOW)
            receives(ANSWER)(connection)
        kinds = [chance.choice(KINDS) for _ in opened]
        with stopped(server.process):
            for connection, (act, _) in zip(opened, kinds):
                act(connection)
        for connection, (_, check) in zip(opened, kinds):
            check(connection)


def check_rounds(*args):
    chance = random.Random(SEED)
    with Server("-t", 1, *args) as server:
        (server.docroot / "k").write_bytes(TEXT)
        for _ in range(ROUNDS):
            one_round(server, chance)


def test_each_receives_its_own():
    check_rounds("--cache-max-files", 100)


def test_each_receives_its_own_without_a_cache():
    check_rounds("--cache-max-files", 0)


if __name__ == "__main__":
    sys.exit(harness.run_tests(globals()))
