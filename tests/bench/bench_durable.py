"""Durable changes: CREATE and UPDATE by 1 and by 64 connections with `durability: always`, beside a
plain program that makes its changes in crash-atomic batches of 64 (batches.c), on the same file
system in turns; and what writers do to SHOWs from the cache.

No name is used twice, and nothing is deleted before the end: what a file system does after
deletions would be measured with the next run. (ext4 without a journal looks at each inode that was
deleted in the last six minutes when it makes a file: between two runs there should be more.)
Without --directory the files lie beside the build.

    bench_durable.py [--rounds N] [--seconds N] [--directory DIRECTORY] [--part WORDS]
"""

import argparse
import itertools
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import bench
import harness

MANY = 64
KEYS = 10000      # files that an UPDATE replaces
SHOWN = 1000      # of them, texts that are in the cache
SHOWERS = 4       # connections
WARM_UP = 0.3
FASTEST = 40000   # changes a second that a table has room for
SPEED_UP, OF_PLAIN, P99 = 4, 0.8, 3
TEXT = "x" * 100


class Bench:
    """A server, the load program and the plain program. What is measured has its own directories
    below the document root: for CREATE a new one in each run, for UPDATE the same one, since what a
    file costs that is replaced is up to who wrote it."""

    def __init__(self, directory, server, options):
        self.directory = directory
        self.server = server
        self.seconds = options.seconds
        self.load_program = bench.compile_c("load", directory, "-D_GNU_SOURCE")
        self.plain_program = bench.compile_c("batches", directory, "-D_GNU_SOURCE")
        self.numbers = itertools.count()
        self.kept = {user: self.new_directory(KEYS) for user in (1, MANY, "plain")}

    def new_directory(self, files=0):
        """With some files in it, all of which are on disk."""
        directory = self.server.docroot / f"run_{next(self.numbers):04}"
        directory.mkdir()
        for number in range(files):
            (directory / f"plain_{number}").write_text(TEXT, encoding="ascii")
        subprocess.run(["sync", "-f", directory], check=True)
        return directory

    def directory_for(self, action, user):
        return self.new_directory() if action == "CREATE" else self.kept[user]

    def table(self, action, directory):
        """One run's requests, with names of one length: the load program makes each in turn."""
        count = int(FASTEST * (self.seconds + WARM_UP))
        names = range(10**8, 10**8 + count) if action == "CREATE" else \
            (number % KEYS for number in range(count))
        if action == "SHOW":
            names = range(SHOWN)
        file = self.directory / f"{action}.table"
        with open(file, "w", encoding="ascii", newline="") as table:
            for number in names:
                path = f"/{directory.name}/plain_{number}"
                request = f"SHOW {path}\n" if action == "SHOW" else f"{action} {path} {TEXT}\n"
                answer = f"100 {path} CREATED\n" if action == "CREATE" else \
                    f"200 {path} OK\n{TEXT}\n"
                text = TEXT if action == "SHOW" else answer[:3]
                table.write(f"{len(request)} {len(answer)} {len(text)}\n{request}{text}")
        return file

    def start(self, table, *arguments):
        return subprocess.Popen([self.load_program, "-w", str(WARM_UP), "-d", str(self.seconds),
                                 *arguments, str(self.server.port), table], text=True,
                                stdout=subprocess.PIPE)

    def changes(self, action, connections, beside=None):
        """Changes a second of one run; with `beside`, its figures too: another load's meanwhile."""
        table = self.table(action, self.directory_for(action, connections))
        load = self.start(table, "-u", f"-c{connections}")
        figures = end(beside()) if beside else None
        done = end(load)
        rate = done["requests"] / done["seconds"]
        return (rate, figures) if beside else rate

    def plain(self, action):
        first = 10**8 if action == "CREATE" else KEYS
        done = subprocess.run(
            [self.plain_program, action.lower(), self.directory_for(action, "plain"), str(first),
             str(self.seconds)], check=True, text=True, stdout=subprocess.PIPE)
        figures = figures_of(done.stdout)
        return figures["changes"] / figures["seconds"]


def figures_of(line):
    words = line.split()
    return {name: float(value) for name, value in zip(words[::2], words[1::2])}


def end(process):
    line = process.communicate()[0]
    if process.returncode != 0:
        raise SystemExit(f"the load program ended with {process.returncode}")
    return figures_of(line)


def has_journal(directory):
    """Whether a commit of a journal is what a sync waits for; what has none writes in place."""
    found = subprocess.run(["findmnt", "-no", "FSTYPE,SOURCE", "-T", directory], check=True,
                           text=True, stdout=subprocess.PIPE)
    kind, source = found.stdout.split()
    task = pathlib.Path("/sys/fs/ext4", os.path.basename(os.path.realpath(source)), "journal_task")
    return kind != "ext4" or task.read_text(encoding="ascii").strip() != "<none>"


def compare(bench_, rounds, action):
    """The median rates, and the medians of the rounds' ratios."""
    kinds = {f"{action}, 1 connection": lambda: bench_.changes(action, 1),
             f"{action}, {MANY} connections": lambda: bench_.changes(action, MANY),
             f"{action.lower()} in batches of {MANY} by a plain program":
                 lambda: bench_.plain(action)}
    results = {name: [] for name in kinds}
    for number in range(rounds):
        for name in list(kinds)[number % 3:] + list(kinds)[:number % 3]:
            results[name].append(kinds[name]())
    for name, rates in results.items():
        bench.figure(f"{name}: a second", bench.median(rates))
    one, many, plain = results.values()
    least = SPEED_UP if has_journal(bench_.directory) else None
    bench.figure(f"  {MANY} connections to 1", ratio(many, one), least=least)
    bench.figure(f"  {MANY} connections to the plain program", ratio(many, plain), least=OF_PLAIN)


def ratio(some, others):
    return bench.median(one / other for one, other in zip(some, others))


def show_beside_changes(bench_, rounds):
    table = bench_.directory / "shown.table"
    bench_.table("SHOW", bench_.kept[1]).rename(table)

    def shows():
        return bench_.start(table, f"-c{SHOWERS}")

    end(shows())
    alone, beside, rates = [], [], []
    for _ in range(rounds):
        alone.append(end(shows())["p99_us"])
        rate, figures = bench_.changes("CREATE", MANY, shows)
        beside.append(figures["p99_us"])
        rates.append(rate)
    bench.figure(f"SHOW from the cache, {SHOWERS} connections: p99", bench.median(alone), unit="us")
    bench.figure(f"  beside {MANY} that CREATE", bench.median(beside), unit="us")
    bench.figure("  their changes a second", bench.median(rates))
    bench.figure("  p99 beside them to p99 without them", ratio(beside, alone), P99)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--directory", help="on the file system to be measured")
    parser.add_argument("--part", default="", help="of CREATE, UPDATE, SHOW; all of them otherwise")
    return parser.parse_args()


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, harness.interrupt)
    bench.require("cc", "findmnt", "sync")
    with tempfile.TemporaryDirectory(dir=options.directory or harness.BIN.parent) as name:
        directory = pathlib.Path(name)
        docroot = directory / "files"
        docroot.mkdir()
        subprocess.run(["findmnt", "-no", "FSTYPE,SOURCE,OPTIONS", "-T", name], check=True)
        with harness.Server("--cache-max-files", 2 * SHOWN, docroot=docroot) as server:
            bench_ = Bench(directory, server, options)
            if options.part in "CREATE":
                compare(bench_, options.rounds, "CREATE")
            if options.part in "SHOW":
                show_beside_changes(bench_, options.rounds)
            # The last, since what it replaces is deleted.
            if options.part in "UPDATE":
                compare(bench_, options.rounds, "UPDATE")
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
