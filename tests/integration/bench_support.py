"""Running sttp-bench, and servers that do not behave."""

import io
import json
import socket
import subprocess
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from harness import BIN, IO_TIMEOUT, SANITIZER_REPORT

BENCH = BIN / "sttp-bench"

# A run that is told to last a moment and takes longer than this hangs.
DEADLINE = 120

OK, OUTPUT, USAGE, ERRORS, BOTTLENECK, SLO, LIE, NO_SERVER = range(8)


class Done(NamedTuple):
    status: int
    out: str
    err: str


def bench(*arguments, port=None):
    where = [] if port is None else ["--port", str(port)]
    done = subprocess.run([BENCH, *where, *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert not SANITIZER_REPORT.search(done.stderr), done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def bench_json(*arguments, port=None):
    """The exit status and the JSON result."""
    done = bench(*arguments, "--json", "-", port=port)
    assert done.out, done.err
    return done.status, json.loads(done.out)


def failures(result):
    return {failure["kind"]: failure["count"] for failure in result["failures"]}


def first_failure(result, kind):
    return next(failure["first"] for failure in result["failures"] if failure["kind"] == kind)


class FakeServer:
    """Answers each connection with what `serve(connection)` does; used as `with`."""

    def __init__(self, serve):
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._connections = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        for thread in self._threads:
            thread.join(IO_TIMEOUT)

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._run, args=(connection,), daemon=True)
            with self._lock:
                self._connections.append(connection)
                self._threads.append(thread)
            thread.start()

    def _run(self, connection):
        try:
            with connection:
                self._serve(connection)
        except OSError:
            pass


class Texts:
    """A server of texts in memory, whose answers `change(action, path, answer)` may falsify."""

    def __init__(self, change=lambda action, path, answer: answer):
        self.texts = {}
        self._lock = threading.Lock()
        self._change = change

    def answer(self, line):
        action, path, *contents = line.split(b" ", 2)
        text = contents[0].strip(b'"') if contents else b""
        with self._lock:
            if action == b"CREATE":
                self.texts[path] = text
                return b"100 " + path + b" CREATED\n"
            if action == b"DELETE":
                self.texts.pop(path, None)
                return b"600 " + path + b" DELETED\n"
            if action == b"UPDATE" and path in self.texts:
                self.texts[path] = text
            if path not in self.texts:
                return b"400 " + path + b" NOT FOUND\n"
            return b"200 " + path + b" OK\n" + self.texts[path] + b"\n"

    def __call__(self, connection):
        with connection.makefile("rb") as lines:
            for line in lines:
                if line == b"\n":
                    return
                action, path = line.split(b" ", 2)[:2]
                connection.sendall(self._change(action, path.rstrip(), self.answer(line.rstrip())))


class SideBySide:
    """Runs tests in threads: most of them wait. For unittest.main(testRunner=SideBySide())."""

    def run(self, suite):
        whole = unittest.TestResult()
        with ThreadPoolExecutor(4) as pool:
            for result in pool.map(self._run_one, self._tests(suite)):
                whole.testsRun += result.testsRun
                whole.failures += result.failures
                whole.errors += result.errors
        return whole

    def _tests(self, suite):
        for test in suite:
            yield from self._tests(test) if isinstance(test, unittest.TestSuite) else [test]

    @staticmethod
    def _run_one(test):
        told = io.StringIO()
        result = unittest.TextTestRunner(told, verbosity=2).run(test)
        print(told.getvalue())
        return result
