"""Settings of the real program: mistakes in the file and on the command line, -T, what the server
cannot start with, and what the process makes of its limits, its descriptors and its signals."""

import contextlib
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import sys
import time

from harness import BIN, Server, StartFailure, connect, exchange, free_port, read_line, \
    receive_all, run_tests, temporary_directory, wait_until

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
NOBODY = 65534
UNPRIVILEGED = {"user": NOBODY} if os.geteuid() == 0 else {}
RUN_TIMEOUT = 30


def sttpd(*arguments, **options):
    """A run of sttpd that ends by itself."""
    return subprocess.run([str(BIN / "sttpd"), *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=RUN_TIMEOUT, check=False,
                          **options)


def start_failure(*arguments, **options):
    """The log of a server that must not start."""
    try:
        with Server(*arguments, **options):
            pass
    except StartFailure as failure:
        assert failure.status == 1, failure
        return failure.stderr
    raise AssertionError("the server started")


def file_of(directory, text):
    path = directory / "sttpd.yaml"
    path.write_text(text, encoding="utf-8")
    return path


# -- checking settings


def test_good_settings():
    with temporary_directory() as directory:
        path = file_of(directory, 'listen_address: "127.0.0.1"\nport: 0\ncache:\n  max_files: 5\n')
        for arguments in ((), ("-c", path), ("-c", path, "-p", "1", "--cache-max-size=1MiB"),
                          ("-d", directory / "not" / "there")):
            run = sttpd("-T", *arguments)
            assert (run.returncode, run.stdout, run.stderr) == (0, "settings ok\n", ""), run


def test_every_mistake_in_one_run():
    with temporary_directory() as directory:
        path = file_of(directory, "port: 99999\nworkrs: 4\ncache:\n  max_fils: 2\nprot: 1\n"
                                  "idle_timeout: 5 weeks\nlisten: [nowhere]\n")
        for test in (("-T",), ()):
            run = sttpd("-c", path, *test)
            assert (run.returncode, run.stdout) == (1, ""), run
            places = [(int(line), int(column), message) for line, column, message
                      in re.findall(rf"^{re.escape(str(path))}:(\d+):(\d+): (.*)$", run.stderr,
                                    re.MULTILINE)]
            assert [place[:2] for place in places] == \
                [(1, 7), (2, 1), (4, 3), (5, 1), (6, 15), (7, 10)], run.stderr
            for (_, _, message), part in zip(places, (
                    "'99999' is too large; expected a whole number from 0 to 65535",
                    "unknown key 'workrs'", "did you mean 'max_files'?", "did you mean 'port'?",
                    "'5 weeks' has no known unit; expected a duration", "'nowhere' is not valid")):
                assert part in message, (part, message)
            assert "\n    port: 99999\n          ^\n" in run.stderr, run.stderr


def test_bad_files():
    with temporary_directory() as directory:
        for text, part in (("port: [\n", "not valid YAML"), ("port: 1\n---\nport: 2\n", "second"),
                           ("port: 1\nport: 2\n", "duplicate key 'port'"), ("\0", "zero byte"),
                           ("#" * ((1 << 20) + 1), "larger than 1 MiB")):
            run = sttpd("-T", "-c", file_of(directory, text))
            assert run.returncode == 1 and part in run.stderr and not run.stdout, (text[:20], run)
        run = sttpd("-T", "-c", directory / "missing")
        assert run.returncode == 1 and "No such file or directory" in run.stderr, run


def test_bad_flags():
    for arguments, part in ((("--prot", "1"), "did you mean '--port'?"), (("-p",), "needs a value"),
                            (("-p", "65536"), "'65536' is too large"), (("files",), "unexpected"),
                            (("--docroot=",), "'' is empty")):
        run = sttpd("-T", *arguments)
        assert run.returncode == 2 and part in run.stderr and not run.stdout, (arguments, run)
        assert run.stderr.endswith("try 'sttpd --help'\n"), run.stderr


def test_help_and_version():
    run = sttpd("--help")
    assert run.returncode == 0 and not run.stderr and run.stdout.startswith("Usage: sttpd "), run
    assert max(map(len, run.stdout.splitlines())) <= 80
    run = sttpd("-V")
    assert run.returncode == 0 and re.fullmatch(r"sttpd \d+\.\d+\.\d+\n", run.stdout), run
    for redirection in (">/dev/full", ">&-"):
        run = subprocess.run(["/bin/sh", "-c", f'exec "$0" --help {redirection}',
                              str(BIN / "sttpd")], timeout=RUN_TIMEOUT, check=False)
        assert run.returncode == 1, "help that could not be written is no success"


def test_manual_pages_name_every_setting():
    options = re.findall(r"^ +(?:-\w, )?--([a-z-]+)(?: [A-Z]+)?", sttpd("--help").stdout,
                         re.MULTILINE)
    assert len(options) > 20, options
    flags = (DOCS / "sttpd.1.scd").read_text(encoding="utf-8")
    pages = (DOCS / "sttpd.conf.5.scd").read_text(encoding="utf-8")
    keys = {key.replace(".", "_") for key in re.findall(r"^\*([a-z_.]+)\*$", pages, re.MULTILINE)}
    general = {"config", "test-config", "verbose", "quiet", "help", "version", "address"}
    for option in options:
        assert f"*--{option}*" in flags, f"sttpd(1) does not name --{option}"
        key = option.replace("-", "_")
        assert option in general or key in keys or key.removeprefix("cache_") in keys, \
            f"sttpd.conf(5) does not name {key}"


# -- what the settings do


def test_flags_win_over_the_file():
    with temporary_directory() as directory:
        config = f'listen: ["unix:{directory}/s"]\nlog_level: error\n'
        with Server("--log-level", "info", config=config) as server:
            assert server.addresses[0][0] == "127.0.0.1", server.addresses
            assert not (directory / "s").exists()
        with Server("--log-level", "info", config=config, listen=[]) as server:
            assert server.addresses == [f"{directory}/s"], server.addresses
            assert server.exchange(b"CREATE /a x\n") == b"100 /a CREATED\n"


def test_log_level():
    with Server("-v", config="log_level: info\n") as server:
        server.exchange(b"SHOW /a\n")
        server.wait_log(r" debug connection \d+ .*closed: .*1 requests")


def test_max_connections():
    """The connection that is idle for longest makes room; where none is idle new ones wait."""
    with Server("-v", "--max-connections", "1") as server:
        with connect(server.address) as idle:
            idle.sendall(b"SHOW /a\n")
            assert read_line(idle) == b"400 /a NOT FOUND\n"
            assert server.exchange(b"SHOW /a\n") == b"400 /a NOT FOUND\n"
            assert receive_all(idle) == b""
        server.wait_log(r" debug connection 1 .*closed: closed to make room, 1 requests")
        with stuck_connection(server), connect(server.address) as waiting:
            waiting.sendall(b"SHOW /a\n")
            server.wait_log(r" warning connections wait .*: too many connections$")
        server.wait_log(r" debug connection \d+ .*closed: connection failed")


def test_max_connections_per_address():
    with Server("--max-connections-per-address", "1") as server:
        with connect(server.address) as one:
            one.sendall(b"SHOW /a\n")
            assert read_line(one) == b"400 /a NOT FOUND\n"
            with connect(server.address) as two:
                assert receive_all(two) == b""
        server.wait_log(r" warning refused a connection from 127\.0\.0\.1:\d+ on .*: "
                        r"too many connections \(1 refused since the start\)$")


# -- what a server cannot start with


def test_port_in_use():
    with socket.socket() as taken, socket.socket() as taken_too:
        for listener in (taken, taken_too):
            listener.bind(("127.0.0.1", 0))
            listener.listen()
        port, other_port = (listener.getsockname()[1] for listener in (taken, taken_too))
        log = start_failure(listen=["-a", "127.0.0.1", "-p", str(port)])
        assert f" error address already in use: 127.0.0.1:{port} (is another server running? " \
               "choose another with -p)" in log, log
        assert " listening on " not in log and " ready" not in log, log
        log = start_failure(listen=["--listen", f"127.0.0.1:{port}", "--listen", "127.0.0.1:0",
                                    "--listen", f"127.0.0.1:{other_port}"])
        for number in (port, other_port):
            assert f"address already in use: 127.0.0.1:{number} (" in log, log


def test_addresses_that_are_not_there():
    log = start_failure(listen=["--listen", "203.0.113.1:0", "--listen", "unix:/no/such/dir/s"])
    assert re.search(r"error cannot listen on 203\.0\.113\.1:0: ", log), log
    assert re.search(r"error cannot listen on unix:/no/such/dir/s: No such file", log), log


def test_docroot_is_missing():
    with temporary_directory() as directory:
        missing = directory / "a" / "b"
        log = start_failure("-d", missing)
        assert re.search(rf"error .*{re.escape(str(missing))}: No such file .*"
                         rf"\(mkdir -p {re.escape(str(missing))}\)$", log), log
        assert not missing.parent.exists(), "the server made a directory"


def test_docroot_is_a_file():
    with temporary_directory() as directory:
        log = start_failure("-d", file_of(directory, ""))
        assert re.search(r"error .*Not a directory", log), log


def test_docroot_is_closed():
    with temporary_directory() as directory:
        closed = directory / "closed"
        closed.mkdir(mode=0)
        log = start_failure("-d", closed, **UNPRIVILEGED)
        assert re.search(r"error .*Permission denied.*runs as user \d+, group \d+", log), log


def test_docroot_is_read_only():
    with temporary_directory() as directory:
        files = directory / "files"
        files.mkdir()
        (files / "a").write_bytes(b"text\n")
        files.chmod(0o555)
        with Server("-d", files, **UNPRIVILEGED) as server:
            server.wait_log(r"warning document root .*Permission denied; changes will fail")
            assert server.exchange(b"SHOW /a\n") == b"200 /a OK\ntext\n"


def test_docroot_has_its_server():
    with Server() as server:
        log = start_failure(docroot=server.docroot)
        assert re.search(r"error .*another server uses it", log), log


# -- the process


@contextlib.contextmanager
def shell_started(script, *arguments, **options):
    """sttpd as the shell starts it with `script`, which does `exec "$@"`; stops it at the end."""
    process = subprocess.Popen(["/bin/sh", "-c", script, "sh", str(BIN / "sttpd"),
                                *map(str, arguments)], **options)
    try:
        yield process
        process.terminate()
        assert process.wait(RUN_TIMEOUT) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stderr:
            process.stderr.close()


def test_open_files_are_raised():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        server = Server("--max-connections", "200").start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with contextlib.ExitStack() as stack:
        stack.push(server.__exit__)
        connections = [stack.enter_context(connect(server.address)) for _ in range(150)]
        for connection in connections:
            connection.sendall(b"SHOW /a\n")
        for connection in connections:
            assert read_line(connection) == b"400 /a NOT FOUND\n"
        assert "limit of open files" not in server.text(), server.text()


def test_few_open_files_leave_room_for_storage():
    """Clients may take every place there is: changes still find the descriptors they need."""
    with Server("--storage-threads", "4", wrapper=["prlimit", "--nofile=128"]) as server, \
            contextlib.ExitStack() as stack:
        server.wait_log(r" warning max_connections is 64, not 10000: the limit of open files is 128")
        for _ in range(150):
            connection = stack.enter_context(connect(server.address))
            # Served before the next one comes, so that the last one is not the one that makes room.
            connection.sendall(b"SHOW /a\n")
            assert read_line(connection) == b"400 /a NOT FOUND\n"
        connection.sendall(b"CREATE /a x\nSHOW /a\n")
        for expected in (b"100 /a CREATED\n", b"200 /a OK\n", b"x\n"):
            assert read_line(connection) == expected


def test_every_storage_thread_has_its_open_files():
    """A change that makes directories has five of them, one that is done with others two."""
    with Server("--storage-threads", "64", "--threads", "8",
                wrapper=["prlimit", "--nofile=1000"]) as server:
        server.wait_log(r" warning max_connections is 500, not 10000: the limit of open files is 1000")


def test_closed_standard_descriptors():
    """The log must not go to a connection that got descriptor 2."""
    with temporary_directory() as directory:
        path = directory / "socket"
        files = directory / "files"
        files.mkdir()
        with shell_started('exec "$@" 0<&- 1>&- 2>&-', "-v", "-d", files, "--listen",
                           f"unix:{path}") as process:
            def is_served():
                assert process.poll() is None, "the server ended"
                try:
                    return exchange(path, b"SHOW /a\n") == b"400 /a NOT FOUND\n"
                except (FileNotFoundError, ConnectionRefusedError):
                    return False
            wait_until(is_served, what="a server")
            for _ in range(10):
                assert exchange(path, b"SHOW /a\n") == b"400 /a NOT FOUND\n"


def test_nobody_reads_the_log():
    """A full pipe costs lines of the log and nothing else."""
    with temporary_directory() as directory:
        port = free_port()
        with shell_started('exec "$@"', "-v", "-a", "127.0.0.1", "-p", port, "-d", directory,
                           stderr=subprocess.PIPE) as process:
            while not process.stderr.readline().endswith(b" ready\n"):
                assert process.poll() is None, "the server ended"
            for _ in range(1000):
                assert exchange(("127.0.0.1", port), b"SHOW /a\n") == b"400 /a NOT FOUND\n"


def stuck_connection(server):
    """A connection that has asked for more than the kernel keeps for it, and takes none of it."""
    for i in range(2000):
        (server.docroot / f"{i:032}").write_text("x", encoding="utf-8")
    connection = connect(server.address)
    connection.sendall(b"LIST /\n" * 100)
    connection.recv(1)  # the server has got the requests: one segment holds them all
    return connection


def test_stop_timeout():
    with Server("--stop-timeout", "300ms") as server, stuck_connection(server):
        started = time.monotonic()
        server.stop()
        assert 0.25 < time.monotonic() - started < 10
        assert re.search(r" stopping\n(.*\n)*.*connections were cut.*\n(.*\n)*.* stopped$",
                         server.text()), server.text()


def test_second_signal_stops_at_once():
    with Server("--stop-timeout", "1h") as server, stuck_connection(server):
        server.process.send_signal(signal.SIGINT)
        server.wait_log(r" info stopping$")
        server.stop(signal.SIGTERM)
        assert " stopping at once" in server.text(), server.text()
        assert server.text().endswith(" info stopped"), server.text()


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
