"""What the tests with many clients share: connections by the hundred, and what they cost sttpd."""

import contextlib
import os
import re
import socket
import struct
import time

from harness import IO_TIMEOUT, SANITIZED, connect, wait_until

MIB = 1 << 20


@contextlib.contextmanager
def closing_all():
    """A list of connections that are closed at the end."""
    connections = []
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


def reset(connection):
    """Closes it so that the peer sees a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def small_client(address):
    """A connection that takes little before it is read from."""
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(IO_TIMEOUT)
    connection.connect(address)
    return connection


def descriptors_of(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def _memory_of(server, key):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        return int(re.search(rf"^{key}:\s+(\d+) kB$", status.read(), re.MULTILINE)[1]) * 1024


def resident_memory(server):
    return _memory_of(server, "VmRSS")


@contextlib.contextmanager
def memory_grows_at_most(server, limit):
    """Judges the highest resident memory of the server while the block ran."""
    with open(f"/proc/{server.process.pid}/clear_refs", "w", encoding="ascii") as peak:
        peak.write("5")
    before = resident_memory(server)
    yield
    grown = _memory_of(server, "VmHWM") - before
    print(f"     memory grew by {grown / MIB:.1f} MiB at most, of {limit / MIB:.1f}")
    assert SANITIZED or grown <= limit


def cpu_seconds(server):
    with open(f"/proc/{server.process.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_quiet(server, period=1.0, limit=0.1):
    """Whether the server uses hardly any processor time for a while in which nothing happens."""
    before = cpu_seconds(server)
    time.sleep(period)  # the period that is measured
    used = cpu_seconds(server) - before
    print(f"     {used:.2f} s of processor time in {period:.0f} s")
    return used <= limit


def serves(server):
    """Whether a new connection is answered."""
    with connect(server.address) as connection:
        connection.sendall(b"SHOW /none\n\n")
        return connection.recv(100) == b"400 /none NOT FOUND\n"


def wait_descriptors(server, count):
    wait_until(lambda: descriptors_of(server) <= count, what=f"at most {count} descriptors")
