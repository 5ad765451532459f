"""What the tests of sttp-cli share: running it, and a server for it."""

import contextlib
import os
import shlex
import subprocess
import threading
import time
import unittest

from harness import BIN, SANITIZED, SANITIZER_REPORT, Server, temporary_directory
from naive_servers import NaiveServer

# The beginning of every command. STTP_WRAP_CLI is what sttp-cli is run by, valgrind say.
CLI = [*shlex.split(os.environ.get("STTP_WRAP_CLI", "")), str(BIN / "sttp-cli")]
# The proxy of whoever runs the tests is no part of them.
for _name in ("STTP_PROXY", "STTP_NO_PROXY"):
    os.environ.pop(_name, None)
# A deadline that is to pass after the request was sent, and not before.
DEADLINE = "300ms" if len(CLI) == 1 and not SANITIZED else "3s"


class Run:
    """One run of sttp-cli to its end."""

    def __init__(self, *arguments, stdin=None, **options):
        source = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        started = time.monotonic()
        done = subprocess.run([*CLI, *map(str, arguments)], capture_output="stdout" not in options,
                              timeout=60, **source, **options)
        self.seconds = time.monotonic() - started
        self.status = done.returncode
        self.raw = done.stdout
        self.out = (done.stdout or b"").decode("utf-8", "surrogateescape")
        self.err = (done.stderr or b"").decode("utf-8", "surrogateescape")


class CliTest(unittest.TestCase):
    """What all tests share: a server with texts, and the judgement of a run."""

    @classmethod
    def setUpClass(cls):
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        cls.directory = stack.enter_context(temporary_directory())
        cls.socket_path = cls.directory / "sttpd.sock"
        listeners = ["127.0.0.1:0", "[::1]:0", f"unix:{cls.socket_path}"]
        cls.server = stack.enter_context(
            Server(listen=[word for address in listeners for word in ("--listen", address)]))
        cls.port = next(a[1] for a in cls.server.addresses if a[0] == "127.0.0.1")
        cls.port6 = next(a[1] for a in cls.server.addresses if a[0] == "::1")

    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.base = f"/{self._testMethodName}"  # each test has a directory of its own

    def cli(self, *arguments, status=0, **options):
        run = Run(*arguments, **options)
        self.assertNotRegex(run.err, SANITIZER_REPORT)
        self.assertEqual(run.status, status, f"{arguments}: {run.out}{run.err}")
        return run

    def here(self, *arguments, **options):
        """A run that talks to the server of the class."""
        return self.cli("-a", "127.0.0.1", "-p", self.port, *arguments, **options)

    def create(self, name, text="text"):
        path = f"{self.base}/{name}"
        self.here("create", path, text)
        return path

    def naive(self, behaviour, **options):
        return self.stack.enter_context(NaiveServer(behaviour, **options))

    def to(self, server, *arguments, **options):
        return self.cli("-a", "127.0.0.1", "-p", server.port, *arguments, **options)

    def start(self, *arguments, **options):
        """A run that goes on beside the test, and is ended should the test get stuck."""
        run = self.stack.enter_context(subprocess.Popen([*CLI, *map(str, arguments)], **options))
        guard = threading.Timer(60, run.kill)
        self.stack.callback(guard.cancel)
        self.stack.callback(run.kill)
        guard.start()
        return run

    def temporary(self):
        return self.stack.enter_context(temporary_directory())
