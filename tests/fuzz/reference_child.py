"""The reference of the integration tests, as a child of a fuzz target that has no other way to ask.

It makes a temporary directory, says its name in the first line, and removes it when its input ends,
however the parent has ended. Then it takes

    new                        begin with an empty store
    session SENT GOT           and as many bytes: what a client has sent, what it was answered

and says for each session `same`, or `expected SIZE` and that many bytes.
"""

import os
import pathlib
import signal
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "integration"))
from reference import Reference, same  # noqa: E402

MEMORY = "/dev/shm"


def serve(requests, answers):
    reference = Reference()
    for line in requests:
        if line == b"new\n":
            reference = Reference()
            continue
        _, sent_size, got_size = line.split()
        sent = requests.read(int(sent_size))
        got = requests.read(int(got_size))
        expected = reference.session(sent)
        if same(got, expected):
            answers.write(b"same\n")
        else:
            answers.write(b"expected %d\n" % len(expected) + expected)
        answers.flush()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # meant for the parent, too
        signal.signal(number, signal.SIG_IGN)
    with tempfile.TemporaryDirectory(
            prefix="sttp-fuzz-", dir=MEMORY if os.path.isdir(MEMORY) else None) as directory:
        print(directory, flush=True)
        serve(sys.stdin.buffer, sys.stdout.buffer)
