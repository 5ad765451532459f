"""Many requests at once, each on a connection of its own, and how long their answers take."""

import contextlib
import resource
import selectors
import statistics
import threading
import time

from harness import SANITIZED, connect, read_line

# What a request that needs no storage takes most often, in seconds, at most. A sanitizer takes its
# time.
USUAL = 0.25 if SANITIZED else 0.05


def allow_descriptors():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


def crowd(server, requests, deadline):
    """Sends all requests at once; their answers, whole, in the order of the requests, and the
    seconds until the last of them was there."""
    allow_descriptors()
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        connections = [stack.enter_context(connect(server.address)) for _ in requests]
        answers = [bytearray() for _ in requests]
        for i, connection in enumerate(connections):
            selector.register(connection, selectors.EVENT_READ, i)
        started = time.monotonic()
        for connection, request in zip(connections, requests):
            connection.sendall(request + b"\n\n")
        open_ones = len(requests)
        while open_ones:
            ready = selector.select(started + deadline - time.monotonic())
            assert ready, f"{open_ones} of {len(requests)} without answer after {deadline} s"
            for key, _ in ready:
                block = key.fileobj.recv(4096)
                answers[key.data] += block
                if not block:
                    selector.unregister(key.fileobj)
                    open_ones -= 1
        return [bytes(answer) for answer in answers], time.monotonic() - started


class Probes:
    """Requests that do not wait for storage, one after another on some connections, beside all
    else: some that are refused, and, where `shown` is given, a SHOW of this name and text, which
    are in memory."""

    def __init__(self, server, shown=None):
        self.server = server
        self.asked = [("refused", b"show /a", b"300 /a ", 1),
                      ("too long", b"SHOW /" + b"x" * 33, b"310 ", 1)]
        if shown:
            self.asked.append(("shown", b"SHOW " + shown[0], b"200 %s OK\n%s\n" % shown, 2))
        self.times = {kind: [] for kind, *_ in self.asked}
        self.failure = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        try:
            with contextlib.ExitStack() as stack:
                # Each worker of the server has some of them.
                connections = [stack.enter_context(connect(self.server.address))
                               for _ in range(8)]
                while not self._stop.wait(0.02):
                    for connection in connections:
                        for asked in self.asked:
                            self._ask(connection, *asked)
        except Exception as failure:  # told by check
            self.failure = failure

    def _ask(self, connection, kind, request, answer, lines):
        started = time.monotonic()
        connection.sendall(request + b"\n")
        received = b"".join(read_line(connection) for _ in range(lines))
        self.times[kind].append(time.monotonic() - started)
        assert received.startswith(answer), received

    def check(self):
        """They are answered in far less than storage takes, which is a second."""
        assert self.failure is None, self.failure
        for kind, times in self.times.items():
            median, longest = statistics.median(times), max(times)
            print(f"     {len(times)} {kind}: median {median * 1e3:.2f} ms, "
                  f"longest {longest * 1e3:.1f} ms", flush=True)
            assert len(times) >= 32, (kind, len(times))
            assert median < USUAL and longest < 1.0, (kind, median, longest)
