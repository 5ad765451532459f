"""Clients whose every request carries a key and a number that is used once, so that each answer
shows whose it is. They run in processes of their own, beside a proxy over servers that fail
(tests/faults/upstream.c says what those answer)."""

import contextlib
import multiprocessing
import random
import re
import threading
import traceback
from collections import Counter
from typing import NamedTuple

from client_support import reset
from harness import connect

KEYS = 8
KINDS = [b"LIST"] * 6 + [b"UPDATE"] * 6 + [b"SHOW"] * 2 + [b"CREATE", b"DELETE"]
DEPTHS = (1, 1, 2, 4, 8, 16, 32)
IO_TIMEOUT = 60.0
DEADLINE = 3000.0
OWN = re.compile(rb'500 (\S+) SERVER ERROR "([^"]+)"')
NUMBER = re.compile(rb"[0-9][0-9.:]*")


class Plan(NamedTuple):
    address: tuple
    seed: int
    requests: int        # of each client
    prefixes: tuple = (b"",)  # what may stand before a path: that of a URL, say
    leave: float = 0.03  # how often a client leaves after a batch, answered or not


class Request(NamedTuple):
    kind: bytes
    target: bytes  # as it was sent, without its query
    path: bytes
    line: bytes
    expected: bytes

    def judge(self, status, contents):
        """What became of it, in a word; fails where the answer is not that of this request."""
        got = status if contents is None else status + b"\n" + contents
        if got == self.expected:
            return "right"
        own = OWN.fullmatch(status)
        assert own and own[1] in (self.path, self.target) and contents is None, \
            f"{self.line!r} was answered {got!r}"
        return NUMBER.sub(b"N", own[2]).decode()


def make_request(kind, prefix, key, nonce):
    path = b"/k%d" % key
    query = text = b""
    if kind == b"LIST":
        query, expected = b"?name=" + nonce, b"200 %s OK\n%s" % (path, nonce)
    elif kind == b"SHOW":
        expected = b"200 %s OK\n%s" % (path, path)
    elif kind == b"DELETE":
        expected = b"600 %s DELETED" % path
    else:
        text = b' "%s %s"' % (path, nonce)
        expected = b"100 %s CREATED" % path if kind == b"CREATE" else \
            b"200 %s OK\n%s %s" % (path, path, nonce)
    return Request(kind, prefix + path, path, b"%s %s%s%s%s\n" % (kind, prefix, path, query, text),
                   expected)


class Client:
    def __init__(self, plan, number):
        self.plan = plan
        self.random = random.Random(f"{plan.seed} {number}")
        self.number = number
        self.made = 0
        self.outcomes = Counter()
        self.applied = []  # the lines of changes that were acknowledged
        self._buffer = b""

    def _batch(self):
        found = []
        for _ in range(self.random.choice(DEPTHS)):
            self.made += 1
            found.append(make_request(self.random.choice(KINDS),
                                      self.random.choice(self.plan.prefixes),
                                      self.random.randrange(KEYS),
                                      b"%d.%d" % (self.number, self.made)))
        return found

    def _line(self, connection):
        while b"\n" not in self._buffer:
            block = connection.recv(65536)
            assert block, f"the proxy closed after {self._buffer!r}"
            self._buffer += block
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _read(self, connection, requests):
        for request in requests:
            status = self._line(connection)
            contents = self._line(connection) if status.startswith(b"200 ") else None
            outcome = request.judge(status, contents)
            self.outcomes[(request.kind.decode(), outcome)] += 1
            if outcome == "right" and request.kind in (b"UPDATE", b"CREATE"):
                self.applied.append(request.path + b" " + request.line.split(b'"')[1])

    def _leave(self, connection, requests):
        """In the middle of a batch, in one of the ways in which clients do."""
        way = self.random.choice(("reset", "close", "half close", "cut"))
        if way == "cut":  # within a request
            line = requests[-1].line
            connection.sendall(line[:self.random.randrange(1, len(line))])
            return
        connection.sendall(b"".join(request.line for request in requests))
        if way == "half close":
            connection.shutdown(1)
            self._read(connection, requests)
            assert not self._buffer and not connection.recv(1), "more than the answers"
            return
        self._read(connection, requests[:self.random.randrange(len(requests))])
        self.outcomes["left", ""] += 1
        if way == "reset":
            reset(connection)

    def _converse(self, connection):
        while self.made < self.plan.requests:
            requests = self._batch()
            if self.random.random() < self.plan.leave:
                self._leave(connection, requests)
                return
            connection.sendall(b"".join(request.line for request in requests))
            self._read(connection, requests)
            assert not self._buffer, f"nobody asked for {self._buffer!r}"

    def run(self):
        while self.made < self.plan.requests:
            self._buffer = b""
            with contextlib.closing(connect(self.plan.address, IO_TIMEOUT)) as connection:
                self._converse(connection)


def _run(plan, numbers, pipe):
    clients = [Client(plan, number) for number in numbers]
    failures = []

    def run(client):
        try:
            client.run()
        except Exception:  # told by the parent
            failures.append(f"client {client.number}: {traceback.format_exc()}")

    threads = [threading.Thread(target=run, args=(client,), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.send((sum((client.outcomes for client in clients), Counter()),
               [line for client in clients for line in client.applied], failures))


def run_clients(plan, processes=2, threads=6):
    """What became of the requests: (kind, outcome) -> count, and the changes that were
    acknowledged. Fails where an answer was not that of its request."""
    context = multiprocessing.get_context("fork")
    started = []
    for i in range(processes):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_run, daemon=True,
                                  args=(plan, range(i * threads, (i + 1) * threads), theirs))
        process.start()
        started.append((process, ours))
    outcomes, applied, failures = Counter(), [], []
    for process, pipe in started:
        assert pipe.poll(DEADLINE), "the clients do not end"
        counted, changes, failed = pipe.recv()
        outcomes += counted
        applied += changes
        failures += failed
        process.join()
    assert not failures, "\n".join(failures)
    return outcomes, applied
