"""sttpd as a whole: listeners, signals, HTTP by mistake, timeouts, the log, and a document root
that people have put things into by hand (docs/protocol.md, section 5)."""

import contextlib
import http.client
import os
import re
import signal
import socket
import sys
import time

from harness import Server, connect, exchange, read_line, receive_all, run_tests, \
    temporary_directory, wait_until

NOBODY = 65534
UNPRIVILEGED = {"user": NOBODY} if os.geteuid() == 0 else {}
EMOJI = "\U0001f600"
INVALID = b'SERVER ERROR "stored file is not a valid short text"'


def lines_of(server, *requests):
    """The answers to some requests on a connection of their own, as lines."""
    return server.exchange(b"".join(request + b"\n" for request in requests)).split(b"\n")[:-1]


def status_of(server, request):
    """The code and the echo of an answer."""
    code, echo, _ = lines_of(server, request)[0].split(b" ", 2)
    return int(code), echo


def names_of(server, request):
    status, contents = lines_of(server, request)
    assert status.startswith(b"200 "), status
    return contents.split(b", ") if contents else []


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


# -- rights and durability


def test_runs_without_root():
    with Server(**UNPRIVILEGED) as server:
        owner = os.stat(f"/proc/{server.process.pid}").st_uid
        assert owner != 0, "the server runs as root"
        assert server.exchange(b"CREATE /n/a x\nSHOW /n/a\nDELETE /n/a\nDELETE /n/\n") == \
            b"100 /n/a CREATED\n200 /n/a OK\nx\n600 /n/a DELETED\n600 /n/ DELETED\n"


def visible(docroot):
    """Every file below the document root, but the server's own, with its text."""
    return {str(path.relative_to(docroot)): path.read_bytes().removesuffix(b"\n").decode()
            for path in docroot.rglob("*")
            if path.is_file() and not path.name.startswith(".sttp-")}


def test_store_is_plain_files():
    with temporary_directory() as docroot:
        with Server(docroot=docroot) as server:
            server.exchange(b"CREATE /notes/a.txt Buy milk\nCREATE /notes/old/b \"\"\n")
            assert visible(docroot) == {"notes/a.txt": "Buy milk", "notes/old/b": ""}
            server.exchange(b"UPDATE /notes/a.txt \"\xc3\x89t\xc3\xa9\"\nDELETE /notes/old/b\n")
            assert visible(docroot) == {"notes/a.txt": "Été"}
            assert (docroot / "notes/old").is_dir()
        with Server(docroot=docroot) as server:
            assert server.exchange(b"SHOW /notes/a.txt\nLIST /notes?recursive=1\n") == \
                "200 /notes/a.txt OK\nÉté\n200 /notes OK\na.txt, old/\n".encode()


def test_survives_a_kill():
    """What was acknowledged is there after a SIGKILL, and nothing else is."""
    with temporary_directory() as docroot:
        server = Server(docroot=docroot)
        with contextlib.suppress(AssertionError), server:
            with connect(server.address) as connection:
                connection.sendall(b"".join(b"CREATE /k/%d text-%d\n" % (i, i)
                                            for i in range(400)))
                answers = [read_line(connection) for _ in range(60)]
                server.kill()
        assert answers == [b"100 /k/%d CREATED\n" % i for i in range(60)]
        files = visible(docroot)
        assert all(files.get(f"k/{i}") == f"text-{i}" for i in range(60))
        assert all(text == f"text-{name.split('/')[1]}" for name, text in files.items()), files
        with Server(docroot=docroot) as again:
            assert len(names_of(again, b"LIST /k")) == len(files)
            assert again.exchange(b"SHOW /k/59\n") == b"200 /k/59 OK\ntext-59\n"


# -- section 5: put there by hand


def test_texts_put_by_hand():
    valid = {"plain": b"Buy milk", "final-lf": b"Buy milk\n", "empty": b"", "only-lf": b"\n",
             "tab": b"one\ttwo", "longest": b"x" * 160, "longest-lf": b"x" * 160 + b"\n",
             "emoji": (EMOJI * 160).encode() + b"\n", "quotes": b'"x"'}
    invalid = {"two-lines": b"a\nb", "two-lf": b"a\n\n", "crlf": b"a\r\n", "nul": b"a\0b",
               "escape": b"\x1b[31m", "c1": b"\xc2\x9b", "delete": b"\x7f", "latin1": b"\xe9",
               "cut": b"\xf0\x9f\x98", "surrogate": b"\xed\xa0\x80", "161": b"x" * 161,
               "161-emoji": (EMOJI * 161).encode(), "huge": b"x" * (8 << 20), "bom": b"\xff\xfe"}
    with Server() as server:
        for name, data in {**valid, **invalid}.items():
            (server.docroot / name).write_bytes(data)
        for name, data in valid.items():
            text = data.removesuffix(b"\n")
            assert server.exchange(b"SHOW /%s\n" % name.encode()) == \
                b"200 /%s OK\n%s\n" % (name.encode(), text), name
        for name in invalid:
            path = b"/" + name.encode()
            assert lines_of(server, b"SHOW " + path) == [b"500 " + path + b" " + INVALID], name
        listed = names_of(server, b"LIST /")
        assert listed == sorted(name.encode() for name in {**valid, **invalid})
        assert names_of(server, b"LIST /?q=") == sorted(name.encode() for name in valid)
        assert names_of(server, b"LIST /?q=BUY") == [b"final-lf", b"plain"]
        for name in list(invalid)[::2]:
            path = b"/" + name.encode()
            assert lines_of(server, b"UPDATE %s ok" % path, b"SHOW " + path) == \
                [b"200 %s OK" % path, b"ok"] * 2
        for name in list(invalid)[1::2]:
            path = b"/" + name.encode()
            assert lines_of(server, b"DELETE " + path, b"SHOW " + path) == \
                [b"600 %s DELETED" % path, b"400 %s NOT FOUND" % path]


def make_odd_things(docroot, outside):
    """What is neither a regular file nor a directory, by its name."""
    (outside / "secret").write_text("secret")
    (outside / "folder").mkdir()
    (docroot / "inside").mkdir()
    (docroot / "inside" / "real").write_text("real")
    (docroot / "to-file").symlink_to(outside / "secret")
    (docroot / "to-folder").symlink_to(outside)
    (docroot / "to-inside").symlink_to("inside")
    (docroot / "to-nothing").symlink_to("nothing")
    (docroot / "to-itself").symlink_to("to-itself")
    (docroot / "to-above").symlink_to("..")
    os.mkfifo(docroot / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(docroot / "sock"))
    return [b"to-file", b"to-folder", b"to-inside", b"to-nothing", b"to-itself", b"to-above",
            b"fifo", b"sock"]


def test_links_and_special_files():
    with temporary_directory() as outside, Server() as server:
        odd = make_odd_things(server.docroot, outside)
        for name in odd:
            path = b"/" + name
            for request in (b"SHOW %s", b"UPDATE %s x", b"DELETE %s", b"LIST %s"):
                assert status_of(server, request % path) == (400, path), request % path
            for request in (b"DELETE %s/", b"LIST %s/"):
                assert status_of(server, request % path) == (400, path + b"/"), request % path
            assert status_of(server, b"CREATE %s x" % path) == (300, path), path
            for request in (b"SHOW %s/secret", b"UPDATE %s/secret x", b"DELETE %s/secret",
                            b"LIST %s/folder", b"DELETE %s/folder/"):
                assert status_of(server, request % path) == (410, path + b"/"), request % path
            assert status_of(server, b"CREATE %s/new x" % path) == (510, path + b"/"), path
            assert os.path.lexists(server.docroot / name.decode()), f"{name} is gone"
        assert names_of(server, b"LIST /") == [b"inside/"]
        assert names_of(server, b"LIST /?recursive=1") == [b"inside/", b"inside/real"]
        assert names_of(server, b"LIST /?recursive=1&q=secret") == []
        assert (outside / "secret").read_text() == "secret"
        assert sorted(path.name for path in outside.iterdir()) == ["folder", "secret"]
        assert status_of(server, b"SHOW /inside/real") == (200, b"/inside/real")


def test_names_put_by_hand():
    bad = [b"with space", b"what?", b"n" * 33, "ж".encode() * 33, b"\xff\xfe", b"a\tb", b"a\nb",
           b"a\x7f", b"a\xc2\x85", b".sttp-old", b"cut\xf0\x9f", b" "]
    good = [b"a", b"n" * 32, "ж".encode() * 32, b"a,b", b"%41", b"*", b"\"q\"", b".hidden"]
    with Server() as server:
        root = os.fsencode(server.docroot)
        for name in bad + good:
            with open(os.path.join(root, name), "wb") as file:
                file.write(b"x")
        for name in (b"bad dir", b"bad\xff", b"d" * 200, b"sub"):
            os.mkdir(os.path.join(root, name))
            with open(os.path.join(root, name, b"in"), "wb") as file:
                file.write(b"x")
        directories = [b"d" * 200 + b"/", b"sub/"]
        below = [b"d" * 200 + b"/in", b"sub/in"]
        assert names_of(server, b"LIST /") == sorted(good + directories)
        assert names_of(server, b"LIST /?recursive=1") == sorted(good + directories + below)
        assert names_of(server, b"LIST /?recursive=1&q=X") == sorted(good + below)
        for name in good:
            assert lines_of(server, b"SHOW /" + name)[1] == b"x", name
        with open(os.path.join(root, b"sub", b"not listed"), "wb"):
            pass
        assert status_of(server, b"DELETE /sub/in") == (600, b"/sub/in")
        assert names_of(server, b"LIST /sub") == []
        assert status_of(server, b"DELETE /sub/") == (300, b"/sub/")


def test_many_names():
    """20,000 names in one answer; more than 16 MiB of them are too many."""
    deep = "/".join(letter * 255 for letter in "abc")
    names = sorted(f"{number:05}" + EMOJI * 27 for number in range(20000))
    with Server() as server:
        folder = server.docroot / deep
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).touch()
        path = b"/" + deep.encode()
        expected = [name.encode() for name in names]
        assert names_of(server, b"LIST " + path) == expected
        answer, = lines_of(server, b"LIST /?recursive=1")
        assert answer == b'300 / CLIENT ERROR "too many names; use limit and after"'
        full = [deep.encode() + b"/" + name for name in expected]
        page = names_of(server, b"LIST /?recursive=1&type=file&limit=10000")
        assert page == full[:10000]
        page = names_of(server, b"LIST /?recursive=1&limit=3&after=" + page[-1])
        assert page == full[10000:10003]


# -- rights in the store, and what is logged of them


def test_storage_failures_are_told_and_logged():
    with Server(**UNPRIVILEGED) as server:
        server.exchange(b"CREATE /open/file x\nCREATE /closed/file x\nCREATE /hidden/file x\n")
        (server.docroot / "open" / "file").chmod(0)
        (server.docroot / "closed").chmod(0o555)
        (server.docroot / "hidden").chmod(0)
        expected = [(b"SHOW /open/file", 500, b"/open/file"),
                    (b"UPDATE /closed/file y", 500, b"/closed/file"),
                    (b"DELETE /closed/file", 500, b"/closed/file"),
                    (b"CREATE /closed/new y", 500, b"/closed/new"),
                    (b"CREATE /closed/new/new y", 510, b"/closed/new/"),
                    (b"LIST /hidden", 500, b"/hidden"),
                    (b"SHOW /hidden/file", 500, b"/hidden/file")]
        for request, code, echo in expected:
            answer, = lines_of(server, request)
            assert answer.startswith(b"%d %s " % (code, echo)), (request, answer)
            assert code != 500 or re.search(rb'"[^"]*(?i:permission|denied)[^"]*"$', answer), answer
            assert str(server.docroot).encode() not in answer
            line = server.wait_log(rf"(warning|error) .*{re.escape(request.split()[1].decode())}")
            assert re.search(r"(?i)permission denied", line), line
        assert server.exchange(b"SHOW /closed/file\n") == b"200 /closed/file OK\nx\n"


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
