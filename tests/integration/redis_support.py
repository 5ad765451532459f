"""Redis servers for tests: each on a Unix socket and a free port of 127.0.0.1, in a temporary
directory, keeping nothing on disk.

    with redis_support.Redis() as redis:
        ... redis.address, redis.command("PING") ...
"""

import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

import harness

START_DEADLINE = 30.0


class Refused(Exception):
    """An error answer."""


def _read_answer(stream):
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError(f"the answer ends after {line!r}")
    kind, rest = line[:1], line[1:-2]
    if kind == b"+":
        return rest
    if kind == b"-":
        raise Refused(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        size = int(rest)
        return None if size < 0 else stream.read(size + 2)[:-2]
    assert kind == b"*", line
    return [_read_answer(stream) for _ in range(int(rest))]


class Redis:
    """A running redis-server. `settings`: more of its configuration, name to value."""

    def __init__(self, **settings):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="sttp-redis-"))
        self.port = harness.free_port()
        self.socket_path = self.directory / "socket"
        self.process = None
        self._settings = {"save": "", "appendonly": "no", "bind": "127.0.0.1", "port": self.port,
                          "unixsocket": self.socket_path, "dir": self.directory, "databases": 1,
                          **{name.replace("_", "-"): value for name, value in settings.items()}}

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self._discard()
            raise

    def __exit__(self, *_):
        self._discard()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        program = shutil.which("redis-server")
        assert program, "redis-server is not installed: scripts/install-deps.sh test"
        arguments = [word for name, value in self._settings.items()
                     for word in (f"--{name}", str(value))]
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen([program, *arguments], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        harness.end_with_us(self.process, signal.SIGKILL)
        harness.wait_until(self._answers, START_DEADLINE, "redis-server")
        return self

    def _answers(self):
        assert self.process.poll() is None, (self.directory / "log").read_text(errors="replace")
        try:
            self.command("PING")
        except OSError:
            return False
        except Refused:  # it wants a password
            return True
        return True

    def command(self, *words):
        """The answer to a command, over a connection of its own; an error answer is Refused."""
        encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        data = b"*%d\r\n" % len(encoded)
        data += b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
        with socket.create_connection(("127.0.0.1", self.port), harness.IO_TIMEOUT) as connection:
            connection.sendall(data)
            with connection.makefile("rb") as stream:
                return _read_answer(stream)

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def freeze(self):
        """It answers nothing any more, and closes nothing either, until thaw."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def _discard(self):
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
