"""sttpd with more connections than it may have, than descriptors, and with others of its kind."""

import resource
import sys
from concurrent.futures import ThreadPoolExecutor

from client_support import closing_all, descriptors_of, is_quiet, serves
from harness import Server, StartFailure, connect, read_line, run_tests, temporary_directory, \
    wait_until

PATIENT = "request_timeout: 5m\nidle_timeout: 5m\n"
FEW = ("prlimit", "--nofile=48")


def ask(connection):
    connection.sendall(b"SHOW /a\n")
    assert read_line(connection) == b"400 /a NOT FOUND\n"


def connect_idle(server, connections, count):
    """Connections that have asked one after another, the first longest ago."""
    for _ in range(count):
        connections.append(connect(server.address))
        ask(connections[-1])


def test_longest_idle_is_closed_first():
    with Server("--threads", "1", config=PATIENT, wrapper=FEW) as server:
        server.wait_log("warning max_connections is 24, not 10000")
        with closing_all() as connections:
            connect_idle(server, connections, 24)
            ask(connections[0])  # the second is the longest idle one now
            connect_idle(server, connections, 5)
            for connection in connections[1:6]:
                assert connection.recv(1) == b"", "an idle connection that stays"
            for connection in connections[:1] + connections[6:]:
                ask(connection)


def hold(server, connections, count):
    """Connections that are not idle: each has sent a part of a request. Those that the server does
    not take yet wait in the kernel. With one thread each is taken after the part of the one before
    it has come; of several one could make room in the moment before its part comes."""
    for _ in range(count):
        connections.append(connect(server.address))
        connections[-1].sendall(b"SHOW ")


def finish(connections):
    """Ends all requests: whoever is answered gives its place to one that waits. They need nothing
    of the storage, for which there is no descriptor."""
    for connection in connections:
        connection.sendall(b"\n\n")
    for connection in connections:
        assert read_line(connection).startswith(b"300 - CLIENT ERROR")
        connection.close()


def test_more_connections_than_places():
    with Server("--threads", "1", config=PATIENT, wrapper=FEW) as server, \
            closing_all() as connections:
        hold(server, connections, 60)
        server.wait_log("warning connections wait to be accepted .*: too many connections")
        assert is_quiet(server)
        finish(connections)
        assert serves(server)


def test_more_connections_than_descriptors():
    """The limit of descriptors sinks while the server runs, below what max_connections needs."""
    with Server("--threads", "1", config=PATIENT) as server, closing_all() as connections:
        ask_first = connect(server.address)
        connections.append(ask_first)
        ask(ask_first)
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        limit = max(descriptors_of(server) + 8, 40)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (limit, hard))
        held = []
        hold(server, held, limit + 20)
        connections += held
        server.wait_log(r"warning connections wait to be accepted .*\(Too many open files\)")
        assert ask_first.recv(1) == b"", "the idle connection makes room"
        assert descriptors_of(server) <= limit
        assert is_quiet(server)
        finish(held)
        assert serves(server)


def test_guests_that_leave_are_not_served_in_vain():
    """Who waited in the kernel's queue and has gone by now takes no place from others."""
    with Server("--threads", "1", config=PATIENT, wrapper=FEW) as server, \
            closing_all() as connections:
        hold(server, connections, 24)
        with closing_all() as leaving:
            hold(server, leaving, 100)
        finish(connections)
        wait_until(lambda: serves(server), what="service resumes")


# -- several servers


def try_start(path):
    """A started server, or None where the path is taken."""
    server = Server(listen=["--listen", f"unix:{path}"])
    try:
        return server.start()
    except StartFailure as failure:
        server.__exit__(StartFailure, failure, None)
        assert failure.status == 1 and "address already in use" in failure.stderr, failure
        return None


def test_servers_that_start_at_once_on_one_path():
    """A killed server's socket is there: of four that start at the same moment one takes it."""
    with temporary_directory() as directory, ThreadPoolExecutor(4) as pool:
        path = directory / "socket"
        for _ in range(5):
            started = [server for server in pool.map(try_start, [path] * 4) if server]
            try:
                assert len(started) == 1, f"{len(started)} servers have the path"
                assert started[0].exchange(b"SHOW /a\n") == b"400 /a NOT FOUND\n"
            finally:
                for server in started:
                    server.kill()
                    server.__exit__(AssertionError, None, None)  # not judged: it was killed
            assert path.exists(), "what a killed server leaves"
        with Server(listen=["--listen", f"unix:{path}"]) as server:
            assert server.exchange(b"SHOW /a\n") == b"400 /a NOT FOUND\n"
        assert list(directory.iterdir()) == [], "something stays behind"


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
