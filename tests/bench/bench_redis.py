"""SHOWs that miss memory and are found in Redis, beside redis-benchmark's GET of the same Redis by as
many connections, in turns. What is printed is the median of the rounds' ratios.

redis-benchmark and its Redis have two processors to themselves; so they are what sttpd, its load
and Redis have together.

    bench_redis.py [--rounds N] [--seconds N]
"""

import argparse
import contextlib
import pathlib
import socket
import subprocess
import sys
import tempfile

import bench
import harness
import systems

KEYS = [f"/snippet_{number:04}.txt" for number in range(10000)]
CONNECTIONS = (16, 64, 256)
LEAST = 0.5
WARM_UP = 0.3
ENTRY = 190  # bytes of a value, as long as sttpd's for these texts
GETS_A_SECOND = 60000  # about: for how long redis-benchmark runs


def command(port, text):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(text.encode() + b"\r\n")
        with connection.makefile("rb") as stream:
            line = stream.readline().decode()
            return stream.read(int(line[1:]) + 2).decode() if line[0] == "$" else line


def statistic(port, name):
    return int(command(port, "INFO stats").partition(f"{name}:")[2].split()[0])


def redis_benchmark(port, connections, *arguments):
    done = subprocess.run(["redis-benchmark", "-p", str(port), "-c", str(connections), "-r",
                           str(len(KEYS)), "-d", str(ENTRY), "--csv", *arguments], check=True,
                          text=True, stdout=subprocess.PIPE)
    return float(done.stdout.splitlines()[-1].split(",")[1].strip('"'))


class Shows:
    """sttpd on a Redis, and the load program with the table for it."""

    def __init__(self, directory, server, redis, seconds):
        self.redis = redis
        self.server = server
        self.seconds = seconds
        self.program = bench.compile_c("load", directory, "-D_GNU_SOURCE")
        self.table = directory / "table"
        systems.System("sttpd", server.port, server.process.pid, systems.show,
                       "\n").write_table(KEYS, self.table)

    def fill(self):
        """Until Redis has all of them."""
        def is_full():
            self.server.exchange("".join(map(systems.show, KEYS)).encode())
            return int(command(self.redis.port, "DBSIZE")[1:]) >= len(KEYS)

        harness.wait_until(is_full, 60, "all in Redis")

    def measure(self, connections):
        before = self.asked()
        done = subprocess.run([self.program, f"-c{connections}", "-w", str(WARM_UP), "-d",
                               str(self.seconds), "-s", str(self.server.process.pid), "-s",
                               str(self.redis.pid), str(self.server.port), self.table],
                              check=True, text=True, stdout=subprocess.PIPE)
        words = done.stdout.split()
        found = {name: float(value) for name, value in zip(words[::2], words[1::2])}
        hits, commands = (now - then for now, then in zip(self.asked(), before))
        found["hits"] = hits / commands
        found["asked"] = commands / found["requests"]
        return found

    def asked(self):
        """What Redis had, and all that it was asked and told: a SHOW for which it was no use is no
        command, or two."""
        return [statistic(self.redis.port, name)
                for name in ("keyspace_hits", "total_commands_processed")]


def run(shows, plain, options):
    for connections in CONNECTIONS:
        rates, ratios, hits = [], [], []
        for _ in range(options.rounds):
            theirs = redis_benchmark(plain.port, connections, "-t", "get", "-n",
                                     str(int(GETS_A_SECOND * options.seconds)))
            ours = shows.measure(connections)
            rate = ours["requests"] / ours["seconds"]
            rates.append((rate, theirs))
            ratios.append(rate / theirs)
            hits.append(min(ours["hits"], ours["asked"]))
        print(f"\n{connections} connections: SHOW {bench.median(r for r, _ in rates):,.0f}/s, "
              f"GET {bench.median(r for _, r in rates):,.0f}/s")
        bench.figure("  answers that Redis had, of all", bench.median(hits), least=0.99)
        bench.figure("  SHOW to redis-benchmark's GET", bench.median(ratios), least=LEAST)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    options = parser.parse_args()
    bench.require("redis-server", "redis-benchmark")
    bench.raise_descriptor_limit(4096)
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        docroot = directory / "files"
        systems.write_files(docroot, KEYS)
        redis = stack.enter_context(bench.redis())
        plain = stack.enter_context(bench.redis())
        redis_benchmark(plain.port, 50, "-t", "set", "-n", str(20 * len(KEYS)))
        server = stack.enter_context(harness.Server(
            *systems.ONE_THREAD, "--cache-backend", "redis", "--cache-expiration", "1h",
            "--cache-redis-address", f"127.0.0.1:{redis.port}", docroot=docroot))
        shows = Shows(directory, server, redis, options.seconds)
        shows.fill()
        run(shows, plain, options)
    sys.exit(bench.finish())


if __name__ == "__main__":
    main()
