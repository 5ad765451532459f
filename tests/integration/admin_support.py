"""What the tests of sttpd-admin share: runs of it, the stores that texts move between, and trees of
them. STTP_SEED repeats a run's choices."""

import contextlib
import os
import re
import sqlite3
import subprocess

import postgres_support
from harness import BIN, MODULES, SANITIZER_REPORT, temporary_directory

ADMIN = BIN / "sttpd-admin"
TIMEOUT = 120
SMILE = "\U0001f600"
TEXTS = {
    b"plain": b"Buy milk", b"empty": b"", b"quoted": b'"quoted"', b"quote": b'"',
    b"two quotes": b'""', b"backslash": b"\\n\\", b"tab": b"a\tb", b"spaces": b"  a  ",
    b"json": b'{"path": "/a"}', b"comma": b"a, b", b"four bytes": (SMILE * 160).encode(),
    b"longest": b"x" * 160, b"line separator": "\u2028\u202e".encode(), b"zero": b"0",
}
RULES = re.compile(r"copied (\d+) texts and (\d+) empty directories; (\d+) were there, "
                   r"(\d+) replaced, (\d+) differ and stay, (\d+) failed")


def with_fault(fault):
    """The options of a run some of whose system calls fail. A leak cannot be looked for there."""
    calls = fault.partition(":")[0]
    return {"wrapper": ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e",
                        f"trace={calls}", "-e", f"inject={fault}"],
            "env": {**os.environ,
                    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}}


class Run:
    """A run of sttpd-admin that ends by itself."""

    def __init__(self, *arguments, stdin=b"", wrapper=(), status=0, **options):
        done = subprocess.run([*wrapper, str(ADMIN), *map(str, arguments)], input=stdin,
                              capture_output=True, timeout=TIMEOUT, check=False, **options)
        self.out = done.stdout.decode()
        self.error = done.stderr.decode()
        self.told = [line for line in self.error.splitlines() if not line.startswith("==")]
        assert not SANITIZER_REPORT.search(self.error), self.error
        assert done.returncode == status, f"status {done.returncode}\n{self.out}{self.error}"

    @property
    def counts(self):
        """made, directories made, there before, replaced, differing, failed"""
        return tuple(map(int, RULES.search(self.out).groups()))

    @property
    def digest(self):
        return re.search(r"XXH3-128 ([0-9a-f]{32})\b", self.out + self.error).group(1)


def copy(source, target, *arguments, **options):
    return Run("copy", "--from", source, "--to", target, *arguments, **options)


# -- stores


class Files:
    """A document root. `place` is what the command line calls it."""

    def __init__(self, directory):
        self.root = directory / "files"
        self.root.mkdir(parents=True)
        self.place = f"fs:{self.root}"


class Sqlite:
    def __init__(self, directory):
        directory.mkdir()
        self.file = directory / "sttp.db"
        self.place = f"sqlite:{self.file}"

    TABLE = "entry"

    def sql(self, text):
        with contextlib.closing(sqlite3.connect(self.file)) as connection, connection:
            return ["|".join(map(str, row)) for row in connection.execute(text)]


class Postgres:
    """A new database of a cluster that the tests share."""

    TABLE = "sttp_entry"
    cluster = None

    def __init__(self, _directory):
        if Postgres.cluster is None:
            Postgres.cluster = CLEANUP.enter_context(postgres_support.Cluster())
        self.database = CLEANUP.enter_context(Postgres.cluster.database())
        self.place = f"postgres:{self.database.conninfo}"

    def sql(self, text):
        return self.database.sql(text)


CLEANUP = contextlib.ExitStack()
DATABASES = [kind for kind, name in ((Sqlite, "sqlite"), (Postgres, "postgres"))
             if (MODULES / f"sttpd-{name}.so").exists()]


# -- trees


def write_tree(root, tree):
    """{name: text, or another tree}"""
    root = os.fsencode(root)
    for name, value in tree.items():
        path = os.path.join(root, name)
        if isinstance(value, dict):
            os.mkdir(path)
            write_tree(path, value)
        else:
            with open(path, "wb") as file:
                file.write(value)


def read_tree(root):
    tree = {}
    for entry in os.scandir(os.fsencode(root)):
        if entry.is_dir(follow_symlinks=False):
            tree[entry.name] = read_tree(entry.path)
        else:
            with open(entry.path, "rb") as file:
                tree[entry.name] = file.read()
    return tree


def everything():
    """A tree with all kinds of texts and names."""
    longest = b"d" * 255
    tree = {name.replace(b" ", b"_"): text for name, text in TEXTS.items()}
    tree.update({
        (SMILE * 32).encode(): b"name of 128 bytes",
        b'"\\': b"name to be escaped", b"a,b": b"", b"%41": b"literal",
        b"none": {}, b"nothing": {b"in": {b"here": {}}},
        longest: {longest: {longest: {b"deep": b"deep", b"hollow": {}}}},
        # The order of a listing: a-x, a.txt, a/, a/b, a0.
        b"a-x": b"1", b"a.txt": b"2", b"a": {b"b": b"3", b"-": {b"c": b"4"}}, b"a0": b"5",
    })
    # The longest paths: of a text, and of an empty directory that a request can make.
    deep = tree[b"long"] = {}
    size = len(b"/long/")
    while size + 101 < 1000:
        deep[b"n" * 100] = deep = {}
        size += 101
    deep[b"m" * (1022 - size)] = {}
    deep[b"t" * 20] = b"text"
    return tree


def paths_of(tree, above=b"/"):
    """{path: text} of all texts; of directories with nothing in them the path ends with a slash."""
    found = {}
    for name, value in tree.items():
        if not isinstance(value, dict):
            found[above + name] = value
        elif value:
            found.update(paths_of(value, above + name + b"/"))
        else:
            found[above + name + b"/"] = None
    return found


@contextlib.contextmanager
def two_roots(tree, other=None, where=None):
    with temporary_directory(where) as directory:
        source, target = Files(directory / "source"), Files(directory / "target")
        write_tree(source.root, tree)
        write_tree(target.root, other or {})
        yield source, target


def large_tree(directories, files):
    return {b"d%d" % d: {b"f%d" % f: b"text %d %d" % (d, f) for f in range(files)} or {}
            for d in range(directories)} | {b"e%d" % d: {b"e": {}} for d in range(directories)}
