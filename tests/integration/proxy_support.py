"""What the tests of sttp-proxy share: starting proxies, and what stands behind them: servers that
answer as they should, now and then, or not at all, and relays that count."""

import contextlib
import json
import re
import socket
import struct
import subprocess
import threading

from harness import BIN, IO_TIMEOUT, STOP_DEADLINE, Server, connect

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
HOPS_TLV = 0xE5


def host_port(address):
    """An address as a target or a setting names it."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def url_of(address):
    return f"sttp://{host_port(address)}"


def through(address, line):
    """A request for a path, as one to a forward proxy for that server."""
    action, rest = line.split(b" ", 1)
    return b"%s %s%s" % (action, url_of(address).encode(), rest)


def forward(*allow, **more):
    allowed = {"allow": list(allow)} if allow else {}
    return {"forward": {"enabled": True, **allowed, **more}}


def upstream(address, **more):
    """`address` is (host, port), or what sttpd's listeners give: the path of a Unix socket."""
    named = f"unix:{address}" if isinstance(address, str) else host_port(address)
    return {"address": named, **more}


def reverse(*upstreams, prefix="/", **more):
    """One route. An upstream is an address, or a map as upstream() makes it."""
    listed = [one if isinstance(one, dict) else upstream(one) for one in upstreams]
    return {"reverse": [{"prefix": prefix, "upstreams": listed, **more}]}


def yaml_of(settings):
    """JSON is YAML."""
    return settings if isinstance(settings, str) else \
        json.dumps({"listen_address": "127.0.0.1", "port": 0, **settings}, indent=1) + "\n"


class Proxy(Server):
    """A running sttp-proxy, used as `with Proxy(settings) as proxy:`. See harness.Server.

    settings  what stands in its file, as a dict; it listens on a free port of 127.0.0.1 if they
              do not say otherwise"""

    PROGRAM = BIN / "sttp-proxy"

    def __init__(self, settings, *args, wrapper=(), **options):
        super().__init__(config=yaml_of(settings), **options)
        self.command = [*wrapper, str(self.PROGRAM), "-c", str(self.config), *map(str, args)]

    def forward(self, address, data, **options):
        """Path requests, sent as ones for a server through this proxy."""
        return self.exchange(b"".join(through(address, line) + b"\n"
                                      for line in data.split(b"\n")[:-1]), **options)


@contextlib.contextmanager
def chain(count, settings, *allow):
    """Forward proxies, each with the next one as its parent; the last one has the settings, all
    others these rules. They come in the order in which a request passes them."""
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(Proxy(settings))]
        for _ in range(count - 1):
            outer = forward(*(allow or ["127.0.0.0/8:*"]), parent=url_of(proxies[0].address))
            proxies.insert(0, stack.enter_context(Proxy(outer)))
        yield proxies


class Watched(Proxy):
    """A proxy whose connects are recorded by strace, which runs beside it (-D). `connects` has
    the addresses when it has been stopped. Those of UDP are the resolver's, which learns by them
    how an address would be reached."""

    CONNECT = re.compile(r'connect\(\d+<TCP.*?sin6?_port=htons\((\d+)\).*?"([^"]+)"')

    def __init__(self, settings, *args, **options):
        # The leak checker uses ptrace itself.
        super().__init__(settings, *args, env={"ASAN_OPTIONS": "detect_leaks=0:exitcode=86"},
                         wrapper=["strace", "-D", "-f", "-yy", "-qq", "-e", "trace=connect", "-o",
                                  "LOG"], **options)
        trace = self._own / "connects"
        self.command[self.command.index("LOG")] = str(trace)
        self._trace = trace
        self.connects = None

    def wait(self, timeout):
        """strace holds the proxy's standard error open to its own end: the trace is whole."""
        super().wait(timeout)
        self.connects = [(host, int(port)) for port, host
                         in self.CONNECT.findall(self._trace.read_text(encoding="ascii"))]


class Upstream:
    """tests/faults/upstream.c: a server without a store, used as `with Upstream() as server:`."""

    PROGRAM = BIN.parent / "tests" / "faulty-upstream"

    def __init__(self, port=0, **chances):
        self._process = subprocess.Popen([self.PROGRAM, str(port)], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)
        self.address = "127.0.0.1", int(self._process.stdout.readline().split()[1])
        self.set(**chances)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        status = self._process.wait(STOP_DEADLINE)
        self._process.stdout.close()
        assert status == 0, f"faulty-upstream ended with {status}"

    def _ask(self, command):
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def set(self, **chances):
        """How often a request meets a fault."""
        for name, chance in chances.items():
            assert self._ask(f"set {name} {chance}") == "ok", name

    def delay(self, milliseconds):
        self._ask(f"delay {milliseconds}")

    def seed(self, number):
        self._ask(f"seed {number}")

    def log(self, path):
        self._ask(f"log {path}")

    def counts(self):
        words = self._ask("counts").split()
        return {name: int(number) for name, number in zip(words[::2], words[1::2])}


class Relay:
    """Passes bytes between its clients and a server, and notes what goes by; used as `with`.
    `target` may be given later: then that is what closes a circle."""

    def __init__(self, target=None):
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = self._listener.getsockname()
        self.taken = []  # for each connection the bytes of its client
        self._lock = threading.Lock()
        self._sockets = []
        self._threads = []
        self._over = False

    def __enter__(self):
        self._start(self._accept)
        return self

    def __exit__(self, *_):
        self._over = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join(IO_TIMEOUT)
        self._listener.close()

    def _start(self, function, *args):
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _keep(self, one):
        """To be cut."""
        with self._lock:
            self._sockets.append(one)
        if self._over:
            self.cut()

    def cut(self):
        """Ends all connections."""
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._sockets.clear()

    def _accept(self):
        with contextlib.suppress(OSError):  # the listener is shut down
            while True:
                client, _ = self._listener.accept()
                self._keep(client)
                with self._lock:
                    self.taken.append(bytearray())
                    note = self.taken[-1]
                self._start(self._serve, client, note)

    def _serve(self, client, note):
        with contextlib.suppress(OSError), client, connect(self.target) as server:
            self._keep(server)
            answers = self._start(self._pump, server, client, None)
            self._pump(client, server, note)
            answers.join(IO_TIMEOUT)  # before the sockets are closed, whose numbers others get

    def _pump(self, source, sink, note):
        with contextlib.suppress(OSError):
            while block := source.recv(65536):
                if note is not None:
                    with self._lock:
                        note += block
                sink.sendall(block)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def connections(self):
        """For each connection its hop count, None without one, and its request lines."""
        with self._lock:
            return [split_header(bytes(note)) for note in self.taken]


def split_header(data):
    """The hop count of a PROXY header version 2, None without one, and the lines behind it."""
    hops = None
    if data.startswith(SIGNATURE):
        family, size = struct.unpack("!BH", data[13:16])
        at = 16 + {0x11: 12, 0x21: 36, 0x31: 216}.get(family, 0)
        while at + 3 <= 16 + size:
            kind, length = struct.unpack("!BH", data[at:at + 3])
            if kind == HOPS_TLV:
                hops = data[at + 3]
            at += 3 + length
        data = data[16 + size:]
    return hops, data.split(b"\n")[:-1]
