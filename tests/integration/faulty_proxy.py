"""A proxy between clients and a server that now and then lies, as a server with a fault would: what
the checker of histories must find."""

import contextlib
import random
import socket
import threading

from harness import connect

OFTEN = 0.2  # of the occasions on which a fault could show


class Honest:
    """No fault. `exchange` gets a request line and the means to ask the server."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.planted = 0

    def exchange(self, line, ask):
        return ask(line)

    def plants(self):
        """Whether to show the fault on this occasion."""
        with self.lock:
            chosen = self.random.random() < OFTEN
            self.planted += chosen
        return chosen


class StaleRead(Honest):
    """Gives an old answer to a SHOW again. It is so old that no request is under way any more that
    was when it was true."""

    AGE = 100  # answers since; more than there are requests at a time

    def __init__(self, seed):
        super().__init__(seed)
        self.shown = {}

    def exchange(self, line, ask):
        answer = ask(line)
        if not line.startswith(b"SHOW ") or not answer.startswith(b"200 "):
            return answer
        with self.lock:
            shown = self.shown.setdefault(line, [])
            shown.append(answer)
            old = next((old for old in shown[:-self.AGE] if old != answer), None)
        return old if old is not None and self.plants() else answer


class LostUpdate(Honest):
    """Acknowledges an UPDATE that the server never sees."""

    def exchange(self, line, ask):
        action, path, text = (line.rstrip(b"\n").split(b" ", 2) + [b""])[:3]
        if action == b"UPDATE" and self.plants():
            return b"200 %s OK\n%s\n" % (path, text.strip(b'"'))
        return ask(line)


class DoubleCreate(Honest):
    """Acknowledges a CREATE of a file that is there."""

    def exchange(self, line, ask):
        answer = ask(line)
        if b"file already exists" in answer and self.plants():
            return b"100 %s CREATED\n" % answer.split(b" ")[1]
        return answer


class ResurrectedDelete(Honest):
    """Acknowledges a DELETE that the server never sees: the file comes back."""

    def exchange(self, line, ask):
        action, path = line.split()[:2]
        if action == b"DELETE" and self.plants():
            return b"600 %s DELETED\n" % path
        return ask(line)


class Proxy:
    """Used as `with Proxy(address, fault) as proxy:`; clients connect to proxy.address."""

    def __init__(self, server, fault):
        self._server = server
        self._fault = fault
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = self._listener.getsockname()

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind, value, traceback):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError), client, connect(self._server) as server, \
                client.makefile("rb") as requests, server.makefile("rb") as answers:
            def ask(line):
                server.sendall(line)
                answer = answers.readline()
                return answer + answers.readline() if answer.startswith(b"200 ") else answer

            for line in requests:
                if line == b"\n":
                    break
                client.sendall(self._fault.exchange(line, ask))
