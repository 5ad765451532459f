"""The servers that bench_compare.py compares: how each is started with one thread, filled, and
asked for a text, as a table for the load program (load.c)."""

import contextlib
import dataclasses
import subprocess
import typing

import bench
import harness

ROOM = 2048  # connections
ONE_THREAD = ("-t", "1", "--durability", "none")


def text_of(path):
    """100 characters that no other path has, without a space."""
    return path.ljust(100, "x")


@dataclasses.dataclass
class System:
    """`request` makes the bytes that ask for a path; behind the text of its answer comes `end`. All
    paths are of one length, and so are all answers. `behind` is the process that a proxy asks."""
    name: str
    port: int
    pid: int
    request: typing.Callable[[str], str]
    end: str
    text: typing.Callable[[str], str] = text_of
    behind: int = None

    @property
    def address(self):
        return "127.0.0.1", self.port

    def write_table(self, paths, file):
        answer = ask(self.port, self.request(paths[0]), self.text(paths[0]) + self.end)
        with open(file, "w", encoding="ascii", newline="") as table:
            for path in paths:
                request, text = self.request(path), self.text(path)
                table.write(f"{len(request)} {len(answer)} {len(text)}\n{request}{text}")


def ask(port, request, end):
    """One request and its answer, which ends with `end`."""
    received = b""
    with harness.connect(("127.0.0.1", port)) as connection:
        connection.sendall(request.encode())
        while not received.endswith(end.encode()):
            block = connection.recv(65536)
            assert block, f"the server closed after {received!r}"
            received += block
    return received


def store(port, requests, answer):
    """Fills a server; each request is answered alike."""
    ask(port, "".join(requests), answer * len(requests))


def show(path):
    return f"SHOW {path}\n"


def http(path):
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"


def resp(*words):
    return f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)


@contextlib.contextmanager
def floors(paths, directory):
    """The floor with a fixed answer, and the one that parses, looks up and copies."""
    program = bench.compile_c("floor", directory, "-D_GNU_SOURCE")
    entries = directory / "entries"
    entries.write_text("".join(f"{path} {text_of(path)}\n" for path in paths))
    with contextlib.ExitStack() as stack:
        found = []
        for mode in ("fixed", "lookup"):
            port = harness.free_port()
            server = stack.enter_context(bench.peer([program, mode, str(port), entries], port))
            found.append(server)
        yield [System("floor", found[0].port, found[0].pid, show, "\n",
                      lambda _path: text_of(paths[0])),
               System("floor, lookup", found[1].port, found[1].pid, show, "\n")]


@contextlib.contextmanager
def memcached(paths):
    """Asked in two ways."""
    with bench.memcached(ROOM, "-t", "1") as server:
        store(server.port, [f"set {path} 0 0 100\r\n{text_of(path)}\r\n" for path in paths],
              "STORED\r\n")
        yield [System("memcached get", server.port, server.pid, lambda path: f"get {path}\r\n",
                      "\r\nEND\r\n"),
               System("memcached mg", server.port, server.pid, lambda path: f"mg {path} v\r\n",
                      "\r\n")]


@contextlib.contextmanager
def redis(paths):
    with bench.redis() as server:
        store(server.port, [resp("SET", path, text_of(path)) for path in paths], "+OK\r\n")
        yield System("redis", server.port, server.pid, lambda path: resp("GET", path), "\r\n")


@contextlib.contextmanager
def nginx(root, sendfile):
    with bench.nginx(ROOM, root, sendfile) as server:
        yield System(f"nginx, sendfile {sendfile}", server.port, server.pid, http, "")


@contextlib.contextmanager
def sttpd(docroot, *arguments):
    with harness.Server(*ONE_THREAD, *arguments, docroot=docroot) as server:
        yield System("sttpd", server.port, server.process.pid, show, "\n")


def write_files(docroot, paths):
    for path in paths:
        file = docroot / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text_of(path), encoding="ascii")


COMPARED = (["memcached", "-V"], ["redis-server", "--version"], ["nginx", "-v"])


def versions(commands=COMPARED):
    """What was measured, one line each."""
    for command in (["uname", "-sr"], *commands):
        done = subprocess.run(command, check=True, env={"PATH": bench.PATH}, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        yield done.stdout.strip().split("\n")[0]
    with open("/proc/cpuinfo", encoding="ascii") as lines:
        yield next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
