"""Answers that sttp-proxy lets go wrong on purpose: `faults` in its settings."""

import contextlib
import random
import socket
import struct
import sys
import time

from bench_support import ERRORS, bench_json, failures
from cli_support import Run
from harness import SEED, Server, StartFailure, connect, read_line, receive_all, run_tests
from proxy_support import Proxy, forward, reverse, through

TEXT = "text " * 20
COARSE = 0.01  # seconds: the clock of timers may be late by as much
ANSWER = f"200 /a.txt OK\n{TEXT}\n".encode()


def fault(kind, **more):
    return {"fault": kind, **more}


@contextlib.contextmanager
def faulty(*faults, **more):
    """A proxy with these faults before a server with a text."""
    with Server() as server:
        (server.docroot / "a.txt").write_text(TEXT, encoding="ascii")
        settings = {**reverse(server.address), "faults": list(faults), **more}
        with Proxy(settings, "--allow-faults") as proxy:
            proxy.server = server
            yield proxy


def ask(connection, count=1, path=b"/a.txt"):
    connection.sendall(b"SHOW %s\n" % path * count)


def take(connection, size):
    """Exactly so many bytes, or what came before the end."""
    taken = bytearray()
    while len(taken) < size and (block := connection.recv(size - len(taken))):
        taken += block
    return bytes(taken)


def is_garbage(data):
    return data[0] == 0xFF and data.endswith(b"\n")


# -- each kind


def test_delay():
    with faulty(fault("delay", delay="500ms"), fault("delay", prefix="/now", delay=0)) as proxy, \
         connect(proxy.address) as late, connect(proxy.address) as at_once:
        started = time.monotonic()
        ask(late)
        ask(late, path=b"/now")
        ask(at_once, path=b"/now")
        assert read_line(at_once) == b"400 /now NOT FOUND\n"
        assert take(late, len(ANSWER)) == ANSWER
        elapsed = time.monotonic() - started
        assert elapsed >= 0.5 - COARSE, elapsed
        assert read_line(late) == b"400 /now NOT FOUND\n"


def test_many_delays_at_once():
    with faulty(fault("delay", delay="1s"), max_queued=10000) as proxy, \
         contextlib.ExitStack() as stack:
        started = time.monotonic()
        connections = [stack.enter_context(connect(proxy.address)) for _ in range(100)]
        for connection in connections:
            ask(connection, 20)
        for connection in connections:
            assert take(connection, 20 * len(ANSWER)) == 20 * ANSWER
        elapsed = time.monotonic() - started
        assert 1 - COARSE <= elapsed < 100, elapsed


def test_reset():
    for size in (0, 8, len(ANSWER), 10 * len(ANSWER)):
        with faulty(fault("reset", bytes=size)) as proxy, connect(proxy.address) as connection:
            ask(connection)
            taken = bytearray()
            try:
                while block := connection.recv(4096):
                    taken += block
                raise AssertionError("end of file")
            except ConnectionResetError:
                pass
            assert taken == ANSWER[:size], taken


def test_truncate():
    for size in (0, 8, len(ANSWER), 10 * len(ANSWER)):
        with faulty(fault("truncate", bytes=size)) as proxy, connect(proxy.address) as connection:
            ask(connection, 3)
            assert receive_all(connection) == ANSWER[:size]


def test_answers_before_a_broken_one_are_whole():
    with faulty(fault("truncate", prefix="/a.txt", bytes=5)) as proxy:
        answers = proxy.exchange(b"SHOW /b\nSHOW /c\nSHOW /a.txt\nSHOW /d\n")
        assert answers == b"400 /b NOT FOUND\n400 /c NOT FOUND\n200 /", answers


def test_dribble():
    with faulty(fault("dribble", delay="5ms")) as proxy, connect(proxy.address) as connection:
        started = time.monotonic()
        ask(connection, 2)
        parts = []
        while sum(map(len, parts)) < 2 * len(ANSWER):
            parts.append(connection.recv(4096))
            assert parts[-1]
        assert b"".join(parts) == 2 * ANSWER
        elapsed = time.monotonic() - started
        assert elapsed >= 0.005 * len(ANSWER) - COARSE, elapsed
        assert len(parts) > 10, "the bytes came together"


def test_dribble_is_no_idle_client():
    with faulty(fault("dribble", delay="100ms"), idle_timeout="50ms", request_timeout="50ms",
                send_timeout="50ms") as proxy, connect(proxy.address) as connection:
        ask(connection, path=b"/b")
        assert take(connection, 1000) == b"400 /b NOT FOUND\n"


def test_garbage():
    with faulty(fault("garbage")) as proxy, connect(proxy.address) as connection:
        for _ in range(3):
            ask(connection)
            garbage = take(connection, len(ANSWER))
            assert len(garbage) == len(ANSWER) and is_garbage(garbage), garbage


# -- which answers


def test_percent():
    count, percents = 2000, {"garbage": 30, "delay": 20}
    rules = [fault(kind, percent=percent, delay="1ms") for kind, percent in percents.items()]
    with faulty(*rules, threads=1, max_in_flight=1000) as proxy, \
         connect(proxy.address) as connection:
        wrong = 0
        for _ in range(count // 100):
            ask(connection, 100)
            for _ in range(100):
                answer = take(connection, len(ANSWER))
                assert answer == ANSWER or is_garbage(answer), answer
                wrong += answer != ANSWER
        # five standard deviations
        assert abs(wrong - 0.3 * count) < 5 * (count * 0.3 * 0.7) ** 0.5, wrong


def test_longest_prefix():
    with faulty(fault("garbage"), fault("delay", prefix="/notes", delay=0),
                fault("garbage", prefix="/notes/x/")) as proxy:
        for path, is_wrong in ((b"/a", True), (b"/notes", False), (b"/notes/a", False),
                               (b"/notesx", True), (b"/notes/x", True), (b"/notes/x/y", True)):
            answer = proxy.exchange(b"SHOW %s\n" % path)
            assert is_garbage(answer) == is_wrong, (path, answer)


def test_changes_are_done():
    with faulty(fault("truncate", bytes=0)) as proxy:
        assert proxy.exchange(b"CREATE /b.txt hello\n") == b""
        text = (proxy.server.docroot / "b.txt").read_text(encoding="ascii")
        assert text.strip() == "hello", text


def test_no_request():
    with faulty(fault("garbage")) as proxy:
        assert proxy.exchange(b"FETCH /a.txt\n").startswith(b"300 ")


def test_forward():
    with Server() as server:
        (server.docroot / "a.txt").write_text(TEXT, encoding="ascii")
        settings = {**forward("127.0.0.1:*"), "faults": [fault("truncate", prefix="/a.txt")]}
        with Proxy(settings, "--allow-faults") as proxy:
            request = through(server.address, b"SHOW /a.txt") + b"\n"
            assert proxy.exchange(request) == ANSWER[:8]
            assert proxy.forward(server.address, b"SHOW /b\n") == b"400 /b NOT FOUND\n"


def test_cache():
    """What the cache has, and what several clients wait for, goes wrong as other answers do."""
    with faulty(fault("garbage"), cache={"enabled": True, "expiration": "1h"}) as proxy:
        for _ in range(3):
            assert is_garbage(proxy.exchange(b"SHOW /a.txt\n"))
        (proxy.server.docroot / "a.txt").unlink()
        assert len(proxy.exchange(b"SHOW /a.txt\n")) == len(ANSWER), "no hit"


def test_answers_that_several_workers_wait_for():
    """One of them asks; the others have their answers from its worker."""
    rules = fault("delay", delay="1ms", percent=50), fault("dribble", delay=0, percent=50)
    choose = random.Random(SEED)
    with faulty(*rules, threads=4, cache={"enabled": True, "expiration": "100ms"}) as proxy, \
         contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(proxy.address)) for _ in range(40)]
        for _ in range(20):
            choose.shuffle(connections)
            for connection in connections:
                ask(connection, 2)
            for connection in connections:
                assert take(connection, 2 * len(ANSWER)) == 2 * ANSWER


# -- ends


def test_clients_that_go():
    reset = struct.pack("ii", 1, 0)
    with faulty(fault("delay", percent=50, delay="1h"),
                fault("dribble", percent=50, delay="1s"), stop_timeout="200ms") as proxy:
        for number in range(50):
            with connect(proxy.address) as connection:
                ask(connection, 10)
                if number % 2:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)


def test_stop_does_not_wait_longer_than_it_is_told():
    with faulty(fault("delay", delay="1h"), stop_timeout="200ms") as proxy, \
         connect(proxy.address) as connection:
        ask(connection, 3)
        ask(connection, path=b"/b")
        started = time.monotonic()
        proxy.stop()
        assert time.monotonic() - started < 30


# -- programs


def cli(proxy, *arguments):
    host, port = proxy.address
    return Run("show", f"sttp://{host}:{port}/a.txt", *arguments)


def test_what_sttp_cli_says():
    cases = [
        (fault("reset"), 56, "reset"),
        (fault("reset", bytes=0), 56, "reset"),
        (fault("truncate"), 56, "closed"),
        (fault("truncate", bytes=0), 52, "closed"),
        (fault("garbage"), 52, "\\xff"),
        (fault("delay", delay="1h"), 28, "timeout"),
        (fault("dribble", delay="1h"), 28, "timeout"),
    ]
    for rule, status, text in cases:
        with faulty(rule, stop_timeout="200ms") as proxy:
            run = cli(proxy, "--timeout", "500ms")
            assert (run.status, run.out) == (status, ""), (rule, run.status, run.out, run.err)
            assert text in run.err, (rule, run.err)
    with faulty(fault("dribble", delay="1ms")) as proxy:
        run = cli(proxy)
        assert (run.status, run.out.strip()) == (0, TEXT.strip()), run.err


def test_sttp_bench_finds_errors_and_no_wrong_text():
    rules = [fault(kind, percent=1, prefix="/sttp-bench", bytes=30, delay=0)
             for kind in ("delay", "reset", "truncate", "dribble", "garbage")]
    with faulty(*rules) as proxy:
        status, result = bench_json("--requests", 5000, "-c", 8, "--pipeline", 4, "--keys", 200,
                                    "--mix", "show=80,update=20", "--verify", port=proxy.port)
        assert status == ERRORS, (status, result)
        found = failures(result)
        assert {"reset", "closed", "protocol"} <= set(found), found
        assert not {"wrong answer", "wrong content"} & set(found), found


# -- the flag


def test_refused_without_the_flag():
    settings = {**reverse(("127.0.0.1", 1)), "faults": [fault("reset")]}
    try:
        with Proxy(settings):
            raise AssertionError("it has started")
    except StartFailure as failure:
        assert failure.status == 1, failure
        assert "faults: refused without the flag --allow-faults" in failure.stderr, failure


def test_the_log_tells_of_faults():
    with faulty(fault("reset")) as proxy:
        proxy.wait_log("warning answers go wrong on purpose")
    with Server() as server, Proxy(reverse(server.address), "--allow-faults") as proxy:
        assert proxy.exchange(b"SHOW /a\n") == b"400 /a NOT FOUND\n"
        assert "on purpose" not in proxy.text()


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
