"""Out of memory, of descriptors and of threads: the request gets its 500 or its connection closes,
the server goes on, what was acknowledged is there, and nothing leaks."""

import contextlib
import errno
import itertools
import os
import re
import sys
import threading

from client_support import cpu_seconds, descriptors_of
from faults import EVER, Faults
from harness import (FULL, SEED, Server, StartFailure, connect, run_tests, temporary_directory,
                     wait_until)

ANSWER = re.compile(rb'(\d{3}) (\S+) [A-Z ]+?(?: "([^"]*)")?\n')
SHORTAGES = {b"out of memory; try again later",
             b"out of file descriptors; try again later", b"server busy"}
UNKNOWN = b"outcome unknown"
CHANGES = (b"CREATE", b"UPDATE", b"DELETE")


def parts(request):
    """Action, path and text of a request; None for what it has not."""
    action, _, rest = request.partition(b" ")
    path, space, text = rest.partition(b" ")
    return action, path, text if space else None


class Session:
    """Requests of one connection in a directory of their own, and what each file may hold now:
    a set of texts, None for a file that is not there."""

    def __init__(self, directory):
        self.directory = directory
        self.files = {}
        self.answered = []

    def requests(self):
        one, two = self.directory + b"/one.txt", self.directory + b"/deep/er/two.txt"
        return [b"CREATE %s first" % one, b"SHOW " + one, b"SHOW " + one, b"SHOW %s-no" % one,
                b"LIST " + self.directory, b"UPDATE %s second" % one, b"SHOW " + one,
                b"CREATE %s deep" % two, b"LIST %s?recursive=1" % self.directory, b"SHOW " + two,
                b"DELETE " + two, b"DELETE " + two, b"LIST %s?q=seco" % self.directory, b"no",
                b"SHOW " + b"long" * 9, b"CREATE %s again" % two, b"UPDATE %s third" % one]

    def _possible(self, path):
        return self.files.setdefault(path, {None})

    def _expect(self, request, path, present):
        """The file is there, or is not: one of both is then known."""
        possible = self._possible(path)
        left = {text for text in possible if (text is not None) == present}
        assert left, f"{request}: present={present}, but possible are {possible}"
        self.files[path] = left

    def lost(self, request):
        """No answer came: the change may have been made, or not."""
        action, path, text = parts(request)
        if action in CHANGES:
            self._possible(path).add(text)

    def judge(self, request, code, echo, message, contents):
        self.answered.append(code)
        action, path, text = parts(request)
        if code == 500:
            assert message in SHORTAGES or (message == UNKNOWN and action in CHANGES), message
            if message == UNKNOWN:
                self.lost(request)
        elif action in (b"no", b"LIST") or not path.startswith(b"/"):
            assert code == 300 if action != b"LIST" else code in (200, 400, 410), (request, code)
        elif code in (400, 410):
            self._expect(request, path, False)
        else:
            self._judge_file(request, action, path, text, code, contents)
        if code not in (300, 410):
            assert echo == path.split(b"?")[0], (request, echo)

    def _judge_file(self, request, action, path, text, code, contents):
        expected = {b"CREATE": (100, 300), b"SHOW": (200,), b"UPDATE": (200,), b"DELETE": (600,)}
        assert code in expected[action], (request, code)
        self._expect(request, path, code != 100)
        if action == b"SHOW":
            assert contents in self.files[path], (request, contents, self.files[path])
            self.files[path] = {contents}
        elif code != 300:
            self.files[path] = {text}

    def check(self, server):
        """With nothing failing any more: everything is as it was acknowledged."""
        for path, possible in self.files.items():
            connection = Connection(server)
            code, _, _, contents = connection.ask(b"SHOW " + path)
            connection.close()
            found = contents if code == 200 else None
            assert code in (200, 400, 410) and found in possible, (path, code, found, possible)


class Connection:
    def __init__(self, server):
        self.socket = connect(server.address)
        self.stream = self.socket.makefile("rb")

    def close(self):
        self.stream.close()
        self.socket.close()

    def send(self, data):
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def answer(self):
        """Code, echo, message, contents; None where the connection has closed."""
        try:
            status = self.stream.readline()
            contents = self.stream.readline() if status.startswith(b"200 ") else None
        except ConnectionError:
            return None
        if status == b"":
            return None
        found = ANSWER.fullmatch(status)
        assert found, status
        assert contents is None or contents.endswith(b"\n"), contents
        return int(found[1]), found[2], found[3], contents and contents[:-1]

    def ask(self, request):
        self.send(request + b"\n")
        return self.answer()


def serial(server, session):
    """Each request waits for its answer; a connection that closes is followed by another."""
    connection = Connection(server)
    for request in session.requests():
        answer = connection.ask(request)
        if answer is None:
            session.lost(request)
            connection.close()
            connection = Connection(server)
        else:
            session.judge(request, *answer)
    connection.close()


def pipelined(server, session):
    """All requests at once."""
    connection = Connection(server)
    requests = session.requests()
    connection.send(b"".join(request + b"\n" for request in requests))
    for i, request in enumerate(requests):
        answer = connection.answer()
        if answer is None:
            for lost in requests[i:]:
                session.lost(lost)
            break
        session.judge(request, *answer)
    connection.close()


runs = itertools.count()
CONNECTIONS = 4 if FULL else 2
# With full counts every allocation fails in its turn; else one in so many, from one of the first.
STEP = 1 if FULL else 4


def turns(name):
    """The numbers of the calls that fail."""
    return itertools.count(1 + SEED % STEP, STEP) if name == "allocation" else itertools.count(1)


def load(server, connections=CONNECTIONS):
    """Several connections at once; half of them send all at once. Returns their sessions."""
    run = b"/run%d" % next(runs)
    sessions = [Session(b"%s-%d" % (run, i)) for i in range(connections)]
    failures = []

    def work(function, session):
        try:
            function(server, session)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=((serial, pipelined)[i % 2], session))
               for i, session in enumerate(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sessions


def check_serving(server):
    """Nothing fails: every request of a load gets its proper answer."""
    for session in load(server):
        assert len(session.answered) == len(session.requests()), session.answered
        assert 500 not in session.answered, session.answered
        session.check(server)


def reserved(server):
    return [name for _, directories, files in os.walk(server.docroot)
            for name in directories + files if name.startswith(".sttp-")]


@contextlib.contextmanager
def sttpd(*args, **options):
    """A server with faults. It must get rid of what its connections took, down to the last
    descriptor, and when it ends, of all memory."""
    with Faults() as faults:
        with Server(*args, program=faults.PROGRAM, env=faults.env, **options) as server:
            before = descriptors_of(server)
            check_serving(server)
            yield faults, server
            check_serving(server)
            wait_until(lambda: descriptors_of(server) == before, what=f"{before} descriptors")
            assert not reserved(server), reserved(server)
        assert faults.outstanding == 0, f"{faults.outstanding} blocks were not freed"


MEASURED = 3  # loads without a fault
MISSES = 3    # in a row: no load makes that many calls


def calls_of_load(faults, server, name):
    """The most calls that loads without a fault have made: as they are concurrent, it varies."""
    counts = []
    for _ in range(MEASURED):
        faults.count_from_zero(name)
        load(server)
        counts.append(faults.calls(name))
    return max(counts)


def every_nth(faults, server, name, *errors):
    """Lets the n-th call under load fail, for every n up to the number of calls and beyond, with
    each of the errors in FULL, else with one of them in its turn. The highest n that was met, and
    how many connections felt it."""
    least = calls_of_load(faults, server, name)
    highest = misses = shortages = 0
    turn = itertools.cycle(errors)
    for n in turns(name):
        for error in errors if FULL else [next(turn)]:
            with faults.armed(name, error, first=n):
                sessions = load(server)
                hit = faults.hits(name) > 0
            for session in sessions:
                session.check(server)
                shortages += 500 in session.answered or \
                    len(session.answered) < len(session.requests())
            misses = 0 if hit else misses + 1
            highest = n if hit else highest
        if n > least and misses >= MISSES:
            print(f"  {name}: {highest} calls failed, {shortages} connections felt it")
            # What failed before makes some of them unnecessary.
            assert highest >= max(1, least // 2), f"{highest} of {least} calls of {name}"
            return highest, shortages


def test_every_allocation_of_a_running_server_fails_once():
    with sttpd("--durability", "none") as (faults, server):
        count, shortages = every_nth(faults, server, "allocation", errno.ENOMEM)
        assert count > 50 and shortages > count // STEP // 2


CONFIG = """
threads: 2
max_connections: 100
max_connections_per_address: 50
durability: interval
listen:
  - 127.0.0.1:0
  - unix:{socket}
"""


def start_with_fault(name, error, n, config, docroot):
    """Starts a server, the n-th call failing, asks it a few things and stops it. Whether the call
    was made, and the message where it did not start."""
    with Faults() as faults:
        faults.arm(name, error, first=n)
        message = None
        try:
            with Server(program=faults.PROGRAM, env=faults.env, config=config, listen=[],
                        docroot=docroot) as server:
                sessions = load(server, 1)
                hit = faults.hits(name) > 0
                faults.disarm(name)
                for session in sessions:
                    session.check(server)
        except StartFailure as failure:
            assert failure.status == 1, failure
            hit = True
            told = [line for line in failure.stderr.split("\n") if " info " not in line]
            assert len(told) == 1 and told[0], f"{n}: {failure.stderr!r}"
            message = told[0]
        assert faults.outstanding == 0, f"{n}: {faults.outstanding} blocks were not freed"
        return hit, message


def every_start(name, error, pattern, left=()):
    """Lets the n-th call fail from the start to the end of a load, for every n. A server that does
    not start says why in one line, and leaves nothing but, maybe, what is in `left`: the next one
    clears that away. How often it did not start."""
    expression = re.compile(pattern)
    messages = []
    misses = 0
    with temporary_directory() as place:
        config = CONFIG.format(socket=place / "socket")
        for n in turns(name):
            docroot = place / f"files{n}"
            docroot.mkdir()
            hit, message = start_with_fault(name, error, n, config, docroot)
            there = {path.name for path in place.iterdir() if "files" not in path.name}
            assert there <= (set(left) if message else set()), there
            if message:
                assert expression.search(message), message
                assert not any(docroot.iterdir()), "the document root was changed"
                messages.append(message.split(" ", 1)[-1])
            misses = 0 if hit else misses + 1
            if misses >= MISSES:
                break
    print(f"  {n - misses} calls of {name}; not started:", *sorted(set(messages)), sep="\n    ")
    return len(messages)


def test_every_allocation_of_a_start_fails_once():
    assert every_start("allocation", errno.ENOMEM, "memory") > 20 // STEP


def test_every_thread_of_a_start_fails_once():
    assert every_start("pthread_create", errno.EAGAIN,
                       "(thread|cannot start).*Resource temporarily unavailable")


def test_every_eventfd_of_a_start_fails_once():
    assert every_start("eventfd", errno.EMFILE, "Too many open files")


def test_every_timer_of_a_start_fails_once():
    assert every_start("timerfd_create", errno.EMFILE, "Too many open files")


def test_every_socket_of_a_start_fails_once():
    assert every_start("socket", errno.ENFILE, "Too many open files in system")


# The configuration has a TCP address, with a socket for each of two threads, and a Unix socket.
LISTENING = "(127.0.0.1:0|unix:.*/socket).*"


def test_every_bind_of_a_start_fails_once():
    assert every_start("bind", errno.EACCES, LISTENING + "Permission denied") == 3


def test_every_listen_of_a_start_fails_once():
    assert every_start("listen", errno.EADDRINUSE,
                       "address already in use: (127.0.0.1:0|unix:.*/socket) ") == 3


def test_every_getsockname_of_a_start_fails_once():
    assert every_start("getsockname", errno.ENOBUFS, LISTENING + "No buffer space available") == 2


def test_every_setsockopt_of_a_start_fails_once():
    """Two options of each TCP socket, and one more that lets the next one have the same port."""
    assert every_start("setsockopt", errno.ENOPROTOOPT,
                       LISTENING + "Protocol not available") == 6


# The lock file of a Unix socket: who does not have it locked must not remove it.
LOCK = ["socket.lock"]


def test_every_flock_of_a_start_fails_once():
    """A document root whose file system has no locks serves; one that is locked does not, nor does
    a Unix socket without its lock."""
    assert every_start("flock", errno.ENOLCK, "unix:.*/socket.*No locks available", LOCK) == 1
    assert every_start("flock", errno.EWOULDBLOCK,
                       "(another server uses it|already in use: unix:)", LOCK) == 2


def test_a_lock_file_that_cannot_be_examined_is_told_and_not_tried_for_ever():
    assert every_start("fstat", errno.ENOMEM, "unix:.*/socket.*memory", LOCK) == 1


def test_a_file_system_that_does_not_tell_its_kind_serves():
    assert every_start("fstatfs", errno.ENOSYS, "") == 0


def test_a_server_without_memory_recovers():
    """All allocations fail while many connections ask; then none does."""
    with sttpd("--durability", "none") as (faults, server):
        for _ in range(20 if FULL else 5):
            with faults.armed("allocation", errno.ENOMEM, times=EVER):
                sessions = load(server, 8)
                assert faults.hits("allocation") > 0
            for session in sessions:
                session.check(server)
            check_serving(server)


def test_memory_in_use_does_not_grow_with_failures():
    """The same failures again and again leave as much memory in use as a few of them."""
    # What is in the cache is in use, too, and each of its 64 tables has two blocks of its own as
    # soon as it is used.
    with sttpd("--durability", "none", "--cache-max-files", "5") as (faults, server):
        def in_use():
            for _ in range(10):
                with faults.armed("allocation", errno.ENOMEM, first=3, times=EVER):
                    load(server)
            check_serving(server)
            return faults.outstanding

        first = in_use()
        rounds = [in_use() for _ in range(20 if FULL else 4)]
        print(f"  blocks in use: {first}, then {rounds}")
        assert max(rounds) <= first + 40 + 2 * 64, rounds


def test_descriptors_run_out():
    """All that opens files or duplicates descriptors, each call once."""
    with sttpd("--durability", "none") as (faults, server):
        for name in ("openat2", "openat2_cached", "openat", "fcntl"):
            every_nth(faults, server, name, errno.EMFILE, errno.ENFILE)


def test_the_kernel_is_out_of_memory():
    """Each call under load that can say ENOMEM, ENOBUFS or the like, once."""
    with sttpd("--durability", "none") as (faults, server):
        for name, error in (("openat2", errno.ENOMEM), ("fdopendir", errno.ENOMEM),
                            ("event_add", errno.ENOSPC), ("recv", errno.ENOMEM),
                            ("send", errno.ENOBUFS), ("mkdirat", errno.ENOMEM),
                            ("renameat2", errno.ENOMEM), ("unlinkat", errno.ENOMEM)):
            every_nth(faults, server, name, error)


def test_accepting_waits_without_spinning_while_descriptors_are_out():
    """A connection that comes meanwhile is accepted afterwards."""
    for error in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
        with sttpd() as (faults, server):
            with faults.armed("accept4", error, times=EVER):
                waiting = Connection(server)
                waiting.send(b"SHOW /none\n")
                used = cpu_seconds(server)
                wait_until(lambda: faults.calls("accept4") >= 5, what="accept is tried again")
                tries = faults.calls("accept4")
                used = cpu_seconds(server) - used
            assert used < 0.2, f"{used} s of CPU for {tries} tries"
            assert waiting.answer()[0] == 400
            waiting.close()
            server.wait_log(f"connections wait to be accepted .*{re.escape(os.strerror(error))}")


def test_accepting_goes_on_after_a_shortage_at_the_first_connection():
    """The timer that ends the pause needs no memory then."""
    with Faults() as faults, Server(program=faults.PROGRAM, env=faults.env) as server:
        with faults.armed("allocation", errno.ENOMEM, times=EVER), \
                faults.armed("accept4", errno.ENOMEM, times=EVER):
            waiting = Connection(server)
            waiting.send(b"SHOW /none\n")
            wait_until(lambda: faults.hits("accept4") > 0, what="accept fails")
        assert waiting.answer()[0] == 400
        waiting.close()


def test_no_thread_for_the_storage():
    """With none the answer is "server busy"; with the first, all is done by that one."""
    with Faults() as faults, Server(program=faults.PROGRAM, env=faults.env) as server:
        with faults.armed("pthread_create", errno.EAGAIN, times=EVER):
            connection = Connection(server)
            for request in (b"CREATE /a text", b"LIST /", b"UPDATE /a text", b"DELETE /a"):
                code, _, message, _ = connection.ask(request)
                assert (code, message) == (500, b"server busy"), (request, code, message)
            assert faults.hits("pthread_create") == 4
        assert connection.ask(b"CREATE /a text")[0] == 100
        with faults.armed("pthread_create", errno.EAGAIN, times=EVER):
            check_serving(server)
        connection.close()


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
