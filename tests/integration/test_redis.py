"""Answers that are kept in Redis: the same as without it, whatever becomes of Redis meanwhile."""

import contextlib
import itertools
import select
import socket
import sys
import threading
import time

from harness import (FULL, IO_TIMEOUT, SEED, Server, StartFailure, connect, free_port, lines_of,
                     read_line, run_tests, wait_until)
from linearizability import check_paths
from race_clients import Plan, Processes
from redis_support import Redis

PATHS = tuple(b"/%c/f%d" % (directory, number) for directory in b"ab" for number in range(3))
numbers = itertools.count()
HEADER = 56     # bytes of an entry before the answer
SERVER, OWN_TIME, STAMP = 24, 40, 48


def arguments(address, backend="redis"):
    """Memory in front of Redis has place for two answers, so that it does not have them all."""
    return ("--cache-backend", backend, "--cache-redis-address", address, "--cache-max-files", 2)


def forget(server):
    """Leaves nothing in memory that a test asks for. (Of two that were used at about the same time
    any one goes first.)"""
    server.exchange(b"".join(b"SHOW /no/%d\n" % next(numbers) for _ in range(4)))


def hits_of(redis):
    return int(redis.command("INFO", "stats").decode().partition("keyspace_hits:")[2].split()[0])


def is_kept(redis, key):
    return redis.command("GET", key) is not None


def show(server, path, *before):
    """The answer to SHOW of a path, after some other requests: one line of text, or a status."""
    lines = lines_of(server, *before, b"SHOW " + path)
    return lines[-1]


@contextlib.contextmanager
def running(backend="redis", **settings):
    with Redis(**settings) as redis, Server(*arguments(redis.address, backend), store="fs") as server:
        yield redis, server


def shown_from_redis(redis, server, path):
    """SHOWs a path until Redis was asked for it and had it."""
    def asked():
        forget(server)
        before = hits_of(redis)
        show(server, path)
        return hits_of(redis) > before

    wait_until(asked, what="an answer from Redis")


# -- under load


def kill(redis):
    redis.kill()
    time.sleep(0.1)
    redis.start()


def freeze(redis):
    redis.freeze()
    time.sleep(0.3)
    redis.thaw()


def flush(redis):
    redis.command("FLUSHALL")


def fill_up(redis):
    redis.command("CONFIG", "SET", "maxmemory", "1")
    time.sleep(0.1)
    redis.command("CONFIG", "SET", "maxmemory", "0")


def leave_alone(_redis):
    time.sleep(0.1)


def check_under_load(backend, trouble):
    plan = Plan((), PATHS, SEED, 1500 if FULL else 250)
    ended = threading.Event()
    with running(backend) as (redis, server):
        plan = plan._replace(addresses=(server.address,))

        def make_trouble():
            while not ended.is_set():
                trouble(redis)
                ended.wait(0.1)

        thread = threading.Thread(target=make_trouble)
        thread.start()
        try:
            with Processes(plan, 3, 2) as clients:
                history = clients.history()
        finally:
            ended.set()
            thread.join()
        check_paths(PATHS, history)
        server.exchange(b"CREATE /last/f x\n")
        shown_from_redis(redis, server, b"/last/f")
        hits = hits_of(redis)
    print(f"     {backend}: {len(history)} requests, {hits} answers in Redis")


def test_redis_alone():
    check_under_load("redis", leave_alone)


def test_behind_memory():
    check_under_load("both", leave_alone)


def test_killed_under_load():
    check_under_load("redis", kill)


def test_frozen_under_load():
    check_under_load("redis", freeze)


def test_flushed_under_load():
    check_under_load("both", flush)


def test_filled_up_under_load():
    check_under_load("redis", fill_up)


# -- time


def timed(server, path):
    started = time.monotonic()
    show(server, path)
    return time.monotonic() - started


def test_who_waits_for_redis_waits_once():
    timeout = 0.5
    with Redis() as redis, Server(*arguments(redis.address), "--cache-redis-timeout", "500ms",
                                  "-t", 1, store="fs") as server:
        server.exchange(b"CREATE /a x\n")
        shown_from_redis(redis, server, b"/a")
        redis.freeze()
        first = timed(server, b"/a")
        others = [timed(server, b"/a") for _ in range(20)]
        redis.thaw()
        print(f"     {first:.3f} s, then {max(others):.3f} s at most")
        assert timeout - 0.1 <= first <= timeout + 0.3, first
        assert sorted(others)[10] < 0.1 and max(others) < timeout, others
        shown_from_redis(redis, server, b"/a")


# -- entries that others have put there


def entry_of(redis, key):
    entry = redis.command("GET", key)
    assert entry is not None, key
    return entry


def test_planted_entries():
    with running() as (redis, server):
        server.exchange(b"CREATE /a one\nCREATE /b other\n")
        for path in (b"/a", b"/b"):
            shown_from_redis(redis, server, path)
        own, other = entry_of(redis, "sttp:S/a"), entry_of(redis, "sttp:S/b")
        assert own[HEADER:] == b"200 /a OK\none\n", own
        late = (1 << 63).to_bytes(8, "big")
        lie = b"200 /a OK\nlie\n"
        planted = {
            "garbage": b"\x00\xff" * 40,
            "nothing": b"",
            "no answer": own[:HEADER],
            "of another path": other,
            "of another format": b"sttp\0\0\0\2" + own[8:HEADER] + lie,
            "of another store": own[:8] + b"x" * 16 + own[24:HEADER] + lie,
            "of another server": own[:SERVER] + bytes(16) + own[SERVER + 16:HEADER] + lie,
            "of the future": own[:OWN_TIME] + late + own[STAMP:HEADER] + lie,
            "of the past": own[:OWN_TIME] + bytes(8) + own[STAMP:HEADER] + lie,
            "a failure": own[:HEADER] + b'500 /a SERVER ERROR "x"\n',
            "cut": own[:-2],
            "two answers": own + own[HEADER:],
            "huge": own[:HEADER] + b"200 /a OK\n" + b"x" * 300000 + b"\n",
        }
        for what, entry in planted.items():
            redis.command("SET", "sttp:S/a", entry)
            assert show(server, b"/a") == b"one", what
        redis.command("DEL", "sttp:S/a")
        redis.command("LPUSH", "sttp:S/a", "x")
        assert show(server, b"/a") == b"one"


def test_entries_from_before_a_change():
    """What was true is put back after each change."""
    with running() as (redis, server):
        server.exchange(b"CREATE /d/a 0\n")
        for path, key in ((b"SHOW /d/a", "sttp:S/d/a"), (b"LIST /d", "sttp:L/d"),
                          (b"SHOW /d/b", "sttp:S/d/b"), (b"LIST /", "sttp:L/"),
                          (b"SHOW /e/a", "sttp:S/e/a")):
            server.exchange(path + b"\n")
            wait_until(lambda key=key: is_kept(redis, key), what=key)
        keys = redis.command("KEYS", "*")
        old = {key: redis.command("GET", key) for key in keys}
        assert len(old) == 5, keys
        server.exchange(b"UPDATE /d/a 1\nCREATE /d/b 2\nCREATE /e/x 3\n")
        for key, entry in old.items():
            redis.command("SET", key, entry)
        assert lines_of(server, b"SHOW /d/a", b"SHOW /d/b", b"LIST /d", b"LIST /", b"SHOW /e/a") == [
            b"200 /d/a OK", b"1", b"200 /d/b OK", b"2", b"200 /d OK", b"a, b", b"200 / OK",
            b"d/, e/", b"400 /e/a NOT FOUND"]


def test_two_servers_with_stores_of_their_own():
    with Redis() as redis, Server(*arguments(redis.address), store="fs") as one, \
            Server(*arguments(redis.address), store="fs") as two:
        for text, server in ((b"one", one), (b"two", two)):
            server.exchange(b"CREATE /a " + text + b"\n")
        for _ in range(20):
            assert show(one, b"/a") == b"one"
            assert show(two, b"/a") == b"two"
    # And one after the other, on the same files, which were changed between them.
    with Redis() as redis, Server(*arguments(redis.address), store="fs") as first:
        first.exchange(b"CREATE /a old\n")
        shown_from_redis(redis, first, b"/a")
        first.stop()
        (first.docroot / "a").write_text("new", encoding="ascii")
        with Server(*arguments(redis.address), docroot=first.docroot, store="fs") as second:
            assert show(second, b"/a") == b"new"


# -- open files


def test_every_worker_has_its_open_files():
    """A connection to Redis, and what wakes the worker for it."""
    def needed(backend):
        with Server(*arguments(f"127.0.0.1:{free_port()}", backend), "--threads", 8, store="fs",
                    wrapper=["prlimit", "--nofile=1000"]) as server:
            line = server.wait_log(r" warning max_connections is .*")
            return int(line.partition("raise it to ")[2].split()[0])

    assert needed("redis") == needed("both") == needed("memory") + 8 * 2


# -- steps that come late


def command_size(received):
    """Of the command that some bytes begin with; 0 where it is not whole."""
    end = received.find(b"\r\n") + 2
    for _ in range(int(received[1:end]) if end > 1 else 0):
        line = received.find(b"\r\n", end) + 2
        if line < 2:
            return 0
        end = line + int(received[end + 1:line]) + 2
    return end if 1 < end <= len(received) else 0


class Between:
    """Stands between sttpd and Redis. What is held of one kind waits for release: commands that
    begin with a word, or answers. A SET that is held is acknowledged, as if it had been done."""

    def __init__(self, redis):
        self.redis = redis
        self.held = []
        self.hold = None  # b"SET", b"GET" or b"answer"
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self._sockets = []

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = connect(("127.0.0.1", self.redis.port))
                self._sockets += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=(source, target, source is client,
                                                                 client), daemon=True).start()

    def _forward(self, source, target, is_command, client):
        received = b""
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 17):
                received += chunk
                if not is_command:
                    self._pass(target, b"answer", received, client)
                    received = b""
                while (size := command_size(received)) > 0:
                    self._pass(target, received.split(b"\r\n")[2], received[:size], client)
                    received = received[size:]
            target.shutdown(socket.SHUT_WR)

    def _pass(self, target, kind, message, client):
        with self._changed:
            if self.hold != kind:
                target.sendall(message)
                return
            self.held.append((target, message))
            self._changed.notify_all()
        if kind == b"SET":
            client.sendall(b"+OK\r\n")

    def wait_held(self, count=1):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.held) >= count, IO_TIMEOUT), self.hold

    def release(self):
        """Does what was held: a SET by itself."""
        with self._changed:
            kind, self.hold = self.hold, None
            held, self.held = self.held, []
        for target, chunk in held:
            if kind != b"SET":
                target.sendall(chunk)
                continue
            with connect(("127.0.0.1", self.redis.port)) as own:
                own.sendall(chunk)
                assert read_line(own).startswith(b"+OK")


@contextlib.contextmanager
def with_delays(backend="redis"):
    with Redis() as redis, Between(redis) as between, \
            Server(*arguments(between.address, backend), "--cache-redis-timeout", "20s", "-t", 1,
                   store="fs") as server:
        server.exchange(b"CREATE /a old\nCREATE /warm x\n")
        shown_from_redis(redis, server, b"/warm")
        yield redis, between, server


def test_a_value_that_is_set_late():
    with with_delays() as (redis, between, server):
        between.hold = b"SET"
        assert show(server, b"/a") == b"old"
        between.wait_held()
        server.exchange(b"UPDATE /a new\n")
        between.release()
        assert is_kept(redis, "sttp:S/a")
        assert show(server, b"/a") == b"new"


def test_values_that_are_set_in_another_order():
    with with_delays() as (redis, between, server):
        between.hold = b"SET"
        show(server, b"/a")
        between.wait_held(1)
        server.exchange(b"UPDATE /a new\n")
        show(server, b"/a")
        between.wait_held(2)
        between.held.reverse()
        between.release()
        assert entry_of(redis, "sttp:S/a")[HEADER:] == b"200 /a OK\nold\n"
        assert show(server, b"/a") == b"new"


def check_held(backend, kind):
    """A question is on its way to Redis, or its answer is; then the text is changed."""
    with with_delays(backend) as (redis, between, server):
        wait_until(lambda: show(server, b"/a") == b"old" and is_kept(redis, "sttp:S/a"))
        forget(server)
        old = redis.command("GET", "sttp:S/a")
        between.hold = kind
        with connect(server.address) as asking:
            asking.sendall(b"SHOW /a\n")
            between.wait_held()
            server.exchange(b"UPDATE /a new\n")
            redis.command("SET", "sttp:S/a", old)
            assert not select.select([asking], [], [], 0)[0]
            between.release()
            assert read_line(asking) == b"200 /a OK\n"
            assert read_line(asking) in (b"old\n", b"new\n")
        for _ in range(3):
            assert show(server, b"/a") == b"new"


def test_a_question_that_comes_late():
    check_held("redis", b"GET")


def test_an_answer_that_comes_late():
    check_held("redis", b"answer")


def test_late_behind_memory():
    check_held("both", b"GET")
    check_held("both", b"answer")


# -- the start


def refusal(*args):
    try:
        with Server(*args, store="fs"):
            raise AssertionError("it has started")
    except StartFailure as failure:
        assert failure.status == 1, failure.status
        lines = [line for line in failure.stderr.split("\n") if " error " in line]
        assert len(lines) == 1, failure.stderr
        return lines[0]


def test_wants_a_password():
    with Redis(requirepass="secret") as redis:
        line = refusal(*arguments(redis.address))
        assert f"Redis at {redis.address}: it lets nobody in without a password" in line, line
        # Who asks for no Redis does not care.
        with Server("--cache-redis-address", redis.address, store="fs"):
            pass
        with Server(*arguments(redis.address), "--cache-enabled", "false", store="fs"):
            pass


def test_is_no_redis():
    with Server(store="fs") as other:
        line = refusal(*arguments(f"127.0.0.1:{other.port}"))
        assert "it is no Redis server; see cache.redis.address" in line, line


def test_nobody_is_there_yet():
    port = free_port()
    with Redis() as redis:
        redis.kill()
        redis.port = port
        with Server(*arguments(redis.address), store="fs") as server:
            server.wait_log(r" warning Redis at .*: cannot connect: Connection refused")
            assert lines_of(server, b"CREATE /a x", b"SHOW /a")[-1] == b"x"
            redis._settings["port"] = port  # pylint: disable=protected-access
            redis.start()
            server.wait_log(r" info Redis at .*: connected again")
            shown_from_redis(redis, server, b"/a")


def test_by_a_unix_socket():
    with Redis() as redis, Server(*arguments(f"unix:{redis.socket_path}"), store="fs") as server:
        server.exchange(b"CREATE /a x\n")
        shown_from_redis(redis, server, b"/a")


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
