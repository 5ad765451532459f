"""tests/data/vectors.tsv: every vector against the reference, then against sttpd, on an empty store
each, sent whole and byte by byte."""

import pathlib
import re
import sys

from harness import STORE, Server, exchange, run_tests
from reference import MESSAGE, Reference

VECTORS = pathlib.Path(__file__).resolve().parent.parent / "data" / "vectors.tsv"
ESCAPE = re.compile(rb"\\(n|r|t|\\|x[0-9a-f]{2})")
REPEAT = re.compile(rb"\{([^{}]+)\*(\d+)\}", re.DOTALL)
NAMED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\"}
NO_CACHE = "cache:\n  enabled: false\n"


def expand(text):
    """The bytes that a column of the file stands for."""
    text = ESCAPE.sub(lambda m: NAMED.get(m[1]) or bytes([int(m[1][1:], 16)]), text)
    return REPEAT.sub(lambda m: m[1] * int(m[2]), text)


def vectors():
    found = []
    for line in VECTORS.read_bytes().split(b"\n"):
        if line and not line.startswith(b"#"):
            name, send, expect = line.split(b"\t")
            found.append((name.decode(), expand(send), expand(expect)))
    assert len(found) > 100, "the file of vectors is not whole"
    return found


def expected_pattern(expect):
    """A message is anything without a double quote and without a control character."""
    parts = [re.escape(part) for part in expect.split(MESSAGE)]
    return re.compile(rb'"[^"\x00-\x1f\x7f]+"'.join(parts), re.DOTALL)


def check(name, how, server, got, expect):
    assert expected_pattern(expect).fullmatch(got), \
        f"{name}, {how}:\n  expected {expect!r}\n  received {got!r}"
    assert str(server.docroot).encode() not in got, f"{name}: names the document root: {got!r}"


def run_vectors(config, how, chunk, fresh_server):
    failures = []
    server = None
    try:
        for name, send, expect in vectors():
            if server is None or fresh_server:
                if server:
                    server.__exit__(None, None, None)
                server = None
                server = Server(config=config).__enter__()
            server.clear()
            try:
                check(name, how, server, exchange(server.address, send, chunk=chunk), expect)
            except AssertionError as failure:
                failures.append(str(failure))
    finally:
        if server:
            server.__exit__(None, None, None)
    assert not failures, "\n".join(failures)


def test_reference():
    for name, send, expect in vectors():
        got = Reference().session(send)
        assert got == expect, f"{name}:\n  expected {expect!r}\n  reference {got!r}"


def test_whole():
    run_vectors(NO_CACHE, "whole", None, fresh_server=False)


def test_byte_by_byte():
    run_vectors(NO_CACHE, "byte by byte", 1, fresh_server=False)


def test_whole_with_default_settings():
    """A cache would not see that a document root is emptied; any other store is by requests."""
    run_vectors(None, "whole, default settings", None, fresh_server=STORE == "fs")


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
