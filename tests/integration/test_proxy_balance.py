"""Which upstream a request goes to: prefixes, balancing by turns and by path, and what moves when
one of several goes."""

import contextlib
import sys
from collections import Counter

from bench_support import FakeServer
from harness import run_tests, wait_until
from proxy_support import Proxy, reverse, upstream

CHECKED = {"slow_start": 0,
           "health": {"interval": "50ms", "timeout": "1s", "rise": 1, "fall": 1}}
PATHS = [b"/p/%d" % number for number in range(1000)]


class Teller(FakeServer):
    """Answers every SHOW with its name, and every LIST with nothing."""

    def __init__(self, name):
        super().__init__(self._serve_lines)
        self.name = name
        self.address = "127.0.0.1", self.port

    def _serve_lines(self, connection):
        with connection.makefile("rb") as lines:
            for line in lines:
                path = line.split()[1].partition(b"?")[0]
                text = self.name.encode() if line.startswith(b"SHOW ") else b""
                connection.sendall(b"200 %s OK\n%s\n" % (path, text))


@contextlib.contextmanager
def tellers(names):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Teller(name)) for name in names]


def who(proxy, paths):
    """Who answers each path, asked one after another."""
    lines = proxy.exchange(b"".join(b"SHOW %s\n" % path for path in paths)).split(b"\n")
    assert lines[::2] == [b"200 %s OK" % path for path in paths] + [b""], lines[::2]
    return {path: name.decode() for path, name in zip(paths, lines[1::2])}


def one_by_one(proxy, paths):
    """The same, each when the one before was answered."""
    return [who(proxy, [path])[path] for path in paths]


def test_the_longest_prefix_wins():
    with tellers("abcd") as (a, b, c, d):
        settings = {"reverse": [route for prefix, server in
                                (("/", a), ("/x", b), ("/x/y/", c), ("/xy", d))
                                for route in reverse(server.address, prefix=prefix)["reverse"]]}
        with Proxy(settings) as proxy:
            wanted = {b"/": "a", b"/q": "a", b"/x": "b", b"/x/": "b", b"/x/q": "b", b"/xy": "d",
                      b"/xyz": "a", b"/x/y": "c", b"/x/y/z": "c", b"/x/yy": "b", b"/X": "a",
                      b"/%78": "a", b"/xy/x": "d"}
            found = {}
            for path in wanted:
                answer = proxy.exchange(b"SHOW %s\n" % path)
                if not path.endswith(b"/"):  # the proxy itself refuses those
                    found[path] = answer.split(b"\n")[1].decode()
            assert found == {path: name for path, name in wanted.items()
                             if not path.endswith(b"/")}, found


def test_a_path_of_no_prefix():
    with Teller("a") as a, Proxy(reverse(a.address, prefix="/a")) as proxy:
        got = proxy.exchange(b"SHOW /ab\nSHOW /a\n")
        assert got.startswith(b"300 /ab CLIENT ERROR ") and got.endswith(b"200 /a OK\na\n"), got


def test_turns_by_weight():
    with tellers("abc") as (a, b, c):
        route = reverse(upstream(a.address, weight=5), b.address, upstream(c.address, weight=2),
                        balance="round_robin", **CHECKED)
        with Proxy({"threads": 1, **route}) as proxy:
            found = Counter(one_by_one(proxy, PATHS[:80]))
            assert found == {"a": 50, "b": 10, "c": 20}, found


def test_the_others_share_alike():
    for balance in ("least_in_flight", "random_two"):
        with tellers("abcd") as found, \
                Proxy(reverse(*(server.address for server in found), balance=balance,
                              **CHECKED)) as proxy:
            counts = Counter(one_by_one(proxy, PATHS[:400]))
            assert len(counts) == 4 and min(counts.values()) > 50, (balance, counts)


def test_one_of_several_that_goes_moves_its_paths_alone():
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(tellers("abcde"))
        gone = Teller("f")
        route = reverse(*(server.address for server in [*found, gone]), balance="hash",
                        **CHECKED)
        proxies = [stack.enter_context(Proxy(route)) for _ in range(2)]
        with gone:
            before = dict(zip(PATHS, one_by_one(proxies[0], PATHS)))
            assert before == dict(zip(PATHS, one_by_one(proxies[1], PATHS))), "they do not agree"
        share = Counter(before.values())
        assert min(share.values()) > len(PATHS) / 6 / 1.6, share
        assert max(share.values()) < len(PATHS) / 6 * 1.6, share
        proxies[0].wait_log(rf"127\.0\.0\.1:{gone.port}\b")
        after = dict(zip(PATHS, one_by_one(proxies[0], PATHS)))
        moved = [path for path in PATHS if before[path] != after[path]]
        assert moved == [path for path in PATHS if before[path] == "f"], \
            f"{len(moved)} moved, {share['f']} were those of the one that is gone"
        again = {after[path] for path in moved}
        assert len(again) == 5, f"all of them went to {again}"


def test_many_at_once_share_a_path():
    """Bounded loads: what one upstream has no room for goes to others."""
    with tellers("abcd") as found, \
            Proxy(reverse(*(server.address for server in found), balance="hash",
                          **CHECKED)) as proxy:
        counts = Counter()
        request = b"".join(b"SHOW /same\n" for _ in range(60))

        def all_have_some():
            counts.update(proxy.exchange(request).split(b"\n")[1::2])
            return len(counts) == 4

        wait_until(all_have_some, what="four upstreams")


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
