"""The last answer arrives: sttpd is stopped, or cuts a client off, and what it has answered is
read whole."""

import contextlib
import os
import random
import re
import signal
import socket
import sys
import threading
import time

from harness import FULL, SEED, Server, connect, receive_all, run_tests, temporary_directory

CLIENTS = 50
ANSWER = re.compile(rb"100 /\d+/\d+ CREATED\n|200 /\d+/\d+ OK\n\d+\n|200 /\d+ OK\n[0-9, ]+\n")


class Client(threading.Thread):
    """Asks in pipelines until the connection ends, and keeps all that it got."""

    def __init__(self, server, number, randomness, ready):
        super().__init__(daemon=True)
        self.number = number
        self.batch = randomness.choice((1, 1, 3, 20))
        self.received = bytearray()
        self.asked = []
        self.was_reset = False
        self.answered_once = threading.Event()
        self._ready = ready
        self._connection = connect(server.address)

    def requests(self, count):
        lines = []
        for i in range(count, count + self.batch):
            lines += [b"CREATE /%d/%d %d" % (self.number, i, i), b"SHOW /%d/%d" % (self.number, i)]
        lines.append(b"LIST /%d" % self.number)
        return lines

    def ask(self, count):
        """One pipeline and its answers; False where the connection ended."""
        lines = self.requests(count)
        wanted = self.received.count(b"\n") + 3 * self.batch + 2
        self.asked += lines
        self._connection.sendall(b"".join(line + b"\n" for line in lines))
        while self.received.count(b"\n") < wanted:
            block = self._connection.recv(65536)
            self.received += block
            if not block:
                return False
        return True

    def run(self):
        count = 0
        try:
            while self.ask(count):
                count += self.batch
                self.answered_once.set()
                self._ready.release()
        except (ConnectionResetError, BrokenPipeError):
            self.was_reset = True
        self._connection.close()

    def judge(self, may_be_cut=False):
        """Whole answers, in the order of the requests, and nothing behind them. What is sent while
        the server closes may meet a reset, but behind all that was answered; who may be cut may
        meet it in an answer."""
        place = 0
        answered = []
        for line in self.asked:
            found = ANSWER.match(self.received, place)
            if found is None:
                break
            path = line.split()[1]
            assert found[0].split()[1] == path, (line, found[0])
            place = found.end()
            answered.append(line)
        rest = bytes(self.received[place:])
        assert rest == b"" or (may_be_cut and self.was_reset), f"a part of an answer: {rest!r}"
        return {line.split()[1] for line in answered if line.startswith(b"CREATE")}


def await_answers(clients, ready, count):
    """Until each client has had the answers to a pipeline, and all together those to `count`."""
    for client in clients:
        assert client.answered_once.wait(60)
    for _ in range(count):
        assert ready.acquire(timeout=60)


def stored_by(server, client):
    return {b"/%d/%s" % (client.number, name.encode())
            for name in os.listdir(server.docroot / str(client.number))}


def stop_under_load(randomness, signal_number):
    """What was carried out was answered, and what was answered is there."""
    with Server("--durability", "none", config="stop_timeout: 20s\n") as server:
        ready = threading.Semaphore(0)
        clients = [Client(server, number, randomness, ready) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        await_answers(clients, ready, CLIENTS + randomness.randrange(300))
        started = time.monotonic()
        server.process.send_signal(signal_number)
        server.wait(30)
        assert time.monotonic() - started < 20, "not within the deadline"
        for client in clients:
            client.join(30)
            assert not client.is_alive()
            acknowledged, stored = client.judge(), stored_by(server, client)
            assert acknowledged == stored, (acknowledged - stored, stored - acknowledged)
        assert "were cut" not in server.text()


def test_stop_under_load_of_fifty_clients():
    randomness = random.Random(SEED)
    for number in range(50 if FULL else 4):
        stop_under_load(randomness, (signal.SIGTERM, signal.SIGINT)[number % 2])


def test_stop_under_load_when_the_deadline_is_zero():
    """Even then what arrives is an answer, or a part of it ends in a reset, which nobody takes for
    the end of the answer."""
    randomness = random.Random(SEED)
    for _ in range(20 if FULL else 4):
        with Server("--durability", "none", "--stop-timeout", "0") as server:
            ready = threading.Semaphore(0)
            clients = [Client(server, number, randomness, ready) for number in range(10)]
            for client in clients:
                client.start()
            await_answers(clients, ready, 30)
            server.process.send_signal(signal.SIGTERM)
            server.wait(10)
            for client in clients:
                client.join(30)
                assert not client.is_alive()
                assert client.judge(may_be_cut=True) <= stored_by(server, client)


def test_stop_in_mid_pipeline_that_waits_for_its_reader():
    """All that stood in the server's buffers when the signal came is answered, though the client
    reads only afterwards. What was sent to a Unix socket stands in the buffer of the other side."""
    request, answer = b"SHOW /a\n", b"200 /a OK\n" + b"x" * 160 + b"\n"
    with temporary_directory() as directory, \
            Server(listen=["--listen", f"unix:{directory}/socket"]) as server:
        assert server.exchange(b"CREATE /a " + b"x" * 160 + b"\n") == b"100 /a CREATED\n"
        with connect(server.address) as connection:
            sent = 0
            connection.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                while True:
                    sent += connection.send(request * 100)
            connection.settimeout(20)
            assert sent % len(request) == 0
            server.process.send_signal(signal.SIGTERM)
            server.wait_log("info stopping")
            received = receive_all(connection)
        count = sent // len(request)
        assert received == answer * count, f"{received.count(b'200 ')} of {count}"
        server.wait(20)


def test_cut_off_client_that_reads_late():
    """The line that is too long goes on for megabytes before the client looks at its answers."""
    with Server() as server, connect(server.address) as connection:
        connection.sendall(b"SHOW /a\n" * 100 + b"x" * 5000)
        for _ in range(64):
            connection.sendall(b"y" * 65536 + b"\n")
        connection.shutdown(socket.SHUT_WR)
        answers = receive_all(connection).splitlines()
        assert answers[:100] == [b"400 /a NOT FOUND"] * 100
        assert len(answers) == 101 and answers[100].startswith(b"300 - CLIENT ERROR"), answers[100:]


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
