"""The cache of sttp-proxy: off by default, keyed by server, true after each change that passes
through, and never older than the settings say."""

import contextlib
import re
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from bench_support import LIE, bench_json, failures
from harness import FULL, IO_TIMEOUT, NO_CACHE, SEED, Server, receive_all, run_tests, wait_until
from proxy_support import Proxy, Upstream, forward, reverse, through

NO_CHECKS = {"health": {"interval": "off"}}
CLIENTS = 20


def cached(expiration="1h", **more):
    return {"cache": {"enabled": True, "expiration": expiration, **more}}


def requests_of(server):
    return server.counts()["requests"]


def test_off_by_default():
    with Upstream() as server, Proxy(reverse(server.address, **NO_CHECKS)) as proxy:
        for _ in range(3):
            proxy.exchange(b"SHOW /a\nLIST /\n")
        assert requests_of(server) == 6


def test_what_is_kept_is_asked_once():
    with Upstream() as server, \
            Proxy({**cached(), **reverse(server.address, **NO_CHECKS)}) as proxy:
        for _ in range(3):
            assert proxy.exchange(b"SHOW /a\nLIST /d\nSHOW /b\n") == \
                b"200 /a OK\n/a\n200 /d OK\n\n200 /b OK\n/b\n"
        assert requests_of(server) == 3


def test_listings_with_a_query_are_their_own():
    with Upstream() as server, \
            Proxy({**cached(), **reverse(server.address, **NO_CHECKS)}) as proxy:
        for _ in range(2):
            for query in (b"?name=a", b"?name=b", b""):
                answer = proxy.exchange(b"LIST /d%s\n" % query)
                assert answer == b"200 /d OK\n%s\n" % query.removeprefix(b"?name="), answer


def test_a_change_that_passes_through_takes_out_what_it_makes_untrue():
    with Server(*NO_CACHE) as server, Proxy({**cached(), **reverse(server.address)}) as proxy:
        exchanges = ((b"SHOW /d/a", b"410 /d/ PATH NOT FOUND"), (b"LIST /", b"200 / OK\n"),
                     (b"CREATE /d/a 1", b"100 /d/a CREATED"), (b"LIST /", b"200 / OK\nd/"),
                     (b"SHOW /d/a", b"200 /d/a OK\n1"), (b"LIST /d", b"200 /d OK\na"),
                     (b"UPDATE /d/a 2", b"200 /d/a OK\n2"), (b"SHOW /d/a", b"200 /d/a OK\n2"),
                     (b"SHOW /d/b", b"400 /d/b NOT FOUND"), (b"CREATE /d/b x", b"100 /d/b CREATED"),
                     (b"SHOW /d/b", b"200 /d/b OK\nx"), (b"LIST /d", b"200 /d OK\na, b"),
                     (b"DELETE /d/a", b"600 /d/a DELETED"), (b"SHOW /d/a", b"400 /d/a NOT FOUND"),
                     (b"LIST /d", b"200 /d OK\nb"), (b"LIST /d/", b"200 /d/ OK\nb"))
        for request, answer in exchanges:
            for _ in range(2 if request[:4] in (b"SHOW", b"LIST") else 1):
                got = proxy.exchange(request + b"\n")
                assert got == answer + b"\n", (request, got)


def test_no_older_than_the_settings_say():
    with Server(*NO_CACHE) as server, \
            Proxy({**cached("1s"), **reverse(server.address)}) as proxy:
        (server.docroot / "a").write_text("old")
        started = time.monotonic()
        assert proxy.exchange(b"SHOW /a\n") == b"200 /a OK\nold\n"
        (server.docroot / "a").write_text("new")
        assert proxy.exchange(b"SHOW /a\n") == b"200 /a OK\nold\n" or \
            time.monotonic() - started > 0.9, "it was not kept"
        wait_until(lambda: proxy.exchange(b"SHOW /a\n") == b"200 /a OK\nnew\n", what="the new text")
        assert time.monotonic() - started < 2.5


def test_each_server_has_its_own():
    """The same path of several origins, and of a prefix."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(Server(*NO_CACHE)) for _ in range(3)]
        for number, server in enumerate(servers):
            (server.docroot / "a").write_text(str(number))
        settings = {**cached(), **forward("127.0.0.0/8:*"), **reverse(servers[2].address)}
        proxy = stack.enter_context(Proxy(settings))
        for _ in range(3):
            for number, server in enumerate(servers):
                got = proxy.exchange(through(server.address, b"SHOW /a\n"))
                assert got == b"200 /a OK\n%d\n" % number, got
            assert proxy.exchange(b"SHOW /a\n") == b"200 /a OK\n2\n"
        # One server, whatever its name looks like; and a change by that name.
        same = b"SHOW STTP://127.0.0.1:%d/a\n" % servers[0].port
        assert proxy.exchange(same) == b"200 /a OK\n0\n"
        assert proxy.exchange(through(servers[0].address, b"UPDATE /a 7\n")).startswith(b"200 ")
        assert proxy.exchange(same) == b"200 /a OK\n7\n"
        assert proxy.exchange(through(servers[1].address, b"SHOW /a\n")) == b"200 /a OK\n1\n"


def test_who_asks_meanwhile_waits_for_the_same_answer():
    with Upstream(late=1) as server, ThreadPoolExecutor(CLIENTS) as threads, \
            Proxy({**cached(), **reverse(server.address, **NO_CHECKS)}) as proxy:
        server.delay(300)
        found = list(threads.map(proxy.exchange, [b"SHOW /a\n"] * CLIENTS))
        assert found == [b"200 /a OK\n/a\n"] * CLIENTS, found
        assert requests_of(server) == 1


def test_a_failure_is_told_to_all_and_not_kept():
    with Upstream(silent=1) as server, ThreadPoolExecutor(CLIENTS) as threads, \
            Proxy({"response_timeout": "500ms", **cached(), **forward("127.0.0.0/8:*"),
                   **reverse(server.address, **NO_CHECKS)}) as proxy:
        for request in (b"SHOW /a\n", through(server.address, b"SHOW /a\n")):
            target = request.split()[1]
            found = list(threads.map(proxy.exchange, [request] * CLIENTS))
            assert all(re.fullmatch(rb'500 %s SERVER ERROR "[^"]+"\n' % re.escape(target), answer)
                       for answer in found), found
        server.set(silent=0)
        wait_until(lambda: proxy.exchange(b"SHOW /a\n") == b"200 /a OK\n/a\n", what="the upstream")
        assert proxy.exchange(through(server.address, b"SHOW /a\n")) == b"200 /a OK\n/a\n"


def ask_from(source, address, data):
    with contextlib.closing(socket.socket()) as connection:
        connection.settimeout(IO_TIMEOUT)
        connection.bind((source, 0))
        connection.connect(address)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return receive_all(connection)


def test_a_hit_is_for_those_alone_who_may_ask():
    with Upstream() as server, \
            Proxy({**cached(), **forward("127.0.0.0/8:*", clients=["127.0.0.2"])}) as proxy:
        request = through(server.address, b"SHOW /a\n")
        for _ in range(2):
            assert ask_from("127.0.0.2", proxy.address, request) == b"200 /a OK\n/a\n"
            answer = ask_from("127.0.0.3", proxy.address, request)
            assert answer.endswith(b'CLIENT ERROR "destination not allowed"\n'), answer
        assert requests_of(server) == 1


def test_one_order_of_events():
    with Server("--durability", "none") as server, \
            Proxy({**cached(), **reverse(server.address)}) as proxy:
        status, result = bench_json(
            "--check", "--duration", 60 if FULL else 3, "-c", 20, "--pipeline", 4, "--keys", 20,
            "--seed", SEED, "--mix", "show=60,update=25,create=10,delete=5", port=proxy.port)
        assert status != LIE and not failures(result), result["failures"]


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
