"""What is on disk before an answer leaves: the system calls of the real sttpd, as strace sees."""

import sys

from disk_model import SYNCS, Directory, Disk, File, Replay
from harness import run_tests, temporary_directory
from syscalls import Conversations, Traced

CHANGES = {
    b"CREATE /file one": b"100",
    b"UPDATE /file two": b"200",
    b"CREATE /a/b/c/file three": b"100",   # three new directories
    b"CREATE /a/b/c/beside four": b"100",
    b"CREATE /a/x/file five": b"100",      # one, in one that is there
    b"UPDATE /a/b/c/file six": b"200",
    b"DELETE /a/b/c/file": b"600",
    b"DELETE /a/b/c/beside": b"600",
    b"DELETE /a/b/c/": b"600",
    b"DELETE /file": b"600",
}


def watch(directory, *arguments):
    """The changes, one after the other, by a real server: for each what was done between the
    request and its answer, as (call, what it was about, the directory that it changed)."""
    docroot = directory / "files"
    docroot.mkdir()
    with Traced(directory / "trace", *arguments, docroot=docroot) as server:
        for request, code in CHANGES.items():
            answer = server.exchange(request + b"\n")
            assert answer.startswith(code + b" "), (request, answer)
        server.stop()
        calls = server.calls()
    replay = Replay(Disk(), docroot, calls)
    for _ in replay.steps():
        pass
    exchanges = list(Conversations(calls).exchanges())
    assert len(exchanges) == len(CHANGES)
    return {request: [entry for entry in replay.log
                      if entry[0].entered >= asked and entry[0].returned <= ended]
            for request, _, asked, ended in exchanges}


def is_synced(log, node, after, before):
    """Whether a sync of a file or directory lies between two positions."""
    return any(call.name in SYNCS and (about is node or isinstance(about, Disk))
               and call.entered > after and call.returned < before for call, about, _ in log)


def faults(log):
    """What is not synced in time, in words. The visible step is the last change of a directory."""
    steps = [(call, changed) for call, _, changed in log if changed is not None]
    visible, changed = steps[-1]
    found = []
    files = {id(about): about for call, about, _ in log
             if isinstance(about, File) and call.name in ("write", "openat")}
    for file in files.values():
        last = max(call.returned for call, about, _ in log
                   if about is file and call.name in ("write", "openat"))
        if not is_synced(log, file, last, visible.entered):
            found.append("the file, before it is visible")
    made = [about for call, about, _ in log if call.name == "mkdirat"]
    for directory in made:
        last = max(call.returned for call, _, where in log if where is directory)
        if not is_synced(log, directory, last, visible.entered):
            found.append("a new directory, before it is visible")
    if not is_synced(log, changed, visible.returned, float("inf")):
        found.append("the directory, before the answer")
    return found


def test_file_and_directories_are_synced_before_the_answer_leaves():
    with temporary_directory() as directory:
        for request, log in watch(directory).items():
            assert not faults(log), (request, faults(log))
            written = [about for call, about, _ in log if call.name == "write"]
            assert len(written) == (not request.startswith(b"DELETE")), request
            new = [about for call, about, _ in log if call.name == "mkdirat"]
            assert len(new) == {b"three": 3, b"five": 1}.get(request.split(b" ")[-1], 0), request
            assert all(isinstance(about, Directory) for about in new)


def test_the_judge_of_the_calls_finds_what_is_not_synced():
    with temporary_directory() as directory:
        for request, log in watch(directory, "--durability", "none").items():
            expected = ["the directory, before the answer"]
            if b"three" in request:
                expected = ["a new directory, before it is visible"] * 3 + expected
            if b"five" in request:
                expected = ["a new directory, before it is visible"] + expected
            if not request.startswith(b"DELETE"):
                expected = ["the file, before it is visible"] + expected
            assert faults(log) == expected, (request, faults(log))


def test_the_judge_of_the_calls_misses_none_that_is_left_out():
    with temporary_directory() as directory:
        for request, log in watch(directory).items():
            syncs = [entry for entry in log if entry[0].name in SYNCS]
            assert len(syncs) >= 1
            for sync in syncs:
                less = [entry for entry in log if entry is not sync]
                assert faults(less), (request, sync[0])


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
