"""Clients that do random things on a few shared paths, in processes of their own, and note what
they asked and what they saw: histories for linearizability.py."""

import contextlib
import multiprocessing
import random
import select
import socket
import struct
import threading
import time
import traceback
from typing import NamedTuple

from harness import connect
from linearizability import Operation

ACTIONS = [b"SHOW"] * 8 + [b"CREATE"] * 5 + [b"UPDATE"] * 5 + [b"DELETE"] * 4 + [b"LIST"] * 2 + \
    [b"RMDIR"] * 2
DEPTHS = (1, 1, 1, 2, 3, 8)  # requests that are sent together
LEAVE = 0.02  # how often a client leaves after a batch
IO_TIMEOUT = 60.0
RESULT_DEADLINE = 240.0


class Plan(NamedTuple):
    """What the clients do."""
    addresses: tuple
    paths: tuple
    seed: int
    operations: int  # of each client
    leave: float = LEAVE
    may_lose: bool = False  # the server may close a connection between two answers
    until_refused: bool = False  # it goes on until nobody listens any more


class Lost(Exception):
    """The connection has ended where an answer would begin."""


class Cut(Exception):
    """The connection has ended within an answer."""


def directories_of(paths):
    """The directories above some paths, without the root."""
    found = set()
    for path in paths:
        while b"/" in path[1:]:
            path = path[:path.rindex(b"/")]
            found.add(path + b"/")
    return sorted(found)


def parent_of(path):
    return path[:path.rstrip(b"/").rindex(b"/") + 1]


class Session:
    """One connection: requests are written together, answers are read in their order."""

    def __init__(self, address, name):
        self.name = name
        self.socket = connect(address, IO_TIMEOUT)
        self._received = b""

    def send(self, requests):
        """Sends requests (action, path, text); the operations, not yet answered."""
        invoked = time.monotonic_ns()
        lines = [b"%s %s%s\n" % (action, path, b"" if text is None else b' "%s"' % text)
                 for action, path, text in requests]
        with contextlib.suppress(ConnectionError):  # reading tells how far the server came
            self.socket.sendall(b"".join(lines))
        return [Operation(self.name, action, path, text, invoked)
                for action, path, text in requests]

    def _line(self, may_end):
        while b"\n" not in self._received:
            try:
                block = self.socket.recv(65536)
            except ConnectionError:
                block = b""
            if not block:
                raise Lost if may_end and not self._received else Cut(self._received)
            self._received += block
        line, self._received = self._received.split(b"\n", 1)
        return line

    def answer(self, operation):
        """The operation with its answer."""
        line = self._line(may_end=True)
        code, echo, phrase = line.split(b" ", 2)
        code = int(code)
        target = operation.path.split(b"?")[0]
        expected = parent_of(target) if code in (410, 510) else target
        assert echo == expected, f"{line} answers {operation}"
        contents = self._line(may_end=False) if code == 200 else None
        return operation._replace(answered=time.monotonic_ns(), code=code, contents=contents,
                                  message=phrase)

    def is_at_end(self):
        """Whether nothing comes any more."""
        return not self._received and not self.socket.recv(1)

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Client:
    """A client of a plan. `history` grows with what it does."""

    def __init__(self, plan, number):
        self.plan = plan
        self.number = number
        self.random = random.Random(f"{plan.seed} {number}")
        self.directories = directories_of(plan.paths)
        self.history = []
        self.sessions = 0
        self.texts = 0

    def request(self):
        action = self.random.choice(ACTIONS)
        if action == b"LIST":
            directory = self.random.choice([b"/", *self.directories])
            return action, directory + b"?recursive=1", None
        if action == b"RMDIR" and self.directories:
            return b"DELETE", self.random.choice(self.directories), None
        path = self.random.choice(self.plan.paths)
        if action in (b"CREATE", b"UPDATE"):
            self.texts += 1
            return action, path, b"%d.%d" % (self.number, self.texts)
        return (b"SHOW" if action == b"RMDIR" else action), path, None

    def batch(self, session):
        requests = [self.request() for _ in range(self.random.choice(DEPTHS))]
        return session.send(requests)

    def read(self, session, operations):
        """Reads the answers; what has none stays without."""
        for i, operation in enumerate(operations):
            try:
                operations[i] = session.answer(operation)
            except Lost:
                self.history += operations
                raise
        self.history += operations

    def leave(self, session):
        """Sends a last batch and ends the connection, in one of the ways in which clients do."""
        way = self.random.choice(("close", "half close", "empty line", "abandon", "reset"))
        operations = self.batch(session)
        if way == "close":
            self.read(session, operations)
        elif way in ("half close", "empty line"):
            with contextlib.suppress(OSError):
                if way == "half close":
                    session.socket.shutdown(socket.SHUT_WR)
                else:
                    session.socket.sendall(b"\n")
            self.read(session, operations)
            with contextlib.suppress(ConnectionError):
                assert session.is_at_end(), f"{way}: more than the answers"
        else:
            answered = self.random.randrange(len(operations))
            self.read(session, operations[:answered])
            self.history += operations[answered:]
            if way == "reset":
                session.reset()

    def converse(self, session):
        """Until it leaves, or is done. In a batch all answers come, or the connection ends."""
        while len(self.history) < self.plan.operations or self.plan.until_refused:
            self.read(session, self.batch(session))
            if self.random.random() < self.plan.leave:
                self.leave(session)
                return

    def run(self):
        while len(self.history) < self.plan.operations or self.plan.until_refused:
            address = self.random.choice(self.plan.addresses)
            self.sessions += 1
            try:
                session = Session(address, f"{self.number}.{self.sessions}")
            except (ConnectionError, FileNotFoundError):
                if self.plan.until_refused:
                    return
                raise
            try:
                self.converse(session)
            except Lost:
                if not self.plan.may_lose:
                    raise
            finally:
                session.socket.close()


def run_threads(plan, numbers):
    """Runs clients in threads of this process; their histories, or the first failure's text."""
    clients = [Client(plan, number) for number in numbers]
    failures = []

    def run(client):
        try:
            client.run()
        except Exception:
            failures.append(f"client {client.number}: {traceback.format_exc()}")

    threads = [threading.Thread(target=run, args=(client,), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history = [operation for client in clients for operation in client.history]
    return history, failures


def _process(plan, numbers, barrier, pipe):
    barrier.wait(RESULT_DEADLINE)
    pipe.send(run_threads(plan, numbers))


class Processes:
    """Processes of clients, which start together: `with Processes(plan, 6) as clients:
    clients.history()`. Each process has `threads` clients."""

    def __init__(self, plan, processes, threads=1):
        # Forked from one process that has this module and no threads: a new one for each would cost
        # more than what it does.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["race_clients"])
        self.barrier = context.Barrier(processes + 1)
        self._pipes = []
        self._processes = []
        for i in range(processes):
            ours, theirs = context.Pipe(duplex=False)
            numbers = range(i * threads, (i + 1) * threads)
            self._pipes.append(ours)
            self._processes.append(context.Process(
                target=_process, args=(plan, numbers, self.barrier, theirs), daemon=True))

    def __enter__(self):
        for process in self._processes:
            process.start()
        self.barrier.wait(RESULT_DEADLINE)
        return self

    def __exit__(self, kind, value, traceback):
        for process in self._processes:
            if kind is not None:
                process.kill()
            process.join()

    def history(self):
        """All that the clients have done; waits for them. Fails where one of them has failed."""
        history, failures = [], []
        for pipe in self._pipes:
            if not select.select([pipe], [], [], RESULT_DEADLINE)[0]:
                raise AssertionError("the clients do not end")
            done, failed = pipe.recv()
            history += done
            failures += failed
        assert not failures, "\n".join(failures)
        return history
