"""Connections whose sockets are ready together are served together: receives first, then the
answers. What ends one of them must not touch the others, and each gets what is its own."""

import contextlib
import pathlib
import random
import signal
import socket
import struct
import sys
import time

import harness
from harness import SEED, Server, connect, receive_all, wait_until

ROUNDS = 1000 if harness.FULL else 50
CONNECTIONS = 160  # some times as many as are put in order together
MANY = 300  # more requests than one turn takes
TIMEOUT = 1  # of a request that is not finished, in seconds


class Client:
    """A connection with a text of its own."""

    def __init__(self, number, address):
        self.path = f"/k/file{number}"
        self.text = f"text of {number}"
        self.show = f"SHOW {self.path}\n".encode()
        self.answer = f"200 {self.path} OK\n{self.text}\n".encode()
        self.socket = connect(address)

    def ask(self):
        self.socket.sendall(self.show)
        self.expect(self.answer)

    def expect(self, expected):
        received = bytearray()
        while len(received) < len(expected):
            block = self.socket.recv(len(expected) - len(received))
            if not block:
                break
            received += block
        assert received == expected, (self.path, bytes(received), expected)

    def expect_end(self, expected):
        """These bytes, and that the server closes behind them."""
        received = receive_all(self.socket)
        assert received == expected, (self.path, received, expected)


# What happens to a connection while the server does not look: each acts, and gives the check of
# what comes of it.


def one(client):
    client.socket.sendall(client.show)
    return lambda: client.expect(client.answer)


def some(client):
    client.socket.sendall(20 * client.show)
    return lambda: client.expect(20 * client.answer)


def many(client):
    client.socket.sendall(MANY * client.show)
    return lambda: client.expect(MANY * client.answer)


def listing(client):
    client.socket.sendall(b"LIST /\n" + client.show)
    return lambda: client.expect(b"200 / OK\nk/\n" + client.answer)


def absence(client):
    client.socket.sendall(b"SHOW /none\n" + client.show)
    return lambda: client.expect(b"400 /none NOT FOUND\n" + client.answer)


def part(client):
    client.socket.sendall(client.show[:-1])

    def rest():
        client.socket.sendall(b"\n")
        client.expect(client.answer)
    return rest


def last(client):
    client.socket.sendall(client.show)
    client.socket.shutdown(socket.SHUT_WR)
    return lambda: client.expect_end(client.answer)


def end(client):
    client.socket.shutdown(socket.SHUT_WR)
    return lambda: client.expect_end(b"")


def empty_line(client):
    client.socket.sendall(client.show + b"\n" + client.show)
    return lambda: client.expect_end(client.answer)


def long_line(client):
    client.socket.sendall(b"SHOW /" + 9000 * b"a")
    return lambda: client.expect(b"300 ")


def reset(client):
    client.socket.sendall(client.show)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()
    return lambda: None


ACTS = [one, some, many, listing, absence, part, last, end, empty_line, long_line, reset]


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


def fill(server):
    (server.docroot / "k").mkdir()
    for number in range(2 * CONNECTIONS):
        (server.docroot / "k" / f"file{number}").write_text(f"text of {number}", encoding="ascii")


def act(chance, clients):
    return [chance.choice(ACTS)(client) for client in clients]


@contextlib.contextmanager
def clients_of(server, numbers):
    clients = [Client(number, server.address) for number in numbers]
    try:
        yield clients
    finally:
        for client in clients:
            client.socket.close()


def one_round(server, chance):
    """What some do, then newcomers, then what others do."""
    with contextlib.ExitStack() as stack:
        clients = stack.enter_context(clients_of(server, range(CONNECTIONS)))
        for client in clients:
            client.ask()
        with stopped(server.process):
            checks = act(chance, clients[::2])
            newcomers = stack.enter_context(clients_of(server, range(CONNECTIONS, 2 * CONNECTIONS)))
            checks += act(chance, clients[1::2]) + act(chance, newcomers)
        for check in checks:
            check()


def check_rounds(*args):
    chance = random.Random(SEED)
    with Server("-t", 1, *args) as server:
        fill(server)
        for _ in range(ROUNDS):
            one_round(server, chance)


def test_each_receives_its_own():
    check_rounds("--cache-max-files", 100)


def test_each_receives_its_own_without_a_cache():
    check_rounds("--cache-max-files", 0)


def test_timeouts_among_them():
    """Those that have begun a request, and do not finish it, are answered in its place."""
    with Server("-t", 1, "--request-timeout", f"{TIMEOUT}s") as server, \
            clients_of(server, range(CONNECTIONS)) as clients:
        fill(server)
        for client in clients:
            client.ask()
        late, early, waiting = clients[::3], clients[1::3], clients[2::3]
        for client in waiting:
            client.socket.sendall(b"SHOW /half")
        clients[0].ask()
        with stopped(server.process):
            checks = [one(client) for client in early]
            time.sleep(1.5 * TIMEOUT)  # the timer is ready between them
            checks += [one(client) for client in late]
        for check in checks:
            check()
        for client in waiting:
            client.expect(b"300 - CLIENT ERROR")


if __name__ == "__main__":
    sys.exit(harness.run_tests(globals()))
