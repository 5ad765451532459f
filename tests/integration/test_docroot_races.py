"""Document roots that change while requests run: directories and files that are swapped for links
to outside, texts that are replaced and rewritten under their readers, names that are replaced while
their directory is read."""

import contextlib
import errno
import functools
import os
import random
import re
import subprocess
import sys

from faults import EVER, Faults
from harness import FULL, IO_TIMEOUT, NO_CACHE, SANITIZED, SEED, Server, connect, lines_of, \
    names_of, run_tests, temporary_directory
from roots_support import WAYS, Watch, answers_of, beside, directory_in_memory, put_many, \
    swapping, tree_of

ROUNDS = 2000 if FULL else 60
place = temporary_directory if FULL else directory_in_memory  # faster where it is in memory
MET_BOTH = (b"SHOW /swap/x", b"SHOW /top/sub/x", b"SHOW /file", b"LIST /swap",
            b"UPDATE /swap/x inside", b"DELETE /swap/n", b"CREATE /swap/n inside",
            b"CREATE /swap/d/e inside")  # without and with a link in the way
INVALID = b'SERVER ERROR "stored file is not a valid short text"'


# -- swapped for links


def make_swapped(docroot, outside):
    """In the root a directory, a directory in one, and a file, each beside a link to its like
    outside; gives the pairs. Whatever is outside says so."""
    for folder in (outside, outside / "sub", docroot / "swap", docroot / "top" / "sub"):
        folder.mkdir(parents=True, exist_ok=True)
    for name in ("x", "victim", "sub/x", "sub/victim", "only", "file", ".sttp-0"):
        (outside / name).write_text("outside")
    (outside / ".sttp-1").mkdir()
    (docroot / "swap" / "x").write_text("inside")
    (docroot / "top" / "sub" / "x").write_text("inside")
    (docroot / "file").write_text("inside")
    pairs = []
    for name, target in (("swap", outside), ("top/sub", outside / "sub"),
                         ("file", outside / "file")):
        link = docroot / (name + "-link")
        link.symlink_to(os.path.relpath(target, link.parent))
        pairs.append((docroot / name, link))
    return pairs


def requests_of(number):
    """Every action on what is swapped, and what it may be answered. Why something is not there is
    looked for after it was not, and may have changed: 400 stands beside 410 everywhere."""
    gone = (400, 410)
    reads = {b"SHOW /swap/x": (200, *gone), b"SHOW /top/sub/x": (200, *gone),
             b"SHOW /file": (200, 400), b"SHOW /swap/only": gone, b"LIST /swap": (200, 400),
             b"LIST /top": (200,), b"LIST /top/sub": (200, 400), b"LIST /?recursive=1": (200,),
             b"LIST /?recursive=1&q=outside": (200,), b"LIST /swap/sub": gone}
    changes = {b"UPDATE /swap/x inside": (200, *gone), b"UPDATE /top/sub/x inside": (200, *gone),
               b"UPDATE /file inside": (200, 400), b"UPDATE /swap/only inside": gone,
               b"DELETE /swap/victim": gone, b"DELETE /top/sub/victim": gone,
               b"CREATE /swap/n%d inside" % number: (100, 510),
               b"DELETE /swap/n%d" % number: (600, *gone),
               b"CREATE /swap/d%d/e inside" % number: (100, 510),
               b"CREATE /top/sub/n%d inside" % number: (100, 510),
               b"CREATE /top/sub/x inside": (300, 510),
               b"DELETE /top/sub/n%d" % number: (600, *gone),
               b"DELETE /swap/": (300, 400), b"DELETE /top/sub/": (300, 400),
               b"CREATE /file inside": (300,)}
    return {**reads, **changes}


def expect_in_swap(request, codes, answer, seen):
    status, contents = answer
    code = int(status[:3])
    assert code in codes, (request, answer)
    if request[:4] in (b"SHOW", b"UPDA"):
        assert contents in (None, b"inside"), (request, answer)
    assert b"only" not in (contents or b"") and b"victim" not in (contents or b""), answer
    if request.endswith(b"q=outside"):
        assert contents == b"", answer
    seen.setdefault(re.sub(rb"\d+", b"", request), set()).add(code)


def renew_link(file, link, target):
    """An UPDATE whose last step meets the link puts the file in its place, as it should: then there
    is nothing left to swap. They change places all the time, so one look at each tells nothing."""
    if not any(path.is_symlink() for _ in range(50) for path in (file, link)):
        link.unlink()
        link.symlink_to(target)


def use_swapped(server, outside, swapped_file, seen):
    """On a busy machine it takes more than the rounds until each request has met both."""
    for first in range(0, 100 * ROUNDS, 10):
        if first >= ROUNDS and all(len(seen[request]) > 1 for request in MET_BOTH):
            break
        renew_link(*swapped_file, outside / "file")
        expected = [item for number in range(first, first + 10)
                    for item in requests_of(number).items()]
        answers = answers_of(server, [request for request, _ in expected])
        for (request, codes), answer in zip(expected, answers):
            expect_in_swap(request, codes, answer, seen)


def test_swapped_for_links_in_a_loop():
    """Thousands of requests of every action, while a directory, one below another and a file change
    places with links to outside. Nothing there is opened even."""
    for way, wrapper in WAYS.items():
        with place() as outside, place() as docroot, \
                Server(*NO_CACHE, "--durability", "none", docroot=docroot,
                       wrapper=wrapper) as server:
            pairs = make_swapped(server.docroot, outside)
            before, seen = tree_of(outside), {}
            with Watch(outside, outside / "sub", outside / ".sttp-1") as watch:
                with swapping(*pairs) as swaps:
                    use_swapped(server, outside, pairs[-1], seen)
                assert watch.events() == [], (way, watch.events())
            assert tree_of(outside) == before, way
            assert swaps[0] > ROUNDS, swaps
            for request in MET_BOTH:
                assert len(seen[request]) > 1, (way, request, seen)
            left = [path for path in server.docroot.rglob(".sttp-*")]
            assert left == [], left


def test_leftovers_are_not_looked_for_behind_swapped_links():
    """At its start the server removes what has a reserved name: in the root, and nowhere else."""
    for wrapper in WAYS.values():
        with place() as outside, place() as docroot:
            pairs = make_swapped(docroot, outside)
            before = tree_of(outside)
            with Watch(outside, outside / "sub", outside / ".sttp-1") as watch, swapping(*pairs):
                for number in range(100 if FULL else 4):
                    (docroot / f".sttp-{number}").mkdir()
                    (docroot / f".sttp-{number}" / "link").symlink_to(outside)
                    (docroot / f".sttp-{number}" / "file").touch()
                    with Server(*NO_CACHE, docroot=docroot, wrapper=wrapper):
                        assert not (docroot / f".sttp-{number}").exists()
                assert watch.events() == []
            assert tree_of(outside) == before


# -- texts that change under their readers


def shows(server, path, answers, done):
    """Asks for a text until `done`, and keeps every different answer."""
    while not done.is_set():
        answers.update(answers_of(server, [b"SHOW " + path] * 50))


def read_beside(server, path, change):
    """Runs `change` beside readers of a path, on a busy machine more than once until they have met
    it, and gives all that they were answered."""
    answers = set()
    with beside(*[functools.partial(shows, server, path, answers)] * 2):
        for _ in range(100):
            change()
            if len(answers) > 1:
                break
    return answers


FORGED = b"x\n200 /t OK\nforged"


def test_a_file_that_is_replaced_under_its_readers():
    """By renames, with texts of all lengths and one that cannot be sent."""
    texts = [b"a" * 10, b"b" * 160, FORGED, b"", b"c" * 99]
    expected = {(b"200 /t OK", text) for text in texts if text is not FORGED} | \
        {(b"500 /t " + INVALID, None)}
    for way, wrapper in WAYS.items():
        with Server(*NO_CACHE, wrapper=wrapper) as server:
            target, next_one = server.docroot / "t", server.docroot / ".next"

            def replace():
                for text in texts * (2000 if FULL else 30):
                    next_one.write_bytes(text)
                    next_one.rename(target)

            target.write_bytes(texts[0])
            answers = read_beside(server, b"/t", replace)
            assert answers <= expected, (way, answers - expected)
            assert len(answers) > 1, way


# Writes texts into a file, emptied before each, until its standard input ends; each stays there for
# so many seconds.
REWRITER = """
import os, select, sys, time
print("writing", flush=True)
target, pause, texts = sys.argv[1], float(sys.argv[2]), [*map(os.fsencode, sys.argv[3:])]
while not select.select([0], [], [], 0)[0]:
    for text in texts * (2 if pause else 20):
        file = os.open(target, os.O_WRONLY | os.O_TRUNC)
        os.write(file, text)
        os.close(file)
        if pause:
            time.sleep(pause)
"""


REWRITTEN = [b"a" * 20, b"b" * 160, FORGED, b"c" * 100, FORGED * 2, b"d" * 60]


@contextlib.contextmanager
def rewriting(target, pause=0):
    """One text after the other is written into a file."""
    target.write_bytes(b"")
    writer = subprocess.Popen([sys.executable, "-c", REWRITER, str(target), str(pause),
                               *REWRITTEN],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert writer.stdout.readline() == b"writing\n"
        yield
        writer.communicate(timeout=IO_TIMEOUT)
    finally:
        writer.kill()
        writer.communicate()


def expect_states(server, rounds):
    """Each answer is a state of the file, not parts of two; and some of them were seen: on a busy
    machine that takes more than the rounds. The server tries until it has met one, but not without
    end."""
    answers = set()
    for number in range(100 * rounds):
        if number >= rounds and len(answers) > 2:
            break
        answers.update(answer for answer in answers_of(server, [b"SHOW /t"] * 100)
                       if b"try again later" not in answer[0])
    expected = {(b"200 /t OK", text) for text in [b"", *REWRITTEN] if FORGED not in text} | \
        {(b"500 /t " + INVALID, None)}
    assert answers <= expected, answers - expected
    assert len(answers) > 2, answers


def test_a_file_that_is_rewritten_under_its_readers():
    for wrapper in WAYS.values():
        with directory_in_memory() as docroot, rewriting(docroot / "t"), \
                Server(*NO_CACHE, docroot=docroot, wrapper=wrapper) as server:
            expect_states(server, 2000 if FULL else 40)


def test_a_file_that_is_rewritten_between_two_reads_of_it():
    """The same with slow storage: what is read in parts is not put together from two texts."""
    with directory_in_memory() as docroot, Faults() as faults, \
            Server(*NO_CACHE, docroot=docroot, program=faults.PROGRAM, env=faults.env) as server:
        with rewriting(docroot / "t", 0.005), \
                faults.armed("openat2_cached", errno.EAGAIN, times=EVER):
            faults.delay("read", 0.002)
            expect_states(server, 500 if FULL else 20)


# -- names that are replaced while their directory is read


def update_all(server, names, seed, done):
    order = random.Random(seed)
    with connect(server.address) as connection, connection.makefile("rb") as answers:
        while not done.is_set():
            batch = order.sample(names, 50)
            connection.sendall(b"".join(b"UPDATE /d/%s new\n" % name for name in batch))
            for name in batch:
                assert answers.readline() == b"200 /d/%s OK\n" % name
                assert answers.readline() == b"new\n"


def test_listings_beside_updates_have_each_name_once():
    """On a tmpfs, where a name that a rename replaces gets a new place in its directory."""
    names = sorted(b"n%d" % number for number in range(3000))
    requests = {b"LIST /d": b", ".join(names), b"LIST /d?q=": b", ".join(names),
                b"LIST /d?limit=1000": b", ".join(names[:1000]),
                b"LIST /?recursive=1&type=file": b", ".join(b"d/" + name for name in names),
                b"LIST /d?limit=20&after=n2": b", ".join(names[names.index(b"n2") + 1:][:20])}
    with directory_in_memory() as docroot, \
            Server(*NO_CACHE, "--durability", "none", docroot=docroot) as server:
        (docroot / "d").mkdir()
        put_many(docroot / "d", names)
        with beside(*(functools.partial(update_all, server, names, SEED + number)
                      for number in range(2))):
            for _ in range(300 if FULL else 5 if SANITIZED else 15):
                for request, contents in requests.items():
                    assert lines_of(server, request)[1] == contents, request
        assert names_of(server, b"LIST /d") == names


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
