"""Faults on demand in a running server: the file of tests/faults/faults.c.

    with Faults() as faults, Server(program=faults.PROGRAM, env=faults.env) as server:
        with faults.armed("fsync", errno.EIO, first=2):
            ...
"""

import contextlib
import errno
import mmap
import os
import pathlib
import struct
import subprocess
import tempfile

from harness import BIN

EVER = 2**63


class Faults:
    """The table of one program's faults. It is there before the program, and outlives it."""

    PROGRAM = BIN.parent / "tests" / "sttpd-faults"
    BENCH = BIN.parent / "tests" / "sttp-bench-faults"
    _HEADER = 16
    _SLOT = struct.Struct("32s6Q")
    _FIELDS = ("calls", "first", "times", "error", "after", "delay")

    def __init__(self, program=PROGRAM):
        self.program = program
        handle, self.path = tempfile.mkstemp(prefix="sttp-test-faults-")
        os.chmod(self.path, 0o666)
        self.env = {"STTP_FAULTS": self.path}
        # The program itself knows its slots.
        subprocess.run([self.program, "--version"], env={**os.environ, **self.env}, check=True,
                       stdout=subprocess.DEVNULL)
        with open(handle, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._words = memoryview(self._map).cast("Q")
        self._slots = {}
        for i in range(self._words[1]):
            start = self._HEADER + i * self._SLOT.size
            name = self._map[start:start + 32].rstrip(b"\0").decode()
            self._slots[name] = start // 8 + 4

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._words.release()
        self._map.close()
        pathlib.Path(self.path).unlink()

    def _set(self, name, **fields):
        for field, value in fields.items():
            self._words[self._slots[name] + self._FIELDS.index(field)] = value

    def _get(self, name, field):
        return self._words[self._slots[name] + self._FIELDS.index(field)]

    def arm(self, name, error=errno.ENOMEM, first=1, times=1, after=False):
        """From now on the calls number `first` and the next of them, `times` in all, fail with
        `error`: before they do anything, or, for `after`, when they have done it."""
        self._set(name, times=0, calls=0)
        self._set(name, first=first, error=error, after=int(after), times=times)

    def disarm(self, name):
        self._set(name, times=0)

    def delay(self, name, seconds):
        """Every call takes so much longer; 0 ends that."""
        self._set(name, delay=round(seconds * 1e6))

    @contextlib.contextmanager
    def armed(self, name, *args, **options):
        self.arm(name, *args, **options)
        try:
            yield
        finally:
            self.disarm(name)

    @contextlib.contextmanager
    def delayed(self, name, seconds):
        self.delay(name, seconds)
        try:
            yield
        finally:
            self.delay(name, 0)

    def calls(self, name):
        """Calls since it was armed, or since the program was there."""
        return self._get(name, "calls")

    def count_from_zero(self, name):
        self._set(name, calls=0)

    def hits(self, name):
        """How many calls have failed since it was armed."""
        made = self.calls(name) - self._get(name, "first") + 1
        return max(0, min(made, self._get(name, "times")))

    @property
    def outstanding(self):
        """Blocks of memory that the program has allocated and not freed."""
        return struct.unpack_from("q", self._map, 0)[0]
