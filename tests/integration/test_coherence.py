"""Two servers with caches on one PostgreSQL database: how far an answer may be behind what another
server has changed, whether they are told of each other's changes, told late, or not at all.

One client at a time writes a path, through any server, or most paths through one: so what stood there
when is known. An answer
has to be what stood there at some moment since it was asked for, or before that within
`cache.coherence`; and since the last change that the same server had acknowledged by then. Without
caches the first bound is none."""

import contextlib
import dataclasses
import itertools
import random
import socket
import sys
import threading
import time

from harness import FULL, SEED, Server, connect, lines_of, read_line, run_tests, wait_until
from postgres_support import Cluster
from redis_support import Redis

COHERENCE = 1.0
ABSENT = b"absent"
PATHS = 6
SHARED = 2  # of them are written through both servers
READERS = 6
SECONDS = 3.0  # of a run at least: long enough for an answer to be behind by too much

_cluster = contextlib.ExitStack()


def cluster():
    if not hasattr(cluster, "running"):
        cluster.running = _cluster.enter_context(Cluster())
    return cluster.running


# -- what is between a server and the database


class Between:
    """Passes all on; but what the database says on a connection that listens for notifications
    comes later by `delay` seconds, or where that is None, not at all."""

    def __init__(self):
        self.delay = 0.0
        self._port = cluster().port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets = []
        self.listening = 0  # connections

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.mend()

    def mend(self):
        """All connections end, and what comes after them is passed on at once."""
        self.delay = 0.0
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = connect(("127.0.0.1", self._port), None)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets += [client, server]
                kind = {"listens": False}
                for target, *ends in ((self._ask, client, server), (self._answer, server, client)):
                    threading.Thread(target=target, args=(*ends, kind), daemon=True).start()

    def _ask(self, client, server, kind):
        with contextlib.suppress(OSError):
            while chunk := client.recv(65536):
                if b"LISTEN " in chunk:
                    kind["listens"] = True
                    self.listening += 1
                server.sendall(chunk)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, server, client, kind):
        with contextlib.suppress(OSError):
            while chunk := server.recv(65536):
                if kind["listens"] and self.delay is None:
                    continue
                if kind["listens"] and self.delay:
                    time.sleep(self.delay)
                client.sendall(chunk)
            client.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def two_servers(cache, delay, *more):
    """On one database, to which each has its own way. `cache`: none, memory, redis or both."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(cluster().database())
        redis = stack.enter_context(Redis()) if cache in ("redis", "both") else None
        options = ["--cache-enabled", "false"] if cache == "none" else ["--cache-backend", cache]
        if redis:
            options += ["--cache-redis-address", redis.address]
        servers = []
        ways = [stack.enter_context(Between()) for _ in range(2)]
        for way in ways:
            conninfo = f"host=127.0.0.1 port={way.port} dbname={database.name} user=sttp"
            servers.append(stack.enter_context(Server(
                "--storage-backend", "postgres", "--storage-postgres-conninfo", conninfo, *options,
                "-t", 1, *more, store="fs")))
            if cache != "none":
                wait_until(lambda way=way: way.listening > 0, what="LISTEN")
        for way in ways:
            way.delay = delay
        for server in servers:
            server.database = database
        yield servers, redis
        for way in ways:
            way.mend()  # or the servers would not end before they know that nobody answers


# -- what clients do, and whether that is right


@dataclasses.dataclass
class Write:
    state: bytes  # what stands there then: a text, or ABSENT
    server: int
    asked: float
    acknowledged: float = float("inf")


class Register:
    """A path, and what was written to it, in this order."""

    def __init__(self, path):
        self.path = path
        self.writes = [Write(ABSENT, None, 0.0, 0.0)]

    @property
    def state(self):
        return self.writes[-1].state


def ask(connection, request):
    """The contents of a 200, or the status line."""
    connection.sendall(request)
    status = read_line(connection)
    return (read_line(connection) if status.startswith(b"200 ") else status)[:-1]


class Run:
    def __init__(self, servers, bound, operations):
        self.servers = servers
        self.bound = bound
        self.operations = operations
        self.registers = [Register(b"/d%d/f" % (i % 2) + b"%d" % i) for i in range(PATHS)]
        self.ended = threading.Event()
        self.until = time.monotonic() + SECONDS
        self.wrong = []
        self.most = 0.0  # seconds by which an answer was behind what another server had acknowledged
        self.answers = 0

    def check(self, register, server, seen, asked, count):
        """`count`: of the writes that there were when the answer had come."""
        writes = register.writes[:count]
        least = max(i for i, write in enumerate(writes)
                    if write.acknowledged < (asked if write.server in (server, None)
                                             else asked - self.bound))
        found = [i for i, write in enumerate(writes) if write.state == seen]
        if not found or found[-1] < least:
            self.wrong.append((register.path, server, seen, asked, writes[least:]))
        elif found[-1] + 1 < count:
            self.most = max(self.most, asked - writes[found[-1] + 1].acknowledged)
        self.answers += 1

    def read(self, connections, number):
        source = random.Random(f"{SEED} {number}")
        while not self.ended.is_set():
            register = source.choice(self.registers)
            server = source.randrange(2)
            asked = time.monotonic()
            seen = ask(connections[server], b"SHOW " + register.path + b"\n")
            if seen.startswith((b"400 ", b"410 ")):
                seen = ABSENT
            self.check(register, server, seen, asked, len(register.writes))
            if self.answers >= self.operations and time.monotonic() > self.until:
                self.ended.set()

    def write(self, connections, _number):
        source = random.Random(SEED)
        for number in itertools.count():
            place = source.randrange(PATHS)
            register = self.registers[place]
            server = source.randrange(2) if place < SHARED else place % 2
            text = b"%d" % number
            request, expected = b"UPDATE %s %s" % (register.path, text), text
            if register.state == ABSENT:
                request, expected = b"CREATE %s %s" % (register.path, text), b"100 %s CREATED"
            elif source.random() < 0.2:
                text, request, expected = ABSENT, b"DELETE " + register.path, b"600 %s DELETED"
            if b"%s" in expected:
                expected %= register.path
            register.writes.append(Write(text, server, time.monotonic()))
            answer = ask(connections[server], request + b"\n")
            register.writes[-1].acknowledged = time.monotonic()
            assert answer == expected, (request, answer)
            # Long enough to be read from the cache meanwhile, and often enough to be behind.
            if self.ended.wait(source.choice((0.0, 0.01, 0.1))):
                break

    def client(self, act, number):
        with connect(self.servers[0].address) as one, connect(self.servers[1].address) as two:
            try:
                act((one, two), number)
            finally:
                self.ended.set()

    def run(self):
        acts = [self.write, *[self.read] * READERS]
        threads = [threading.Thread(target=self.client, args=(act, number))
                   for number, act in enumerate(acts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def measure(cache, delay, bound, *options):
    with two_servers(cache, delay, *options) as (servers, redis):
        run = Run(servers, bound, 100000 if FULL else 3000)
        run.run()
        hits = int(redis.command("INFO", "stats").decode().partition("keyspace_hits:")[2].split()[0]) \
            if redis else 0
    print(f"     {cache}: {run.answers} answers, behind by {run.most:.3f} s at most; "
          f"{hits} found in Redis", flush=True)
    return run


def check(cache, delay, bound=COHERENCE, least=0.0):
    """`least`: by how much answers were behind at least, or nothing was put to the test."""
    run = measure(cache, delay, bound)
    assert not run.wrong, run.wrong[:3]
    assert run.most >= least, run.most


def test_without_caches():
    check("none", 0.0, bound=0.0)


def test_told_at_once():
    check("memory", 0.0)


def test_told_late():
    check("memory", 0.3, least=0.2)


def test_not_told():
    check("memory", None, least=0.4)


def test_redis_told_at_once():
    check("redis", 0.0)


def test_redis_told_late():
    check("redis", 0.3)


def test_redis_not_told():
    check("redis", None)


def test_both_told_late():
    check("both", 0.3, least=0.2)


def test_both_not_told():
    check("both", None, least=0.4)


def test_finds_what_is_behind_by_more_than_it_may():
    assert measure("memory", None, COHERENCE, "--cache-coherence", "4s").wrong


def test_a_change_is_told_within_milliseconds():
    """Nobody who asks the second server for long is told what the cache still had."""
    with two_servers("memory", 0.0) as (servers, _):
        first, second = servers
        first.exchange(b"CREATE /a 0\n")
        took = []
        for number in range(1, 30):
            lines_of(second, b"SHOW /a")
            first.exchange(b"UPDATE /a %d\n" % number)
            started = time.monotonic()
            wait_until(lambda text=b"%d" % number: lines_of(second, b"SHOW /a")[-1] == text)
            took.append(time.monotonic() - started)
        took.sort()
        print(f"     half of all within {took[len(took) // 2] * 1000:.1f} ms")
        assert took[len(took) // 2] < 0.2, took


def finds(servers, text):
    """Whether the second server finds what the first one has asked for. What is changed in the
    database behind their backs tells who asks it. An entry is used once the database's clock was
    looked at after it was made, four times in each `coherence`."""
    first, second = servers
    lines_of(first, b"CREATE /a x", b"UPDATE /a " + text)
    time.sleep(COHERENCE / 4)
    assert lines_of(first, b"SHOW /a")[-1] == text
    time.sleep(COHERENCE / 2)
    first.database.sql("UPDATE sttp_entry SET contents = 'behind their backs'")
    return lines_of(second, b"SHOW /a")[-1] == text


def test_one_server_finds_what_another_has_asked():
    with two_servers("redis", 0.0) as (servers, redis):
        first, second = servers
        tries = itertools.count()
        wait_until(lambda: finds(servers, b"%d" % next(tries)))
        # It knows of its own changes, and of those that it is told of.
        lines_of(second, b"UPDATE /a mine")
        assert lines_of(second, b"SHOW /a")[-1] == b"mine"
        wait_until(lambda: lines_of(first, b"SHOW /a")[-1] == b"mine")
        redis.command("FLUSHALL")
        first.database.sql("UPDATE sttp_entry SET contents = 'new'")
        assert lines_of(second, b"SHOW /a")[-1] == b"new"


# -- while the database is away


AWAY = b'500 %s SERVER ERROR "the database is not available; try again later"'
SHOWS = b"SHOW /d/a", b"SHOW /d/b", b"LIST /d"
ANSWERS = [b"200 /d/a OK", b"x", b"400 /d/b NOT FOUND", b"200 /d OK", b"a"]


def check_answers_while_away(redis, *backends):
    """`backends`: of two servers that give old answers, the second of which has to find those that
    the first one was given."""
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(Cluster())
        database = stack.enter_context(own.database())
        conninfo = f"host=127.0.0.1 port={own.port} dbname={database.name} user=sttp"
        options = ("--storage-backend", "postgres", "--storage-postgres-conninfo", conninfo)
        kept, other = (stack.enter_context(Server(
            *options, "--cache-stale-if-error", "60s", "--cache-backend", backend,
            "--cache-redis-address", redis, store="fs")) for backend in backends)
        strict = stack.enter_context(Server(*options, store="fs"))
        lines_of(kept, b"CREATE /d/a x")
        time.sleep(COHERENCE)  # until it listens: what it had asked for before that is forgotten then
        assert lines_of(kept, *SHOWS) == ANSWERS
        lines_of(strict, b"SHOW /d/a")
        time.sleep(COHERENCE)  # until all have looked at the database's clock again
        own.stop(fast=False)
        wait_until(lambda: lines_of(strict, b"SHOW /d/a")[0] == AWAY % b"/d/a")
        time.sleep(COHERENCE)
        started = time.monotonic()
        assert lines_of(kept, *SHOWS) == ANSWERS
        assert time.monotonic() - started < 10
        shown = lines_of(other, *SHOWS)
        assert shown == (ANSWERS if "memory" not in backends else
                         [AWAY % path for path in (b"/d/a", b"/d/b", b"/d")]), shown
        assert lines_of(kept, b"SHOW /d/c")[0] == AWAY % b"/d/c"
        assert lines_of(kept, b"UPDATE /d/a y")[0] == AWAY % b"/d/a"
        own.start()
        wait_until(lambda: lines_of(kept, b"UPDATE /d/a z")[0] == b"200 /d/a OK")
        for server in (kept, other, strict):
            wait_until(lambda server=server: lines_of(server, b"SHOW /d/a")[-1] == b"z")


def test_answers_while_the_database_is_away():
    check_answers_while_away("127.0.0.1:1", "memory", "memory")


def test_answers_in_redis_while_the_database_is_away():
    with Redis() as redis:
        check_answers_while_away(redis.address, "redis", "both")


if __name__ == "__main__":
    with _cluster:
        sys.exit(run_tests(globals()))
