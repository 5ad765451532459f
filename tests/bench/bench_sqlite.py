"""The store of SQLite: durable CREATEs by 64 connections, beside Redis with `appendfsync always` and
beside a program with one transaction for each row (rows.c), on the same file system in turns; and
the first page of a search over 100,000 files, beside the round trip of a SHOW that is not cached.

Without --directory the files lie beside the build.

    bench_sqlite.py [--rounds N] [--seconds N] [--directory DIRECTORY] [--part WORDS]
"""

import argparse
import itertools
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import bench
import harness
import systems

MANY = 64
WARM_UP = 0.3
FASTEST = 150000  # changes a second that a table has room for
TEXT = "x" * 100
OF_REDIS, OF_ROWS = 0.8, 8
FILES, PAGE, TIMES_SHOW = 100000, 100, 20
ASKED = 200       # requests of each kind


class Numbers:
    """Names that were not used before, all of one length."""

    def __init__(self):
        self.next = 10**8

    def take(self, count):
        self.next += count
        return range(self.next - count, self.next)


def sttp_request(path):
    return f"CREATE {path} {TEXT}\n", f"100 {path} CREATED\n", "100"


def redis_request(path):
    return systems.resp("SET", path, TEXT), "+OK\r\n", "+OK"


def write_table(file, names, make):
    with open(file, "w", encoding="ascii", newline="") as table:
        for number in names:
            request, answer, text = make(f"/run_0000/plain_{number}")
            table.write(f"{len(request)} {len(answer)} {len(text)}\n{request}{text}")
    return file


def figures_of(line):
    words = line.split()
    return {name: float(value) for name, value in zip(words[::2], words[1::2])}


def output_of(*command):
    done = subprocess.run([str(word) for word in command], check=True, text=True,
                          stdout=subprocess.PIPE)
    return figures_of(done.stdout)


class Changes:
    """The three that make changes. The server's database and Redis' log grow from run to run; each
    run of the plain program has a database of its own."""

    def __init__(self, directory, options):
        self.directory = directory
        self.seconds = options.seconds
        self.load_program = bench.compile_c("load", directory, "-D_GNU_SOURCE")
        self.rows_program = bench.compile_c("rows", directory, "-D_GNU_SOURCE", "-lsqlite3")
        self.numbers = Numbers()
        self.runs = itertools.count()

    def load(self, port, make, connections):
        names = self.numbers.take(int(FASTEST * (self.seconds + WARM_UP)))
        table = write_table(self.directory / "table", names, make)
        done = output_of(self.load_program, "-u", "-w", WARM_UP, "-d", self.seconds,
                         f"-c{connections}", port, table)
        return done["requests"] / done["seconds"]

    def rows(self):
        done = output_of(self.rows_program, self.directory / f"rows-{next(self.runs)}.db",
                         self.seconds)
        return done["changes"] / done["seconds"]


def compare_changes(directory, options):
    changes = Changes(directory, options)
    with harness.Server("--storage-backend", "sqlite", "--storage-sqlite-path",
                        directory / "changes.db") as server, \
            bench.redis("--appendonly", "yes", "--appendfsync", "always",
                        directory=directory) as redis:
        kinds = {
            f"sttpd, sqlite: CREATE, {MANY} connections":
                lambda: changes.load(server.port, sttp_request, MANY),
            f"redis, appendfsync always: SET, {MANY} connections":
                lambda: changes.load(redis.port, redis_request, MANY),
            "a transaction for each row": changes.rows,
        }
        rates = {name: [] for name in kinds}
        for number in range(options.rounds):
            for name in list(kinds)[number % 3:] + list(kinds)[:number % 3]:
                rates[name].append(kinds[name]())
    for name, found in rates.items():
        bench.figure(f"{name}: a second", bench.median(found))
    ours, redis_rates, rows = rates.values()
    bench.figure("  sttpd to redis", ratio(ours, redis_rates), least=OF_REDIS)
    bench.figure("  sttpd to a transaction for each row", ratio(ours, rows), least=OF_ROWS)


def ratio(some, others):
    return bench.median(one / other for one, other in zip(some, others))


# Words and in how many of a thousand texts, chosen at random, each is.
WORDS = {"everywhere": 1000, "frequent": 100, "occasional": 10, "seldom": 1, "nowhere": 0}


def text_of(number):
    chance = random.Random(number)
    words = [word for word, often in WORDS.items() if chance.randrange(1000) < often]
    return f"text {number:06} {' '.join(words)}".ljust(100, ".")


class Asker:
    """One connection that asks one request at a time."""

    def __init__(self, port):
        self.connection = harness.connect(("127.0.0.1", port))
        self.lines = self.connection.makefile("rb")

    def ask(self, request):
        """The contents line, and how long it took."""
        begin = time.perf_counter()
        self.connection.sendall(request.encode() + b"\n")
        status = self.lines.readline()
        assert status.startswith(b"200 "), (request, status)
        contents = self.lines.readline()
        return contents.decode().strip(), time.perf_counter() - begin


def fill(port):
    paths = [f"/d{number % 100:02}/n{number:06}" for number in range(FILES)]
    step = 1000
    for begin in range(0, FILES, step):
        numbers = range(begin, begin + step)
        systems.ask(port, "".join(f"CREATE {paths[number]} {text_of(number)}\n"
                                  for number in numbers),
                    f"100 {paths[begin + step - 1]} CREATED\n")
    return paths


def wait_for_index(path):
    """Until all rows are indexed; the server does it while nobody asks."""
    def is_done():
        answer = subprocess.run(["sqlite3", path, "SELECT indexed - (SELECT max(id) FROM entry) "
                                 "FROM progress"], check=True, text=True, stdout=subprocess.PIPE)
        return answer.stdout.strip() == "0"

    harness.wait_until(is_done, timeout=120, what="the index")


def compare_search(directory):
    database = directory / "search.db"
    with harness.Server("--storage-backend", "sqlite", "--storage-sqlite-path", database,
                        "--cache-enabled", "false") as server:
        paths = fill(server.port)
        wait_for_index(database)
        asker = Asker(server.port)
        shows = [asker.ask(f"SHOW {paths[number * 499 % FILES]}")[1] for number in range(ASKED)]
        show = bench.median(shows)
        bench.figure("SHOW, not cached: median round trip", show * 1e6, unit="us")
        for word, often in WORDS.items():
            request = f"LIST /?recursive=1&limit={PAGE}&q={word}"
            times = []
            for _ in range(ASKED):
                names, seconds = asker.ask(request)
                assert (names.count(", ") >= min(PAGE, FILES * often // 1250) - 1), names
                times.append(seconds)
            bench.figure(f"q={word} ({often / 10:g} %), first page of {PAGE}: median round trip",
                         bench.median(times) * 1e6, unit="us")
            bench.figure("  to that of the SHOW", bench.median(times) / show, TIMES_SHOW)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--directory", help="on the file system to be measured")
    parser.add_argument("--part", default="", help="changes or search; both otherwise")
    return parser.parse_args()


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, harness.interrupt)
    bench.require("cc", "findmnt", "redis-server", "sqlite3")
    with tempfile.TemporaryDirectory(dir=options.directory or harness.BIN.parent) as name:
        subprocess.run(["findmnt", "-no", "FSTYPE,SOURCE,OPTIONS", "-T", name], check=True)
        if options.part in "changes":
            compare_changes(pathlib.Path(name), options)
        if options.part in "search":
            compare_search(pathlib.Path(name))
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
