"""tests/data/vectors.tsv through proxies, each vector with an empty store behind them: a forward
one, two of them chained, and a reverse one, sent whole and byte by byte. And what of a target
arrives."""

import contextlib
import re
import sys
from collections import Counter

from harness import Server, exchange, run_tests
from proxy_support import Proxy, Relay, chain, forward, reverse, through, url_of
from test_vectors import NO_CACHE, check, vectors

MAX_LINE = 4096
REQUEST = re.compile(rb"[^ \n]+ /")


def passable(address):
    """The vectors all of whose targets begin with a slash, as requests to a forward proxy for that
    server, where each line is short enough then."""
    found = []
    for name, send, expect in vectors():
        lines = send.split(b"\n")
        if not all(REQUEST.match(line) for line in lines if line.strip(b"\r")):
            continue
        changed = [through(address, line) if line.strip(b"\r") else line for line in lines]
        if max(map(len, changed)) < MAX_LINE:
            found.append((name, b"\n".join(changed), expect))
    assert len(found) > 100, f"only {len(found)} vectors"
    return found


def run_all(server, proxy, how, asked, chunk):
    """A proxy's own answers name the URL, the server's the path: the paths must be the same."""
    origin = url_of(server.address).encode()
    failures = []
    for name, send, expect in asked:
        server.clear()
        got = exchange(proxy.address, send, chunk=chunk).replace(b" " + origin, b" ")
        try:
            check(name, how, server, got, expect)
        except AssertionError as failure:
            failures.append(str(failure))
    assert not failures, "\n".join(failures)


def run_forward(count, chunk):
    with Server(config=NO_CACHE) as server, \
            chain(count, forward(f"127.0.0.1:{server.port}")) as proxies:
        run_all(server, proxies[0], f"{count} proxies, pieces of {chunk}", passable(server.address),
                chunk)


def run_reverse(chunk):
    """All vectors: the lines are those that a server gets."""
    with Server(config=NO_CACHE) as server, Proxy(reverse(server.address)) as proxy:
        run_all(server, proxy, f"reverse, pieces of {chunk}", vectors(), chunk)


def test_forward():
    run_forward(1, None)


def test_forward_byte_by_byte():
    run_forward(1, 1)


def test_two_chained():
    run_forward(2, None)


def test_two_chained_byte_by_byte():
    run_forward(2, 1)


def test_reverse():
    run_reverse(None)


def test_reverse_byte_by_byte():
    run_reverse(1)


PATHS = [b"/a%2e", b"/%25", b"/%", b"/%%zz", b"/%2f%2e%2e/b%20", b"/%00", b"/a+b", b"/a;b=c&d#e",
         b"/\xd0\xb6%d0%b6", b"/sttp:", b"/~%7e"]


def test_what_stands_in_a_target_arrives_as_it_was_sent():
    """Nothing is decoded, and nothing that looks like a part of a URL is taken for one."""
    with Server(config=NO_CACHE) as server, Relay(server.address) as relay:
        no_checks = {"health": {"interval": "off"}}
        with chain(2, forward(f"127.0.0.1:{relay.address[1]}")) as chained, \
                Proxy(reverse(relay.address, **no_checks)) as reverse_proxy:
            for ask in (lambda data: chained[0].forward(relay.address, data),
                        lambda data: chained[1].forward(relay.address, data),
                        reverse_proxy.exchange):
                server.clear()
                check_targets(ask, relay)


def targets_of(relay):
    """Several connections may have carried them, so their order is not told here."""
    return Counter(line.split(b" ")[1] for _, lines in relay.connections() for line in lines)


def check_targets(ask, relay):
    before = targets_of(relay)
    asked = [b"CREATE %s 50%%25\n" % path for path in PATHS]
    asked += [b"SHOW %s\n" % path for path in PATHS]
    asked += [b"LIST /?q=%25\n", b"LIST /?name=*%2E*&limit=10\n"]
    got = ask(b"".join(asked)).split(b"\n")
    assert got[:len(PATHS)] == [b"100 %s CREATED" % path for path in PATHS], got
    shown = [line for path in PATHS for line in (b"200 %s OK" % path, b"50%25")]
    assert got[len(PATHS):3 * len(PATHS)] == shown, got
    assert got[3 * len(PATHS)::2] == [b"200 / OK", b"200 / OK", b""], got
    wanted = Counter(line.split(b" ")[1].rstrip(b"\n") for line in asked)
    assert targets_of(relay) - before == wanted, (targets_of(relay) - before, wanted)


def test_the_scheme_and_the_host_are_read_in_any_case():
    with Server(config=NO_CACHE) as server, Proxy(forward(f"127.0.0.1:{server.port}")) as proxy:
        got = proxy.exchange(b"CREATE STTP://127.0.0.1:%d/A x\nSHOW sTtP://127.0.0.1:%d/A\n"
                             % (server.port, server.port))
        assert got == b"100 /A CREATED\n200 /A OK\nx\n", got


def test_a_line_that_only_the_proxy_finds_too_long():
    """The URL is not part of what the server is asked, but it is of the line."""
    with Server(config=NO_CACHE) as server, Proxy(forward(f"127.0.0.1:{server.port}")) as proxy:
        for size in range(4090, 4100):
            line = through(server.address, b"CREATE /a ")
            line += b"x" * (size - 1 - len(line)) + b"\n"
            got = proxy.exchange(line)
            echo = line.split(b" ")[1] if size <= MAX_LINE else b"-"
            assert got.startswith(b"300 %s CLIENT ERROR " % echo), (size, got)


def test_requests_of_one_connection_for_several_servers():
    """Each client's own order holds, whatever connections its requests travel on."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(Server("--durability", "none")) for _ in range(3)]
        proxy = stack.enter_context(Proxy(forward(*(f"127.0.0.1:{s.port}" for s in servers))))
        requests, answers = [], []
        for number in range(200):
            for server in servers:
                action = b"UPDATE" if number else b"CREATE"
                requests += [through(server.address, b"%s /a %d" % (action, number)),
                             through(server.address, b"SHOW /a")]
                answers += [b"200 /a OK", b"%d" % number] if number else [b"100 /a CREATED"]
                answers += [b"200 /a OK", b"%d" % number]
        got = proxy.exchange(b"\n".join(requests) + b"\n").split(b"\n")
        assert got == answers + [b""], got


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
