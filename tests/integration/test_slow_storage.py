"""Storage of which each request takes a second: requests wait for it together, not one after the
other, and what needs no storage does not wait. It is slow by a fault point of the test build, and
by a process that delays the system calls of sttpd from outside."""

import contextlib
import errno
import subprocess
import sys

from crowd import Probes, crowd
from faults import EVER, Faults
from harness import BIN, FULL, MEMORY, Server, run_tests, temporary_directory

SECOND = 1.0

# Requests, and the least and most seconds they may take with 64 threads.
MANY = (1000, 16 * SECOND, 20) if FULL else (192, 3 * SECOND, 5)


@contextlib.contextmanager
def slow_by_fault_point(docroot):
    """Nothing is in memory, and to open a directory or a text takes a second. Each request opens
    one of them once."""
    with Faults() as faults, \
            Server(docroot=docroot, program=Faults.PROGRAM, env=faults.env) as server:
        faults.arm("openat2_cached", errno.EAGAIN, times=EVER)
        with faults.delayed("openat2", SECOND):
            yield server


@contextlib.contextmanager
def slow_changes_by_fault_point(docroot):
    """A change takes a second, which makes a file, and what is in memory is shown from there."""
    with Faults() as faults, \
            Server(docroot=docroot, program=Faults.PROGRAM, env=faults.env) as server:
        with faults.delayed("openat", SECOND):
            yield server


@contextlib.contextmanager
def slow_from_outside(docroot):
    """sttpd itself, whose syncs a process beside it holds up: half a second for each of the two
    of a change."""
    wrapper = [BIN.parent / "tests" / "slow-calls", f"{SECOND / 2 * 1e6:.0f}"]
    with Server(docroot=docroot, wrapper=wrapper) as server:
        yield server


def can_show_at_once(directory):
    """Whether the file system tells what of a text is in memory, so that sttpd can read it without
    a thread. A tmpfs does not."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", directory], check=True, capture_output=True,
                          text=True).stdout.strip()
    if kind in ("ext2/ext3", "xfs", "btrfs", "f2fs"):
        return True
    print(f"     NOT RUN: SHOW beside it, the temporary directory's file system is {kind}: "
          "set TMPDIR", flush=True)
    return False


def put_files(server, count):
    for i in range(count):
        (server.docroot / f"u{i}").write_bytes(b"old")
        (server.docroot / f"s{i}").write_bytes(b"text-%d" % i)


def request_of(i, slow_show):
    """A request and its answer: CREATE, UPDATE, and SHOW where that is slow, too."""
    kinds = [(b"CREATE /c%d new" % i, b"100 /c%d CREATED\n" % i),
             (b"UPDATE /u%d new-%d" % (i, i), b"200 /u%d OK\nnew-%d\n" % (i, i)),
             (b"SHOW /s%d" % i, b"200 /s%d OK\ntext-%d\n" % (i, i))]
    return kinds[i % (3 if slow_show else 2)]


def all_together(slow, count, least, most, slow_show=True, where=MEMORY, shown=None):
    """`count` requests take at least and at most so many seconds. Beside them are ones that do not
    wait for storage."""
    with temporary_directory(where) as docroot, slow(docroot) as server:
        put_files(server, count)
        requests, wanted = zip(*(request_of(i, slow_show) for i in range(count)))
        with Probes(server, shown) as probes:
            answers, seconds = crowd(server, requests, most + 10)
        print(f"     {count} requests of {SECOND:g} s: {seconds:.2f} s", flush=True)
        assert answers == list(wanted)
        assert least <= seconds <= most, seconds
        probes.check()


def test_two_requests_finish_together():
    all_together(slow_by_fault_point, 2, SECOND, 1.8 * SECOND)


def test_100_requests_by_fault_point():
    all_together(slow_by_fault_point, 100, 2 * SECOND, 3)


def test_100_requests_from_outside():
    all_together(slow_from_outside, 100, 2 * SECOND, 3, slow_show=False)


def beside_shows(slow):
    """Beside slow changes a text that is in memory is shown without a thread of the storage."""
    with temporary_directory() as directory:
        shown = (b"/s0", b"text-0") if can_show_at_once(directory) else None
    # Where the file system has a journal many changes share a slow sync.
    all_together(slow, 100, SECOND, 5, slow_show=False, where=None, shown=shown)


def test_shows_from_memory_by_fault_point():
    beside_shows(slow_changes_by_fault_point)


def test_shows_from_memory_from_outside():
    beside_shows(slow_from_outside)


def test_1000_requests_by_fault_point():
    all_together(slow_by_fault_point, *MANY)


def test_1000_requests_from_outside():
    all_together(slow_from_outside, *MANY, slow_show=False)


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
