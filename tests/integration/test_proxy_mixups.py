"""No answer reaches another request than its own, whatever upstreams and clients do; and no change
is made twice."""

import concurrent.futures
import contextlib
import sys
import threading
from collections import Counter

from bench_support import LIE, bench_json, failures
from harness import FULL, SANITIZED, SEED, Server, run_tests, temporary_directory
from nonce_clients import Plan, run_clients
from proxy_support import Proxy, Relay, Upstream, chain, forward, reverse, url_of

UPSTREAMS = 3
CLIENTS = 12
REQUESTS = 500000 if FULL else 8000 if SANITIZED else 30000  # of each of the two largest tests

# Each fault takes an upstream out of a route until it was checked, so routes meet fewer.
OFTEN = {"reset": 0.002, "lose": 0.002, "truncate": 0.002, "garbage": 0.001, "wrong": 0.001,
         "silent": 0.0005, "close": 0.002, "late": 0.005}
SELDOM = {name: chance / 10 for name, chance in OFTEN.items()}
LIMITS = {"response_timeout": "300ms", "connect_timeout": "1s", "queue_timeout": "1s"}
CHECKED = {"slow_start": 0,
           "health": {"interval": "50ms", "timeout": "250ms", "rise": 1, "fall": 2}}
PATIENT = {"slow_start": 0,
           "health": {"interval": "50ms", "timeout": "10s", "rise": 1, "fall": 1000}}
BETWEEN_CUTS = 8000


@contextlib.contextmanager
def upstreams(directory, chances):
    with contextlib.ExitStack() as stack:
        found = []
        for number in range(UPSTREAMS):
            found.append(stack.enter_context(Upstream(**chances)))
            found[-1].seed(SEED + number)
            found[-1].delay(400)
            found[-1].log(directory / f"{number}")
        yield found


def check_outcomes(outcomes, most_failed):
    asked = sum(count for (kind, _), count in outcomes.items() if kind != "left")
    right = sum(count for (_, outcome), count in outcomes.items() if outcome == "right")
    print(f"     {asked} answers, {right} of the upstreams; left in the middle: "
          f"{outcomes['left', '']}", flush=True)
    for (kind, outcome), count in sorted(outcomes.items()):
        if outcome not in ("right", ""):
            print(f"     {kind:<6} {outcome}: {count}", flush=True)
    assert outcomes["left", ""] > 0, outcomes
    assert right >= asked * (1 - most_failed), outcomes


def check_changes(directory, found, applied):
    """The upstreams log each CREATE and UPDATE, whose texts are unique, when it is done."""
    done = Counter()
    for number, server in enumerate(found):
        server.counts()  # the log is on disk then
        for line in (directory / f"{number}").read_bytes().splitlines():
            if line.startswith((b"CREATE ", b"UPDATE ")):
                _, path, text = line.split(b" ", 2)
                done[path + b" " + text.strip(b'"')] += 1
    assert done, "no change was made"
    twice = [text for text, count in done.items() if count > 1]
    assert not twice, f"made twice: {twice[:5]}"
    lost = [text for text in applied if text not in done]
    assert not lost, f"acknowledged and not made: {lost[:5]}"


def run(make_proxy, chances, prefixes_of, most_failed):
    with temporary_directory() as directory, upstreams(directory, chances) as found, \
            make_proxy(found) as proxy:
        plan = Plan(proxy.address, SEED, REQUESTS // CLIENTS, prefixes_of(found))
        outcomes, applied = run_clients(plan, threads=CLIENTS // 2)
        faults = sum(server.counts()["faults"] for server in found)
        print(f"     {faults} faults", flush=True)
        assert faults > 0
        check_outcomes(outcomes, most_failed)
        check_changes(directory, found, applied)


def urls(found):
    return tuple(url_of(server.address).encode() for server in found)


def allow_all(found):
    return LIMITS | forward(*(f"127.0.0.1:{server.address[1]}" for server in found))


@contextlib.contextmanager
def two_chained(found):
    with chain(2, allow_all(found)) as proxies:
        yield proxies[0]


def test_reverse():
    run(lambda found: Proxy(LIMITS | reverse(*(server.address for server in found),
                                             **CHECKED)),
        SELDOM, lambda _: (b"",), 0.5)


def test_forward():
    run(lambda found: Proxy(allow_all(found)), OFTEN, urls, 0.5)


def test_two_chained():
    run(two_chained, SELDOM, urls, 0.5)


def test_no_fault_no_failure():
    """Clients that leave are no reason for others to get less than they asked for."""
    with temporary_directory() as directory, upstreams(directory, {}) as found, \
            Proxy(reverse(*(server.address for server in found))) as proxy:
        outcomes, applied = run_clients(Plan(proxy.address, SEED, 1000, leave=0.2))
        check_outcomes(outcomes, 0)
        check_changes(directory, found, applied)


def cut_in_turns(relays, over):
    """Cuts the connections of one relay after the other, each time when both have taken BETWEEN_CUTS
    bytes more: so one of them is up always. How often that was, when it is over."""
    cuts, before = 0, [0] * len(relays)
    while not over.wait(0.01):
        taken = [sum(map(len, relay.taken)) for relay in relays]
        if min(now - then for now, then in zip(taken, before)) >= BETWEEN_CUTS:
            relays[cuts % len(relays)].cut()
            cuts, before = cuts + 1, taken
    return cuts


def test_one_order_of_events():
    """sttp-bench judges texts and their order, while the connections to the server, on two ways,
    are cut again and again: what is under way there may fail, and nothing by the clock, on a busy
    machine either."""
    with Server("--durability", "none") as server, Relay(server.address) as one, \
            Relay(server.address) as other, \
            Proxy(reverse(one.address, other.address, **PATIENT)) as proxy, \
            concurrent.futures.ThreadPoolExecutor() as executor:
        requests = 24000 if FULL else 2000
        over = threading.Event()
        cuts = executor.submit(cut_in_turns, (one, other), over)
        try:
            status, result = bench_json(
                "--check", "--rate", 400, "--requests", requests, "-c", 10,
                "--pipeline", 4, "--keys", 50, "--seed", SEED,
                "--mix", "show=50,update=35,create=10,delete=5",
                port=proxy.port)
        finally:
            over.set()
        found = failures(result)
        print(f"     {found}, {cuts.result()} cuts", flush=True)
        assert status != LIE and not set(found) - {"refused 500"}, result["failures"]
        assert found.get("refused 500", 0) < requests / 2, found
        assert cuts.result() >= 5, cuts.result()


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
