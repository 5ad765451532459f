"""examples/cluster/run.sh: what it shows, that it leaves nothing, as root and as an ordinary user, and
where ports are taken."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys

from harness import BIN, MODULES, UNPRIVILEGED, run_tests, temporary_directory

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "cluster"
TIMEOUT = 120
PROGRAMS = ("sttpd", "sttp-proxy", "sttp-cli")
TOUR = re.compile(r"""Servers on ports (?P<first>\d+) and (?P<second>\d+), the proxy on port (?P<proxy>\d+); .*
\$ sttp-cli -p (?P=first) create /notes/reminder.txt "Buy milk"
100 /notes/reminder.txt CREATED

\$ sttp-cli -p (?P=second) show /notes/reminder.txt
Buy milk

\$ sttp-cli -p (?P=first) update /notes/reminder.txt "Buy milk and bread"
200 /notes/reminder.txt OK
\(port (?P=second) showed it after \d+ ms\)

\$ sttp-cli -p (?P=second) show /notes/reminder.txt
Buy milk and bread
\(Redis has answers for both servers: \d+\)
.*
\$ kill -9 \d+

\$ sttp-cli -p (?P=proxy) update /notes/call.txt "Call home now"
200 /notes/call.txt OK
.*
\(50 of 50 more requests were answered\)
.*
\$ sttp-cli -p (?P=first) show /notes/call.txt
Call home now
.*
600 /notes/ DELETED
""", re.DOTALL)


@contextlib.contextmanager
def example():
    """A copy of the programs and of the example that everybody may read, and a folder in which it
    makes its own."""
    with temporary_directory() as directory:
        (directory / "bin").mkdir()
        for program in PROGRAMS:
            shutil.copy(BIN / program, directory / "bin")
        shutil.copytree(MODULES, directory / MODULES.relative_to(BIN.parent))
        shutil.copytree(EXAMPLE, directory / "cluster")
        work = directory / "work"
        work.mkdir()
        work.chmod(0o777)
        for path in directory.rglob("*"):
            path.chmod(path.stat().st_mode | 0o555 if path.is_dir() else path.stat().st_mode | 0o444)
        yield directory


def start(directory, *arguments, **options):
    environment = {**os.environ, "STTP_BIN": str(directory / "bin"),
                   "TMPDIR": str(directory / "work"), "PGHOST": "nowhere.invalid"}
    return subprocess.Popen([directory / "cluster" / "run.sh", *arguments], env=environment,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, cwd="/", **options)


def processes_of(directory):
    """The command lines of what runs and names the folder."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = entry.read_bytes()
            if os.fsencode(directory) in line:
                found.append(line)
    return found


def assert_nothing_is_left(directory):
    assert not list((directory / "work").iterdir())
    assert not processes_of(directory / "work")


def test_the_tour_as_each_user():
    for options in ({}, {**UNPRIVILEGED, "group": 65534, "extra_groups": []}):
        if options and not UNPRIVILEGED:
            continue
        with example() as directory:
            process = start(directory, "--once", umask=0o077, **options)
            output, _ = process.communicate(timeout=TIMEOUT)
            assert process.returncode == 0, output
            assert TOUR.search(output), output
            assert output.endswith("Stopping.\n"), output
            assert_nothing_is_left(directory)


def test_it_serves_until_it_is_stopped_on_ports_that_are_free():
    with example() as directory, contextlib.ExitStack() as taken:
        for port in (18081, 13128):
            listener = taken.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):  # somebody else has it
                listener.bind(("127.0.0.1", port))
                listener.listen(1)
        process = start(directory)
        output = ""
        while not output.endswith("until Ctrl-C.\n"):
            line = process.stdout.readline()
            assert line, output
            output += line
        found = TOUR.search(output)
        assert found and found["first"] != "18081" and found["proxy"] != "13128", output
        assert processes_of(directory / "work")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=TIMEOUT)
        assert process.returncode == 143
        assert_nothing_is_left(directory)


def test_what_is_missing_is_told():
    with example() as directory:
        (directory / "bin" / "sttpd").unlink()
        process = start(directory, "--once")
        output, _ = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 1 and output.startswith("run.sh: no sttpd in "), output
        process = start(directory, "--twice")
        output, _ = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 2 and output.startswith("usage: "), output
        assert_nothing_is_left(directory)


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
