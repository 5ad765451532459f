"""Storage that has no room: blocks, inodes, and a file system that becomes read-only while the
server runs. Each server has a small tmpfs of its own, in namespaces that end with it."""

import contextlib
import os
import subprocess
import sys
import threading

from client_support import descriptors_of
from faults import Faults
from harness import MOUNTS_OF, OWN_MOUNTS, Server, connect, lines_of, names_of, read_line, \
    run_tests, temporary_directory, wait_until

NO_SPACE = b'SERVER ERROR "no space left in the storage; delete something or try again later"'
READ_ONLY = b'SERVER ERROR "the storage is read-only; SHOW and LIST work"'
MOUNT = 'mount -t tmpfs -o "$0" tmpfs "$1" && shift && exec "$@"'


def can_mount():
    """Where user namespaces are closed to us only root could run these tests; CI runs as root."""
    done = subprocess.run([*OWN_MOUNTS, "mount", "-t", "tmpfs", "tmpfs", "/tmp"], check=False,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert done.returncode == 0 or os.geteuid() != 0, done.stderr
    return done.returncode == 0


def in_namespaces(server, *command):
    """Runs a command where the server's mount is seen; whether it succeeded."""
    entry = [*MOUNTS_OF, str(server.process.pid)]
    return subprocess.run([*entry, *command], check=False, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode == 0


@contextlib.contextmanager
def small_disk(options):
    """A server whose document root is a tmpfs, and its count of memory blocks."""
    with temporary_directory() as docroot, Faults() as faults:
        wrapper = [*OWN_MOUNTS, "sh", "-c", MOUNT, options, docroot]
        with Server(docroot=docroot, wrapper=wrapper, program=Faults.PROGRAM,
                    env=faults.env) as server:
            yield server, faults


def files_of(server):
    """What is on the server's disk: paths below the document root."""
    root = f"/proc/{server.process.pid}/root{server.docroot}"
    found = set()
    for directory, directories, names in os.walk(root):
        where = directory[len(root):]
        found.update(f"{where}/{name}" for name in names)
        found.update(f"{where}/{name}/" for name in directories)
    return found


def ask(connection, request):
    """The status line, and the contents that follow a 200."""
    connection.sendall(request + b"\n")
    line = read_line(connection).rstrip(b"\n")
    return line, read_line(connection).rstrip(b"\n") if line.startswith(b"200 ") else None


def fill(connection, kind):
    """Creates files until there is no room. The acknowledged ones."""
    texts = {}
    for i in range(10000):
        path, text = b"/%s/%d" % (kind, i), b"text-%d" % i
        line, _ = ask(connection, b"CREATE %s %s" % (path, text))
        if line != b"100 %s CREATED" % path:
            assert line == b"500 %s %s" % (path, NO_SPACE), line
            return texts
        texts[path] = text
    raise AssertionError("the disk does not get full")


def check_texts(server, connection, texts):
    for path, text in texts.items():
        assert ask(connection, b"SHOW " + path) == (b"200 %s OK" % path, text)
    listed = names_of(server, b"LIST /?recursive=1&type=file")
    assert {b"/" + name for name in listed} == set(texts), listed
    assert {name for name in files_of(server) if not name.endswith("/")} == \
        {path.decode() for path in texts}


def fill_and_free(options):
    with small_disk(options) as (server, faults), connect(server.address) as connection:
        texts = fill(connection, b"full")
        assert len(texts) > 8
        check_texts(server, connection, texts)
        everything = files_of(server)
        before = descriptors_of(server), faults.outstanding
        victim = list(texts)[3]
        for _ in range(200):
            assert ask(connection, b"UPDATE %s new" % victim)[0] == \
                b"500 %s %s" % (victim, NO_SPACE)
            assert ask(connection, b"CREATE /full/more new")[0] == b"500 /full/more " + NO_SPACE
            assert ask(connection, b"CREATE /a/b/c new")[0] == b"500 /a/b/c " + NO_SPACE
        assert files_of(server) == everything
        check_texts(server, connection, texts)
        # The engine keeps a few blocks for connections to come.
        wait_until(lambda: descriptors_of(server) == before[0], what="descriptors as before")
        wait_until(lambda: faults.outstanding < before[1] + 20, what="memory as before")
        for path in list(texts)[-4:]:
            assert ask(connection, b"DELETE " + path)[0] == b"600 %s DELETED" % path
            del texts[path]
        assert ask(connection, b"UPDATE %s new" % victim) == (b"200 %s OK" % victim, b"new")
        assert ask(connection, b"CREATE /full/more new")[0] == b"100 /full/more CREATED"
        texts |= {victim: b"new", b"/full/more": b"new"}
        check_texts(server, connection, texts)


def test_disk_full():
    """Changes get 500 and change nothing, the rest works; with room again all works."""
    fill_and_free("size=128k")


def test_no_inodes():
    fill_and_free("nr_inodes=48")


def remount(server, how):
    """A file that is open for writing at that moment prevents it. With the source named no options
    are taken from the mount as it is: there may be user ids that do not exist in the namespace."""
    command = ["mount", "-t", "tmpfs", "-o", f"remount,{how}", "tmpfs", server.docroot]
    wait_until(lambda: in_namespaces(server, *command), what=f"remount {how}")


def test_read_only_remount():
    with small_disk("size=1m") as (server, _):
        assert lines_of(server, b"CREATE /a/b one") == [b"100 /a/b CREATED"]
        remount(server, "ro")
        refused = {b"UPDATE /a/b two": b"/a/b", b"CREATE /a/c two": b"/a/c",
                   b"DELETE /a/b": b"/a/b", b"CREATE /x/y/z two": b"/x/y/z", b"DELETE /a/": b"/a/"}
        for request, path in refused.items():
            assert lines_of(server, request) == [b"500 %s %s" % (path, READ_ONLY)], request
        assert lines_of(server, b"SHOW /a/b", b"LIST /?recursive=1") == \
            [b"200 /a/b OK", b"one", b"200 / OK", b"a/, a/b"]
        remount(server, "rw")
        assert lines_of(server, b"UPDATE /a/b two", b"SHOW /a/b") == [b"200 /a/b OK", b"two"] * 2


def test_read_only_remount_beside_writers():
    """What was acknowledged when the file system went read-only is there, and nothing else."""
    turns, stop = [0] * 4, threading.Event()
    seen = [set() for _ in turns]
    failures = []

    def write(server, i):
        path, last = b"/w/%d" % i, b"0"
        try:
            with connect(server.address) as connection:
                while not stop.is_set():
                    turns[i] += 1
                    line, text = ask(connection, b"UPDATE %s %d" % (path, turns[i]))
                    if text is not None:
                        last = text
                    else:
                        assert line == b"500 %s %s" % (path, READ_ONLY), line
                        assert ask(connection, b"SHOW " + path)[1] == last
                    seen[i].add(line[:3])
        except Exception as failure:  # told by the main thread
            failures.append(failure)

    with small_disk("size=1m") as (server, _):
        lines_of(server, *(b"CREATE /w/%d 0" % i for i in range(len(turns))))
        writers = [threading.Thread(target=write, args=(server, i)) for i in range(len(turns))]
        for writer in writers:
            writer.start()
        try:
            for how in ("ro", "rw", "ro", "rw"):
                wanted = b"500" if how == "ro" else b"200"
                remount(server, how)
                for codes in seen:
                    codes.clear()
                wait_until(lambda: failures or all(wanted in codes for codes in seen),
                           what=f"{wanted} after {how}")
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        assert not failures, failures


if __name__ == "__main__":
    if not can_mount():
        print("NOT RUN: all of test_full_disk needs mounts of its own", flush=True)
        sys.exit(77)  # ctest says that it was skipped
    sys.exit(run_tests(globals()))
