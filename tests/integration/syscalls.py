"""The system calls of a running sttpd, recorded by strace.

A position is the number of a line of the trace. A call has two: where it was entered and where it
had returned. What it did, it did between the two.
"""

import dataclasses
import re

from harness import Server
from history import parse_answers

CALLS = ("open,openat,openat2,creat,close,dup,dup2,dup3,fcntl,read,recvfrom,recvmsg,readv,write,"
         "writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,ftruncate,truncate,fallocate,fsync,"
         "fdatasync,sync,syncfs,sync_file_range,mkdir,mkdirat,rename,renameat,renameat2,link,"
         "linkat,symlink,symlinkat,unlink,unlinkat,rmdir,accept4,copy_file_range,sendfile,"
         "io_uring_setup,mmap,fstatfs")

LINE = re.compile(r"(\d+) +(.*)")
RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
COMPLETE = re.compile(r"(\w+)\((.*)\) += (\?|-?\d+)(?: (E\w+))?.*")
UNFINISHED = " <unfinished ...>"
BASE = re.compile(r'iov_base=("(?:\\x[0-9a-f]{2})*"(?:\.\.\.)?)')


@dataclasses.dataclass
class Call:
    thread: int
    name: str
    arguments: list
    result: int  # None where the thread was killed in it
    entered: int
    returned: int

    @property
    def done(self):
        return self.result is not None and self.result >= 0

    def fd(self, index=0):
        """A descriptor; None is the working directory."""
        text = self.arguments[index]
        return None if text == "AT_FDCWD" else int(text)

    def string(self, index):
        return decode(self.arguments[index])

    def data(self):
        """The bytes that a call read or wrote."""
        if self.name in ("writev", "pwritev", "pwritev2", "sendmsg", "recvmsg", "readv"):
            whole = b"".join(decode(text) for text in BASE.findall(self.arguments[1]))
        else:
            whole = self.string(1)
        return whole if self.result is None else whole[:self.result]


def decode(text):
    """The bytes of a string as strace -xx prints it."""
    assert text.startswith('"') and text.endswith('"'), f"not a whole string: {text[:80]}"
    return bytes.fromhex(text[1:-1].replace("\\x", ""))


def split_arguments(text):
    """Strings hold only hex digits, so every other character is strace's own."""
    parts, depth, start = [], 0, 0
    for index, character in enumerate(text):
        if character in "{[(":
            depth += 1
        elif character in "}])":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:index].strip())
            start = index + 1
    return [*parts, text[start:].strip()]


def read_calls(path):
    """The calls of a trace in the order in which they returned."""
    calls, open_calls = [], {}
    with open(path, encoding="ascii") as lines:
        for position, line in enumerate(lines):
            thread, text = LINE.fullmatch(line.rstrip("\n")).groups()
            if text.startswith(("+++", "---")):
                continue
            entered = position
            resumed = RESUMED.fullmatch(text)
            if resumed:
                entered, begun = open_calls.pop(thread)
                text = begun + resumed.group(2)
            # A thread that is killed leaves "fsync(3 <unfinished ...>) = ?".
            if text.endswith(UNFINISHED):
                open_calls[thread] = (position, text.removesuffix(UNFINISHED))
                continue
            text = text.replace(UNFINISHED, "")
            name, arguments, result, _ = COMPLETE.fullmatch(text).groups()
            if name != "mmap" or "MAP_SHARED" in arguments and "PROT_WRITE" in arguments:
                calls.append(Call(int(thread), name, split_arguments(arguments),
                                  None if result == "?" else int(result), entered, position))
    return calls


class Traced(Server):
    """An sttpd whose system calls go to a file. strace runs beside it (-D), so signals go to sttpd.

    inject   strace's inject= expressions"""

    def __init__(self, trace, *args, inject=(), **options):
        self.trace = trace
        strace = ["strace", "-D", "-f", "-qq", "-xx", "-s", "100000", "-o", str(trace),
                  "-e", f"trace={CALLS}", *(f"-einject={expression}" for expression in inject)]
        # This is faster, and with it strace 6.1 injects no signals.
        if not any("signal=" in expression for expression in inject):
            strace.append("--seccomp-bpf")
        # The leak checker uses ptrace itself.
        checks = {"ASAN_OPTIONS": "detect_leaks=0:exitcode=86"}
        super().__init__(*args, wrapper=strace, env=checks, **options)

    def calls(self):
        """Of a server that has ended, however it did. strace holds its log open to the end."""
        self._reader.join()
        return read_calls(self.trace)


class Conversations:
    """What went over the connections of a traced server, from its reads and sends."""

    def __init__(self, calls):
        self.finished = []  # (requests, answers, position of the end)
        self._streams = {}
        end = 0
        for call in sorted(calls, key=position_of):
            end = max(end, call.returned)
            self._take(call)
        for descriptor in list(self._streams):
            self._end(descriptor, end)

    def _take(self, call):
        if call.name == "accept4" and call.done:
            self._streams[call.result] = ([], [])
        elif call.arguments[0].isdigit() and call.fd() in self._streams:
            received, sent = self._streams[call.fd()]
            if call.name in ("read", "recvfrom") and call.done:
                received.append((call.returned, call.data()))
            elif call.name in ("write", "writev", "sendto", "sendmsg") and call.result != -1:
                sent.append((call.entered, call.data()))
            elif call.name == "close":
                self._end(call.fd(), call.entered)

    def _end(self, descriptor, position):
        received, sent = self._streams.pop(descriptor)
        self.finished.append((received, sent, position))

    def exchanges(self):
        """Every request with its answer: (line, answer or None, asked, ended). A request is asked
        where its last byte was read, and answered where the send of its last byte began."""
        for received, sent, end in self.finished:
            stream = b"".join(data for _, data in received)
            answers = parse_answers(b"".join(data for _, data in sent))
            offset = 0
            for index, line in enumerate(stream.split(b"\n")[:-1]):
                offset += len(line) + 1
                if not line:
                    break
                asked = position_at(received, offset)
                if index < len(answers):
                    answer, behind = answers[index]
                    yield line, answer, asked, position_at(sent, behind)
                else:
                    yield line, None, asked, end


def position_of(call):
    """A descriptor may be closed on one thread, and given by the kernel to another one, while both
    are in their calls: what gives one has given it at its end, all others begin with using it."""
    return call.returned if call.name == "accept4" else call.entered


def position_at(pieces, offset):
    """The position of the piece that holds the last byte before `offset`."""
    for position, data in pieces:
        offset -= len(data)
        if offset <= 0:
            return position
    raise AssertionError("beyond the end of the stream")
