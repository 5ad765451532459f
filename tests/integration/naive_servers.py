"""Servers that a client has to live with: careless ones, broken ones, and some that are no STTP
servers at all. Each behaviour is a function of one accepted connection."""

import contextlib
import socket
import threading

from harness import IO_TIMEOUT, read_line

EXPECTED = {"CREATE": (100, "CREATED"), "DELETE": (600, "DELETED")}


class NaiveServer:
    """Runs a behaviour for each connection, one after another, on a thread of its own.

    `requests` collects the lines that the behaviours read."""

    def __init__(self, behaviour, address="127.0.0.1", port=0):
        self._behaviour = behaviour
        self._address = (address, port)
        self.requests = []
        self.connections = 0
        self._stopped = threading.Event()

    def __enter__(self):
        self._listener = socket.create_server(self._address)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._thread.join(IO_TIMEOUT)
        self._listener.close()
        assert not self._thread.is_alive()

    def _run(self):
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection, contextlib.suppress(OSError):
                connection.settimeout(IO_TIMEOUT)
                self._behaviour(self, connection)

    def read_request(self, connection):
        """The next request line, b"" at the end of file."""
        line = read_line(connection)
        if line:
            self.requests.append(line)
        return line

    def wait_for_close(self, connection):
        while connection.recv(65536):
            pass


def answer_to(line, contents="text", path=None):
    """What a server with every file there would answer."""
    action, target = line.decode().split()[:2]
    code, phrase = EXPECTED.get(action, (200, "OK"))
    status_line = f"{code} {path or target.partition('?')[0]} {phrase}\n"
    return (status_line + (f"{contents}\n" if code == 200 else "")).encode()


def closes_after_each_answer(server, connection):
    line = server.read_request(connection)
    if line:
        connection.sendall(answer_to(line))


def update_without_contents(server, connection):
    action, target = server.read_request(connection).decode().split()[:2]
    assert action == "UPDATE", action
    connection.sendall(f"200 {target} OK\n".encode())


def answers_byte_by_byte(server, connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while line := server.read_request(connection):
        for byte in answer_to(line):
            connection.sendall(bytes([byte]))


def answers_another_path(server, connection):
    while line := server.read_request(connection):
        connection.sendall(answer_to(line, path="/another"))


def answers_unasked(server, connection):
    """Two answers to the first request: the second one was asked for by nobody."""
    line = server.read_request(connection)
    connection.sendall(answer_to(line) + b"200 /secret OK\nhers\n")
    server.wait_for_close(connection)


def greets(server, connection):
    connection.sendall(b"220 mail.example.org ESMTP\n")
    server.wait_for_close(connection)


def contents_without_end(server, connection):
    target = server.read_request(connection).decode().split()[1]
    connection.sendall(f"200 {target} OK\n".encode())
    while True:
        connection.sendall(b"x" * 65536)


def cuts_contents(server, connection):
    target = server.read_request(connection).decode().split()[1]
    connection.sendall(f"200 {target} OK\nhalf a te".encode())


def cuts_status_line(server, connection):
    target = server.read_request(connection).decode().split()[1]
    connection.sendall(f"100 {target} CRE".encode())


def http_server(server, connection):
    server.read_request(connection)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def closes_without_answer(server, connection):
    server.read_request(connection)


def never_answers(server, connection):
    while server.read_request(connection):
        pass


def fails_first(count):
    """Closes the first `count` connections without an answer."""
    def behaviour(server, connection):
        if server.connections > count:
            closes_after_each_answer(server, connection)
        else:
            closes_without_answer(server, connection)
    return behaviour


def answers(*lines):
    """Sends one prepared answer to each request."""
    def behaviour(server, connection):
        for line in lines:
            server.read_request(connection)
            connection.sendall(line)
        server.wait_for_close(connection)
    return behaviour


@contextlib.contextmanager
def hanging_listener(address, port):
    """An address that takes no connection and refuses none: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((address, port))
        yield
