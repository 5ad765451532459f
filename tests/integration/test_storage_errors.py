"""Every call of the store fails, one at a time and in every place: the request gets its 500 with a
reason, the old text is whole, nothing is left over or leaks, and the server goes on."""

import contextlib
import errno
import os
import re
import shutil
import sys

from client_support import descriptors_of
from faults import EVER, Faults
from harness import FULL, MEMORY, NO_CACHE, Server, connect, lines_of, names_of, read_line, \
    remove_tree, run_tests, temporary_directory, wait_until

# What the store calls, other than what the engine calls too.
CALLS = ("openat2", "openat2_cached", "openat", "fstat", "fstatat", "faccessat", "fchmod", "fcntl",
         "fdopendir", "readdir", "preadv2", "fsync", "mkdirat", "renameat", "renameat2", "linkat",
         "unlinkat", "close")

NOTHING_CHANGED = b"the storage failed and nothing was changed; try again later"
REASONS = {
    errno.EIO: NOTHING_CHANGED,
    errno.EINTR: NOTHING_CHANGED,
    errno.ENOSPC: b"no space left in the storage; delete something or try again later",
    errno.EDQUOT: b"the storage's quota is used up; delete something or try again later",
    errno.EROFS: b"the storage is read-only; SHOW and LIST work",
    errno.EMFILE: b"out of file descriptors; try again later",
    errno.ENOMEM: b"out of memory; try again later",
}
UNKNOWN = b"outcome unknown"
REFUSED = re.compile(rb'500 (\S+) SERVER ERROR "([^"/]*)"')

# Calls that are made again when a signal interrupts them; openat where it makes nothing.
RETRIED = ("openat2", "openat2_cached", "openat", "read", "write")
# These fail when the change is already visible or may be. Others only while directories above are
# synced, too: there the change is visible.
VISIBLE = ("renameat", "renameat2", "linkat", "unlinkat", "fsync")
# These do all of their work and are said to have failed: with others the test itself would leak.
AFTER = ("fsync", "renameat", "renameat2", "unlinkat", "mkdirat", "write")

BEFORE = {"f": b"old", "s/": None, "s/g": b"other", "e/": None}


class Case:
    """A request; `{}` stands for a directory that holds BEFORE."""

    def __init__(self, request, *answer, made=None, gone=(), reads=0, writes=0, cold=True):
        self.request = request
        self.answer = answer
        self.after = {name: text for name, text in {**BEFORE, **(made or {})}.items()
                      if name not in gone}
        self.reads = reads    # of texts: the engine reads and writes, too, for its wake-ups
        self.writes = writes
        self.cold = cold      # nothing is served from memory
        self.path = request.split()[1].split("?")[0]

    def may_succeed(self, call):
        """Closing a directory says nothing about it. What is in memory is tried, no more. And
        where a new file is linked, the removal of its other name comes after that."""
        linked = call == "unlinkat" and "CREATE" in self.request
        return call == "close" or linked or not self.cold


CASES = {
    "SHOW": Case("SHOW {}/f", "200 {}/f OK", "old", reads=1),
    "SHOW from memory": Case("SHOW {}/f", "200 {}/f OK", "old", cold=False),
    "LIST": Case("LIST {}", "200 {} OK", "e/, f, s/"),
    "LIST search": Case("LIST {}?recursive=1&q=O", "200 {} OK", "f, s/g", reads=2),
    "CREATE": Case("CREATE {}/n new", "100 {}/n CREATED", made={"n": b"new"}, writes=1),
    "CREATE directories": Case("CREATE {}/x/y/z/n new", "100 {}/x/y/z/n CREATED", writes=1,
                               made={"x/": None, "x/y/": None, "x/y/z/": None, "x/y/z/n": b"new"}),
    "UPDATE": Case("UPDATE {}/f new", "200 {}/f OK", "new", made={"f": b"new"}, writes=1),
    "DELETE": Case("DELETE {}/f", "600 {}/f DELETED", gone=("f",)),
    "DELETE directory": Case("DELETE {}/e/", "600 {}/e/ DELETED", gone=("e/",)),
}


def tree(directory):
    """What is in a directory, but the server's own, and the paths of that."""
    found, reserved = {}, []
    for here, directories, names in os.walk(directory):
        for name in names + [name + "/" for name in directories]:
            path = os.path.relpath(os.path.join(here, name), directory) + "/" * (name[-1] == "/")
            if ".sttp-" in path:
                reserved.append(path)
            elif name[-1] == "/":
                found[path] = None
            else:
                with open(os.path.join(here, name), "rb") as file:
                    found[path] = file.read()
    return found, reserved


class Bench:
    """A server, one connection to it, and a new directory for each try."""

    def __init__(self, server, faults, connection):
        self.server, self.faults, self.connection = server, faults, connection
        self.tries = 0

    def prepare(self):
        self.tries += 1
        directory = self.server.docroot / f"t{self.tries}"
        (directory / "s").mkdir(parents=True)
        (directory / "e").mkdir()
        (directory / "f").write_bytes(b"old")
        (directory / "s/g").write_bytes(b"other")
        return directory

    def ask(self, case, directory):
        self.connection.sendall(case.request.format("/" + directory.name).encode() + b"\n")
        answer = [read_line(self.connection)]
        if answer[0].startswith(b"200 "):
            answer.append(read_line(self.connection))
        return [line.rstrip(b"\n") for line in answer]

    def wanted(self, case, directory):
        return [line.format("/" + directory.name).encode() for line in case.answer]

    @contextlib.contextmanager
    def memory(self, case):
        if case.cold:
            self.faults.arm("openat2_cached", errno.EAGAIN, times=EVER)
        try:
            yield
        finally:
            self.faults.disarm("openat2_cached")

    def succeed(self, case):
        """The request without a fault; how often it makes each call."""
        directory = self.prepare()
        for call in CALLS:
            self.faults.count_from_zero(call)
        with self.memory(case):
            assert self.ask(case, directory) == self.wanted(case, directory)
        counts = {call: self.faults.calls(call) for call in CALLS
                  if not (case.cold and call == "openat2_cached")}
        assert tree(directory) == (case.after, [])
        remove_tree(directory)
        return {**counts, "read": case.reads, "write": case.writes}


def judge(case, directory, wanted, answer, call, error):
    """Whether it was refused. The answer and what is on the disk must fit together."""
    found, reserved = tree(directory)
    if answer == wanted:
        assert case.may_succeed(call) or (error == errno.EINTR and call in RETRIED), "not told"
        assert found == case.after, found
        return False, reserved
    assert len(answer) == 1, answer
    path, reason = REFUSED.fullmatch(answer[0]).groups()
    assert path == case.path.format("/" + directory.name).encode(), answer
    if reason == UNKNOWN:
        assert found in ([BEFORE] if call in VISIBLE else []) + [case.after], found
    else:
        assert reason == REASONS[error], answer
        assert found == BEFORE, found
    return True, reserved


def fail(bench, name, call, first, error, times=1, after=False, cleared=True):
    """One request with one fault, and the same once it is gone. Whether it was refused."""
    case = CASES[name]
    directory = bench.prepare()
    before = descriptors_of(bench.server)
    with bench.memory(case), \
            bench.faults.armed(call, error, first=first, times=times, after=after):
        answer = bench.ask(case, directory)
        assert bench.faults.hits(call) > 0, "the fault was not met"
    refused, reserved = judge(case, directory, bench.wanted(case, directory), answer, call, error)
    assert descriptors_of(bench.server) == before, "descriptors"
    if cleared:
        assert not reserved, reserved
    listed = names_of(bench.server, b"LIST /%s?recursive=1" % directory.name.encode())
    assert {one.decode() for one in listed} == set(tree(directory)[0]), listed
    bench.succeed(case)
    return refused


@contextlib.contextmanager
def bench_of(lacking=()):
    """`lacking`: calls that the kernel does not have."""
    with contextlib.ExitStack() as stack:
        faults = stack.enter_context(Faults())
        for call in lacking:
            faults.arm(call, errno.ENOSYS, times=EVER)
        docroot = stack.enter_context(temporary_directory(MEMORY))
        server = stack.enter_context(
            Server(*NO_CACHE, docroot=docroot, program=Faults.PROGRAM, env=faults.env))
        connection = stack.enter_context(connect(server.address))
        bench = Bench(server, faults, connection)
        for case in CASES.values():
            bench.succeed(case)
        yield bench


def each_call(bench, errors, calls=(*CALLS, "read", "write"), **options):
    """Fails each call of each request with each of the errors; those of them that were refused."""
    refused = set()
    for name, case in CASES.items():
        counts = bench.succeed(case)
        for call in calls:
            for first in range(1, counts.get(call, 0) + 1):
                for error in errors(call):
                    what = f"{name}: {call} {first} of {counts[call]}: " \
                        f"{errno.errorcode[error]} {options}"
                    try:
                        if fail(bench, name, call, first, error, **options):
                            refused.add((name, call))
                    except Exception as failure:
                        raise AssertionError(what) from failure
    return refused


def test_each_call_fails_with_EIO():
    with bench_of() as bench:
        before = bench.faults.outstanding
        refused = each_call(bench, lambda _: [errno.EIO])
        wait_until(lambda: bench.faults.outstanding < before + 20, what="memory as before")
    # The faults were there: what these steps do cannot be done without them.
    for name in ("CREATE", "CREATE directories", "UPDATE"):
        assert {(name, call) for call in
                ("openat2", "openat", "write", "fsync", "close")} <= refused
    assert {("CREATE directories", "mkdirat"), ("CREATE", "renameat2"), ("UPDATE", "renameat"),
            ("UPDATE", "faccessat"), ("DELETE", "unlinkat"), ("DELETE directory", "unlinkat"),
            ("SHOW", "openat2"), ("SHOW", "fstat"), ("SHOW", "read"), ("LIST", "readdir"),
            ("LIST", "fdopendir"), ("LIST search", "read")} <= refused, refused


def test_each_call_fails_for_other_reasons():
    """A full disk, a quota, descriptors, memory, ...: each call, and each of them in its turn."""
    others = [error for error in REASONS if error != errno.EIO]
    turn = iter(range(1 << 30))

    def errors(call):
        return others if FULL else [others[next(turn) % len(others)]]

    with bench_of() as bench:
        each_call(bench, errors)


def test_each_call_fails_from_there_on():
    with bench_of() as bench:
        # The engine needs its own reads and writes.
        each_call(bench, lambda _: [errno.EIO], calls=CALLS, times=EVER)


def test_what_cannot_be_cleared_up():
    """It is never listed, and is gone after the next start."""
    with bench_of() as bench, temporary_directory() as docroot:
        with bench.faults.armed("unlinkat", errno.EIO, times=EVER):
            for name in ("CREATE", "CREATE directories", "UPDATE"):
                before = bench.tries
                assert fail(bench, name, "write", 1, errno.EIO, cleared=False)
                assert tree(bench.server.docroot / f"t{before + 1}")[1], "nothing was left over"
        shutil.copytree(bench.server.docroot, docroot, dirs_exist_ok=True)
        texts, reserved = tree(docroot)
        assert reserved
        with Server(docroot=docroot):
            assert tree(docroot) == (texts, [])


def test_nothing_is_left_over_where_directories_cannot_be_read():
    """What a CREATE leaves in a directory would keep it from being deleted."""
    case = Case("CREATE {}/e/x/y/n new")
    with bench_of() as bench:
        directory = bench.prepare()
        with bench.faults.armed("fdopendir", errno.ENOMEM, times=EVER), \
                bench.faults.armed("write", errno.ENOSPC):
            refusal, = bench.ask(case, directory)
        assert REFUSED.fullmatch(refusal).group(2) == REASONS[errno.ENOSPC], refusal
        assert tree(directory) == (BEFORE, [])
        path = f"/{directory.name}/e/".encode()
        assert lines_of(bench.server, b"DELETE " + path) == [b"600 %s DELETED" % path]


def test_each_call_is_done_and_fails():
    with bench_of() as bench:
        each_call(bench, lambda _: [errno.EIO], calls=AFTER, after=True)


def test_each_call_fails_on_an_old_kernel():
    """Paths are walked, and files are linked in place of an exclusive rename."""
    lacking = ("openat2", "openat2_cached", "renameat2")
    calls = [call for call in (*CALLS, "read", "write") if call not in lacking]
    with bench_of(lacking) as bench:
        # A name that cannot be removed is left over, and no other failure is an excuse.
        removal = each_call(bench, lambda _: [errno.EIO], ["unlinkat"], cleared=False)
        calls.remove("unlinkat")
        refused = removal | each_call(bench, lambda _: [errno.EIO], calls)
    assert {("CREATE", "linkat"), ("CREATE", "openat"), ("SHOW", "openat"),
            ("CREATE directories", "renameat"), ("LIST search", "openat")} <= refused


def test_each_entry_of_a_listing_fails():
    """Where the directory does not say what an entry is, each is asked for: a listing that lacks
    some would be wrong."""
    with bench_of() as bench, bench.faults.armed("readdir", 0, times=EVER):
        refused = each_call(bench, lambda _: [errno.EIO], calls=["fstatat"])
    assert {("LIST", "fstatat"), ("LIST search", "fstatat")} <= refused


def test_short_reads_and_writes():
    text = "\U0001f600".encode() * 150
    with bench_of() as bench:
        for i in range(1, 4):  # the engine's own transfers come behind these
            path = b"/%d" % i
            with bench.faults.armed("write", 0, times=i):
                assert lines_of(bench.server, b"CREATE %s %s" % (path, text)) == \
                    [b"100 %s CREATED" % path]
                assert bench.faults.hits("write") == i
            with bench.memory(CASES["SHOW"]), bench.faults.armed("read", 0, times=i):
                assert lines_of(bench.server, b"SHOW " + path) == [b"200 %s OK" % path, text]
                assert bench.faults.hits("read") == i


def test_a_file_that_changes_while_it_is_read_cannot_be_read_again():
    """What was read may be of two states then, and the reader begins anew."""
    with bench_of() as bench:
        case = CASES["SHOW"]
        directory = bench.prepare()
        with bench.memory(case), bench.faults.armed("lseek", errno.EIO):
            # Half of the text is read first: as if it had been shorter a moment ago.
            with bench.faults.armed("read", 0):
                refusal, = bench.ask(case, directory)
                assert bench.faults.hits("read") == 1
            assert bench.faults.hits("lseek") == 1
        assert REFUSED.fullmatch(refusal).group(2) == NOTHING_CHANGED, refusal
        assert tree(directory) == (BEFORE, [])
        bench.succeed(case)


def test_all_calls_fail():
    with bench_of() as bench:
        before = descriptors_of(bench.server)
        directory = bench.prepare()
        with contextlib.ExitStack() as armed:
            for call in CALLS:
                armed.enter_context(bench.faults.armed(call, errno.EIO, times=EVER))
            for case in CASES.values():
                refusal = bench.ask(case, directory)[0]
                assert REFUSED.fullmatch(refusal).group(2) == NOTHING_CHANGED, refusal
        assert tree(directory) == (BEFORE, [])
        assert descriptors_of(bench.server) == before
        for case in CASES.values():
            bench.succeed(case)


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
