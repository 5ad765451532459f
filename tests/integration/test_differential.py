"""Random sessions on sttpd and on the reference must give the same bytes, messages apart.

Either each session has an empty store, or the sessions of a group run one after another on one
server and on the store that the earlier ones left: that is where a stale answer would show.
Connections that are busy at once each have a directory of their own, so that the order between them
cannot be seen.

STTP_SEED and STTP_SESSIONS override the seed and the number of sessions. A mismatch is printed as
the smallest history of sessions that was found to show it."""

import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor

from harness import Server, exchange, run_tests
from reference import Reference, same

SEED = int(os.environ.get("STTP_SEED") or random.SystemRandom().randrange(1 << 32))
SESSIONS = int(os.environ.get("STTP_SESSIONS") or 300)
MAX_REQUESTS = 40
GROUP = 15
MAX_TRIALS = 250

NO_CACHE = "cache:\n  enabled: false\n"
SMALL_CACHE = "cache:\n  enabled: true\n  max_files: 3\n"
CONNECTIONS = 8

EMOJI = "\U0001f600"
PLAIN = ["a", "b", "a.txt", "d", "d-x", "d.txt", "B", "é", ".profile", "a,b", "%41", "10", "9"]
ODD = ["n" * 32, "n" * 33, "ж" * 32, EMOJI * 32, "ж" * 33, "d" * 255, "d" * 256, "..", ".", "...",
       "", ".sttp-x", ".sttp", "a\tb", "a\x7f", "*", "?", "\"q\"", "\u2028"]
TEXTS = ["x", "Buy milk", "Call HOME", "BUY  MILK", "50%_", "Été", "é", "\"", "\"\"", "\"\"\"",
         "\"x", "x\"", "\"x\"", "\"\"x\"\"", "say \"hi\" now", " lead", "trail ", " ", "\"  x  \"",
         "one\ttwo", "\t", "x" * 160, "x" * 161, "\"" + "x" * 160 + "\"", "\"" + "x" * 161 + "\"",
         EMOJI * 160, EMOJI * 161, "", "a\x00b", "\x1b[31m", "\x9b", "\u2028"]
VALUES = ["", "milk", "MILK", "buy%20milk", "%C3%A9", "é", "%", "%4", "%zz", "%0a", "%09", "%ff",
          "%00", "*", "?", "*.txt", "d*", "?*?", "a", "b", "d/", "d", "0", "1", "2", "01", "+1",
          "-1", "10000", "10001", "99999999999999999999", "file", "dir", "all", "File", "%31",
          "50%25", "_", "a=b", "x\"", "%26", "+", "\t"]
KEYS = ["q", "name", "recursive", "type", "limit", "after"]
GOOD_VALUES = {"q": ["milk", "x", "%C3%A9", "", "home"], "name": ["*", "d*", "?", "*.txt", "a"],
               "recursive": ["0", "1"], "type": ["file", "dir", "all"], "limit": ["1", "2", "5"],
               "after": ["a", "b", "d/", "d", "d/a"]}


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.used = ["/a"]

    def chance(self, probability):
        return self.random.random() < probability

    def pick(self, choices):
        return self.random.choice(choices)

    def path(self, action):
        """Mostly a path used before, or one beside, above or below it: so requests meet."""
        if self.chance(0.35 if action == "CREATE" else 0.08):
            self.used.append(self.new_path())
            return self.used[-1]
        path = self.pick(self.used[-6:])
        if action in ("LIST", "DELETE") and self.chance(0.35 if action == "LIST" else 0.15):
            return path.rstrip("/").rpartition("/")[0] + "/"
        if self.chance(0.06):
            return path + ("" if path.endswith("/") else "/") + self.pick(PLAIN[:4])
        return path

    def new_path(self):
        depth = self.pick([0, 1, 1, 1, 2, 2, 2, 3, 3, 4])
        if self.chance(0.01):
            depth = self.random.randrange(4, 130)
        small = self.chance(0.7)
        names = [self.pick(ODD) if self.chance(0.04) else self.pick(PLAIN[:4] if small else PLAIN)
                 for _ in range(depth)]
        path = "/" + "/".join(names)
        return path + "/" if depth and self.chance(0.06) else path

    def query(self):
        parts = []
        for _ in range(self.pick([1, 1, 1, 2, 2, 3])):
            key = self.pick(KEYS)
            value = self.pick(VALUES if self.chance(0.25) else GOOD_VALUES[key])
            if self.chance(0.03):
                key = self.pick(["", "Q", "%71", "colour"])
            parts.append(key if self.chance(0.02) else f"{key}={value}")
        return "?" + "&".join(parts)

    def line(self):
        action = self.pick(["CREATE"] * 6 + ["SHOW"] * 5 + ["LIST"] * 5 + ["UPDATE"] * 3
                           + ["DELETE"] * 4)
        target = self.path(action)
        if self.chance(0.4 if action == "LIST" else 0.01):
            target += self.query() if self.chance(0.97) else "?"
        if action in ("CREATE", "UPDATE"):
            text = self.pick(TEXTS) if self.chance(0.4) else self.pick(TEXTS[:7])
            contents = "" if self.chance(0.02) else " " + text
        else:
            contents = self.pick([" ", "   ", " x", "  x ", " \t"]) if self.chance(0.04) else ""
        if self.chance(0.02):
            action = self.pick(["show", "FETCH", "", "CREATES", "Show", "LIST\t"])
        if self.chance(0.01):
            target = self.pick(["", "a", "sttp://localhost/a", "*", "?q=x", "//", "/a//"])
        return f"{action} {target}{contents}".encode()

    def mutate(self, line):
        """One change to the bytes of a line, so that it is often, but not always, broken."""
        at = self.random.randrange(len(line) + 1)
        odd = self.pick([b"\x00", b"\t", b"\x7f", b"\xc2\x85", b"\xff", b"\xc3", b"\x80", b" ",
                         b"\"", b"/", b"?", b"%", b"\r", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
                         b"\xc0\xaf", b"\xe2\x80\xa8", b"\xf0\x9f\x98", bytes([at % 256])])
        how = self.random.randrange(4)
        if how == 0:
            return line[:at] + odd + line[at:]
        if how == 1:
            return line[:at] + line[at + 1:]
        if how == 2:
            return line[:at] + odd + line[at + 1:]
        return line[:at]

    def request(self):
        """One line with its end; rarely something that ends the session."""
        line = self.line()
        if self.chance(0.05):
            line = self.mutate(line).replace(b"\n", b"")
        if self.chance(0.004):
            line = self.pick([b"", b"\r", line + b" HTTP/1.1", b"GET / HTTP/1.1"])
        if self.chance(0.006):
            line = line + b" " + b"y" * (self.random.randrange(4090, 4100) - len(line))
        return line + (b"\r\n" if self.chance(0.1) else b"\n")

    def lines_below(self, directory):
        """Some requests whose targets all stand below a directory."""
        lines = []
        while len(lines) < MAX_REQUESTS:
            line = self.line().replace(b" /", b" " + directory.encode() + b"/", 1)
            if line.split(b" ")[1].startswith(directory.encode() + b"/"):
                lines.append(line + b"\n")
        return lines

    def session(self):
        requests = [self.request() for _ in range(self.random.randrange(1, MAX_REQUESTS + 1))]
        if self.chance(0.1):
            requests.insert(0, self.pick([b"GET /a HTTP/1.1\r\n", b"CREATE /http x HTTP/1.1\n",
                                          b"SHOW /a HTTP/1.0\n", b"HTTP/1.1\n", b" HTTP/1.1\n"]))
        if self.chance(0.1):
            requests.append(self.line())
        if self.chance(0.1):
            requests.append(b"\n")
        return requests


def chunks(seed):
    """The sizes of the pieces that a session is sent in: one, single bytes, or anything between."""
    sizes = random.Random(seed)
    largest = sizes.choice([1, 7, 100, 1500, 70000])
    while True:
        yield sizes.randint(1, largest)


def play(server, history, seed):
    """Runs a history of sessions on a server and on a reference that are both fresh. Returns what
    differs first, as (session number, expected, received), or None."""
    reference = Reference()
    for number, requests in enumerate(history):
        data = b"".join(requests)
        expected = reference.session(data)
        try:
            got = exchange(server.address, data, chunk=chunks((seed << 8) + number))
        except OSError as error:
            return number, expected, repr(error).encode()
        if not same(got, expected) or str(server.docroot).encode() in got:
            return number, expected, got
    return None


def play_fresh(config, history, seed):
    with Server(config=config) as server:
        return play(server, history, seed)


def without_each_part(history, size):
    """Every history that lacks `size` neighbouring requests; empty sessions are left out."""
    flat = [(number, request) for number, requests in enumerate(history) for request in requests]
    for start in range(0, len(flat), size):
        rest = flat[:start] + flat[start + size:]
        numbers = sorted({number for number, _ in rest})
        yield [[request for owner, request in rest if owner == number] for number in numbers]


def minimise(config, history, seed):
    """Takes requests out for as long as the two still differ."""
    size = max(1, sum(map(len, history)) // 2)
    trials = 0
    while True:
        for candidate in without_each_part(history, size):
            trials += 1
            if trials > MAX_TRIALS:
                return history
            if candidate and play_fresh(config, candidate, seed):
                history = candidate
                break
        else:
            if size == 1:
                return history
            size = max(1, size // 2)


def report(config, history, seed):
    difference = play_fresh(config, history, seed)
    if difference is None:
        return f"seed {SEED}: differed once, but not when the history was repeated:\n{history!r}"
    smallest = minimise(config, history, seed)
    number, expected, got = play_fresh(config, smallest, seed) or difference
    shown = "\n".join(f"  connection {index}: {b''.join(requests)!r}"
                      for index, requests in enumerate(smallest))
    return (f"seed {SEED}, configuration {config!r}; sttpd and the reference differ:\n{shown}\n"
            f"  on connection {number}\n  reference {expected!r}\n  sttpd     {got!r}")


def run(config, first, count, group, clear):
    """`count` sessions in groups of `group`; each group begins with an empty store."""
    server = None
    try:
        for start in range(first, first + count, group):
            if server is None or not clear:
                if server:
                    server.__exit__(None, None, None)
                server = None
                server = Server(config=config).__enter__()
            else:
                server.clear()
            generator = Generator(f"{SEED}/{start}")
            history = [generator.session() for _ in range(min(group, first + count - start))]
            difference = play(server, history, SEED + start)
            if difference:
                del history[difference[0] + 1:]
                raise AssertionError(report(config, history, SEED + start))
    finally:
        if server:
            server.kill() if sys.exc_info()[0] else None
            server.__exit__(sys.exc_info()[0], None, None)


def test_empty_stores():
    run(NO_CACHE, 0, SESSIONS // 2, 1, clear=True)


def test_kept_store():
    run(None, SESSIONS // 2, SESSIONS // 4, GROUP, clear=False)


def test_kept_store_and_a_small_cache():
    run(SMALL_CACHE, SESSIONS * 3 // 4, SESSIONS - SESSIONS * 3 // 4, GROUP, clear=False)


def test_busy_at_once():
    rounds = max(1, SESSIONS // 30)
    with Server("--threads", "4") as server, ThreadPoolExecutor(CONNECTIONS) as pool:
        references = [Reference() for _ in range(CONNECTIONS)]
        for number in range(rounds):
            sent = [b"".join(Generator(f"{SEED}/{number}/{i}").lines_below(f"/c{i}"))
                    for i in range(CONNECTIONS)]
            received = pool.map(lambda data: exchange(server.address, data), sent)
            for i, got in enumerate(received):
                expected = references[i].session(sent[i])
                assert same(got, expected), \
                    f"seed {SEED}, round {number}, connection {i}: {sent[i]!r}\n" \
                    f"  reference {expected!r}\n  sttpd     {got!r}"


if __name__ == "__main__":
    print(f"STTP_SEED={SEED} STTP_SESSIONS={SESSIONS}", flush=True)
    sys.exit(run_tests(globals()))
