"""The cache alone: what an answer costs in memory beside an item of memcached and of redis, and
whether threads that hit it are in each other's way."""

import contextlib
import os
import re
import subprocess
import sys

import bench
import harness
import systems

ANSWERS = 1000000
KEY_SIZE, TEXT_SIZE = 20, 100
BLOCK = 10000  # items in one piece
THREADS = 32
HITS = 32000000  # of all threads together
COUNTED = 320000
ROUNDS = 7
TEXT = "x" * TEXT_SIZE


def keys():
    return (f"/snippet_{number:07}.txt" for number in range(ANSWERS))


def beyond_payload(before, after):
    return (after["Rss"] - before["Rss"]) / ANSWERS - KEY_SIZE - TEXT_SIZE


@contextlib.contextmanager
def filling(program):
    """A process that fills a cache, not before it gets a line."""
    process = subprocess.Popen([program, "fill", str(ANSWERS)], text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    try:
        yield process
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait(harness.STOP_DEADLINE) == 0
    finally:
        process.kill()
        process.wait()


def own(program):
    with filling(program) as process:
        assert process.stdout.readline() == "empty\n"
        before = bench.settled_memory(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "full\n"
        return beyond_payload(before, bench.settled_memory(process.pid))


def of_peer(server, store, answer, count, counted):
    """`count` asks for the number of items, and `counted` is the answer."""
    before = bench.settled_memory(server.pid)
    requests = [store(key) for key in keys()]
    for start in range(0, ANSWERS, BLOCK):
        systems.store(server.port, requests[start:start + BLOCK], answer)
    systems.ask(server.port, count, counted)
    return beyond_payload(before, bench.settled_memory(server.pid))


def memory(program):
    print(f"an answer of the cache, resident, beyond {KEY_SIZE} bytes of path and {TEXT_SIZE} of "
          f"text; {ANSWERS} of them")
    bench.figure("  libsttp", own(program), 74, "B")
    with bench.memcached(1024, "-t", "1", "-m", "1024") as server:
        bench.figure("  memcached", of_peer(
            server, lambda key: f"set {key} 0 0 {TEXT_SIZE}\r\n{TEXT}\r\n", "STORED\r\n",
            f"get /snippet_{0:07}.txt\r\n", f"{TEXT}\r\nEND\r\n"), unit="B")
    with bench.redis() as server:
        bench.figure("  redis", of_peer(server, lambda key: systems.resp("SET", key, TEXT),
                                        "+OK\r\n", systems.resp("DBSIZE"), f":{ANSWERS}\r\n"),
                     unit="B")


def hit(program, threads):
    """Hits a second."""
    done = subprocess.run([program, "hit", str(threads), str(HITS // threads)], check=True,
                          stdout=subprocess.PIPE, text=True)
    return HITS / float(done.stdout)


def scaling(program):
    cores = len(os.sched_getaffinity(0))
    alone, ratios = [], []
    for _ in range(ROUNDS):
        alone.append(hit(program, 1))
        ratios.append(hit(program, THREADS) / alone[-1])
    print(f"hits of 1,000 answers at random, medians of {ROUNDS} rounds, {cores} cores")
    bench.figure("  one thread", bench.median(alone) / 1e6, unit="M/s")
    bench.figure(f"  {THREADS} threads to one thread, for each core", bench.median(ratios) / cores,
                 least=0.7)


def counted(program, threads, hits):
    done = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                           program, "hit", str(threads), str(hits // threads)],
                          check=True, capture_output=True, text=True)
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1))


def instructions(program, threads):
    return (counted(program, threads, 2 * COUNTED) - counted(program, threads, COUNTED)) / COUNTED


def main():
    bench.require("cc", "memcached", "redis-server", "valgrind")
    with harness.temporary_directory() as directory:
        program = bench.compile_c("cached", directory, f"-I{bench.HERE.parents[1]}/libsttp/include",
                                  harness.BIN.parent / "lib" / "libsttp.a")
        memory(program)
        scaling(program)
        one, many = instructions(program, 1), instructions(program, THREADS)
        bench.figure("  instructions of a hit, one thread", one)
        bench.figure(f"  instructions of a hit, {THREADS} threads to one", many / one, 1.01)
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
