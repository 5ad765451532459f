"""Resident memory of a server with one connection, and what each further idle one costs."""

import contextlib
import sys

import bench
import harness

CONNECTIONS = 10000
SPARE = 600
SHOW = b"SHOW /a\n"
GET = b"get a\r\n"
HTTP = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"


def ask(connection, request, end):
    """One request and the whole of its answer."""
    connection.sendall(request)
    received = b""
    while not received.endswith(end):
        block = connection.recv(4096)
        assert block, f"the server closed after {received!r}"
        received += block


def measure(server, request, end):
    """The memory with one connection, and bytes for each of CONNECTIONS more."""
    with contextlib.ExitStack() as stack:
        def connect():
            connection = stack.enter_context(harness.connect(server.address, 60))
            ask(connection, request, end)

        connect()
        base = bench.settled_memory(server.pid)
        for _ in range(CONNECTIONS):
            connect()
        full = bench.settled_memory(server.pid)
    return base, {kind: (full[kind] - base[kind]) / CONNECTIONS for kind in ("Rss", "Pss")}


def main():
    bench.require("memcached", "nginx")
    bench.raise_descriptor_limit(CONNECTIONS + SPARE)
    room = CONNECTIONS + 16
    with bench.sttpd("--max-connections", room, "--idle-timeout", "1h") as server:
        base, each = measure(server, SHOW, b"x\n")
    with bench.memcached(room + SPARE // 2) as server:
        memcached_base, memcached_each = measure(server, GET, b"END\r\n")
    with bench.nginx(room) as server:
        nginx_base, nginx_each = measure(server, HTTP, b"x" * 150)

    print(f"memory, {CONNECTIONS} idle connections that have each made a request")
    bench.figure("  sttpd, each idle connection (Rss)", each["Rss"], 512, "B")
    bench.figure("  sttpd, each idle connection (Pss)", each["Pss"], None, "B")
    bench.figure("  memcached, each idle connection (Rss)", memcached_each["Rss"], None, "B")
    bench.figure("  nginx, each idle connection (Rss)", nginx_each["Rss"], None, "B")
    print("memory with one connection that was served")
    for name, found in (("sttpd", base), ("memcached", memcached_base), ("nginx", nginx_base)):
        bench.figure(f"  {name} (Rss)", found["Rss"] / 1024, None, "KiB")
    # PSS and private memory depend on what else runs on the machine.
    for kind, target in (("Rss", 0.8), ("Pss", None), ("Private", None)):
        bench.figure(f"  sttpd to memcached ({kind})", base[kind] / memcached_base[kind], target)
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
