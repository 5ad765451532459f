"""A network for one test script: a namespace in which every address there is leads to the script's
own servers, with a hosts file and a name server of its own. Nothing leaves it.

    if __name__ == "__main__":
        own_network.enter()
        sys.exit(run_tests(globals()))
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading

from harness import IO_TIMEOUT, OWN_MOUNTS, STOP_DEADLINE, temporary_directory, wait_until

INSIDE = "STTP_OWN_NETWORK"
SETUP = (["ip", "link", "set", "lo", "up"],
         ["ip", "route", "add", "local", "0.0.0.0/0", "dev", "lo"],
         ["ip", "-6", "route", "add", "local", "::/0", "dev", "lo"])
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


def enter():
    """Starts the script again, inside."""
    environment = {**os.environ, "PATH": PATH}
    if INSIDE not in os.environ:
        command = [*OWN_MOUNTS, "--net", sys.executable, *sys.argv]
        os.execvpe(command[0], command, {**environment, INSIDE: "1"})
    for command in SETUP:
        subprocess.run(command, check=True, env=environment)


def _mount_over(path, text):
    handle, name = tempfile.mkstemp(prefix="sttp-test-")
    with open(handle, "w", encoding="ascii") as file:
        file.write(text)
    os.chmod(name, 0o644)
    subprocess.run(["mount", "--bind", name, path], check=True)
    os.unlink(name)


@contextlib.contextmanager
def hosts(*lines):
    """/etc/hosts has these lines meanwhile."""
    _mount_over("/etc/hosts", "127.0.0.1 localhost\n" + "".join(line + "\n" for line in lines))
    try:
        yield
    finally:
        subprocess.run(["umount", "/etc/hosts"], check=True)


class Names:
    """A name server (dnsmasq) that the resolver asks meanwhile; used as `with Names(...)`. Its
    answers may be kept for a second.

    names  name -> list of addresses; others are not there"""

    def __init__(self, names):
        self._names = dict(names)
        self._directory = None
        self._process = None

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._directory = stack.enter_context(temporary_directory())
            self.set({})
            _mount_over("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1\n")
            stack.callback(subprocess.run, ["umount", "/etc/resolv.conf"], check=True)
            self._start()
            stack.callback(self.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    @property
    def _file(self):
        return self._directory / "hosts"

    def set(self, names):
        """Changes some names; the server has them when this returns."""
        self._names.update(names)
        self._file.write_text("".join(f"{address} {name}\n" for name, addresses
                                      in self._names.items() for address in addresses))
        if self._process:
            self._process.send_signal(signal.SIGHUP)
            for name, addresses in names.items():
                wait_until(lambda: set(look_up(name)) == set(addresses), what=f"name {name}")

    def _start(self):
        self._process = subprocess.Popen(
            ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
             "--local=/#/", "--listen-address=127.0.0.1", "--bind-interfaces",
             f"--addn-hosts={self._file}", "--local-ttl=1"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "PATH": PATH})
        name, addresses = next(iter(self._names.items()))
        wait_until(lambda: set(look_up(name)) == set(addresses), what="dnsmasq")

    def stop(self):
        """It answers no more."""
        self._process.kill()
        self._process.wait(STOP_DEADLINE)


class Anywhere:
    """A listener that every address leads to, on a port of its own. It counts who comes, and
    answers like an empty server."""

    def __init__(self):
        self._listener = socket.create_server(("::", 0), family=socket.AF_INET6,
                                              dualstack_ipv6=True, backlog=100)
        self.port = self._listener.getsockname()[1]
        self.came = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(IO_TIMEOUT)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.came.append(connection.getsockname()[0].removeprefix("::ffff:"))
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    @staticmethod
    def _serve(connection):
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            for line in lines:
                connection.sendall(b"400 %s NOT FOUND\n" % line.split()[1].split(b"?")[0])


def _question(name, kind):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x12\x34\x01\0\0\1\0\0\0\0\0\0" + labels + b"\0" + bytes([0, kind, 0, 1])


def look_up(name):
    """The addresses that the name server gives for a name, asked directly."""
    return [*_ask(name, 1, socket.AF_INET, 4), *_ask(name, 28, socket.AF_INET6, 16)]


def _ask(name, kind, family, size):
    question = _question(name, kind)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(1)
        asker.connect(("127.0.0.1", 53))
        try:
            asker.send(question)
            answer = asker.recv(4096)
        except OSError:
            return
    at = len(question)
    for _ in range(int.from_bytes(answer[6:8], "big")):
        at += 10  # a pointer to the name, kind, class, time to live
        length = int.from_bytes(answer[at:at + 2], "big")
        if length == size:
            yield socket.inet_ntop(family, answer[at + 2:at + 2 + size])
        at += 2 + length
