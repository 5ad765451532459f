"""SHOW beside memcached, redis and nginx, and beside the floor: what the kernel's loopback allows a
server that does next to nothing (floor.c). All are loaded by one program (load.c), in turns.

Each server runs on one core with one thread, the load on another core. A ratio is that of two
servers in the same round, and what is printed is the median of the rounds' ratios.

    bench_compare.py [--rounds N] [--seconds N] [--case WORDS]    such as --case pipelined
"""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import bench
import bench_handover
import harness
import systems

KEYS = [f"/snippet_{number:04}.txt" for number in range(1000)]
FILES = [f"/{number // 1000:03}/snippet_{number % 1000:04}.txt" for number in range(100000)]
WARM_UP = 0.3
P99 = 1.25
MEMCACHED, REDIS = ("memcached get",), ("redis",)


@dataclasses.dataclass
class Case:
    """`rates` are the least ratios: of sttpd's rate to that of the best of some systems. `cpu` is
    the highest ratio of server CPU to the floor's."""
    name: str
    load: list
    rates: list
    cpu: float = None
    without: str = None


CASES = [
    Case("50 connections, one at a time", ["-c50"],
         [(("floor",), 0.90), (MEMCACHED, 1.10), (REDIS, 1.05)], cpu=1.12),
    Case("50 connections, 16 pipelined", ["-c50", "-p16"],
         [(("floor",), 0.80), (("memcached mg", "redis"), 1.35), (MEMCACHED, 12)]),
    Case("10 connections, 64 pipelined", ["-c10", "-p64"],
         [(("floor",), 0.60), (REDIS, 2.0)], without="nginx"),
    Case("1,000 connections, one at a time", ["-c1000"],
         [(("floor",), 0.88), (MEMCACHED, 1.05)]),
    Case("a connection per request, 50 at a time", ["-c50", "-o"],
         [(MEMCACHED, 1.05), (REDIS, 0.92)], cpu=1.12),
]
PAGE_CACHE = Case("100,000 files in the page cache, 50 connections, one at a time", ["-c50"],
                  [(("nginx, sendfile off",), 0.9), (("nginx, sendfile on",), 1.3)])


class Bench:
    """The load program, and the tables for it."""

    def __init__(self, directory, rounds, seconds, core):
        self.directory = directory
        self.rounds = rounds
        self.seconds = seconds
        self.core = core
        self.program = bench.compile_c("load", directory, "-D_GNU_SOURCE")

    def prepare(self, found, paths):
        for system in found:
            system.write_table(paths, self.table(system))

    def table(self, system):
        return self.directory / f"{system.name}.table"

    def start(self, system, case):
        command = [self.program, *case.load, "-w", str(WARM_UP), "-d", str(self.seconds),
                   "-s", str(system.pid), *(["-s", str(system.behind)] if system.behind else []),
                   str(system.port), self.table(system)]
        with bench.on_core(self.core):
            return subprocess.Popen(command, text=True, stdout=subprocess.PIPE)

    def measure(self, system, case):
        with self.start(system, case) as process:
            words = process.stdout.read().split()
        if process.returncode != 0:
            raise SystemExit(f"{system.name}, {case.name}: the load program ended with "
                             f"{process.returncode}")
        return figures({name: float(value) for name, value in zip(words[::2], words[1::2])})

    def run(self, found, case):
        """For each system its figures of each round. Who begins changes with the round."""
        results = {system.name: [] for system in found}
        for number in range(self.rounds):
            at = number % len(found)
            for system in found[at:] + found[:at]:
                results[system.name].append(self.measure(system, case))
        return results


def figures(line):
    return {"rate": line["requests"] / line["seconds"],
            "cpu": line["server_cpu"] / line["requests"] * 1e6,
            "server": line["server_cpu"] / line["seconds"],
            "load": line["load_cpu"] / line["seconds"],
            "p50": line["p50_us"], "p99": line["p99_us"]}


def ratio(results, what, others, subject="sttpd"):
    """The median of the ratios of the subject's figure to the best of some other systems'."""
    rounds = zip(results[subject], *(results[name] for name in others))
    return bench.median(own[what] / max(other[what] for other in rest) for own, *rest in rounds)


def print_table(case, results, subject="sttpd"):
    print(f"\n{case.name}")
    print(f"  {'':<20} {'requests/s':>11} {'CPU us':>8} {'p50 us':>9} {'p99 us':>9} "
          f"{'server':>7} {'load':>5} {subject + ' to it':>16}")
    for name, rounds in results.items():
        middle = {key: bench.median(figure[key] for figure in rounds) for key in rounds[0]}
        print(f"  {name:<20} {middle['rate']:>11,.0f} {middle['cpu']:>8.2f} {middle['p50']:>9.1f} "
              f"{middle['p99']:>9.1f} {middle['server']:>7.0%} {middle['load']:>5.0%} "
              f"{ratio(results, 'rate', [name], subject):>16.2f}", flush=True)


def judge(case, results):
    print("  sttpd to")
    for others, least in case.rates:
        bench.figure(f"    {' or '.join(others)}: requests/s", ratio(results, "rate", others),
                     least=least)
    if case.cpu:
        bench.figure("    floor: server CPU per request", ratio(results, "cpu", ["floor"]),
                     case.cpu)
    if "floor" in results:
        bench.figure("    floor: p99", ratio(results, "p99", ["floor"]), P99)


def compare(load, found, case):
    results = load.run([system for system in found
                        if not case.without or not system.name.startswith(case.without)], case)
    print_table(case, results)
    judge(case, results)


def from_cache(load, cases, directory, server_core):
    docroot = directory / "keys"
    systems.write_files(docroot, KEYS)
    with contextlib.ExitStack() as stack:
        def start(context):
            with bench.on_core(server_core):
                return stack.enter_context(context)

        found = [*start(systems.floors(KEYS, directory)), *start(systems.memcached(KEYS)),
                 start(systems.redis(KEYS)), start(systems.nginx(docroot, "on")),
                 start(systems.nginx(docroot, "off")),
                 start(systems.sttpd(docroot, "--cache-max-files", "2000"))]
        load.prepare(found, KEYS)
        for case in cases:
            compare(load, found, case)


def from_page_cache(load, directory, server_core):
    docroot = directory / "files"
    systems.write_files(docroot, FILES)
    with contextlib.ExitStack() as stack:
        def start(context):
            with bench.on_core(server_core):
                return stack.enter_context(context)

        found = [start(systems.nginx(docroot, "on")), start(systems.nginx(docroot, "off")),
                 start(systems.sttpd(docroot, "--cache-enabled", "false"))]
        load.prepare(found, FILES)
        compare(load, found, PAGE_CACHE)
    count_hand_overs(docroot, directory / "strace")


def count_hand_overs(docroot, log):
    """Each file is read just before: the kernel may drop what nobody reads."""
    asked = FILES[::len(FILES) // bench_handover.SHOWS]
    with (bench_handover.traced(docroot, log) as server,
          harness.connect(server.address) as connection):
        for path in asked:
            text = (docroot / path[1:]).read_bytes()
            bench_handover.show(server, connection, path[1:].encode(), text + b"\n")
    calls = bench_handover.calls_from(log)
    warm = calls[bench_handover.first(calls, asked[0][1:]):
                 bench_handover.first(calls, asked[-1][1:])]
    opened = sum("openat2(" in call and "snippet_" in call for call in warm)
    assert opened >= len(asked) - 1, f"{opened} files opened in {len(asked)} SHOWs"
    bench.figure(f"  hand-overs to another thread in {len(asked)} SHOWs",
                 len(bench_handover.hand_overs(warm)), 0)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    return parser.parse_args()


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, harness.interrupt)
    bench.require("cc", "memcached", "redis-server", "nginx", "strace", "findmnt")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed: one for the servers, one for the load")
    bench.raise_descriptor_limit(2 * systems.ROOM)
    cases = [case for case in CASES if options.case in case.name]
    with tempfile.TemporaryDirectory(dir=harness.BIN.parent) as name:
        directory = pathlib.Path(name)
        bench_handover.local_file_system(directory)
        load = Bench(directory, options.rounds, options.seconds, cores[0])
        print("\n".join(systems.versions()))
        print(f"{options.rounds} rounds of {options.seconds:g} s; medians; texts of 100 characters")
        if cases:
            from_cache(load, cases, directory, cores[1])
        if options.case in PAGE_CACHE.name:
            from_page_cache(load, directory, cores[1])
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
