"""Upstreams that die, stall and come back under load, and what their clients see of it."""

import contextlib
import re
import signal
import socket
import sys
import threading
import time
from collections import Counter

from bench_support import FakeServer
from harness import FULL, NO_CACHE, SANITIZED, Server, connect, free_port, read_line, run_tests, \
    wait_until
from proxy_support import Proxy, Upstream, forward, reverse, upstream

ROUNDS = 10 if FULL else 3
CLIENTS = 8
SLOW = 4 if SANITIZED else 1
INTERVAL, TIMEOUT, RISE, FALL = 0.1, 0.2, 2, 3
CHECKED = {"slow_start": 0, "health": {"interval": "100ms", "timeout": "200ms", "rise": RISE,
                                       "fall": FALL}}
EJECTED = (FALL * (INTERVAL + TIMEOUT) + 1) * SLOW  # seconds, with a second to spare
BACK = (RISE * (INTERVAL + TIMEOUT) + 1) * SLOW
UNKNOWN = re.compile(rb'500 \S+ SERVER ERROR "[^"]*outcome unknown[^"]*"')


class Named:
    """An sttpd that can be killed and started again where it was. /who has its name."""

    def __init__(self, name):
        self.name = name
        self.port = free_port()
        self.server = None
        self._stack = contextlib.ExitStack()
        self.address = "127.0.0.1", self.port

    def __enter__(self):
        self._first = self._stack.enter_context(Server())  # its document root stays
        (self._first.docroot / "who").write_text(self.name)
        (self._first.docroot / "d").mkdir()
        self._first.stop()
        self.docroot = self._first.docroot
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()
        self._stack.close()

    def start(self):
        self.server = Server("--durability", "none", *NO_CACHE, docroot=self.docroot,
                             listen=["-a", "127.0.0.1", "-p", str(self.port)])
        self._stack.enter_context(self.server)

    def kill(self):
        self.server.stop_status = -signal.SIGKILL
        self.server.process.send_signal(signal.SIGCONT)
        self.server.process.kill()
        self.server.process.wait()

    def pause(self):
        self.server.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.server.process.send_signal(signal.SIGCONT)


class Load:
    """Clients that ask without end while the block runs, each on one connection. `ask(number)`
    makes the next request of all. What came back is judged by `judge(request, answer)`, which
    gives a word to count."""

    def __init__(self, address, ask, judge, clients=CLIENTS):
        self.outcomes = Counter()
        self.last = {}  # word -> when it was last counted
        self._address, self._ask, self._judge = address, ask, judge
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._numbers = iter(range(1 << 60))
        self._failure = None
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()
        print(f"     {dict(self.outcomes)}", flush=True)
        if kind is None and self._failure:
            raise self._failure

    def _run(self):
        try:
            with connect(self._address) as connection, connection.makefile("rb") as answers:
                while not self._over.is_set():
                    with self._lock:
                        request = self._ask(next(self._numbers))
                    connection.sendall(request + b"\n")
                    answer = answers.readline()
                    if answer.startswith(b"200 "):
                        answer += answers.readline()
                    self._count(self._judge(request, answer))
        except Exception as failure:  # raised by the thread that waits
            self._failure = failure

    def _count(self, word):
        with self._lock:
            self.outcomes[word] += 1
            self.last[word] = time.monotonic()

    def count(self, word):
        with self._lock:
            return self.outcomes[word]

    def wait_for(self, word, timeout, more=20):
        """Until it is counted so many times more."""
        wanted = self.count(word) + more
        wait_until(lambda: self._failure or self.count(word) >= wanted, timeout, f"answers {word}")

    def wait_silence(self, word, others, timeout):
        """Until it is not counted any more while others are."""
        def is_silent():
            before = self.count(word)
            self.wait_for(others, timeout, 200)
            return self.count(word) == before
        wait_until(is_silent, timeout, f"no answers {word}")


def show_who(_number):
    return b"SHOW /who"


def judge_who(_request, answer):
    """Every SHOW is answered by a server."""
    assert answer.startswith(b"200 /who OK\n"), answer
    return answer.split(b"\n")[1].decode()


@contextlib.contextmanager
def two_servers(**route):
    with Named("a") as a, Named("b") as b, \
            Proxy(reverse(a.address, b.address, **CHECKED, **route)) as proxy:
        yield a, b, proxy


def test_killed_and_restarted_no_show_fails():
    with two_servers() as (a, b, proxy), Load(proxy.address, show_who, judge_who) as load:
        for victim, other in ((a, b), (b, a)) * ROUNDS:
            load.wait_for(victim.name, BACK)
            load.wait_for(other.name, BACK)
            victim.kill()
            load.wait_silence(victim.name, other.name, EJECTED)
            victim.start()
            load.wait_for(victim.name, 10 * BACK)


def test_paused_ejected_within_fall_checks_and_back_after_rise():
    """What it was asked is asked elsewhere when it has had its time."""
    with Named("a") as a, Named("b") as b, \
            Proxy({"response_timeout": "1s",
                   **reverse(a.address, b.address, **CHECKED)}) as proxy, \
            Load(proxy.address, show_who, judge_who) as load:
        for victim, other in ((a, b), (b, a)):
            load.wait_for(victim.name, BACK)
            load.wait_for(other.name, BACK)
            victim.pause()
            started = time.monotonic()
            load.wait_silence(victim.name, other.name, EJECTED)
            proxy.wait_log(rf"127\.0\.0\.1:{victim.port}\b.*")
            with connect(proxy.address) as connection:  # nobody waits for it any more
                wait_until(lambda: time.monotonic() - started > 1, what="its time")
                for _ in range(50):
                    begun = time.monotonic()
                    connection.sendall(b"SHOW /who\n")
                    assert read_line(connection) + read_line(connection) == \
                        b"200 /who OK\n%s\n" % other.name.encode()
                    assert time.monotonic() - begun < 0.5 * SLOW
            victim.go_on()
            load.wait_for(victim.name, 10 * BACK)


def test_changes_fail_only_as_unknown_and_are_made_once():
    def create(number):
        return b'CREATE /d/%d "%d"' % (number, number)

    def judge(request, answer):
        path = request.split(b" ")[1]
        if answer == b"100 %s CREATED\n" % path:
            created.add(path)
            return "created"
        assert UNKNOWN.match(answer), (request, answer)
        return "unknown"

    created = set()
    with two_servers() as (a, b, proxy):
        with Load(proxy.address, create, judge) as load:
            for victim in (a, b) * ROUNDS:
                load.wait_for("created", BACK, 200)
                victim.kill()
                load.wait_for("created", BACK, 200)
                victim.start()
                wait_until(lambda: serves(victim), BACK * 10, "a server that is back")
        held = Counter(b"/d/" + path.name.encode() for server in (a, b)
                       for path in (server.docroot / "d").iterdir() if path.name.isdigit())
        twice = [path for path, count in held.items() if count > 1]
        assert not twice, f"made twice: {twice}"
        assert created <= set(held), f"lost: {created - set(held)}"


def serves(named):
    """Whether it gets new requests: its directory grows."""
    before = sum(1 for _ in (named.docroot / "d").iterdir())
    deadline = time.monotonic() + 0.2
    while time.monotonic() < deadline:
        if sum(1 for _ in (named.docroot / "d").iterdir()) > before:
            return True
    return False


def test_a_change_that_was_not_sent_goes_elsewhere():
    """Nobody listens at one of them: no change fails, from the first one on."""
    with Named("a") as a, Proxy(reverse(("127.0.0.1", free_port()), a.address,
                                        balance="round_robin", **CHECKED)) as proxy:
        requests = [b'CREATE /d/%d "x"' % number for number in range(100)]
        for request in requests:
            got = proxy.exchange(request + b"\n")
            assert got == b"100 %s CREATED\n" % request.split(b" ")[1], got


def test_a_stalled_upstream_does_not_hold_others_up():
    with Upstream(silent=1) as stalled, Upstream() as good:
        settings = {"response_timeout": "3s", **reverse(stalled.address, prefix="/slow")}
        settings["reverse"] += reverse(good.address, prefix="/fast")["reverse"]
        with Proxy(settings) as proxy, connect(proxy.address) as waiting:
            waiting.sendall(b"SHOW /slow/a\nSHOW /fast/a\n")
            wait_until(lambda: stalled.counts()["requests"] > 0, what="the stalled request")
            started = time.monotonic()
            paths = [b"/fast/%d" % number for number in range(500)]
            got = proxy.exchange(b"".join(b"SHOW %s\n" % path for path in paths))
            assert got == b"".join(b"200 %s OK\n%s\n" % (path, path) for path in paths), got
            for path in paths[:50]:
                assert proxy.exchange(b"SHOW %s\n" % path).startswith(b"200 ")
            assert time.monotonic() - started < 2 * SLOW, "they waited for the stalled one"
            answer = read_line(waiting)
            assert re.fullmatch(rb'500 /slow/a SERVER ERROR "[^"]+"\n', answer), answer
            assert b"loop" not in answer, answer
            assert read_line(waiting) + read_line(waiting) == b"200 /fast/a OK\n/fast/a\n"


def test_all_down_fails_at_once():
    with Proxy(reverse(("127.0.0.1", free_port()), ("127.0.0.1", free_port()),
                       prefix="/notes/", **CHECKED)) as proxy:
        for request in (b"SHOW /notes/a", b"LIST /notes", b"CREATE /notes/a x", b"DELETE /notes/a"):
            started = time.monotonic()
            got = proxy.exchange(request + b"\n")
            assert re.fullmatch(rb'500 %s SERVER ERROR "no upstream available for /notes/?"\n'
                                % request.split(b" ")[1], got), got
            assert time.monotonic() - started < 0.5 * SLOW
        got = proxy.exchange(b"SHOW /other\n")
        assert not got.startswith(b"200") and b"/notes" not in got, got


def test_backups_serve_only_while_no_other_can():
    with Named("a") as a, Named("b") as b, \
            Proxy(reverse(a.address, upstream(b.address, backup=True), **CHECKED)) as proxy, \
            Load(proxy.address, show_who, judge_who) as load:
        load.wait_for("a", BACK, 500)
        assert load.count("b") == 0
        a.kill()
        load.wait_for("b", EJECTED)
        a.start()
        load.wait_for("a", 10 * BACK)
        load.wait_silence("b", "a", BACK)


def test_a_proxy_that_starts_before_its_upstreams():
    with Named("a") as a:
        a.kill()
        with Proxy(reverse(a.address, **CHECKED)) as proxy:
            got = proxy.exchange(b"SHOW /who\n")
            assert got == b'500 /who SERVER ERROR "no upstream available for /"\n', got
            a.start()
            wait_until(lambda: proxy.exchange(b"SHOW /who\n") == b"200 /who OK\na\n",
                       10 * BACK, "the upstream")


INVALID = [b"HTTP/1.1 200 OK\r\n", b"200\n", b"\n", b"\xff\xfe\x1b[31m\n", b"999 /who OK\n",
           b"200 /other OK\nx\n", b"x" * 9000 + b"\n"]


def test_an_answer_that_is_none():
    """500, the connection closed, its bytes in the log and harmless; others are not touched."""
    for answer in INVALID:
        closed = threading.Event()

        def serve(connection, answer=answer, closed=closed):
            with connection.makefile("rb") as lines:
                for line in lines:
                    if b"/who" not in line:
                        connection.sendall(b"200 %s OK\n\n" % line.split()[1].split(b"?")[0])
                        continue
                    connection.sendall(answer)
                    with contextlib.suppress(OSError):
                        connection.recv(1)
                    closed.set()
                    return

        with FakeServer(serve) as bad, Upstream() as good:
            settings = reverse(("127.0.0.1", bad.port), health={"interval": "off"})
            settings["reverse"] += reverse(good.address, prefix="/good")["reverse"]
            with Proxy(settings) as proxy, connect(proxy.address) as other:
                got = proxy.exchange(b"SHOW /who\n")
                assert got == b'500 /who SERVER ERROR "invalid answer from upstream"\n', \
                    (answer, got)
                assert closed.wait(20), f"the connection stays: {answer!r}"
                line = proxy.wait_log(rf"127\.0\.0\.1:{bad.port}\b")
                assert len(line) < 1000 and "\x1b" not in line, line
                other.sendall(b"SHOW /good/a\n")
                assert read_line(other) + read_line(other) == b"200 /good/a OK\n/good/a\n"


class Unfaithful:
    """An origin that answers three requests of each connection, takes what comes behind them and
    closes. Counts what it has got, but for what it closes without reading."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self.got = Counter()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _run(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._serve(connection)

    def _serve(self, connection):
        answered, data = 0, b""
        while answered <= 3:
            received = connection.recv(1 << 16)
            if not received:
                return
            data += received
            *lines, data = data.split(b"\n")
            self.got.update(lines)
            for line in lines:
                answered += 1
                if answered <= 3:
                    connection.sendall(b"200 %s OK\nx\n" % line.split(b" ")[1])


def test_repeats_to_a_host_are_within_the_budget():
    """A fifth of what is asked, ten for each second, and what one connection had under way."""
    count, in_flight = 3000, 64
    settings = forward("127.0.0.1:*", clients=["127.0.0.1"])
    limits = {"max_upstream_connections": 1, "max_upstream_in_flight": in_flight,
              "max_in_flight": count}
    with Unfaithful() as origin, Proxy({**settings, **limits}) as proxy:
        answer = proxy.forward(origin.address, b"".join(b"SHOW /%d\n" % i for i in range(count)))
        told = [line for line in answer.split(b"\n") if line.startswith((b"200 ", b"500 "))]
        assert len(told) == count, len(told)
        assert [line.split(b" ")[1].rpartition(b"/")[2] for line in told] == \
            [b"%d" % i for i in range(count)]
        assert any(line.startswith(b"200 ") for line in told)
        repeats = origin.got.total() - len(origin.got)
        assert 0 < repeats <= count // 5 + 10 * 10 + in_flight, repeats


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
