"""Large directories: 200,000 names in one answer, while others are served, for readers that take
their time, and again and again."""

import functools
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from client_support import MIB, resident_memory
from harness import FULL, IO_TIMEOUT, NO_CACHE, SANITIZED, Server, connect, read_line, \
    run_tests, temporary_directory, wait_until
from roots_support import beside, directory_in_memory, put_many

COUNT = 20_000 if SANITIZED and not FULL else 200_000
NAMES = [b"%06d-" % number + b"x" * 25 for number in range(COUNT)]
LISTING = b"200 /d OK\n" + b", ".join(NAMES) + b"\n"

# One search reads 50,000 files at most, and less where it looks at many names besides.
FEWER = NAMES[max(COUNT - 40_000, 0)]
WHOLE = b"200 / OK\nd/needle\n" if COUNT < 50_000 else \
    b'500 / SERVER ERROR "too much to search in one request; name a directory further down, or ' \
    b'fewer files with name"\n'

place = temporary_directory if FULL else directory_in_memory  # made faster where it is in memory


def fill(root):
    (root / "d").mkdir()
    (root / "small").write_text("text")
    put_many(root / "d", reversed(NAMES))


def show_beside(server, latencies, done):
    """One SHOW after the other, and how long each took."""
    with connect(server.address) as connection:
        while not done.is_set():
            started = time.monotonic()
            connection.sendall(b"SHOW /small\n")
            assert read_line(connection) + read_line(connection) == b"200 /small OK\ntext\n"
            latencies.append(time.monotonic() - started)


def test_a_large_listing_does_not_hold_up_others():
    """A SHOW on another connection takes a small part of the time of the LIST beside it, and none
    waits for it, also where one thread serves both connections."""
    with Server(*NO_CACHE, "--threads", "1", docroot=ROOT) as server:
        latencies, durations = [], []
        with beside(functools.partial(show_beside, server, latencies)):
            for _ in range(20 if FULL else 2):
                started = time.monotonic()
                assert server.exchange(b"LIST /d\n") == LISTING
                durations.append(time.monotonic() - started)
        latencies.sort()
        usual = latencies[len(latencies) * 9 // 10]
        print(f"    a LIST took {min(durations):.3f} s, 9 of 10 SHOWs {usual * 1e3:.2f} ms, "
              f"the longest of {len(latencies)} {latencies[-1] * 1e3:.0f} ms")
        assert len(latencies) > 20 * len(durations), latencies
        assert usual < min(durations) / 10, (usual, durations)
        # Whoever waited for the LIST would wait for most of it. A short one tells nothing.
        assert SANITIZED or latencies[-1] < min(durations) / 2, (latencies[-1], durations)


def slow_reader(server):
    """A connection whose listing has begun to come, and is not read on."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(IO_TIMEOUT)
    connection.connect(server.address)
    connection.sendall(b"LIST /d\n")
    assert connection.recv(10) == LISTING[:10]
    return connection


def test_a_slow_reader_of_a_large_listing_holds_it_in_memory_once():
    """However many there are, and when they are gone, so is what they held."""
    with Server(*NO_CACHE, "--send-timeout", "300", docroot=ROOT) as server:
        assert server.exchange(b"SHOW /small\n" * 100).endswith(b"text\n")
        start = resident_memory(server)
        slack = 4 * MIB
        readers = []

        def held():
            return resident_memory(server) - start

        try:
            for count in range(1, 7):
                readers.append(slow_reader(server))
                limit = count * len(LISTING) + slack
                if not SANITIZED:
                    wait_until(lambda: held() <= limit, what=f"{count} readers, {limit}")
            print(f"    6 slow readers of {len(LISTING) >> 10} KiB: {held() >> 10} KiB")
            rest = bytearray(LISTING[:10])
            while len(rest) < len(LISTING):
                rest += readers[0].recv(MIB)
            assert rest == LISTING
        finally:
            for reader in readers:
                reader.close()
        if not SANITIZED:
            wait_until(lambda: held() <= slack, what=f"all closed, {slack}")


def test_repeated_large_listings_do_not_grow_memory():
    """One after the other and several at a time: what the C library keeps of each counts too."""
    with Server(*NO_CACHE, docroot=ROOT) as server:
        server.exchange(b"SHOW /small\n" * 100)
        start = resident_memory(server)
        for _ in range(20 if FULL else 3):
            with ThreadPoolExecutor(3) as pool:
                for listing in pool.map(server.exchange, [b"LIST /d\n"] * 3, timeout=IO_TIMEOUT):
                    assert listing == LISTING
            assert server.exchange(b"LIST /d?limit=1&after=x\n") == b"200 /d OK\n\n"
        print(f"    resident: {resident_memory(server) - start >> 10} KiB more than before")
        if not SANITIZED:
            wait_until(lambda: resident_memory(server) - start <= 4 * MIB, what="4 MiB at most")


def test_a_search_through_a_large_directory():
    """q opens each file, as many as one request may: it ends, beside others, and finds what is
    there. What is more than that is told, and narrowed as the answer says."""
    needle = ROOT / "d" / "needle"
    needle.write_text("Needle in a haystack")
    with Server(*NO_CACHE, docroot=ROOT) as server:
        latencies = []
        try:
            with beside(functools.partial(show_beside, server, latencies)):
                assert server.exchange(b"LIST /d?q=needle&after=%s\n" % FEWER, timeout=120) == \
                    b"200 /d OK\nneedle\n"
                assert server.exchange(b"LIST /?recursive=1&q=needle\n", timeout=120) == WHOLE
                assert server.exchange(b"LIST /?recursive=1&q=needle&name=ne*\n") == \
                    b"200 / OK\nd/needle\n"
                assert server.exchange(b"LIST /d\n") == LISTING[:-1] + b", needle\n"
        finally:
            needle.unlink()
        assert len(latencies) > 20


if __name__ == "__main__":
    with place() as ROOT:
        fill(ROOT)
        status = run_tests(globals())
    sys.exit(status)
