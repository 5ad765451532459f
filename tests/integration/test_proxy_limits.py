"""The order of one client's requests across upstreams, and the limits on what an upstream is given:
the one that is reached is named, and all end in their time."""

import contextlib
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from harness import SANITIZED, connect, read_line, run_tests, wait_until
from proxy_support import Proxy, Upstream, forward, reverse, through

SLOW = 4 if SANITIZED else 1
NO_CHECKS = {"health": {"interval": "off"}}


def two_routes(slow, fast, **settings):
    routes = reverse(slow.address, prefix="/slow", **NO_CHECKS)["reverse"] + \
        reverse(fast.address, prefix="/fast", **NO_CHECKS)["reverse"]
    return {**settings, "reverse": routes}


def answer_on(connection):
    line = read_line(connection)
    return line + read_line(connection) if line.startswith(b"200 ") else line


def test_a_change_waits_and_holds_back():
    """Of one client, also where each request goes somewhere else."""
    with Upstream(late=1) as slow, Upstream() as fast, \
            Proxy(two_routes(slow, fast)) as proxy, connect(proxy.address) as connection:
        slow.delay(300)
        connection.sendall(b'SHOW /slow/a\nUPDATE /fast/b "x"\nSHOW /slow/c\nSHOW /fast/d\n')
        wait_until(lambda: slow.counts()["requests"] == 1, what="the first request")
        assert fast.counts()["requests"] == 0, "the change has overtaken a request"
        assert answer_on(connection) == b"200 /slow/a OK\n/slow/a\n"
        assert answer_on(connection) == b"200 /fast/b OK\nx\n"
        assert answer_on(connection) == b"200 /slow/c OK\n/slow/c\n"
        assert answer_on(connection) == b"200 /fast/d OK\n/fast/d\n"


def test_a_change_holds_back_what_is_behind_it():
    with Upstream(late=1) as slow, Upstream() as fast, \
            Proxy(two_routes(slow, fast)) as proxy, connect(proxy.address) as connection:
        slow.delay(300)
        connection.sendall(b'UPDATE /slow/a "x"\nSHOW /fast/b\n')
        wait_until(lambda: slow.counts()["requests"] == 1, what="the change")
        assert fast.counts()["requests"] == 0, "a SHOW has overtaken a change"
        assert answer_on(connection) == b"200 /slow/a OK\nx\n"
        assert answer_on(connection) == b"200 /fast/b OK\n/fast/b\n"


def test_shows_overlap():
    with Upstream(late=1) as slow, Upstream() as fast, \
            Proxy(two_routes(slow, fast)) as proxy, connect(proxy.address) as connection:
        slow.delay(2000 * SLOW)
        started = time.monotonic()
        connection.sendall(b"SHOW /slow/a\nSHOW /fast/b\n")
        wait_until(lambda: fast.counts()["requests"] == 1, what="the second request")
        assert time.monotonic() - started < 2 * SLOW, "it has waited for the first one's answer"


def of_silent(settings_of, request_of):
    """One request is with a server that says nothing, one waits for its place, one finds none."""
    limits = {"threads": 1, "max_upstream_connections": 1, "max_upstream_in_flight": 1,
              "max_queued": 1, "response_timeout": "1s", "queue_timeout": "300ms"}
    with Upstream(silent=1) as silent, Proxy({**limits, **settings_of(silent)}) as proxy, \
            ThreadPoolExecutor(3) as threads:
        def ask(number):
            request = request_of(silent.address, b"LIST /%d\n" % number)
            return threads.submit(proxy.exchange, request)

        started = time.monotonic()
        asked = [ask(0)]
        wait_until(lambda: silent.counts()["requests"] == 1, what="the first request")
        asked += [ask(1), ask(2)]
        first, *others = [answer.result() for answer in asked]
        assert time.monotonic() - started < 3 * SLOW
        assert first.startswith(b"500 ") and b"response_timeout" in first, first
        for limit in (b"max_queued", b"queue_timeout"):
            told = [answer for answer in others if limit in answer]
            assert len(told) == 1 and told[0].startswith(b"500 "), (limit, others)
            proxy.wait_log(limit.decode())
        assert silent.counts()["most"] == 1


def test_limits_of_a_reverse_proxy_are_named():
    of_silent(lambda server: reverse(server.address, **NO_CHECKS), lambda _, request: request)


def test_limits_of_a_forward_proxy_are_named():
    of_silent(lambda server: forward(f"127.0.0.1:{server.address[1]}"), through)


@contextlib.contextmanager
def full_listener():
    """A port that takes no connection and refuses none: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        while True:
            one = stack.enter_context(socket.socket())
            one.settimeout(0.3)
            try:
                one.connect(listener.getsockname())
            except TimeoutError:
                break
        yield listener.getsockname()


def test_connect_timeout():
    with full_listener() as address:
        for settings, request in ((reverse(address, **NO_CHECKS), b"SHOW /a"),
                                  (forward(f"127.0.0.1:{address[1]}"),
                                   through(address, b"SHOW /a"))):
            with Proxy({"connect_timeout": "300ms", "queue_timeout": "5s", **settings}) as proxy:
                started = time.monotonic()
                answer = proxy.exchange(request + b"\n")
                seconds = time.monotonic() - started
                target = request.split(b" ")[1]
                assert answer.startswith(b"500 %s SERVER ERROR " % target), answer
                assert b"connect_timeout" in answer or b"no upstream available" in answer, answer
                assert 0.2 < seconds < 2 * SLOW, f"{seconds:.2f} s"
                proxy.wait_log("connect_timeout|timed out|connect timeouts")


def test_a_client_that_goes_leaves_nothing_behind():
    """Its answers are read and dropped: the connection stays, and the next answer is the next
    client's."""
    with Upstream(late=1) as server, \
            Proxy({"threads": 1, "max_upstream_connections": 1,
                   **reverse(server.address, **NO_CHECKS)}) as proxy:
        server.delay(50)
        for number in range(10):
            with connect(proxy.address) as connection:
                connection.sendall(b"LIST /a?name=left-%d\n" % number)
                wait_until(lambda count=number: server.counts()["requests"] > 2 * count,
                           what="the request")
            got = proxy.exchange(b"LIST /a?name=%d\n" % number)
            assert got == b"200 /a OK\n%d\n" % number, got
        assert server.counts()["connections"] == 1, server.counts()


def test_few_connections_carry_many_clients():
    with Upstream() as server, \
            Proxy({"threads": 2, "max_upstream_connections": 3,
                   **reverse(server.address, **NO_CHECKS)}) as proxy, \
            contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(proxy.address)) for _ in range(300)]
        for round_number in range(5):
            for number, client in enumerate(clients):
                client.sendall(b"LIST /a?name=%d.%d\n" % (round_number, number))
            for number, client in enumerate(clients):
                assert answer_on(client) == b"200 /a OK\n%d.%d\n" % (round_number, number)
        assert server.counts()["most"] <= 2 * 3, server.counts()


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
