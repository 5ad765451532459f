"""Upstreams and origins with names: a name that moves is followed, one that is not there yet is
waited for, one that is there no more stays where it was. The script has a network of its own."""

import sys
import time

import own_network
from harness import connect, read_line, run_tests, wait_until
from own_network import Anywhere, Names
from proxy_support import Proxy, forward, reverse

NAME = "server.example.org"
CHECKED = {"slow_start": 0,
           "health": {"interval": "100ms", "timeout": "500ms", "rise": 1, "fall": 2}}
FOLLOWED = 10  # seconds: the name server says that its answers may be kept for one


def is_answered(proxy, request):
    return proxy.exchange(request + b"\n") == b"400 /a NOT FOUND\n"


def check_moves(settings_for, request_for):
    with Anywhere() as anywhere, Names({NAME: ["10.0.0.1"]}) as names, \
            Proxy({"threads": 1, **settings_for(anywhere.port)}) as proxy:
        request = request_for(anywhere.port)
        wait_until(lambda: is_answered(proxy, request), what="the first server")
        assert set(anywhere.came) == {"10.0.0.1"}, anywhere.came
        names.set({NAME: ["10.0.0.2", "fd00::2"]})
        with connect(proxy.address) as connection:
            def follows():
                """Nothing fails meanwhile, on one connection with the proxy."""
                connection.sendall(request + b"\n")
                answer = read_line(connection)
                assert answer == b"400 /a NOT FOUND\n", answer
                return anywhere.came[-1] in ("10.0.0.2", "fd00::2")

            wait_until(follows, FOLLOWED, "the second server")
        names.stop()
        over = time.monotonic() + 2.5  # what was told of the name is out of date then
        while time.monotonic() < over:
            assert is_answered(proxy, request)


def test_an_upstream_that_moves():
    check_moves(lambda port: reverse((NAME, port), **CHECKED), lambda _: b"SHOW /a")


def test_an_origin_that_moves():
    check_moves(lambda port: forward(f"{NAME}:{port}", "10.0.0.0/8:*", "[fd00::]/8:*"),
                lambda port: b"SHOW sttp://%s:%d/a" % (NAME.encode(), port))


def test_a_name_that_is_not_there_yet():
    with Anywhere() as anywhere, Names({"other.example.org": ["10.0.0.9"]}) as names, \
            Proxy(reverse((NAME, anywhere.port), **CHECKED)) as proxy:
        assert proxy.exchange(b"SHOW /a\n") == \
            b'500 /a SERVER ERROR "no upstream available for /"\n'
        names.set({NAME: ["10.0.0.1"]})
        wait_until(lambda: is_answered(proxy, b"SHOW /a"), 2 * FOLLOWED, "the name")


def test_a_name_server_that_does_not_answer():
    """The proxy starts, answers, and serves others."""
    with Anywhere() as anywhere, Names({NAME: ["10.0.0.1"]}) as names:
        names.stop()
        settings = reverse((NAME, anywhere.port), **CHECKED)
        settings["reverse"] += reverse(("127.0.0.1", anywhere.port), prefix="/there",
                                       **CHECKED)["reverse"]
        with Proxy(settings) as proxy:
            wait_until(lambda: proxy.exchange(b"SHOW /there/a\n").startswith(b"400 "),
                       what="the other server")
            got = proxy.exchange(b"SHOW /a\n")
            assert got == b'500 /a SERVER ERROR "no upstream available for /"\n', got


if __name__ == "__main__":
    own_network.enter()
    sys.exit(run_tests(globals()))
