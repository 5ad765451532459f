"""A sender of single bytes costs time linear in the bytes: the parser alone, by instructions that
valgrind counts and that are the same in every run; and a whole server, by its CPU time."""

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios

import bench
import harness

REQUESTS = (500, 1000, 2000, 4000)
RESPONSES = (16384, 32768, 65536, 131072)
REPEATS = 4
SENT = 16000  # bytes to the server in each round
ROUNDS = 5


def instructions(program, kind, size, repeats):
    done = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                           program, kind, str(size), str(repeats)],
                          check=True, capture_output=True, text=True)
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1))


def feed_parser(program, kind, sizes):
    print(f"the parser, fed a {kind} byte by byte")
    costs = {}
    for size in sizes:
        spent = instructions(program, kind, size, 2 * REPEATS) - instructions(program, kind, size,
                                                                              REPEATS)
        costs[size] = spent / REPEATS / size
        bench.figure(f"  {size} bytes, instructions for each byte", costs[size])
    bench.figure(f"  {sizes[-1]} bytes to {sizes[0]}, for each byte",
                 costs[sizes[-1]] / costs[sizes[0]], 1.1)


def is_read(connection):
    """Whether the other side of a Unix socket has read all."""
    return struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4))[0] == 0


def send_lines(server, size):
    """CPU seconds of the server for each byte, in lines of `size` bytes. It reads each byte on its
    own: how many of them it finds at once would depend on what else the machine does."""
    line = b"LIST /?name=" + b"a" * (size - 13) + b"\n"
    count = SENT // size
    with harness.connect(server.address, 60) as connection:
        before = bench.cpu_seconds(server.process.pid)
        for _ in range(count):
            for i in range(size):
                connection.send(line[i:i + 1])
                while not is_read(connection):
                    os.sched_yield()
            harness.read_line(connection)
        return (bench.cpu_seconds(server.process.pid) - before) / (count * size)


def feed_server(socket):
    found = {size: [] for size in REQUESTS}
    with harness.Server(listen=["--listen", f"unix:{socket}"]) as server:
        for _ in range(ROUNDS):
            for size in REQUESTS:
                found[size].append(send_lines(server, size))
    print(f"sttpd, sent requests byte by byte; medians of {ROUNDS} rounds of {SENT} bytes")
    costs = {size: bench.median(values) for size, values in found.items()}
    for size, cost in costs.items():
        bench.figure(f"  lines of {size} bytes, CPU time for each byte", cost * 1e6, None, "us")
    bench.figure(f"  {REQUESTS[-1]} bytes to {REQUESTS[0]}, for each byte",
                 costs[REQUESTS[-1]] / costs[REQUESTS[0]], 1.3)


def main():
    bench.require("valgrind", "cc")
    with harness.temporary_directory() as directory:
        program = bench.compile_c("feed", directory, f"-I{bench.HERE.parents[1]}/libsttp/include",
                                  harness.BIN.parent / "lib" / "libsttp.a")
        feed_parser(program, "request", REQUESTS)
        feed_parser(program, "response", RESPONSES)
        feed_server(directory / "socket")
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
