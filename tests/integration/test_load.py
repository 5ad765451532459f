"""The load program of scripts/bench.sh compare: it counts what was answered, and refuses a server
that answers anything else than the table says."""

import concurrent.futures
import contextlib
import os
import socketserver
import subprocess
import sys
import threading
import time

import harness

PROGRAMS = harness.BIN.parent / "tests"
SECONDS = 0.3
KEYS = 40
TEXTS = ["x" * (1 + key % 7) + f"-{key}" for key in range(KEYS)]


def right(key, _count):
    return f"{len(TEXTS[key])}\r\n{TEXTS[key]}\r\n".encode()


class Handler(socketserver.StreamRequestHandler):
    """A request is two lines, the second one the key's number."""

    def handle(self):
        with self.server.lock:
            self.server.connections += 1
            self.server.open += 1
            self.server.most_open = max(self.server.open, self.server.most_open)
        self.serve()
        with self.server.lock:
            self.server.open -= 1

    def serve(self):
        while self.rfile.readline():
            key = int(self.rfile.readline())
            with self.server.lock:
                count = self.server.requests
                self.server.requests += 1
            answer = self.server.answer(key, count)
            if answer is None:
                return
            self.wfile.write(answer)
        self.wfile.write(self.server.farewell)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 100

    def handle_error(self, request, client_address):
        """A client that goes in the middle is what some tests are about."""


@contextlib.contextmanager
def serving(answer=right, farewell=b""):
    with Server(("127.0.0.1", 0), Handler) as server:
        server.lock = threading.Lock()
        server.connections = server.requests = server.open = server.most_open = 0
        server.answer, server.farewell = answer, farewell
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def entry(request, answer, text):
    return f"{len(request)} {len(answer)} {len(text)}\n{request}{text}"


def load(port, *arguments, table=None):
    """The ended process; its figures, where it printed some."""
    if table is None:
        table = "".join(entry(f"ask\n{key}\n", right(key, 0).decode(), TEXTS[key])
                        for key in range(KEYS))
    with harness.temporary_directory() as directory:
        (directory / "table").write_text(table)
        done = subprocess.run([PROGRAMS / "load", "-d", str(SECONDS), *arguments, str(port),
                               directory / "table"], capture_output=True, text=True, check=False,
                              timeout=harness.IO_TIMEOUT * 3)
    words = done.stdout.split()
    return done, {name: float(value) for name, value in zip(words[::2], words[1::2])}


def check_refused(reason, answer=right, farewell=b"", arguments=()):
    with serving(answer, farewell) as server:
        done, figures = load(server.server_address[1], *arguments)
    assert done.returncode == 1 and not figures, done
    assert reason in done.stderr, done.stderr


def test_every_answer_is_counted_once():
    """Beside these are the first request of each key, and the last of each connection."""
    with serving() as server:
        done, figures = load(server.server_address[1], "-c3")
    assert done.returncode == 0, done
    assert figures["requests"] > 3
    assert server.requests == KEYS + figures["requests"] + 3, (server.requests, figures)
    assert server.connections == 1 + 3
    sizes = [len(right(key, 0)) for key in range(KEYS)]
    assert min(sizes) <= figures["bytes"] / figures["requests"] <= max(sizes), figures


def test_each_batch_is_sent_at_once_and_answered_whole():
    with serving() as server:
        done, figures = load(server.server_address[1], "-c2", "-p16")
    assert done.returncode == 0, done
    outside = server.requests - KEYS - figures["requests"]
    assert (server.requests - KEYS) % 16 == 0 and 0 < outside <= 2 * 16, (server.requests, figures)


def test_in_turn_each_request_is_made_once_and_none_beforehand():
    check_refused("the table has too few requests", arguments=["-u", "-c2"])
    many = "".join(entry(f"ask\n{key}\n", right(key, 0).decode(), "x")
                   for key in list(range(KEYS)) * 2000)
    with serving() as server:
        done, figures = load(server.server_address[1], "-u", "-c3", "-d0.05", table=many)
    assert done.returncode == 0, done
    assert 0 < figures["requests"] <= server.requests <= figures["requests"] + 3, figures
    assert server.connections == 3


def test_a_connection_is_made_for_each_request():
    with serving() as server:
        done, figures = load(server.server_address[1], "-c3", "-o")
    assert done.returncode == 0, done
    assert server.connections == 1 + figures["requests"] + 3, (server.connections, figures)
    assert server.most_open < server.connections / 2, "it does not close them"


def test_the_warm_up_is_not_counted():
    with serving() as server:
        done, figures = load(server.server_address[1], "-w", str(SECONDS), "-d0.05")
    assert done.returncode == 0, done
    assert server.requests > KEYS + figures["requests"] + 1, (server.requests, figures)


def test_time_and_latency_are_those_of_the_answers():
    def late(key, count):
        if count >= KEYS:
            time.sleep(0.02)
        return right(key, count)

    with serving(late) as server:
        done, figures = load(server.server_address[1], "-s", str(os.getpid()))
    assert done.returncode == 0, done
    assert 0.99 * 20000 <= figures["p50_us"] <= figures["p99_us"], figures
    assert figures["requests"] * 0.02 <= figures["seconds"], figures
    assert figures["server_cpu"] > 0 and figures["load_cpu"] > 0, figures


def test_cpu_times_of_several_are_added():
    def cpu_time(process):
        return time.clock_gettime((~process.pid << 3) | 2)  # clock_getcpuclockid(3)

    with serving() as server, subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            before = cpu_time(busy)
            done, figures = load(server.server_address[1], *["-s", str(busy.pid)] * 4)
            used = cpu_time(busy) - before
        finally:
            busy.kill()
    assert done.returncode == 0, done
    assert 1.5 * used < figures["server_cpu"] <= 4 * used, (used, figures)


def test_an_answer_with_another_text_is_refused():
    check_refused("does not hold its text",
                  lambda key, count: right(key, count).replace(b"-3\r", b"-4\r"))


def test_an_answer_that_is_too_long_is_refused():
    check_refused("too long", lambda key, count: right(key, count) + b"!" * (count == 5))
    check_refused("too long", lambda key, count: right(key, count) + b"!" * (count == KEYS + 5))
    check_refused("too long", farewell=b"!")
    check_refused("too long", lambda key, count: right(key, count) + b"!" * (count == KEYS + 5),
                  arguments=("-o",))


def test_an_answer_that_is_too_short_or_missing_is_refused():
    reason = "an answer is missing or too short"
    with concurrent.futures.ThreadPoolExecutor() as threads:
        for done in [threads.submit(check_refused, reason, answer) for answer in (
                lambda key, count: right(key, count)[count == 5:],
                lambda key, count: right(key, count)[count == KEYS + 5:],
                lambda key, count: b"" if count == KEYS + 5 else right(key, count))]:
            done.result()


def test_a_server_that_closes_is_refused():
    check_refused("closed", lambda key, count: None if count == 5 else right(key, count))
    check_refused("closed", lambda key, count: None if count == KEYS + 5 else right(key, count))
    port = harness.free_port()
    done, _ = load(port)
    assert done.returncode == 1 and "Connection refused" in done.stderr, done


def test_what_is_no_table_is_refused():
    for table, reason in (("", "not a table"), ("9 1 1\nask\n1\n", "ends within"),
                          ("9 1\nask\n", "not a table"), ("0 1 1\n1", "empty")):
        done, _ = load(1, table=table)
        assert done.returncode == 1 and reason in done.stderr, (table, done)


@contextlib.contextmanager
def floor(mode):
    port = harness.free_port()
    with harness.temporary_directory() as directory:
        entries = directory / "entries"
        entries.write_text("".join(f"/{key} {text}\n" for key, text in enumerate(TEXTS)))
        process = subprocess.Popen([PROGRAMS / "floor", mode, str(port), entries])
        try:
            def answers():
                with contextlib.suppress(OSError):
                    harness.connect(("127.0.0.1", port)).close()
                    return True
                return False

            harness.wait_until(answers, what="floor")
            yield port
        finally:
            process.kill()
            process.wait()


def floor_table(key_of):
    return "".join(entry(f"SHOW /{key}\n",
                         f"200 /{key_of(key)} OK\n{TEXTS[key_of(key)]}\n", TEXTS[key_of(key)])
                   for key in range(KEYS))


def test_the_floor_answers_all_cases():
    for mode, table in (("fixed", floor_table(lambda key: 0)), ("lookup", floor_table(int))):
        for arguments in (("-c50",), ("-c50", "-p16"), ("-c200", "-p1"), ("-c20", "-o")):
            with floor(mode) as port:
                done, figures = load(port, *arguments, "-d0.1", table=table)
            assert done.returncode == 0 and figures["requests"] > 0, (mode, arguments, done)


def test_the_floor_that_looks_up_refuses_what_it_does_not_have():
    for request in ("SHOW /none\n", "LIST /1\n", "SHOW /1"):
        with floor("lookup") as port:
            done, _ = load(port, table=entry(request, "200 /1 OK\nx-1\n", "x"))
        assert done.returncode == 1 and "closed" in done.stderr, done


if __name__ == "__main__":
    sys.exit(harness.run_tests(globals()))
