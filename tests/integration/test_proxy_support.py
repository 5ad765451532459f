"""What stands behind proxies in their tests fails as it is told to: tests/faults/upstream.c, and
the relay that counts."""

import contextlib
import sys
import time

from harness import connect, exchange, receive_all, run_tests, temporary_directory
from proxy_support import Relay, Upstream, split_header

REQUESTS = (b'SHOW /a\nLIST /b?name=7.1\nUPDATE /c "x y"\nUPDATE /c x y\nCREATE /d "z"\n'
            b'DELETE /e\nLIST /f\n')
ANSWERS = (b"200 /a OK\n/a\n200 /b OK\n7.1\n200 /c OK\nx y\n200 /c OK\nx y\n100 /d CREATED\n"
           b"600 /e DELETED\n200 /f OK\n\n")
HEADER = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\x7f\0\0\1\x7f\0\0\1\0\1\0\2\xe5\0\1\3"


def ask(server, request):
    """What comes up to the end of the connection, however that ends."""
    received = b""
    with connect(server.address) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(request)
        while block := connection.recv(4096):
            received += block
    return received


def test_it_answers():
    with Upstream() as server:
        assert exchange(server.address, REQUESTS + b"\n", half_close=False) == ANSWERS
        assert exchange(server.address, HEADER + REQUESTS + b"\n", half_close=False) == ANSWERS
        assert exchange(server.address, REQUESTS + b"\n", chunk=1, half_close=False) == ANSWERS
        counts = server.counts()
        assert counts["connections"] == 3 and counts["requests"] == 21, counts
        assert counts["faults"] == 0, counts


def test_it_fails():
    with temporary_directory() as directory, Upstream() as server:
        server.log(directory / "log")
        for fault, is_so in (("reset", lambda got: got == b""), ("lose", lambda got: got == b""),
                             ("truncate", lambda got: b"200 /a OK\n/a\n".startswith(got)),
                             ("garbage", lambda got: got != b"200 /a OK\n/a\n"),
                             ("wrong", lambda got: got == b"200 /not/asked OK\n/a\n"),
                             ("close", lambda got: got == b"200 /a OK\n/a\n")):
            server.set(**{fault: 1})
            got = ask(server, b"SHOW /a\n" + (b"\n" if fault in ("garbage", "wrong") else b""))
            assert is_so(got), (fault, got)
            server.set(**{fault: 0})
        assert server.counts()["faults"] == 6


def test_it_logs_the_changes_that_are_done():
    with temporary_directory() as directory, Upstream() as server:
        server.log(directory / "log")
        for fault in ("reset", "lose", "truncate"):
            server.set(**{fault: 1})
            ask(server, b"UPDATE /a %s\n" % fault.encode())
            server.set(**{fault: 0})
        server.counts()
        assert (directory / "log").read_text() == "UPDATE /a lose\nUPDATE /a truncate\n"


def test_it_is_late_or_silent():
    with Upstream(late=1) as server:
        server.delay(150)
        started = time.monotonic()
        assert exchange(server.address, b"SHOW /a\n\n", half_close=False) == b"200 /a OK\n/a\n"
        assert time.monotonic() - started >= 0.15
    with Upstream(silent=1) as server, connect(server.address, 0.2) as connection:
        connection.sendall(b"SHOW /a\n")
        with contextlib.suppress(TimeoutError):
            raise AssertionError(connection.recv(1))


def test_the_relay_notes_what_goes_by():
    with Upstream() as server, Relay(server.address) as relay:
        assert exchange(relay.address, HEADER + REQUESTS + b"\n", half_close=False) == ANSWERS
        assert relay.connections() == [(3, REQUESTS.split(b"\n"))], relay.connections()
        with connect(relay.address) as connection:
            connection.sendall(b"SHOW /a\n")
            assert connection.recv(100) == b"200 /a OK\n/a\n"
            relay.cut()
            assert receive_all(connection) == b""
    assert split_header(b"SHOW /a\nSHOW") == (None, [b"SHOW /a"])


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
