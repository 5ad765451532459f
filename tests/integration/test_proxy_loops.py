"""Chains of proxies that come back to where they began: found by a hop count in the PROXY
protocol's header, and bounded by the limits where there is none."""

import contextlib
import sys
import time

from harness import SANITIZED, Server, StartFailure, connect, free_port, receive_all, run_tests
from proxy_support import Proxy, Relay, forward, reverse, through, upstream, url_of

MAX_HOPS = 8
SECOND = 5.0 if SANITIZED else 1.0
LOOP = b'SERVER ERROR "proxy loop"'
TRUSTING = {"address": "127.0.0.1:0", "proxy_protocol": True, "trusted_proxies": ["127.0.0.0/8"]}
LIMITS = {"max_upstream_connections": 2, "max_upstream_in_flight": 4, "max_queued": 8,
          "queue_timeout": "500ms", "response_timeout": "1s"}
NO_CHECKS = {"health": {"interval": "off"}}


class Circle:
    """Proxies, each of which leads to a relay that leads to the next one, and the last to the
    first. The relays count, and hide from the settings that it is a circle."""

    def __init__(self, count, settings_to, listener):
        self.relays = []
        self.proxies = []
        self._stack = contextlib.ExitStack()
        self._count, self._settings_to, self._listener = count, settings_to, listener

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for _ in range(self._count):
                self.relays.append(stack.enter_context(Relay()))
            for relay in self.relays:
                settings = {"listen": ["127.0.0.1:0", self._listener],
                            **self._settings_to(relay.address)}
                self.proxies.append(stack.enter_context(Proxy(settings)))
            for relay, proxy in zip(self.relays, self.proxies[1:] + self.proxies[:1]):
                relay.target = proxy.addresses[1]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *details):
        return self._stack.__exit__(*details)

    def taken(self, path):
        """For each connection between proxies its hop count and the requests for the path."""
        return [(hops, sum(path in line for line in lines)) for relay in self.relays
                for hops, lines in relay.connections()]


def reverse_with_header(address):
    return reverse(upstream(address, send_proxy="v2"), **NO_CHECKS)


def forward_with_header(address):
    return forward("127.0.0.0/8:*", parent=url_of(address), send_proxy="v2")


def ask(proxy, request, timeout=60):
    """The answer, and the seconds until it was there."""
    started = time.monotonic()
    answer = proxy.exchange(request, timeout=timeout)
    return answer, time.monotonic() - started


def check_found(count, settings_to, request, target, path):
    with Circle(count, settings_to, TRUSTING) as circle:
        answer, seconds = ask(circle.proxies[0], request)
        assert answer == b"500 %s %s\n" % (target, LOOP), answer
        assert seconds < SECOND, f"{seconds:.2f} s"
        check_no_more_than_one_each(circle, path)
        # Found again, and the proxies serve on.
        answer, seconds = ask(circle.proxies[-1], request)
        assert answer == b"500 %s %s\n" % (target, LOOP) and seconds < SECOND, (answer, seconds)


def check_no_more_than_one_each(circle, path):
    taken = [(hops, count) for hops, count in circle.taken(path) if count]
    print(f"     hops and requests: {sorted(taken)}", flush=True)
    assert all(count == 1 for _, count in taken), taken
    assert len({hops for hops, _ in taken}) == len(taken) <= MAX_HOPS, taken
    assert sorted(hops for hops, _ in taken) == list(range(1, len(taken) + 1)), taken


def test_reverse_loops():
    for count in (1, 2, 3):
        for action in (b"SHOW /loop\n", b"LIST /loop\n", b"UPDATE /loop x\n", b"DELETE /loop\n"):
            check_found(count, reverse_with_header, action, b"/loop", b"/loop")


def test_forward_loops():
    for count in (1, 2, 3):
        address = "127.0.0.1", 1
        target = f"{url_of(address)}/loop".encode()
        for action in (b"SHOW /loop", b"CREATE /loop x"):
            check_found(count, forward_with_header, through(address, action) + b"\n", target,
                        b"/loop")


def test_many_requests_in_a_loop():
    """Each is found on its own; none is told what another one was asked."""
    with Circle(2, reverse_with_header, TRUSTING) as circle:
        paths = [b"/loop-%d" % number for number in range(200)]
        answer, seconds = ask(circle.proxies[0], b"".join(b"SHOW %s\n" % path for path in paths))
        assert answer == b"".join(b"500 %s %s\n" % (path, LOOP) for path in paths), answer
        assert seconds < 5 * SECOND, f"{seconds:.2f} s"
        counts = [sum(line == b"SHOW " + path for relay in circle.relays
                      for _, lines in relay.connections() for line in lines) for path in paths]
        assert max(counts) <= MAX_HOPS, counts


def test_a_long_chain_is_no_loop():
    """As many proxies as may be reach the server; one more does not."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server())
        entries = [server]
        for _ in range(MAX_HOPS):
            last = entries[-1]
            settings = reverse(last.address, **NO_CHECKS) if last is server else \
                reverse_with_header(last.addresses[1])
            entries.append(stack.enter_context(
                Proxy({"listen": ["127.0.0.1:0", TRUSTING], **settings})))
        assert entries[-1].exchange(b"SHOW /a\n") == b"400 /a NOT FOUND\n"
        last = entries[-1]
        entries.append(stack.enter_context(Proxy(reverse_with_header(last.addresses[1]))))
        answer = entries[-1].exchange(b"SHOW /a\n")
        assert answer == b"500 /a %s\n" % LOOP, answer


def test_a_client_that_lies_about_its_hops_is_closed():
    """Who is not trusted sends no header."""
    nobody = {**TRUSTING, "trusted_proxies": ["10.0.0.0/8"]}
    with Server() as server, \
            Proxy({"listen": [nobody], **reverse(server.address)}) as proxy:
        header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\x01\x02\x03\x04\x7f\0\0\1\0\1\0\1\xe5\0\1\7"
        with connect(proxy.address) as connection:
            connection.sendall(header + b"SHOW /a\n")
            with contextlib.suppress(ConnectionError):
                assert receive_all(connection) == b""
        with connect(proxy.address) as connection:
            connection.sendall(b"SHOW /a\n")
            with contextlib.suppress(ConnectionError):
                assert receive_all(connection) == b""


def test_without_a_header_the_limits_bound_it():
    """The answer tells which limit it was, and that is no loop that was found."""
    for count in (1, 2, 3):
        with Circle(count, lambda address: LIMITS | reverse(address, **NO_CHECKS),
                    "127.0.0.1:0") as circle:
            answer, seconds = ask(circle.proxies[0], b"SHOW /loop\n")
            assert answer.startswith(b"500 /loop SERVER ERROR "), answer
            assert b"loop" not in answer.removeprefix(b"500 /loop "), answer
            assert seconds < 30, f"{seconds:.2f} s"
            connections = sum(len(relay.connections()) for relay in circle.relays)
            requests = sum(requests for _, requests in circle.taken(b"/loop"))
            print(f"     {requests} requests, {connections} connections, {seconds:.2f} s: "
                  f"{answer.decode().strip()}", flush=True)
            assert requests < 2000, requests
            for proxy in circle.proxies:
                assert proxy.process.poll() is None, proxy.text()


def start_failure(settings):
    try:
        with Proxy(settings):
            pass
    except StartFailure as failure:
        assert failure.status == 1, failure
        return failure.stderr
    raise AssertionError("the proxy started")


def test_settings_that_name_the_proxy_itself():
    port = free_port()
    address = "127.0.0.1", port
    for settings in (reverse(address), forward("127.0.0.0/8:*", parent=url_of(address)),
                     reverse(("localhost", port)),
                     {"listen_address": "0.0.0.0", **reverse(address)}):
        failure = start_failure({"port": port, **settings})
        assert f":{port}" in failure and "itself" in failure, failure


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
