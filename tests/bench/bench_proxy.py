"""SHOW through the reverse proxy beside HAProxy in TCP mode, both in front of the same sttpd, and
what idle clients of the proxy cost.

All servers run on one core with one thread each, the load on another core. They are loaded in
turns; a ratio is that of two systems in the same round, and what is printed is the median of the
rounds'.

    bench_proxy.py [--rounds N] [--seconds N] [--case WORDS]
"""

import argparse
import contextlib
import os
import pathlib
import signal
import sys
import tempfile
import time

import bench
import bench_compare
import bench_memory
import harness
import proxy_support
import systems

CONNECTIONS = 10000
SPARE = 600
POOL = 4  # connections to the upstream
ONE_THREAD = {"threads": 1, "max_upstream_connections": POOL, "idle_timeout": "1h",
              "max_connections": CONNECTIONS + SPARE}

# The least ratio of the proxy's rate to HAProxy's.
CASES = [
    (bench_compare.Case("50 connections, one at a time", ["-c50"], []), 1.5),
    (bench_compare.Case("1,000 connections, one at a time", ["-c1000"], []), 1.5),
    (bench_compare.Case("50 connections, 16 pipelined", ["-c50", "-p16"], []), 1.0),
]
NO_CHECKS = {"health": {"interval": "off"}}  # they would take a connection more
SUBJECT = "sttp-proxy"
ALL_AT_ONCE = bench_compare.Case("all at once", [f"-c{CONNECTIONS}"], [])

HAPROXY = """global
  nbthread 1
  maxconn {0}
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen sttp
  bind 127.0.0.1:{1}
  server sttpd 127.0.0.1:{2} maxconn {0}
"""


@contextlib.contextmanager
def haproxy(server):
    with harness.temporary_directory() as directory:
        port = harness.free_port()
        config = directory / "haproxy.cfg"
        config.write_text(HAPROXY.format(2 * systems.ROOM, port, server.port))
        with bench.peer(["haproxy", "-db", "-f", str(config)], port) as proxy:
            yield systems.System("haproxy", port, proxy.pid, systems.show, "\n",
                                 behind=server.pid)


@contextlib.contextmanager
def sttp_proxy(server, route=None, **more):
    settings = ONE_THREAD | more | proxy_support.reverse(server.address, **(route or {}))
    with proxy_support.Proxy(settings) as proxy:
        yield systems.System("sttp-proxy", proxy.port, proxy.process.pid, systems.show, "\n",
                             behind=server.pid)


def speed(load, cases, directory, core):
    docroot = directory / "keys"
    systems.write_files(docroot, bench_compare.KEYS)
    with contextlib.ExitStack() as stack, bench.on_core(core):
        server = stack.enter_context(systems.sttpd(docroot, "--cache-max-files", "2000"))
        found = [stack.enter_context(sttp_proxy(server)),
                 stack.enter_context(haproxy(server)), server]
        load.prepare(found, bench_compare.KEYS)
        for case, least in cases:
            results = load.run(found, case)
            bench_compare.print_table(case, results, SUBJECT)
            for what, key, wanted in (("requests/s", "rate", least),
                                      ("CPU of the proxy and sttpd per request", "cpu", None)):
                bench.figure(f"  sttp-proxy to haproxy: {what}", bench_compare.ratio(
                    results, key, ["haproxy"], SUBJECT), least=wanted)


def upstream_connections(port):
    """Connections that are open to a port of 127.0.0.1, counted at its end of them. While others
    come and go the kernel may list one several times."""
    local = f"0100007F:{port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as lines:
        rows = [line.split() for line in list(lines)[1:]]
    return len({row[2] for row in rows if row[1] == local and row[3] == "01"})


def most_at_work(load, proxy, upstream):
    """The most connections to the upstream while all clients ask at once."""
    most = 0
    with load.start(proxy, ALL_AT_ONCE) as process:
        while process.poll() is None:
            most = max(most, upstream_connections(upstream.port))
            time.sleep(0.01)
    assert process.returncode == 0, f"the load program ended with {process.returncode}"
    return most


def many_clients(load, directory, core):
    docroot = directory / "many"
    systems.write_files(docroot, bench_compare.KEYS)
    with bench.on_core(core), systems.sttpd(docroot) as server, \
            sttp_proxy(server, NO_CHECKS, max_queued=CONNECTIONS) as proxy:
        load.prepare([proxy], bench_compare.KEYS)
        request = systems.show(bench_compare.KEYS[0]).encode()
        _, each = bench_memory.measure(proxy, request, b"x\n")
        bench.figure("  resident memory of one that has made a request", each["Rss"], 640, "B")
        bench.figure("  connections to the upstream while all ask",
                     most_at_work(load, proxy, server), POOL)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    return parser.parse_args()


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, harness.interrupt)
    bench.require("cc", "haproxy")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed: one for the servers, one for the load")
    bench.raise_descriptor_limit(CONNECTIONS + SPARE)
    with tempfile.TemporaryDirectory(dir=harness.BIN.parent) as name:
        directory = pathlib.Path(name)
        load = bench_compare.Bench(directory, options.rounds, options.seconds, cores[0])
        print("\n".join(systems.versions([["haproxy", "-v"]])))
        print(f"{options.rounds} rounds of {options.seconds:g} s; medians; texts of 100 characters")
        speed(load, [case for case in CASES if options.case in case[0].name], directory, cores[1])
        print(f"\n{CONNECTIONS} clients")
        many_clients(load, directory, cores[1])
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
