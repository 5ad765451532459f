"""What the integration tests share: starting sttpd, talking to it, temporary directories.

The programs under test are found in the directory that the environment variable STTP_BIN names.
Only processes that a test started itself are ever signalled.
"""

import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from stores_support import CACHE, STORE, Backing

START_DEADLINE = 20.0
STOP_DEADLINE = 30.0
IO_TIMEOUT = 20.0

# Full counts (scripts/soak.sh) in place of the reduced ones of a CI run.
FULL = bool(os.environ.get("STTP_FULL"))

# For a test's random choices; a script that has it prints it. STTP_SEED repeats a run's choices.
SEED = int(os.environ.get("STTP_SEED") or random.randrange(1 << 32))

# Arguments for a server whose files are changed behind its back.
NO_CACHE = ("--cache-enabled", "false")

# Arguments for a server that does not run as root, whoever runs the test.
UNPRIVILEGED = {"user": 65534} if os.geteuid() == 0 else {}

# Root of a user namespace may mount; in a chroot, which has none, only root itself.
_AS_ROOT = os.geteuid() == 0 and subprocess.run(["unshare", "--user", "true"], check=False,
                                                stderr=subprocess.DEVNULL).returncode != 0
# The beginning of a command that sees mounts of its own, and of one that sees those of a process.
OWN_MOUNTS = ["unshare", "--mount"] if _AS_ROOT else \
    ["unshare", "--user", "--map-root-user", "--mount"]
MOUNTS_OF = ["nsenter", "-m", "-r", "-t"] if _AS_ROOT else \
    ["nsenter", "--preserve-credentials", "-U", "-m", "-r", "-t"]

SANITIZER_REPORT = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:")
LISTENING = re.compile(r" listening on (\S+)$")


def _bin_directory():
    directory = os.environ.get("STTP_BIN")
    if not directory:
        raise SystemExit("STTP_BIN must name the directory of the built programs (build/bin)")
    return pathlib.Path(directory).resolve()


BIN = _bin_directory()

# The stores that sttpd loads, built as they are installed: below lib/x86_64-linux-gnu for /usr.
MODULES = next(BIN.parent.glob("lib/**/sttpd-*.so"), BIN.parent / "lib" / "sttp" / "none").parent

# Sanitizers keep freed memory, add to each allocation, and take their time: what a program takes
# then says nothing.
SANITIZED = any(name in (BIN / "sttpd").read_bytes() for name in (b"__asan_init", b"__tsan_init"))


class StartFailure(Exception):
    """The server ended, or did not get ready in time. `status` is None where it had not ended."""

    def __init__(self, status, stderr):
        super().__init__(f"server did not start (status {status}):\n{stderr}")
        self.status = status
        self.stderr = stderr


def parse_address(text):
    """What a `listening on` line names: (host, port), or the path of a Unix socket."""
    if text.startswith("unix:"):
        return text[len("unix:"):]
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


class Server:
    """A running sttpd, used as `with Server() as server:`.

    args     more command line arguments, put behind the standard ones so that they win
    config   YAML text of a configuration file
    docroot  a directory that exists; without it an empty one is made, and removed at the end
    listen   the listeners' arguments in place of the standard ones (-a 127.0.0.1 -p 0);
             [] leaves them to the configuration file
    env      environment variables to add
    wrapper  a command that sttpd is run by, prlimit say
    stop_status  what stop() expects
    user     the numeric user to run as; the document root is made theirs. Needs root
    program  what to run in place of sttpd
    store    the kind of its store; otherwise that of STTP_STORE, the same one for each server that
             is given the same document root
    """

    def __init__(self, *args, config=None, docroot=None, listen=None, env=None, stop_status=0,
                 user=None, wrapper=(), program=None, store=None):
        self._own = pathlib.Path(tempfile.mkdtemp(prefix="sttp-test-"))
        self._own.chmod(0o755)
        self.docroot = pathlib.Path(docroot) if docroot else self._own / "files"
        if not docroot:
            self.docroot.mkdir()
        self.config = None
        if config is not None:
            self.config = self._own / "sttpd.yaml"
            self.config.write_text(config, encoding="utf-8")
        listeners = ["-a", "127.0.0.1", "-p", "0"] if listen is None else list(listen)
        program = self._runnable(program or BIN / "sttpd", user)
        self._backing, self._keeps_backing = self._find_backing(docroot, store)
        self.command = [*wrapper, str(program), *listeners, "-d", str(self.docroot),
                        *self._backing.arguments]
        if self.config:
            self.command += ["-c", str(self.config)]
        self.command += [str(argument) for argument in args]
        self.stop_status = stop_status
        self._env = {**os.environ, **(env or {})}
        self._user = user
        self.log = []
        self.addresses = []
        self._changed = threading.Condition()
        self._ready = False
        self._ended = False
        self.process = None

    def _find_backing(self, docroot, store):
        """What it keeps its texts in, and whether another server may find that there."""
        if docroot and not store:
            return Backing.of(self.docroot), True
        return Backing(self.docroot, store or STORE), False

    def _runnable(self, program, user):
        """The program, in a place where `user` may run it: the build may be closed to others."""
        if user is None:
            return program
        os.chown(self.docroot, user, user)
        return shutil.copy(program, self._own / program.name)

    # -- life

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(self, kind, value, traceback):
        try:
            if kind is None:
                self.stop()
        finally:
            self._discard()

    def start(self):
        groups = {} if self._user is None else {"group": self._user, "extra_groups": []}
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        env=self._env, user=self._user, **groups)
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._ended, START_DEADLINE)
            ready = self._ready
        if not ready:
            status = self.process.wait(STOP_DEADLINE) if self._ended else None
            self.kill()
            raise StartFailure(status, "\n".join(self.log))
        return self

    def stop(self, signal_number=signal.SIGTERM):
        """Ends the server by a signal. Fails on any other exit status than the expected one, and
        on a sanitizer's report."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        self.wait(STOP_DEADLINE)

    def wait(self, timeout):
        """Waits for the end of the server and judges it as stop() does."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"server did not stop within {timeout} s\n{self.text()}") from None
        self._reader.join(STOP_DEADLINE)
        assert not SANITIZER_REPORT.search(self.text()), self.text()
        assert status == self.stop_status, f"exit status {status}\n{self.text()}"
        if status < 0:
            wait_until(self._backing.is_quiet, STOP_DEADLINE, "what it left under way")

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _discard(self):
        self.kill()
        if self.process is not None:
            self._reader.join(STOP_DEADLINE)
            self.process.stderr.close()
        if not self._keeps_backing:
            self._backing.close()
        remove_tree(self._own)

    # -- log

    def _read_log(self):
        for raw in self.process.stderr:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            found = LISTENING.search(line)
            with self._changed:
                self.log.append(line)
                if found:
                    self.addresses.append(parse_address(found.group(1)))
                if line.endswith(" ready"):
                    self._ready = True
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def text(self):
        with self._changed:
            return "\n".join(self.log)

    def wait_log(self, pattern, timeout=IO_TIMEOUT):
        """The first log line that `pattern` matches; waits until there is one."""
        expression = re.compile(pattern)

        def find():
            return next((line for line in self.log if expression.search(line)), None)

        with self._changed:
            self._changed.wait_for(lambda: find() or self._ended, timeout)
            line = find()
        assert line is not None, f"no log line matches {pattern!r}:\n{self.text()}"
        return line

    # -- where

    @property
    def address(self):
        return self.addresses[0]

    @property
    def port(self):
        return next(address[1] for address in self.addresses if isinstance(address, tuple))

    def exchange(self, data, **options):
        return exchange(self.address, data, **options)

    def clear(self):
        """Empties the store: a document root behind the server's back, so for a server with no cache
        alone; any other store by requests."""
        if self._backing.kind != "fs":
            self._delete_all()
            return
        for entry in self.docroot.iterdir():
            if entry.name.startswith(".sttp-"):
                continue
            if entry.is_dir() and not entry.is_symlink():
                remove_tree(entry)
            else:
                entry.unlink()


    def _delete_all(self):
        status, names, _ = self.exchange(b"LIST /?recursive=1\n").split(b"\n")
        assert status == b"200 / OK", status
        # What is in a directory comes behind it.
        requests = [b"DELETE /%s\n" % name for name in reversed(names.split(b", ")) if name]
        answers = self.exchange(b"".join(requests))
        assert answers.count(b" DELETED\n") == len(requests), answers


def connect(address, timeout=IO_TIMEOUT):
    """A connected socket. `address` is (host, port) or the path of a Unix socket."""
    if isinstance(address, (str, os.PathLike)):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            connection.connect(str(address))
        except BaseException:
            connection.close()
            raise
        return connection
    connection = socket.create_connection(address, timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _send(connection, data, chunk):
    """Sends `data`: whole, in pieces of `chunk` bytes, or in the pieces whose sizes it yields."""
    if chunk is None:
        connection.sendall(data)
        return
    sizes = iter(lambda: chunk, None) if isinstance(chunk, int) else iter(chunk)
    start = 0
    while start < len(data):
        size = next(sizes, len(data) - start)
        connection.sendall(data[start:start + size])
        start += size


def receive_all(connection):
    """All bytes up to the end of file."""
    received = bytearray()
    while True:
        block = connection.recv(65536)
        if not block:
            return bytes(received)
        received += block


def exchange(address, data, half_close=True, chunk=None, timeout=IO_TIMEOUT):
    """Sends `data` on a connection of its own and returns all that comes back, to the end of file.

    Sending runs beside receiving, so neither side can block the other. That the server closes
    before it has read everything is no error: what it had sent until then is returned."""
    with connect(address, timeout) as connection:
        def send():
            with contextlib.suppress(OSError):
                _send(connection, data, chunk)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        received = receive_all(connection)
        sender.join(timeout)
        return received


def lines_of(server, *requests):
    """The answers to some requests on a connection of their own, as lines."""
    return server.exchange(b"".join(request + b"\n" for request in requests)).split(b"\n")[:-1]


def status_of(server, request):
    """The code and the echo of an answer."""
    code, echo, _ = lines_of(server, request)[0].split(b" ", 2)
    return int(code), echo


def names_of(server, request):
    status, contents = lines_of(server, request)
    assert status.startswith(b"200 "), status
    return contents.split(b", ") if contents else []


def read_line(connection):
    """One line with its LF, read byte by byte so that nothing behind it is taken; what came, where
    the connection ends within it."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            break
        line += byte
    return bytes(line)


def free_port():
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# A directory in memory, for tests that count on nothing but their own faults to be slow or to fail.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextlib.contextmanager
def temporary_directory(where=None):
    path = pathlib.Path(tempfile.mkdtemp(prefix="sttp-test-", dir=where))
    path.chmod(0o755)
    try:
        yield path
    finally:
        remove_tree(path)


def remove_tree(path):
    """Removes a directory, also where a test has taken permissions from parts of it."""
    for directory, names, _ in os.walk(path):
        for name in names:
            child = os.path.join(directory, name)
            if not os.path.islink(child):
                os.chmod(child, 0o755)
    shutil.rmtree(path, ignore_errors=True)


def wait_until(condition, timeout=IO_TIMEOUT, what="condition"):
    """For what gives no event to wait for, such as a file that another program writes."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout} s"
        time.sleep(0.01)


_WATCHER = """
import select, signal, sys
test, program, number = map(int, sys.argv[1:])
ended, _, _ = select.select([test, program], [], [])
if program not in ended:
    signal.pidfd_send_signal(program, number)
    signal.pidfd_send_signal(program, signal.SIGCONT)
"""


def end_with_us(process, number):
    """Has a program get a signal when this one is gone, however it ends: what is killed calls no
    `finally`. (PR_SET_PDEATHSIG would count the thread that has started the program.)"""
    watched = os.pidfd_open(os.getpid()), os.pidfd_open(process.pid)
    subprocess.Popen(  # pylint: disable=consider-using-with
        [sys.executable, "-ISc", _WATCHER, *map(str, watched), str(int(number))],
        stdin=subprocess.DEVNULL, pass_fds=watched, start_new_session=True)
    for descriptor in watched:
        os.close(descriptor)


def interrupt(_signal, _frame):
    """A test that is told to end does so by way of its `finally`: nothing of it is left behind."""
    raise KeyboardInterrupt


def of_files(test):
    """Marks a test that is about the files in a document root: on other stores it is not run."""
    test.of_files = True
    return test


def run_test(function):
    """Runs a test; what a thread of its dies of fails it, too. Whether it passed."""
    died = []

    def note(arguments):
        died.append(arguments)
        threading.__excepthook__(arguments)

    threading.excepthook = note
    try:
        function()
    except (Exception, SystemExit):  # one failing test must not hide the others
        traceback.print_exc()
        return False
    finally:
        threading.excepthook = threading.__excepthook__
    return not died


def run_tests(namespace):
    """Runs every function test_* of a module in the order of the file; the exit status for
    sys.exit. Names given on the command line choose some of them."""
    chosen = sys.argv[1:]
    signal.signal(signal.SIGTERM, interrupt)
    if "SEED" in namespace:
        print(f"STTP_SEED={SEED} STTP_STORE={STORE} STTP_CACHE={CACHE}", flush=True)
    tests = [(name, function) for name, function in namespace.items()
             if name.startswith("test_") and callable(function)
             and (not chosen or name in chosen)
             and (STORE == "fs" or not hasattr(function, "of_files"))]
    failures = []
    for name, function in tests:
        started = time.monotonic()
        if not run_test(function):
            failures.append(name)
        print(f"{'FAIL' if name in failures else 'ok  '} {name} "
              f"({time.monotonic() - started:.2f} s)", flush=True)
    print(f"{len(tests)} tests, {len(failures)} failures: {' '.join(failures)}", flush=True)
    return 1 if failures or not tests else 0
