"""sttpd as a whole: listeners, signals, HTTP by mistake, messages, timeouts and the log."""

import contextlib
import errno
import http.client
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from faults import EVER, Faults
from harness import UNPRIVILEGED, Server, StartFailure, connect, exchange, lines_of, read_line, \
    receive_all, run_tests, status_of, temporary_directory, wait_until


# -- listeners


def test_several_listeners():
    with temporary_directory() as directory:
        path = directory / "socket"
        listen = ["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--listen", f"unix:{path}"]
        with Server(listen=listen) as server:
            (host4, port4), (host6, port6), unix = server.addresses
            assert (host4, host6, unix) == ("127.0.0.1", "::1", str(path)), server.addresses
            assert port4 > 0 and port6 > 0
            assert exchange((host4, port4), b"CREATE /a x\n") == b"100 /a CREATED\n"
            assert exchange((host6, port6), b"SHOW /a\n") == b"200 /a OK\nx\n"
            assert exchange(unix, b"UPDATE /a y\n") == b"200 /a OK\ny\n"
            assert exchange((host4, port4), b"SHOW /a\n") == b"200 /a OK\ny\n"
        assert not path.exists(), "the socket stays behind"


def test_lock_that_may_not_be_opened_is_named():
    with temporary_directory() as directory:
        directory.chmod(0o777)
        lock = directory / "socket.lock"
        lock.touch()
        lock.chmod(0)
        try:
            with Server(listen=["--listen", f"unix:{directory}/socket"], **UNPRIVILEGED):
                raise AssertionError("it listens")
        except StartFailure as failure:
            assert failure.status == 1 and "with .lock behind it" in failure.stderr, failure


def test_every_later_answer_shows_a_change():
    with Server() as server, connect(server.address) as one, connect(server.address) as other:
        for number in range(50):
            one.sendall(b"CREATE /n/%d x\n" % number)
            assert read_line(one) == b"100 /n/%d CREATED\n" % number
            other.sendall(b"SHOW /n/%d\nUPDATE /n/%d y\n" % (number, number))
            assert [read_line(other) for _ in range(4)][1::2] == [b"x\n", b"y\n"]
            one.sendall(b"SHOW /n/%d\nDELETE /n/%d\n" % (number, number))
            assert [read_line(one) for _ in range(3)][1:] == \
                [b"y\n", b"600 /n/%d DELETED\n" % number]
            other.sendall(b"LIST /n\n")
            assert [read_line(other) for _ in range(2)] == [b"200 /n OK\n", b"\n"]


def at_once(count, function):
    """The results of `function(0)` to `function(count - 1)`, each in a thread of its own."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, range(count)))


def test_one_of_many_creates_wins():
    with Server("--threads", "4") as server:
        for round_number in range(20):
            path = b"/r%d/d/file" % round_number
            answers = at_once(8, lambda i, path=path: lines_of(server, b"CREATE %s %d" % (path, i)))
            exists = b'300 %s CLIENT ERROR "file already exists; use UPDATE"' % path
            assert sorted(answers) == [[b"100 %s CREATED" % path]] + [[exists]] * 7, answers
            winner = answers.index([b"100 %s CREATED" % path])
            assert lines_of(server, b"SHOW " + path)[1] == b"%d" % winner


def test_one_of_many_deletes_wins():
    with Server("--threads", "4") as server:
        for _ in range(20):
            lines_of(server, b"CREATE /d/a x")
            answers = at_once(8, lambda _: status_of(server, b"DELETE /d/a")[0])
            assert sorted(answers) == [400] * 7 + [600], answers


def test_readers_see_the_old_text_or_the_new_one():
    texts = [letter * 160 for letter in (b"a", b"b", b"c")]

    def work(number):
        if number == 0:
            requests = [b'UPDATE /d/a "%s"' % texts[i % 3] for i in range(300)]
        else:
            requests = [b"SHOW /d/a", b"LIST /d?q=aaaa", b"LIST /d"] * 200
        return lines_of(server, *requests)

    with Server("--threads", "4") as server:
        lines_of(server, b"CREATE /d/a " + texts[0])
        for answers in at_once(6, work)[1:]:
            assert set(answers[0::6]) == {b"200 /d/a OK"} and set(answers[1::6]) <= set(texts)
            assert set(answers[2::6]) == {b"200 /d OK"} and set(answers[3::6]) <= {b"", b"a"}
            assert set(answers[5::6]) == {b"a"}, "an UPDATE takes the name out of the listing"


# -- the end


def stop_in_mid_pipeline(signal_number):
    count = 300
    requests = b"".join(b"CREATE /d/%d %d\n" % (i, i) for i in range(count))
    with Server() as server:
        with connect(server.address) as connection:
            connection.sendall(requests)
            first = read_line(connection)
            server.process.send_signal(signal_number)
            answers = (first + receive_all(connection)).splitlines()
        assert answers == [b"100 /d/%d CREATED" % i for i in range(count)], \
            f"{len(answers)} of {count}, the last is {answers[-1]!r}"
        server.wait(20)
        stored = sorted(path.name for path in (server.docroot / "d").iterdir())
        assert stored == sorted(str(i) for i in range(count))


def test_sigterm_answers_what_came():
    stop_in_mid_pipeline(signal.SIGTERM)


def test_sigint_answers_what_came():
    stop_in_mid_pipeline(signal.SIGINT)


def test_sigterm_closes_idle_connections():
    with Server() as server, connect(server.address) as idle:
        idle.sendall(b"LIST /\n")
        assert read_line(idle) + read_line(idle) == b"200 / OK\n\n"
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert receive_all(idle) == b""
        server.wait(20)
        assert time.monotonic() - started < 5, "an idle connection held the server back"


def fill(connection):
    """Asks without taking an answer, until the buffers of both sides are full."""
    connection.settimeout(1)
    with contextlib.suppress(TimeoutError):
        while True:
            connection.sendall(b"SHOW /a\n" * 1000)


def test_stop_cuts_who_takes_no_answers():
    with Server(config="stop_timeout: 300ms\n") as server, connect(server.address) as connection:
        lines_of(server, b"CREATE /a " + b"x" * 160)
        fill(connection)
        server.process.send_signal(signal.SIGTERM)
        server.wait(10)
        server.wait_log("warning .*connections were cut")


def test_second_signal_stops_at_once():
    with Server(config="stop_timeout: 1h\n") as server, connect(server.address) as connection:
        lines_of(server, b"CREATE /a " + b"x" * 160)
        fill(connection)
        server.process.send_signal(signal.SIGTERM)
        server.wait_log("info stopping")
        server.process.send_signal(signal.SIGTERM)
        server.wait(10)


# -- the end of a session


def test_answers_arrive_though_more_was_sent_than_is_read():
    """What stands behind the end of a session is not read; it must not cost an answer either."""
    rest = b"SHOW /later\n" * 100000
    ends = [(b"\n", b""), (b"\r\n", b""),
            (b"SHOW /" + b"y" * 4091 + b"\n", b'300 - CLIENT ERROR "')]
    with Server() as server:
        for half_close in (True, False):
            for end, answer in ends:
                got = server.exchange(b"SHOW /a\n" * 100 + end + rest, half_close=half_close)
                expected = b"400 /a NOT FOUND\n" * 100 + answer
                assert got.startswith(expected), got[-200:]
                assert got.count(b"\n") == expected.count(b"\n") + len(answer[:1]), got[-200:]


# -- HTTP by mistake


def test_http_client():
    with Server() as server:
        for method, body in (("GET", None), ("POST", b"x" * 100000), ("HEAD", None)):
            client = http.client.HTTPConnection(*server.address, timeout=20)
            with contextlib.closing(client):
                client.request(method, "/notes/a.txt", body=body, headers={"Accept": "*/*"})
                answer = client.getresponse()
                text = answer.read()
                assert (answer.status, answer.reason) == (400, "Bad Request")
                assert method == "HEAD" or b"STTP" in text, text


def test_http_as_curl_sends_it():
    request = (b"GET /notes/a.txt HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/7.88.1\r\n"
               b"Accept: */*\r\n\r\n")
    with Server() as server:
        answer = server.exchange(request, half_close=False)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n"), answer
        assert b"STTP" in body and answer.count(b"HTTP/1.1") == 1, answer
        later = server.exchange(b"SHOW /a\n" + request[:request.index(b"\r\n")] + b"\n")
        assert later.startswith(b"400 /a NOT FOUND\n300 /notes/a.txt CLIENT ERROR"), later
        text = server.exchange(b"CREATE /a see HTTP/1.1\nSHOW /a\n")
        assert text == b"100 /a CREATED\n200 /a OK\nsee HTTP/1.1\n", text


# -- messages


def test_messages_whose_words_are_fixed():
    expected = [
        (b"CREATE /d/a x", b"100 /d/a CREATED"),
        (b"CREATE /d/a y", b'300 /d/a CLIENT ERROR "file already exists; use UPDATE"'),
        (b"SHOW /d", b'300 /d CLIENT ERROR "is a directory; use LIST"'),
        (b"LIST /d/a", b'300 /d/a CLIENT ERROR "is a file; use SHOW"'),
        (b"LIST /d/a/", b'300 /d/a/ CLIENT ERROR "is a file; use SHOW"'),
    ]
    with Server() as server:
        for request, answer in expected:
            assert lines_of(server, request) == [answer]


def test_messages_say_what_to_do():
    expected = [(b"show /a", rb"SHOW"), (b"CRAETE /a x", rb"CREATE"), (b"LIST /?limt=1", rb"limit"),
                (b"CREATE /a " + b"x" * 170, rb"170.*160|160.*170"),
                (b"CREATE /a", rb"(?i)text|contents"), (b"CREATE /a/ x", rb"(?i)slash|/"),
                (b"LIST /" + b"d" * 300, rb"300.*255|255.*300")]
    with Server() as server:
        for request, words in expected:
            answer, = lines_of(server, request)
            message = re.search(rb'CLIENT ERROR "([^"]+)"$', answer)
            assert message and re.search(words, message[1]), (request, answer)


# -- rights


def test_runs_without_root():
    with Server(**UNPRIVILEGED) as server:
        owner = os.stat(f"/proc/{server.process.pid}").st_uid
        assert owner != 0, "the server runs as root"
        assert server.exchange(b"CREATE /n/a x\nSHOW /n/a\nDELETE /n/a\nDELETE /n/\n") == \
            b"100 /n/a CREATED\n200 /n/a OK\nx\n600 /n/a DELETED\n600 /n/ DELETED\n"


# -- timeouts


def test_request_timeout():
    with Server(config="request_timeout: 500ms\n") as server:
        with connect(server.address) as connection:
            started = time.monotonic()
            connection.sendall(b"LIST /\nSHOW /a")
            answer = receive_all(connection)
            elapsed = time.monotonic() - started
        assert answer == b'200 / OK\n\n300 - CLIENT ERROR "request timeout"\n', answer
        assert 0.4 < elapsed < 10, f"{elapsed:.2f} s"


def test_request_timeout_is_not_put_off_by_more_bytes():
    with Server(config="request_timeout: 700ms\n") as server:
        with connect(server.address) as connection:
            connection.settimeout(0.1)
            answer = b""
            deadline = time.monotonic() + 15
            while not answer.endswith(b"\n"):
                assert time.monotonic() < deadline, "a sender of single bytes is never stopped"
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.send(b"x")
                with contextlib.suppress(TimeoutError):
                    answer += connection.recv(4096)
        assert answer == b'300 - CLIENT ERROR "request timeout"\n', answer


def test_idle_timeout():
    with Server("-v", config="idle_timeout: 500ms\n") as server:
        for before, answer in ((b"", b""), (b"SHOW /a\n", b"400 /a NOT FOUND\n")):
            started = time.monotonic()
            assert server.exchange(before, half_close=False) == answer
            elapsed = time.monotonic() - started
            assert 0.4 < elapsed < 10, f"{elapsed:.2f} s"
        server.wait_log("debug .*idle timeout")


def test_send_timeout():
    with Server("-v", config="send_timeout: 500ms\n") as server:
        text = b"x" * 160
        server.exchange(b"CREATE /a %s\n" % text)
        with connect(server.address) as connection:
            try:
                for _ in range(100000):  # many times what the buffers of both sides hold
                    connection.sendall(b"SHOW /a\n" * 1000)
                raise AssertionError("the server reads on while nobody takes its answers")
            except ConnectionResetError:
                pass
            server.wait_log("debug .*send timeout")
        assert server.exchange(b"SHOW /a\n") == b"200 /a OK\n" + text + b"\n"


# -- beginning and end of the storage


def test_stop_while_it_opens_a_document_root_that_hangs():
    """Nobody was promised anything yet, so there is nothing to wait for."""
    with temporary_directory() as docroot, Faults() as faults:
        faults.delay("syncfs", 3600)
        command = [faults.PROGRAM, "-a", "127.0.0.1", "-p", "0", "-d", docroot]
        with subprocess.Popen(command, env={**os.environ, **faults.env},
                              stderr=subprocess.PIPE) as server:
            try:
                line = server.stderr.readline().decode()
                assert f"info opening document root {docroot}; its file system is synced first" \
                    in line, line
                wait_until(lambda: faults.calls("syncfs") > 0, what="a sync")
                server.send_signal(signal.SIGTERM)
                assert server.wait(20) == -signal.SIGTERM
            finally:
                server.kill()


def test_changes_that_may_be_lost_are_told():
    """With `interval`: by the next change, or at the end where there is none."""
    with Faults() as faults, Server("--durability", "interval", program=faults.PROGRAM,
                                    env=faults.env) as server:
        assert server.exchange(b"CREATE /a old\n") == b"100 /a CREATED\n"
        with faults.armed("syncfs", errno.EIO, times=EVER):
            def is_told():
                answer = server.exchange(b"UPDATE /a new\n")
                return answer.startswith(
                    b'500 /a SERVER ERROR "the storage failed to keep earlier changes')
            wait_until(is_told, what="a change that is refused")
            server.exchange(b"UPDATE /a last\n")
            server.stop()
        assert f"error document root {server.docroot}: the last changes may be lost" \
            in server.text(), server.text()


# -- log


def test_connections_are_logged_with_v():
    with Server("-v") as server:
        with connect(server.address) as connection:
            host, port = connection.getsockname()
            connection.sendall(b"SHOW /a\n\n")
            receive_all(connection)
        peer = re.escape(f"{host}:{port}")
        server.wait_log(rf"debug .*{peer}.*")
        wait_until(lambda: len(re.findall(peer, server.text())) >= 2, what="opened and closed")


def test_connections_are_not_logged_without_v():
    with Server() as server:
        server.exchange(b"SHOW /a\n\n")
        server.stop()
        assert not re.search(r" debug ", server.text()), server.text()


def test_log_holds_no_bytes_of_the_peer():
    hostile = b"SHOW /a\x1b[31m\xc2\x9b\n" + b"\x07\x00\n" + "SHOW /\u202e\u2028\n".encode()
    with Server("-v", "-v", **UNPRIVILEGED) as server:
        server.exchange(hostile)
        odd = "/\u202ename"
        server.exchange(f"CREATE {odd} x\n".encode())
        (server.docroot / odd[1:]).chmod(0)
        assert status_of(server, f"SHOW {odd}".encode())[0] == 500
        server.stop()
        bad = re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028]", server.text())
        assert not bad, server.text()


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
