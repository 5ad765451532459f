"""The asynchronous client and a real name server, dnsmasq, on a port of loopback: a name that moves
is followed, one that goes is gone, and nothing fails meanwhile."""

import contextlib
import os
import signal
import subprocess
import sys

from harness import BIN, IO_TIMEOUT, STOP_DEADLINE, Server, StartFailure, free_port, run_tests, \
    temporary_directory, wait_until

NAME = "server.test"
FOLLOWED = 20  # seconds: the name server says that its answers may be kept for one


class Names:
    """dnsmasq, which answers from a file; used as `with Names(...)`.

    addresses  of NAME"""

    def __init__(self, *addresses):
        self._first = addresses
        self._file = None
        self._process = None
        self.server = None

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._file = stack.enter_context(temporary_directory()) / "hosts"
            self._write(self._first)
            for _ in range(10):  # another program may take the port first
                if self._start():
                    break
            else:
                raise AssertionError("dnsmasq does not start")
            stack.callback(self.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _start(self):
        port = free_port()
        user = ["--user=root"] if os.getuid() == 0 else []
        self._process = subprocess.Popen(
            ["dnsmasq", "--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null",
             "--pid-file=", "--no-resolv", "--no-hosts", "--local=/#/", f"--port={port}",
             "--listen-address=127.0.0.1", "--bind-interfaces", f"--addn-hosts={self._file}",
             "--local-ttl=1", *user],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"})
        self.server = f"127.0.0.1:{port}"
        for line in self._process.stderr:
            if "read " in line:  # "... - N names", the last one when it starts
                return True
        self.stop()
        return False

    def _write(self, addresses):
        fresh = self._file.with_suffix(".new")
        fresh.write_text("".join(f"{address} {NAME}\n" for address in addresses))
        fresh.rename(self._file)

    def set(self, *addresses):
        self._write(addresses)
        self._process.send_signal(signal.SIGHUP)

    def stop(self):
        self._process.kill()
        self._process.wait(STOP_DEADLINE)
        self._process.stderr.close()


class Client:
    """The program beside this script; used as `with Client(...)`."""

    def __init__(self, names, port):
        self._command = [str(BIN.parent / "tests" / "names_client"), names.server, NAME, str(port)]
        self._process = None

    def __enter__(self):
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE)
        return self

    def __exit__(self, kind, *_):
        self._process.stdin.close()
        status = self._process.wait(IO_TIMEOUT)
        self._process.stdout.close()
        assert kind or status == 0, status

    def ask(self):
        self._process.stdin.write(b"?")
        self._process.stdin.flush()
        return self._process.stdout.readline().decode().rstrip("\n")


def write_who(server, who):
    (server.docroot / "who").write_text(who)


@contextlib.contextmanager
def two_servers():
    """On one port of two addresses; each tells who it is."""
    with contextlib.ExitStack() as stack:
        for _ in range(10):  # another program may have the port on the second address
            first = stack.enter_context(Server())
            try:
                second = stack.enter_context(
                    Server(listen=["-a", "127.0.0.2", "-p", str(first.port)]))
                break
            except StartFailure:
                first.stop()
        write_who(first, "first")
        write_who(second, "second")
        yield first, second


def test_a_name_that_moves_and_goes():
    with two_servers() as (first, _), Names("127.0.0.1") as names, \
            Client(names, first.port) as client:
        for _ in range(100):
            assert client.ask() == "first"
        answers = set()

        def is_followed(to):
            answer = client.ask()
            answers.add(answer)
            return answer == to

        names.set("127.0.0.2")
        wait_until(lambda: is_followed("second"), FOLLOWED, "the new address")
        names.set("127.0.0.1")
        wait_until(lambda: is_followed("first"), FOLLOWED, "the old address")
        assert answers == {"first", "second"}, answers
        names.set()
        wait_until(lambda: "cannot resolve server.test: no such name" in client.ask(), FOLLOWED,
                   "the end of the name")
        names.set("127.0.0.2")
        wait_until(lambda: client.ask() == "second", FOLLOWED, "the name")


def test_an_address_that_is_dead():
    """The name has two, of which one accepts no connection."""
    with two_servers() as (first, second), Names("127.0.0.2", "127.0.0.1") as names:
        second.stop()
        with Client(names, first.port) as client:
            for _ in range(20):
                assert client.ask() == "first"


def test_a_name_server_that_is_gone():
    with two_servers() as (first, _), Names("127.0.0.1") as names, \
            Client(names, first.port) as client:
        assert client.ask() == "first"
        names.stop()
        first.stop()
        wait_until(lambda: "127.0.0.1" in client.ask(), what="the end of the connection")
        with Server(listen=["-a", "127.0.0.1", "-p", str(first.port)]) as again:
            write_who(again, "again")
            wait_until(lambda: client.ask() == "again", FOLLOWED, "the address of before")


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
