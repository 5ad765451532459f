"""What a SHOW from the cache costs in a release: instructions, counted by callgrind, and system
calls."""

import functools
import pathlib
import re
import sys

import harness
import installed
from harness import Server, connect
from syscalls import COMPLETE, RESUMED, UNFINISHED

KEYS = 100
TEXT = "x" * 100
ANSWER = len(f"200 /k/file0000 OK\n{TEXT}\n")
CACHE = ("--cache-max-files", 2 * KEYS)
# The memory of all workers comes from one place, which has enough from the start: no calls for it.
MEMORY = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1:glibc.malloc.top_pad=8388608"}
GROUP = 40 << 10  # bytes of answers, from which on a group of connections is sent its own
FEW, MORE = 256, 1792  # requests of the two runs, whose difference counts

# What a SHOW may cost at most.
ONE_AT_A_TIME = 1500
SIXTEEN_PIPELINED = 600

RELEASE = {}  # its sttpd


def build_release(directory):
    """One for all tests of this file."""
    RELEASE["sttpd"] = installed.release(directory, "sttpd") / "bin" / "sttpd"


def fill(server):
    directory = server.docroot / "k"
    directory.mkdir()
    for key in range(KEYS):
        (directory / f"file{key:04}").write_text(TEXT, encoding="ascii")


def ask(connection, first, depth):
    """Sends `depth` requests at once and takes all answers."""
    connection.sendall(b"".join(b"SHOW /k/file%04d\n" % (key % KEYS)
                                for key in range(first, first + depth)))
    left = depth * ANSWER
    while left > 0:
        got = len(connection.recv(left))
        assert got > 0, "closed before all answers came"
        left -= got


def ask_all(connections, requests, depth):
    for turn, first in enumerate(range(0, requests, depth)):
        ask(connections[turn % len(connections)], first, depth)


# -- instructions


def instructions(directory):
    """All that the workers executed: the threads that receive."""
    total = 0
    for profile in directory.glob("profile-*"):
        text = profile.read_text(encoding="ascii", errors="replace")
        if re.search(r"^c?fn=\(\d+\) recv\b", text, re.MULTILINE):
            total += int(re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE).group(1))
    assert total > 0, "no worker in the profile"
    return total


def run(requests, depth, workers, connections):
    with harness.temporary_directory() as directory:
        callgrind = ["valgrind", "--quiet", "--tool=callgrind", "--separate-threads=yes",
                     f"--callgrind-out-file={directory}/profile"]
        with Server("-t", workers, *CACHE, program=RELEASE["sttpd"], wrapper=callgrind) as server:
            fill(server)
            opened = [connect(server.address) for _ in range(connections)]
            ask_all(opened, 2 * KEYS, 1)
            ask_all(opened, requests, depth)
            for connection in opened:
                connection.close()
            server.stop()
        return instructions(pathlib.Path(directory))


@functools.cache
def cost(depth, workers=1, connections=1):
    """Instructions for each request."""
    few, more = (run(requests, depth, workers, connections) for requests in (FEW, MORE))
    each = (more - few) / (MORE - FEW)
    print(f"depth {depth}, {workers} workers: {each:.0f} instructions for each SHOW", flush=True)
    return each


def test_instructions_one_at_a_time():
    each = cost(depth=1, connections=8)
    assert each <= ONE_AT_A_TIME, each


def test_instructions_at_depth_16():
    each = cost(depth=16)
    assert each <= SIXTEEN_PIPELINED, each


def test_instructions_do_not_grow_with_workers():
    one = cost(depth=1, connections=8)
    four = cost(depth=1, connections=8, workers=4)
    assert four <= 1.05 * one, (one, four)


# -- system calls


class Call:
    def __init__(self, name, arguments, result):
        self.name = name
        self.arguments = arguments
        self.result = result


def calls_of_worker(trace):
    """The calls of the thread that receives, in their order."""
    threads, begun = {}, {}
    for line in trace.read_text(encoding="ascii").splitlines():
        thread, text = line.split(maxsplit=1)
        resumed = RESUMED.fullmatch(text)
        if resumed:
            text = begun.pop(thread) + resumed.group(2)
        if text.endswith(UNFINISHED):
            begun[thread] = text.removesuffix(UNFINISHED)
            continue
        found = COMPLETE.fullmatch(text)
        if found:
            threads.setdefault(thread, []).append(Call(found[1], found[2], found[3]))
    return next(calls for calls in threads.values()
                if any(call.name == "recvfrom" for call in calls))


def between(calls, first, last):
    """The calls behind the answer to one path and before the request for another."""
    begin = next(i for i, call in enumerate(calls)
                 if call.name == "sendto" and first in call.arguments)
    end = next(i for i, call in enumerate(calls)
               if call.name == "recvfrom" and last in call.arguments)
    return calls[begin + 1:end]


def group_sizes(calls):
    """Of the calls between two waits: for each group the bytes of its answers. One receive for each
    connection, then one send for each."""
    names = "".join({"recvfrom": "r", "sendto": "s"}[call.name] for call in calls)
    groups, end = [], 0
    for group in re.findall("r+s+", names):
        assert 2 * group.count("r") == len(group), names
        sent = calls[end + len(group) // 2:end + len(group)]
        groups.append([int(call.result) for call in sent])
        end += len(group)
    assert end == len(names), names
    return groups


def check_wake_ups(calls, requests, size):
    """The last wait is for the request that ends it all. Returns how many were in the largest
    group."""
    waits = [i for i, call in enumerate(calls) if call.name == "epoll_wait"]
    assert waits[0] == 0 and waits[-1] == len(calls) - 1, [call.name for call in calls[:8]]
    answered, most = 0, []
    for wait, end in zip(waits, waits[1:]):
        groups = group_sizes(calls[wait + 1:end])
        answers = sum(groups, [])
        assert len(answers) == int(calls[wait].result), (calls[wait].result, groups)
        assert set(answers) == {size}, groups
        assert all(sum(group) >= GROUP for group in groups[:-1]), groups
        assert all(sum(group[:-1]) < GROUP for group in groups), groups
        answered += len(answers)
        most.append(max(len(group) for group in groups))
    assert answered == requests, (answered, requests)
    return max(most)


def mark(connection, path):
    """Leaves a path in the trace that nothing stands at."""
    connection.sendall(b"SHOW " + path + b"\n")
    assert harness.read_line(connection).startswith(b"400 "), path


def trace_wake_ups(count, depth):
    """The most of `count` connections that were answered as a group."""
    with harness.temporary_directory() as directory:
        trace = pathlib.Path(directory) / "trace"
        strace = ["strace", "-D", "-f", "-qq", "-s", "40", "-o", str(trace)]
        with Server("-t", 1, *CACHE, program=RELEASE["sttpd"], wrapper=strace,
                    env=MEMORY) as server:
            fill(server)
            connections = [connect(server.address) for _ in range(count)]
            ask_all(connections, KEYS, 1)
            mark(connections[0], b"/first")
            for turn in range(20):
                for connection in connections:
                    connection.sendall(depth * (b"SHOW /k/file%04d\n" % turn))
                for connection in connections:
                    for _ in range(2 * depth):
                        harness.read_line(connection)
            mark(connections[0], b"/last")
            for connection in connections:
                connection.close()
            server.stop()
        calls = calls_of_worker(trace)
    return check_wake_ups(between(calls, "/first", "/last"), 20 * count, depth * ANSWER)


def test_one_receive_and_one_send_for_each_ready_connection():
    most = trace_wake_ups(24, 1)
    assert most > 8, most


def test_groups_are_not_larger_than_their_answers_allow():
    depth = 100
    assert trace_wake_ups(12, depth) == -(-GROUP // (depth * ANSWER))


if __name__ == "__main__":
    with harness.temporary_directory() as scratch:
        build_release(scratch / "build")
        sys.exit(harness.run_tests(globals()))
