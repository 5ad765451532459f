"""A SHOW of what the page cache holds is answered on the thread that read it: no other thread is
started or woken for it. strace counts the calls that a hand-over needs."""

import os
import re
import subprocess
import sys
import tempfile

import bench
import harness

SHOWS = 1000
LOCAL = ("ext4", "xfs")
TRACE = "openat2,futex,clone,clone3,write"
HAND_OVER = re.compile(r"\b(futex|clone3?)\(|\bwrite\(\d+, .*, 8\)")  # an eventfd takes 8 bytes


def file_system(directory):
    done = subprocess.run(["findmnt", "--noheadings", "--output=FSTYPE", "--target", directory],
                          check=True, capture_output=True, text=True)
    return done.stdout.strip()


def evict(path):
    """Takes a file out of the page cache."""
    with open(path, "rb") as text:
        os.fsync(text.fileno())
        os.posix_fadvise(text.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def show(server, connection, name, expected):
    connection.sendall(b"SHOW /%s\n" % name)
    assert harness.read_line(connection) == b"200 /%s OK\n" % name
    assert harness.read_line(connection) == expected


def traced(docroot, log):
    """A server without a cache of its own, whose calls go to a log."""
    return harness.Server("--cache-enabled", "false", docroot=docroot, wrapper=[
        "strace", "--daemonize", "--follow-forks", "--output", log, "--trace", TRACE])


def calls_from(log):
    with open(log, encoding="utf-8") as lines:
        return lines.read().splitlines()


def first(calls, name):
    """The place of the first call that names a file."""
    return next(i for i, call in enumerate(calls) if f'"{name}"' in call)


def hand_overs(calls):
    return [call for call in calls if HAND_OVER.search(call)]


def local_file_system(directory):
    kind = file_system(directory)
    if kind not in LOCAL:
        raise SystemExit(f"{directory} lies on {kind}; this is promised for {', '.join(LOCAL)}: "
                         "build on one of them")
    return kind


def run(docroot, log):
    with traced(docroot, log) as server:
        for name in ("a", "begin", "end", "cold"):
            with open(f"{docroot}/{name}", "w", encoding="ascii") as text:
                text.write("x" * 150)
        with harness.connect(server.address) as connection:
            text = b"x" * 150 + b"\n"
            show(server, connection, b"a", text)
            show(server, connection, b"begin", text)
            for _ in range(SHOWS):
                show(server, connection, b"a", text)
            show(server, connection, b"end", text)
            evict(f"{docroot}/cold")
            show(server, connection, b"cold", text)


def main():
    bench.require("strace", "findmnt")
    with tempfile.TemporaryDirectory(dir=harness.BIN.parent) as directory:
        kind = local_file_system(directory)
        docroot, log = f"{directory}/files", f"{directory}/strace"
        os.mkdir(docroot)
        run(docroot, log)
        calls = calls_from(log)

    warm = calls[first(calls, "begin"):first(calls, "end")]
    opened = sum('"a"' in call for call in warm)
    assert opened >= SHOWS, f"{opened} files opened in {SHOWS} SHOWs: the trace is not whole"
    cold = hand_overs(calls[first(calls, "cold"):])
    assert cold, "a SHOW from the disk shows no hand-over: the trace does not see them"
    print(f"hand-overs to another thread (futex, clone, eventfd), on {kind}")
    bench.figure(f"  {SHOWS} SHOWs from the page cache, in all", len(hand_overs(warm)), 0)
    bench.figure("  one SHOW of a file that is not in the cache, and the stop", len(cold))
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
