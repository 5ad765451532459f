"""What the tests of hostile document roots share: servers that resolve names in either way, names
that change places all the time, and watches over what no request may touch."""

import contextlib
import ctypes
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

from harness import IO_TIMEOUT, remove_tree

LIBC = ctypes.CDLL(None, use_errno=True)
OPENAT2 = 437

# Runs a command for which the kernel has no openat2, so that sttpd goes through paths name by name.
_WITHOUT_OPENAT2 = f"""
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
# Load the system call's number; is it openat2? ENOSYS; else go on.
program = ctypes.create_string_buffer(
    struct.pack("HBBI", 0x20, 0, 0, 0) + struct.pack("HBBI", 0x15, 0, 1, {OPENAT2}) +
    struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | 38) +
    struct.pack("HBBI", 0x06, 0, 0, 0x7fff0000))
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(program)))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter, 0, 0) == 0
assert libc.syscall({OPENAT2}, -1, b"", None, 0) == -1 and ctypes.get_errno() == 38
os.execv(sys.argv[1], sys.argv[1:])
"""

# How sttpd may resolve names: each a wrapper for harness.Server.
WAYS = {"openat2": (), "walk": (sys.executable, "-c", _WITHOUT_OPENAT2)}

_SWAPPER = """
import ctypes, os, select, sys
libc = ctypes.CDLL(None)
pairs = [(os.fsencode(a), os.fsencode(b)) for a, b in zip(sys.argv[1::2], sys.argv[2::2])]
swaps = 0
while swaps % 64 or not select.select([0], [], [], 0)[0]:
    for one, other in pairs:
        swaps += libc.renameat2(-100, one, -100, other, 2) == 0
    if swaps == len(pairs):
        print("swapping", flush=True)
print(swaps)
"""


@contextlib.contextmanager
def swapping(*pairs):
    """Both names of each pair change places as fast as they can. Gives a list, which has the number
    of swaps behind it."""
    arguments = [str(name) for pair in pairs for name in pair]
    process = subprocess.Popen([sys.executable, "-c", _SWAPPER, *arguments], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    count = []
    try:
        assert process.stdout.readline() == "swapping\n"
        yield count
        count.append(int(process.communicate(timeout=IO_TIMEOUT)[0]))
    finally:
        process.kill()
        process.communicate()


class Watch:
    """Counts whatever is done to some directories and the files in them: not even an open goes
    unseen, and no look at what they are does more."""

    EVENTS = {0x001: "read", 0x002: "written", 0x004: "attributes", 0x008: "closed, written",
              0x010: "closed", 0x020: "opened", 0x040: "moved from", 0x080: "moved to",
              0x100: "created", 0x200: "removed", 0x400: "removed itself", 0x800: "moved itself"}

    def __init__(self, *directories):
        self._fd = LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._fd != -1
        for directory in directories:
            assert LIBC.inotify_add_watch(self._fd, os.fsencode(directory), sum(self.EVENTS)) != -1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._fd)

    def events(self):
        """What was done since the last call."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data = os.read(self._fd, 65536)
                while data:
                    _, mask, _, size = struct.unpack_from("iIII", data)
                    name = data[16:16 + size].rstrip(b"\0")
                    found += [(event, name) for bit, event in self.EVENTS.items() if mask & bit]
                    data = data[16 + size:]
        return found


@contextlib.contextmanager
def beside(*calls):
    """Each call, which takes an event, runs in a thread of its own until that is set, at the end of
    the block. What fails in one of them fails the block, and so does one that goes on."""
    done = threading.Event()
    with ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(call, done) for call in calls]
        try:
            yield
        finally:
            done.set()
        for call in running:
            call.result(IO_TIMEOUT)


def tree_of(directory):
    """All that is below a directory: what each name is, and what is in it."""
    tree = {}
    # os.walk takes a link that leads nowhere for no directory; rglob fails on some of them.
    paths = [pathlib.Path(where, name) for where, directories, files in os.walk(directory)
             for name in directories + files]
    for path in sorted(paths):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            tree[name] = ("link", os.readlink(path))
        elif path.is_file():
            tree[name] = ("file", path.read_bytes())
        else:
            tree[name] = ("directory" if path.is_dir() else "special", None)
    return tree


@contextlib.contextmanager
def directory_in_memory():
    """A directory of a tmpfs."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="sttp-test-", dir="/dev/shm"))
    path.chmod(0o755)
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(path)], capture_output=True, text=True)
    try:
        assert kind.stdout.strip() == "tmpfs", f"/dev/shm is no tmpfs: {kind.stdout}"
        yield path
    finally:
        remove_tree(path)


def put_many(directory, names):
    """Makes empty files, fast."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        for name in names:
            os.mknod(name, 0o644, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def answers_of(server, requests):
    """The answers to some requests on one connection: (status line, contents or None)."""
    lines = iter(server.exchange(b"".join(request + b"\n" for request in requests)).split(b"\n"))
    answers = []
    for _ in requests:
        status = next(lines)
        answers.append((status, next(lines) if status.startswith(b"200 ") else None))
    assert list(lines) == [b""]
    return answers
