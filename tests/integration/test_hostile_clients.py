"""sttpd against clients that mean harm: what each of them costs, and that the others are served."""

import contextlib
import random
import re
import select
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from client_support import MIB, closing_all, descriptors_of, memory_grows_at_most, \
    reset, resident_memory, serves, small_client, wait_descriptors
from crowd import crowd
from faults import Faults
from harness import FULL, IO_TIMEOUT, SANITIZED, SEED, Server, connect, read_line, receive_all, \
    run_tests, temporary_directory, wait_until

PATIENT = "request_timeout: 5m\nidle_timeout: 5m\n"


# Long answers to short requests: few files, deep below the directory that is listed.
LIST_DEEP = b"LIST /d?recursive=1&type=file\n"
DEEP = "/".join(letter * 250 for letter in "abc")


def make_deep(server, size):
    """Makes LIST_DEEP answer with about `size` bytes; its whole answer."""
    directory = server.docroot / "d" / DEEP
    directory.mkdir(parents=True)
    names = [f"{number:04d}" for number in range(size // (len(DEEP) + 7))]
    for name in names:
        (directory / name).touch()
    answer = b"200 /d OK\n" + ", ".join(f"{DEEP}/{name}" for name in names).encode() + b"\n"
    assert server.exchange(LIST_DEEP) == answer
    return answer


# -- half requests


def test_half_lines_from_a_thousand_connections():
    half = b"SHOW /half" + b"x" * 3980
    with Server(config=PATIENT) as server, closing_all() as connections:
        with connect(server.address) as served, memory_grows_at_most(server, 16 * MIB):
            for _ in range(1000):
                connections.append(connect(server.address))
                connections[-1].sendall(half)
                served.sendall(b"SHOW /a\n")
                assert read_line(served) == b"400 /a NOT FOUND\n"
        for connection in connections:
            connection.sendall(b"\n")
        for connection in connections:
            assert connection.recv(1000).startswith(b"310 /half")


# -- long lines


def show_of(size, end):
    """A good request of exactly `size` bytes."""
    return b"SHOW /a".ljust(size - len(end)) + end


def test_lines_at_the_limit():
    later = b"400 /b NOT FOUND\n"
    with Server() as server:
        for end in (b"\n", b"\r\n"):
            for chunk in (None, 1, 1000, 4095, 4096):
                for size in (4095, 4096):
                    answer = server.exchange(show_of(size, end) + b"SHOW /b\n", chunk=chunk)
                    assert answer == b"400 /a NOT FOUND\n" + later, (size, chunk, answer)
                answer = server.exchange(show_of(4097, end) + b"SHOW /b\n", chunk=chunk)
                assert answer.startswith(b"300 - CLIENT ERROR") and answer.count(b"\n") == 1, answer
        for size in (4095, 4096, 4097):
            answer = server.exchange(b"x" * size)
            assert answer.startswith(b"300 - CLIENT ERROR") and answer.count(b"\n") == 1, answer


def test_line_without_an_end():
    total = (4 << 30) if FULL else (32 * MIB if SANITIZED else 512 * MIB)
    block = b"x" * MIB
    with Server(config="threads: 1\n") as server, connect(server.address) as connection:
        with memory_grows_at_most(server, 2 * MIB):
            for _ in range(total // MIB):
                connection.sendall(block)
        connection.shutdown(socket.SHUT_WR)
        answer = receive_all(connection)
        assert answer.startswith(b"300 - CLIENT ERROR") and answer.count(b"\n") == 1, answer


# -- answers that nobody takes


def test_endless_listings_that_nobody_reads():
    with Server("-v", config="send_timeout: 1s\n") as server:
        make_deep(server, 10240)
        with memory_grows_at_most(server, 16 * MIB), small_client(server.address) as connection:
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                while True:
                    connection.sendall(LIST_DEEP * 100)
            server.wait_log("debug .*send timeout")
        assert serves(server)


def read_listing(server):
    with small_client(server.addresses[1]) as connection:
        connection.sendall(LIST_DEEP + b"\n")
        return receive_all(connection)


# While a thread makes an answer of half a MiB it holds the names, the contents and the answer. Two
# of them grew piece by piece, and the thread's heap keeps those pieces that are below 128 KiB.
HALF = MIB // 2
MAKING = 3 * HALF
HEAP = HALF


def test_many_that_read_no_listing():
    """Many connections that each keep 512 KiB: the server's bound for all holds, and who reads is
    served whole. One asks at a time, so beside the bound there is one answer that is made."""
    count, bound = 100 if SANITIZED else 200, 32 * MIB
    config = "storage_threads: 4\nmax_unsent_total: 32MiB\nsend_timeout: 5m\n"
    with temporary_directory() as directory:
        listen = ["--listen", "127.0.0.1:0", "--listen", f"unix:{directory}/socket"]
        with Server("-v", listen=listen, config=config) as server, closing_all() as connections:
            answer = make_deep(server, HALF)
            with memory_grows_at_most(server, bound + MAKING + 4 * HEAP):
                for number in range(count):
                    connections.append(small_client(server.addresses[1]))
                    connections[-1].sendall(LIST_DEEP)
                    assert select.select(connections[-1:], [], [], IO_TIMEOUT)[0], "no answer"
                    if number % 50 == 49:
                        assert read_listing(server) == answer
                server.wait_log("warning reset connection .* max_unsent_total")
                wait_until(lambda: server.text().count("too many unsent bytes") >= count - 80,
                           what="resets")
                assert serves(server)


def test_more_listings_than_a_busy_worker_takes_in():
    """The storage makes listings faster than the worker sends them: those on the way to it have a
    bound of the same size, beside the one of the unsent; what is over it is refused. Two threads in
    three make listings."""
    count, bound = 100, 32 * MIB
    config = "storage_threads: 3\nmax_unsent_total: 32MiB\nthreads: 1\n"
    with Faults() as faults, \
            Server(program=faults.PROGRAM, env=faults.env, config=config) as server:
        answer = make_deep(server, HALF)
        with memory_grows_at_most(server, 2 * bound + 2 * (MAKING + HEAP)), \
                ThreadPoolExecutor(1) as pool, faults.delayed("send", 1):
            done = pool.submit(crowd, server, [LIST_DEEP.rstrip()] * count, 120)
            server.wait_log("LIST /d: answered with 500 instead: too many bytes", 60)
            faults.delay("send", 0)
            answers, _ = done.result()
        busy = answers.count(b'500 /d SERVER ERROR "server busy"\n')
        whole = answers.count(answer)
        print(f"     {whole} whole, {busy} refused")
        assert busy > 0 and whole >= bound // len(answer) and busy + whole == count
        assert server.exchange(LIST_DEEP) == answer


def test_reset_in_mid_answer():
    with Server() as server:
        make_deep(server, MIB)
        before = descriptors_of(server)
        memory = resident_memory(server)
        for number in range(2000 if FULL else 50):
            connection = small_client(server.address)
            connection.sendall(LIST_DEEP + b"CREATE /x/%d y\n" % number)
            if number % 2:
                connection.recv(1 + number % 1000)
            reset(connection)
        assert serves(server)
        wait_descriptors(server, before)
        assert SANITIZED or resident_memory(server) <= memory + 16 * MIB


# -- nonsense


ANSWERS = re.compile(rb'(200 [^ ?\0-\x1f]+ OK\n[^\0-\x08\n-\x1f]*\n'
                     rb'|[13-6][015]0 [^ ?\0-\x1f]+ [A-Z ]+(?: "[^"\0-\x1f]+")?\n)*')
WORDS = (b"\nSHOW /", b"\nCREATE /d/", b"\nLIST ", b" HTTP/1.1", b"\nDELETE /", b'\nUPDATE /a "')


def nonsense(randomness):
    """Random bytes, with more line ends than chance gives, and now and then words that begin like
    a request."""
    size = randomness.randrange(1, 20000)
    alphabet = bytes(range(256)) + b"\n" * randomness.randrange(30)
    data = bytearray(randomness.choices(alphabet, k=size))
    for _ in range(randomness.randrange(5)):
        place = randomness.randrange(size)
        data[place:place] = randomness.choice(WORDS)
    return bytes(data)


def test_random_bytes():
    randomness = random.Random(SEED)
    with Server(config="request_timeout: 5s\n") as server:
        before = descriptors_of(server)
        for _ in range(5000 if FULL else 200):
            chunk = randomness.choice((None, None, 1 + randomness.randrange(3000)))
            answer = server.exchange(nonsense(randomness), chunk=chunk)
            if not answer.startswith(b"HTTP/1.1 400 "):
                assert ANSWERS.fullmatch(answer), answer
                answer.decode()
        assert serves(server)
        wait_descriptors(server, before)


# -- many


def visit(server, number):
    """One of the ways in which a connection comes and goes."""
    connection = connect(server.address)
    kind = number % 5
    if kind > 0:
        connection.sendall(b"SHOW /a\n")
    if kind in (2, 3):
        assert read_line(connection) == b"400 /a NOT FOUND\n"
    if kind == 3:
        connection.shutdown(socket.SHUT_WR)
        assert receive_all(connection) == b""
    if kind == 4:
        reset(connection)
    connection.close()


def test_thousands_of_connections_come_and_go():
    count = 10000 if FULL or not SANITIZED else 2000
    with Server() as server, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: visit(server, number), range(500)))
        assert serves(server)
        before = descriptors_of(server)
        memory = resident_memory(server)
        list(pool.map(lambda number: visit(server, number), range(count)))
        assert serves(server)
        wait_descriptors(server, before)
        grown = resident_memory(server) - memory
        print(f"     {count} connections, memory grew by {grown / MIB:.2f} MiB")
        assert SANITIZED or grown <= MIB


def test_who_lingers_goes_first():
    """A place is needed: those who got their last answer and stay lose theirs, nobody else."""
    with Server("--max-connections", "4", "--threads", "1") as server, closing_all() as connections:
        for _ in range(3):
            connections.append(connect(server.address))
            connections[-1].sendall(b"SHOW /a\n")
            assert read_line(connections[-1]) == b"400 /a NOT FOUND\n"
        for _ in range(5):
            with connect(server.address) as lingering:
                lingering.sendall(b"x" * 5000)
                assert read_line(lingering).startswith(b"300 - CLIENT ERROR")
                assert lingering.recv(1) == b""
                lingering.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # it has all
                started = time.monotonic()
                assert serves(server)
                assert time.monotonic() - started < 4, "only its end made room"
        for connection in connections:
            connection.sendall(b"SHOW /b\n")
            assert read_line(connection) == b"400 /b NOT FOUND\n"


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
