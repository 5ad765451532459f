"""Durable changes on PostgreSQL: CREATE by 64 connections of sttpd, beside the rate at which pgbench
inserts single rows with 64 clients on the same server, in turns. The server syncs; no cache.

    bench_postgres.py [--rounds N] [--seconds N] [--directory DIRECTORY]
"""

import argparse
import itertools
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

import bench
import harness
import postgres_support
from bench_durable import figures_of

MANY = 64
WARM_UP = 0.3
FASTEST = 200000  # changes a second that a table has room for
TEXT = "x" * 100
LEAST = 0.5

INSERT = f"INSERT INTO plain (contents) VALUES ('{TEXT}');\n"


def table(directory, number, seconds):
    """The requests of one run: names that no other run has, of one directory."""
    file = directory / "requests"
    with open(file, "w", encoding="ascii", newline="") as out:
        for i in range(10**7, 10**7 + int(FASTEST * (seconds + WARM_UP))):
            path = f"/run_{number:03}/plain_{i}"
            request = f"CREATE {path} {TEXT}\n"
            out.write(f"{len(request)} {len(f'100 {path} CREATED')+1} 3\n{request}100")
    return file


def creates(program, server, file):
    done = subprocess.run([program, "-w", str(WARM_UP), "-u", f"-c{MANY}", "-d",
                           str(server.seconds), str(server.port), file], check=True, text=True,
                          stdout=subprocess.PIPE)
    figures = figures_of(done.stdout)
    return figures["requests"] / figures["seconds"]


def inserts(cluster, database, script, seconds):
    done = subprocess.run(
        [postgres_support.programs() / "pgbench", "-n", "-M", "prepared", "-c", str(MANY), "-j",
         str(os.cpu_count()), "-T", str(max(1, round(seconds))), "-f", script, "-h",
         cluster.directory, "-p", str(cluster.port), "-U", postgres_support.ROLE, database.name],
        check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=postgres_support.ENVIRONMENT)
    return float(re.search(r"^tps = ([0-9.]+)", done.stdout, re.M)[1])


def compare(cluster, database, server, directory, options):
    program = bench.compile_c("load", directory, "-D_GNU_SOURCE")
    script = directory / "insert.sql"
    script.write_text(INSERT, encoding="ascii")
    database.sql("CREATE TABLE plain (id bigserial PRIMARY KEY, contents text)")
    server.seconds = options.seconds
    rates = {"CREATE": [], "INSERT": []}
    numbers = itertools.count()
    for round_ in range(options.rounds):
        number = next(numbers)
        harness.lines_of(server, b"CREATE /run_%03d/first x" % number)
        file = table(directory, number, options.seconds)
        cluster.sql("CHECKPOINT")
        kinds = [("CREATE", lambda: creates(program, server, file)),
                 ("INSERT", lambda: inserts(cluster, database, script, options.seconds))]
        for name, run in kinds if round_ % 2 == 0 else reversed(kinds):
            rates[name].append(run())
    bench.figure(f"CREATE, {MANY} connections: a second", bench.median(rates["CREATE"]))
    bench.figure(f"single-row inserts by pgbench, {MANY} clients: a second",
                 bench.median(rates["INSERT"]))
    bench.figure("  CREATE to inserts", bench.median(
        created / inserted for created, inserted in zip(*rates.values())), least=LEAST)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--directory", help="on the file system to be measured")
    return parser.parse_args()


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, harness.interrupt)
    if not postgres_support.is_there():
        raise SystemExit("not installed: postgresql (scripts/install-deps.sh bench)")
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory = pathlib.Path(name)
        with postgres_support.Cluster(durable=True, where=options.directory, max_connections=200,
                                      max_wal_size="2GB") as cluster, \
                cluster.database() as database, \
                harness.Server(*harness.NO_CACHE, "--storage-backend", "postgres",
                               "--storage-postgres-conninfo", database.conninfo) as server:
            compare(cluster, database, server, directory, options)
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
