"""sttp-cli as its users meet it: options, output, exit statuses, and servers of every kind."""

import contextlib
import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import threading
import time
import unittest

import naive_servers
from harness import (BIN, SANITIZER_REPORT, Server, free_port,
                     temporary_directory)
from naive_servers import NaiveServer

CLI = str(BIN / "sttp-cli")
MANUAL = pathlib.Path(__file__).parents[2] / "docs" / "sttp-cli.1.scd"


class Run:
    """One run of sttp-cli to its end."""

    def __init__(self, *arguments, stdin=None, **options):
        source = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        started = time.monotonic()
        done = subprocess.run([CLI, *map(str, arguments)], capture_output="stdout" not in options,
                              timeout=60, **source, **options)
        self.seconds = time.monotonic() - started
        self.status = done.returncode
        self.raw = done.stdout
        self.out = (done.stdout or b"").decode("utf-8", "surrogateescape")
        self.err = (done.stderr or b"").decode("utf-8", "surrogateescape")


class CliTest(unittest.TestCase):
    """What all tests share: a server with texts, and the judgement of a run."""

    @classmethod
    def setUpClass(cls):
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        cls.directory = stack.enter_context(temporary_directory())
        cls.socket_path = cls.directory / "sttpd.sock"
        listeners = ["127.0.0.1:0", "[::1]:0", f"unix:{cls.socket_path}"]
        cls.server = stack.enter_context(
            Server(listen=[word for address in listeners for word in ("--listen", address)]))
        cls.port = next(a[1] for a in cls.server.addresses if a[0] == "127.0.0.1")
        cls.port6 = next(a[1] for a in cls.server.addresses if a[0] == "::1")

    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.base = f"/{self._testMethodName}"  # each test has a directory of its own

    def cli(self, *arguments, status=0, **options):
        run = Run(*arguments, **options)
        self.assertNotRegex(run.err, SANITIZER_REPORT)
        self.assertEqual(run.status, status, f"{arguments}: {run.out}{run.err}")
        return run

    def here(self, *arguments, **options):
        """A run that talks to the server of the class."""
        return self.cli("-a", "127.0.0.1", "-p", self.port, *arguments, **options)

    def create(self, name, text="text"):
        path = f"{self.base}/{name}"
        self.here("create", path, text)
        return path

    def naive(self, behaviour, **options):
        return self.stack.enter_context(NaiveServer(behaviour, **options))

    def to(self, server, *arguments, **options):
        return self.cli("-a", "127.0.0.1", "-p", server.port, *arguments, **options)

    def start(self, *arguments, **options):
        """A run that goes on beside the test, and is ended should the test get stuck."""
        run = self.stack.enter_context(subprocess.Popen([CLI, *map(str, arguments)], **options))
        guard = threading.Timer(60, run.kill)
        self.stack.callback(guard.cancel)
        self.stack.callback(run.kill)
        guard.start()
        return run

    def temporary(self):
        return self.stack.enter_context(temporary_directory())


class Actions(CliTest):
    def test_life_of_a_text(self):
        path = f"{self.base}/reminder.txt"
        self.assertEqual(self.here("create", path, "Buy milk").out, f"100 {path} CREATED\n")
        self.assertEqual(self.here("show", path).out, "Buy milk\n")
        self.assertEqual(self.here("update", path, "Buy milk and bread").out, f"200 {path} OK\n")
        self.assertEqual(self.here("SHOW", path).out, "Buy milk and bread\n")
        self.assertEqual(self.here("List", self.base).out, "reminder.txt\n")
        self.assertEqual(self.here("delete", path).out, f"600 {path} DELETED\n")
        self.assertEqual(self.here("list", self.base).out, "")

    def test_without_an_action(self):
        path = self.create("a", "shown")
        self.assertEqual(self.here(path).out, "shown\n")
        self.assertEqual(self.here(f"{self.base}/").out, "a\n")
        self.assertEqual(self.here(f"{self.base}?name=a").out, "a\n")

    def test_list_prints_a_name_a_line(self):
        for name in ("b", "a,b", "d/e"):
            self.create(name)
        self.assertEqual(self.here("list", self.base).out, "a,b\nb\nd/\n")

    def test_query(self):
        for name in "abc":
            self.create(name)
        self.assertEqual(self.here("list", f"{self.base}?limit=2").out, "a\nb\n")
        url = f"sttp://127.0.0.1:{self.port}{self.base}/?limit=2&after=b"
        self.assertEqual(self.cli("list", url).out, "c\n")

    def test_texts_survive_unchanged(self):
        for text in ('"quoted"', '"', "", " spaces ", "a\tb", "\U0001f600" * 160, "x" * 160):
            with self.subTest(text=text):
                path = f"{self.base}/a"
                self.here("create", path, text)
                self.assertEqual(self.here("show", path).out, f"{text}\n")
                self.here("delete", path)

    def test_bare_path_is_literal_and_url_is_decoded(self):
        self.create("a%2Bb", "literal")
        self.create("a+b", "decoded")
        self.assertEqual(self.here(f"{self.base}/a%2Bb").out, "literal\n")
        url = f"sttp://127.0.0.1:{self.port}{self.base}/a%2Bb"
        self.assertEqual(self.cli(url).out, "decoded\n")


class Contents(CliTest):
    def test_from_standard_input(self):
        path = f"{self.base}/a"
        self.here("create", path, stdin=b"one line\n")
        self.assertEqual(self.here(path).out, "one line\n")
        self.here("update", path, "-", stdin="grün".encode())
        self.assertEqual(self.here(path).out, "grün\n")

    def test_input_that_does_not_block(self):
        reader, writer = os.pipe()
        self.stack.callback(os.close, reader)
        with os.fdopen(writer, "wb") as source:
            os.set_blocking(reader, False)
            run = self.start("-q", "-a", "127.0.0.1", "-p", self.port, "create",
                             f"{self.base}/a", stdin=reader)
            with self.assertRaises(subprocess.TimeoutExpired):  # it waits for what is to come
                run.wait(0.3)
            source.write(b"late\n")
        self.assertEqual(run.wait(60), 0)
        self.assertEqual(self.here(f"{self.base}/a").out, "late\n")

    def test_empty_input_is_empty_text_only_where_asked_for(self):
        path = f"{self.base}/a"
        run = self.here("create", path, status=2)
        self.assertIn("contents are missing", run.err)
        self.here("show", path, status=41)
        self.here("create", path, "-", stdin=b"")
        self.assertEqual(self.here(path).out, "\n")

    def test_too_long(self):
        server = self.naive(naive_servers.never_answers)
        run = self.to(server, "create", "/a", "ü" * 171, status=2)
        self.assertIn("171 characters, 11 over the limit of 160", run.err)
        run = self.to(server, "create", "/a", stdin=b"x" * 70000, status=2)
        self.assertIn("over 65536 bytes", run.err)
        self.assertEqual(server.connections, 0)

    def test_what_cannot_be_sent_is_named_with_its_place(self):
        server = self.naive(naive_servers.never_answers)
        for text, told in ((b"one\ntwo\n", "line break as character 4"),
                           ("ü\x1b[31m".encode(), r"U\+001B as character 2"),
                           ("a\u009bx".encode(), r"U\+009B as character 2"),
                           (b"a\0", r"U\+0000 as character 2"),
                           (b"ab\xff", "0xff is byte 3")):
            with self.subTest(text=text):
                run = self.to(server, "update", "/a", "-", stdin=text, status=2)
                self.assertRegex(run.err, told)
        self.assertEqual(server.connections, 0)

    def test_several_arguments(self):
        run = self.here("create", "/a", "Buy", "milk", "now", status=2)
        self.assertIn('"Buy milk ..."', run.err)

    def test_missing_on_a_terminal(self):
        master, slave = pty.openpty()
        with os.fdopen(master), os.fdopen(slave) as terminal:
            done = subprocess.run([CLI, "create", "/a"], stdin=terminal, capture_output=True,
                                  timeout=60)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"contents are missing", done.stderr)


class Usage(CliTest):
    def test_mistakes_say_what_to_do(self):
        for arguments, told in (
                ([], "an action and a path are missing"),
                (["shwo", "/a"], "did you mean show"),
                (["frobnicate", "/a"], "one of create, show"),
                (["show"], "sttp-cli show /notes/a.txt"),
                (["/a", "text"], "action is missing"),
                (["show", "/a", "text"], "takes no contents"),
                (["create", "/a", "-5"], "put -- before"),
                (["--tmeout", "3", "/a"], "did you mean --timeout"),
                (["--frobnicate", "/a"], "unknown option --frobnicate"),
                (["--json", "-zq", "/a"], "unknown option -z"),
                (["/a", "-vp"], "--port needs a value"),
                (["/a", "--timeout"], "needs a value"),
                (["--json=1", "/a"], "takes no value"),
                (["--timeout", "3x", "/a"], "250ms"),
                (["--timeout", "0", "/a"], "1ms"),
                (["--timeout", "inf", "/a"], "250ms"),
                (["--timeout", "1.5.5s", "/a"], "250ms"),
                (["--timeout", "600h", "/a"], "to 596h"),
                (["--connect-timeout", "-1s", "/a"], "250ms"),
                (["--retry", "many", "/a"], "number"),
                (["-p", "0", "/a"], "65535"),
                (["-p", "65536", "/a"], "65535"),
                (["-p", "1" + "0" * 30, "/a"], "65535"),
                (["-a", "host:80", "/a"], "a port goes to --port"),
                (["-a", "ho st", "/a"], "host"),
                (["-a", "sttp://host/", "/a"], "URL goes where the path"),
                (["-a", "", "/a"], "--address"),
                (["-4", "-6", "/a"], "exclude each other"),
                (["--unix", "/s", "-p", "1", "/a"], "leave one out"),
                (["--unix", "", "/a"], "1 to 107 bytes"),
                (["--unix", "/s", "sttp://h/a"], "leave out --unix"),
                (["-p", "1", "sttp://h/a"], "leave out --address"),
                (["-p", "8080", "-a", "g", "sttp://h/a"], "leave out --address"),
                (["-a", "localhost", "sttp+unix:/s:/a"], "leave out --address"),
                (["-p", "1", "sttp+unix:/s:/a"], "leave out --address"),
                (["", "/a"], "first argument is empty"),
                (["--resolve", "host", "/a"], "HOST:PORT:ADDR"),
                (["--resolve", "host:80:name", "/a"], "numeric"),
                (["--resolve", "[::1:80:::1", "/a"], "HOST:PORT:ADDR"),
                (["--resolve", "[::1]x80:::1", "/a"], "host is missing"),
                (["--resolve", "h:1:::1" + ",::1" * 32, "/a"], "over 32 addresses"),
                (["--batch", "f", "/a"], "leave out /a"),
                (["--batch", "f", "--retry", "1"], "--retry"),
                (["--batch", "/nonexistent/f"], "cannot read /nonexistent/f: No such file"),
        ):
            with self.subTest(arguments=arguments):
                self.assertIn(told, self.cli(*arguments, status=2).err)

    def test_bad_bare_paths(self):
        for path, told in (("a/b", "slash"), ("/a b", "byte 3"), ("/a//b", "byte 4"),
                           ("/../b", "/../b"), ("/.sttp-x", "sttp-"), ("/a?q=1", "LIST"),
                           ("/a\x01", "control"), ("/" + "d/" * 600 + "a", "1024")):
            with self.subTest(path=path):
                run = self.cli("show", path, status=2)
                self.assertIn(told, run.err)
        self.assertIn("limit", self.cli("list", "/?limt=2", status=2).err)
        self.cli("create", "/a/", "x", status=2)

    def test_bad_urls(self):
        for url, told in (("http://h/a", "begins with sttp://"), ("sttps://h/a", "no TLS"),
                          ("sttp:///a", "host"), ("sttp://h:99999/a", "port"),
                          ("sttp://u@h/a", "user"), ("sttp://h/a#b", "fragment"),
                          ("sttp://h/a%20b", "cannot stand"), ("sttp://h/a%zz", "hex"),
                          ("sttp://[::g]/a", "IPv6"), ("sttp+unix:relative:/a", "socket"),
                          ("sttp://h/a//b", "slash"), ("localhost:8080/a", "sttp://")):
            with self.subTest(url=url):
                self.assertIn(told, self.cli("show", url, status=3).err)

    def test_long_name_has_the_status_of_its_answer(self):
        run = self.cli("show", "/" + "n" * 54, status=31)
        self.assertIn("54 characters, 22 over the limit of 32", run.err)
        run = self.cli("show", "/" + "\u00fc" * 150, status=31)  # cut behind a whole character
        self.assertIn("\u00fc... FILENAME TOO LONG: 150 characters", run.err)

    def test_help_fits_the_screen(self):
        run = self.cli("--help")
        self.assertEqual(run.err, "")
        self.assertEqual([line for line in run.out.splitlines() if len(line) > 80], [])
        self.assertEqual(self.cli("-h").out, run.out)

    def test_manual_has_what_help_has(self):
        text = self.cli("--help").out
        manual = MANUAL.read_text(encoding="utf-8")
        names = re.findall(r"^ +(?:-., )?--([a-z0-9-]+)", text, re.MULTILINE)
        self.assertEqual(len(names), 17)
        for name in names:
            self.assertIn(f"*--{name}*", manual)
        order = re.findall(r"^ +(\d+)  ", text, re.MULTILINE)
        self.assertEqual(len(order), 15)
        self.assertEqual(re.findall(r"^(?:\[\[|\|)  ?\*(\d+)\*", manual, re.MULTILINE), order)

    def test_version(self):
        number = r"\d+\.\d+\.\d+"
        self.assertRegex(self.cli("-V").out, rf"^sttp-cli {number} \(libsttp {number}\)\n$")
        self.assertEqual(self.cli("--version").out, self.cli("-V").out)


class Addresses(CliTest):
    def test_ipv6(self):
        self.create("a", "six")
        for address in ("::1", "[::1]"):
            run = self.cli("-a", address, "-p", self.port6, f"{self.base}/a")
            self.assertEqual(run.out, "six\n")
        self.assertEqual(self.cli(f"sttp://[::1]:{self.port6}{self.base}/a").out, "six\n")

    def test_options_that_say_what_the_url_says(self):
        url = f"sttp://[::1]:{self.port6}{self.create('a')}"
        for options in (["-p", self.port6], ["-a", "::1"], ["-a", "[0::1]", "-p", self.port6]):
            self.assertEqual(self.cli(*options, url).out, "text\n")

    def test_unix_socket(self):
        self.create("a", "local")
        self.assertEqual(self.cli("--unix", self.socket_path, f"{self.base}/a").out, "local\n")
        url = f"sttp+unix:{self.socket_path}:{self.base}/a"
        self.assertEqual(self.cli("show", url).out, "local\n")
        self.cli("--unix", self.directory / "none", "/a", status=7)

    def test_family(self):
        path = self.create("a")
        resolve = f"host.example:{self.port}:[::1],127.0.0.1"
        url = f"sttp://host.example:{self.port}{path}"
        run = self.cli("-v", "-4", "--resolve", resolve, url)
        self.assertNotIn("[::1]", run.err)
        run = self.cli("-6", "--resolve", resolve, url, status=7)
        self.assertNotIn("127.0.0.1", run.err)
        run = self.cli("-6", "--resolve", f"host.example:{self.port}:127.0.0.1", url, status=2)
        self.assertIn("no IPv6 address", run.err)
        self.cli("-6", f"sttp://127.0.0.1:{self.port}{path}", status=6)
        self.cli("-4", f"sttp://[::1]:{self.port6}{path}", status=6)

    def test_resolve(self):
        path = self.create("a", "found")
        url = f"sttp://Host.Example:{self.port}{path}"
        used = f"HOST.example:{self.port}:127.0.0.1"
        self.assertEqual(self.cli("--resolve", used, url).out, "found\n")
        for other in (f"host.example:{free_port()}:127.0.0.9", f"other.example:{self.port}:::1"):
            self.assertEqual(self.cli("--resolve", used, "--resolve", other, url).out, "found\n")
        overruled = f"host.example:{self.port}:127.0.0.9"
        self.cli("--resolve", overruled, "--resolve", used, url)
        self.cli("--resolve", used, "--resolve", overruled, url, status=7)
        bracketed = f"[::1]:{self.port}:127.0.0.1"
        self.cli("--resolve", bracketed, f"sttp://[::1]:{self.port}{path}")

    def test_one_refuses_one_hangs_one_serves(self):
        with Server(listen=["--listen", "127.0.0.4:0"]) as server:
            port = server.port
            self.stack.enter_context(naive_servers.hanging_listener("127.0.0.3", port))
            run = self.cli("-v", "--resolve", f"many.example:{port}:127.0.0.2,127.0.0.3,127.0.0.4",
                           "create", f"sttp://many.example:{port}/a", "x")
            self.assertRegex(run.err, rf"no connection to 127\.0\.0\.2:{port}: Connection refused")
            self.assertIn(f"connecting to 127.0.0.3:{port}", run.err)
            self.assertIn(f"connected to 127.0.0.4:{port}", run.err)
            self.assertLess(run.seconds, 8)
            self.assertEqual((server.docroot / "a").read_text(), "x")

    def test_unresolvable(self):
        name = ".".join(["x" * 60] * 4)  # valid here, and too long for the DNS: nobody is asked
        name += "." + "x" * 11
        self.assertIn(name, self.cli("-a", name, "/a", status=6).err)

    def test_refused(self):
        run = self.cli("-a", "127.0.0.1", "-p", free_port(), "/a", status=7)
        self.assertIn("refused", run.err)

    def test_connect_timeout(self):
        port = free_port()
        self.stack.enter_context(naive_servers.hanging_listener("127.0.0.1", port))
        run = self.cli("--connect-timeout", "200ms", f"sttp://127.0.0.1:{port}/a", status=28)
        self.assertLess(run.seconds, 8)


class Answers(CliTest):
    def test_statuses_of_a_server(self):
        path = self.create("a")
        (self.server.docroot / self.base[1:] / "long").write_text("x" * 161)
        for arguments, status, told in (
                (["list", path], 30, f'300 {path} CLIENT ERROR "'),
                (["show", f"{self.base}/b"], 40, f"400 {self.base}/b NOT FOUND\n"),
                (["show", f"{self.base}/b/c"], 41, f"410 {self.base}/b/ PATH NOT FOUND\n"),
                (["show", f"{self.base}/long"], 50, f'500 {self.base}/long SERVER ERROR "'),
                (["create", f"{path}/b", "x"], 51, f"510 {path}/ CANNOT CREATE PATH\n")):
            with self.subTest(arguments=arguments):
                run = self.here(*arguments, status=status)
                self.assertEqual(run.out, "")
                self.assertTrue(run.err.startswith(f"sttp-cli: {told}"), run.err)
                run = self.here("-q", *arguments, status=status)
                self.assertEqual(run.out + run.err, "")
                run = self.here("-i", *arguments, status=status)
                self.assertEqual(run.err, "")
                self.assertTrue(run.out.startswith(told), run.out)

    def test_filename_too_long_for_another_server(self):
        server = self.naive(naive_servers.answers(b"310 /a FILENAME TOO LONG\n"))
        run = self.to(server, "/a", status=31)
        self.assertEqual(run.err, "sttp-cli: 310 /a FILENAME TOO LONG\n")

    def test_server_closes_after_each_answer(self):
        server = self.naive(naive_servers.closes_after_each_answer)
        self.assertEqual(self.to(server, "/a").out, "text\n")
        batch = b"SHOW /1\nCREATE /2 x\nSHOW /3\nDELETE /4\nUPDATE /5 text\n"
        run = self.to(server, "--batch", "-", stdin=batch)
        self.assertEqual(run.out, "1\t200 /1 OK\ttext\n2\t100 /2 CREATED\n3\t200 /3 OK\ttext\n"
                                  "4\t600 /4 DELETED\n5\t200 /5 OK\ttext\n")
        self.assertEqual(len(server.requests), 6)

    def test_server_leaves_out_the_contents_line(self):
        server = self.naive(naive_servers.update_without_contents)
        self.assertEqual(self.to(server, "update", "/a", "x").out, "200 /a OK\n")

    def test_server_answers_byte_by_byte(self):
        server = self.naive(naive_servers.answers_byte_by_byte)
        self.assertEqual(self.to(server, "-i", "/a").out, "200 /a OK\ntext\n")

    def test_server_answers_another_path(self):
        server = self.naive(naive_servers.answers_another_path)
        run = self.to(server, "/a", status=52)
        self.assertEqual(run.out, "")
        run = self.to(server, "create", "/a", "x", status=52)
        self.assertIn("outcome unknown", run.err)

    def test_server_answers_unasked(self):
        server = self.naive(naive_servers.answers_unasked)
        run = self.to(server, "--batch", "-", stdin=b"SHOW /a\nDELETE /b\n", status=52)
        first, second = run.out.splitlines()
        self.assertEqual(first, "1\t200 /a OK\ttext")
        self.assertTrue(second.startswith("2\terror 52\t"), second)
        self.assertEqual(server.requests[0], b"SHOW /a\n")

    def test_server_gives_the_code_of_another_action(self):
        server = self.naive(naive_servers.answers(b"600 /a DELETED\n"))
        self.assertIn("600 DELETED", self.to(server, "show", "/a", status=52).err)
        server = self.naive(naive_servers.answers(b"200 /a OK\nx\n"))
        run = self.to(server, "create", "/a", "x", status=52)
        self.assertIn("200 OK; outcome unknown", run.err)

    def test_contents_without_end(self):
        server = self.naive(naive_servers.contents_without_end)
        self.to(server, "/a", status=52)

    def test_connection_lost(self):
        self.to(self.naive(naive_servers.cuts_contents), "/a", status=56)
        server = self.naive(naive_servers.cuts_status_line)
        run = self.to(server, "create", "/a", "x", status=56)
        self.assertIn("outcome unknown", run.err)

    def test_other_protocols(self):
        run = self.to(self.naive(naive_servers.http_server), "/a", status=52)
        self.assertIn("HTTP/1.1 400 Bad Request", run.err)
        run = self.to(self.naive(naive_servers.greets), "/a", status=52)
        self.assertIn("220 mail.example.org ESMTP", run.err)

    def test_other_protocols_without_lines(self):
        def alert(server, connection):  # what TLS says to a request
            server.read_request(connection)
            connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")

        run = self.to(self.naive(alert), "/a", status=56)
        self.assertIn(r'what came begins with "\x15\x03\x01\x00\x02\x02F"', run.err)
        server = self.naive(naive_servers.answers(b"login: "))
        run = self.to(server, "--timeout", "200ms", "/a", status=28)
        self.assertIn('what came begins with "login: "', run.err)

    def test_server_closes_without_answer(self):
        server = self.naive(naive_servers.closes_without_answer)
        self.to(server, "/a", status=52)
        self.assertIn("outcome unknown", self.to(server, "delete", "/a", status=52).err)

    def test_server_never_answers(self):
        server = self.naive(naive_servers.never_answers)
        run = self.to(server, "--timeout", "0.2", "/a", status=28)
        self.assertLess(run.seconds, 8)
        run = self.to(server, "--timeout", "200ms", "delete", "/a", status=28)
        self.assertIn("outcome unknown", run.err)

    def test_retry_repeats_what_cannot_hurt(self):
        server = self.naive(naive_servers.fails_first(2))
        run = self.to(server, "--retry", "2", "/a")
        self.assertEqual(run.out, "text\n")
        self.assertIn("trying again in 200 ms (2 of 2)", run.err)
        self.assertEqual(server.requests, [b"SHOW /a\n"] * 3)

    def test_retry_gives_up(self):
        server = self.naive(naive_servers.fails_first(2))
        run = self.to(server, "-q", "--retry", "1", "/a", status=52)
        self.assertEqual((len(server.requests), run.err), (2, ""))

    def test_retry_after_each_kind_of_failure(self):
        for first, options in ((naive_servers.cuts_status_line, []),
                               (naive_servers.never_answers, ["--timeout", "300ms"])):
            with self.subTest(first=first.__name__):
                def behaviour(server, connection, first=first):
                    again = server.connections > 1
                    (naive_servers.closes_after_each_answer if again else first)(server, connection)

                server = self.naive(behaviour)
                run = self.to(server, *options, "--retry", "1", "/a")
                self.assertEqual((run.out, len(server.requests)), ("text\n", 2))
        run = self.cli("--retry", "1", "-6", "sttp://127.0.0.1/a", status=6)
        self.assertIn("(1 of 1)", run.err)

    def test_retry_never_repeats_a_change_that_was_sent(self):
        server = self.naive(naive_servers.fails_first(1))
        self.to(server, "--retry", "5", "create", "/a", "x", status=52)
        self.assertEqual(server.requests, [b'CREATE /a "x"\n'])

    def test_retry_repeats_no_answer(self):
        server = self.naive(naive_servers.answers(b"400 /a NOT FOUND\n"))
        self.to(server, "--retry", "5", "/a", status=40)
        self.assertEqual(len(server.requests), 1)

    def test_retry_waits_for_a_server_that_starts(self):
        port = free_port()
        run = self.start("-a", "127.0.0.1", "-p", port, "--retry", "8", "create", "/a", "x",
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertIn(b"trying again", run.stderr.readline())
        server = self.naive(naive_servers.closes_after_each_answer, port=port)
        out, _ = run.communicate(timeout=60)
        self.assertEqual((run.returncode, out), (0, b"100 /a CREATED\n"))
        self.assertEqual(len(server.requests), 1)


class Output(CliTest):
    def test_include(self):
        path = self.create("a", "text")
        self.assertEqual(self.here("-i", path).out, f"200 {path} OK\ntext\n")
        self.assertEqual(self.here("-i", "update", path, "new").out, f"200 {path} OK\nnew\n")
        self.assertEqual(self.here("-i", "list", self.base).out, f"200 {self.base} OK\na\n")

    def test_quiet(self):
        path = f"{self.base}/a"
        for arguments in (["create", path, "x"], ["update", path, "y"], ["delete", path]):
            run = self.here("-q", *arguments)
            self.assertEqual(run.out + run.err, "")
        run = self.cli("-q", "-a", "127.0.0.1", "-p", free_port(), "/a", status=7)
        self.assertEqual(run.out + run.err, "")

    def test_verbose(self):
        path = self.create("a", "text")
        run = self.here("-v", path)
        self.assertEqual(run.out, "text\n")
        events = [re.sub(r"^ *\d+\.\d{3} ms ", "", line) for line in run.err.splitlines()]
        address = f"127.0.0.1:{self.port}"
        expected = [f"* connecting to {address}", f"* connected to {address}", f"> SHOW {path}",
                    f"< 200 {path} OK", "< text"]
        self.assertEqual([event for event in events if event in expected], expected)
        times = [float(line.split()[0]) for line in run.err.splitlines()]
        self.assertEqual(times, sorted(times))
        self.assertGreater(times[0], 0)

    def test_file(self):
        path = self.create("a", "text")
        file = self.temporary() / "out"
        self.assertEqual(self.here("-o", file, path).out, "")
        self.assertEqual(file.read_text(), "text\n")
        self.assertEqual(os.listdir(file.parent), ["out"])

    def test_file_keeps_its_mode_and_its_link(self):
        path = self.create("a", "text")
        file = self.temporary() / "out"
        file.write_text("old")
        file.chmod(0o640)
        link = file.parent / "link"
        link.symlink_to(file)
        self.here("-o", link, path)
        self.assertTrue(link.is_symlink())
        self.assertEqual(file.read_text(), "text\n")
        self.assertEqual(file.stat().st_mode & 0o777, 0o640)

    def test_failure_leaves_the_file(self):
        file = self.temporary() / "out"
        file.write_text("old")
        self.here("-o", file, f"{self.base}/none", status=41)
        run = self.here("-o", file, "-i", f"{self.base}/none", status=41)
        self.assertEqual(run.out, "")
        self.assertIn("410", run.err)
        run = self.here("-o", file, "--json", f"{self.base}/none", status=41)
        self.assertEqual(json.loads(run.out)["code"], 410)
        self.cli("-a", "127.0.0.1", "-p", free_port(), "-o", file, "/a", status=7)
        self.assertEqual(file.read_text(), "old")
        self.assertEqual(os.listdir(file.parent), ["out"])

    def test_signal_leaves_no_temporary_file(self):
        file = self.temporary() / "out"
        server = self.naive(naive_servers.never_answers)
        run = self.start("-v", "-o", file, f"sttp://127.0.0.1:{server.port}/a",
                         stderr=subprocess.PIPE)
        self.assertTrue(any(b"> SHOW /a" in line for line in run.stderr))
        self.assertEqual(len(os.listdir(file.parent)), 1)
        run.terminate()
        self.assertEqual(run.wait(60), -signal.SIGTERM)
        self.assertEqual(os.listdir(file.parent), [])

    def test_place_that_cannot_be_written_stops_before_sending(self):
        server = self.naive(naive_servers.closes_after_each_answer)
        self.to(server, "-o", "/nonexistent/out", "create", "/a", "x", status=1)
        self.to(server, "-o", "", "create", "/a", "x", status=1)
        self.assertEqual(server.connections, 0)

    def test_file_that_is_no_regular_file(self):
        path = self.create("a", "text")
        # A pipe of the test's own: what replaced a device of the system would harm the machine.
        pipe = self.temporary() / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.stack.callback(os.close, reader)
        self.here("-o", pipe, path)
        self.assertEqual(os.read(reader, 100), b"text\n")
        self.assertTrue(pipe.is_fifo())
        self.assertEqual(os.listdir(pipe.parent), ["pipe"])
        self.assertEqual(self.here("-o", "-", path).out, "text\n")

    def test_output_failure(self):
        path = self.create("a", "text")
        with open("/dev/full", "wb") as full:
            for arguments in ([path], ["--json", path], ["--help"],
                              ["--json", "-o", self.directory / "out", f"{path}/b"]):
                run = self.here(*arguments, stdout=full, stderr=subprocess.PIPE, status=1)
                self.assertIn("No space left", run.err)
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as closed:
            self.here(path, stdout=closed, stderr=subprocess.PIPE, status=1)
        with open(os.devnull, "rb") as unwritable:
            self.here(path, stdout=unwritable, stderr=subprocess.PIPE, status=1)

    def test_closed_standard_output_is_not_the_socket(self):
        server = self.naive(naive_servers.closes_after_each_answer)
        command = 'exec "$0" "$@" >&-'
        done = subprocess.run(["/bin/sh", "-c", command, CLI, f"sttp://127.0.0.1:{server.port}/a"],
                              timeout=60, stdin=subprocess.DEVNULL, capture_output=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"Bad file descriptor", done.stderr)
        self.assertEqual(server.requests, [b"SHOW /a\n"])


class Terminals(CliTest):
    HOSTILE = "a\x1b[31m\u202eb\u2066\u009bc\r\u2028d\te\u00e4"
    VISIBLE = "a\\u{1b}[31m\\u{202e}b\\u{2066}\\u{9b}c\\u{d}\\u{2028}d\te\u00e4"

    def on_terminal(self, *arguments, stream="stdout"):
        master, slave = pty.openpty()
        with os.fdopen(master, "rb", buffering=0) as reader:
            with os.fdopen(slave, "wb") as terminal:
                done = subprocess.run([CLI, *arguments], stdin=subprocess.DEVNULL, timeout=60,
                                      **{"stdout": subprocess.DEVNULL,
                                         "stderr": subprocess.DEVNULL, stream: terminal})
            received = b""
            with contextlib.suppress(OSError):  # EIO: nobody has the other side open
                while block := reader.read(65536):
                    received += block
        return done.returncode, received.decode().replace("\r\n", "\n").expandtabs(8)

    def hostile(self, *answers):
        server = self.naive(naive_servers.answers(*(answer.encode() for answer in answers)))
        return f"sttp://127.0.0.1:{server.port}"

    def test_show(self):
        answer = f"200 /a OK\n{self.HOSTILE}\n"
        shown = self.on_terminal("show", self.hostile(answer) + "/a")
        self.assertEqual(shown, (0, f"{self.VISIBLE}\n".expandtabs(8)))

    def test_list(self):
        shown = self.on_terminal("list", self.hostile("200 / OK\na\x1bb, c\u202ed\n") + "/")
        self.assertEqual(shown, (0, "a\\u{1b}b\nc\\u{202e}d\n"))

    def test_diagnostics(self):
        url = self.hostile('300 /a CLIENT ERROR "no \u202e"\n') + "/a"
        status, shown = self.on_terminal("show", url, stream="stderr")
        self.assertEqual((status, shown), (30, 'sttp-cli: 300 /a CLIENT ERROR "no \\u{202e}"\n'))
        status, shown = self.on_terminal("show", b"/a\xff", stream="stderr")
        self.assertEqual((status, shown[:20]), (2, "sttp-cli: /a\\x{ff}: "))

    def test_verbose(self):
        answer = f"200 /a OK\n{self.HOSTILE}\n"
        _, shown = self.on_terminal("-v", "show", self.hostile(answer) + "/a", stream="stderr")
        self.assertIn("\\u{1b}[31m\\u{202e}b", shown)
        self.assertNotIn("\x1b", shown)

    def test_pipe_is_left_alone(self):
        answer = f"200 /a OK\n{self.HOSTILE}\n"
        run = self.cli("show", self.hostile(answer) + "/a")
        self.assertEqual(run.raw.decode(), f"{self.HOSTILE}\n")


class Json(CliTest):
    def run_json(self, *arguments, **options):
        run = self.here("--json", *arguments, **options)
        self.assertEqual(run.out.count("\n"), 1)
        return json.loads(run.out)

    def test_answers(self):
        path = f"{self.base}/a"
        created = self.run_json("create", path, 'say "\\"\t\u202e')
        self.assertEqual(created, {"action": "CREATE", "path": path, "code": 100, "echo": path,
                                   "phrase": "CREATED", "exit": 0})
        shown = self.run_json(path)
        self.assertEqual((shown["action"], shown["contents"]), ("SHOW", 'say "\\"\t\u202e'))
        self.here("create", f"{self.base}/b,c", "x")
        self.assertEqual(self.run_json("list", self.base)["names"], ["a", "b,c"])
        self.assertEqual(self.run_json("list", f"{self.base}?name=none")["names"], [])
        self.assertEqual(self.run_json("update", path, "new")["contents"], "new")

    def test_failures(self):
        self.create("a")
        answer = self.run_json("list", f"{self.base}/a", status=30)
        self.assertEqual((answer["code"], answer["exit"]), (300, 30))
        self.assertIn("SHOW", answer["message"])
        answer = self.run_json("-i", f"{self.base}/b/c", status=41)
        self.assertEqual((answer["path"], answer["echo"]), (f"{self.base}/b/c", f"{self.base}/b/"))

    def test_errors(self):
        port = free_port()
        run = self.cli("--json", f"sttp://127.0.0.1:{port}/a", status=7)
        error = json.loads(run.out)["error"]
        self.assertEqual((error["name"], error["phase"]), ("STTP_ERR_CONNECT", "connect"))
        self.assertEqual(error["address"], f"127.0.0.1:{port}")
        self.assertEqual(run.err, f"sttp-cli: {error['text']}\n")
        server = self.naive(naive_servers.closes_without_answer)
        error = json.loads(self.to(server, "--json", "delete", "/a", status=52).out)["error"]
        self.assertEqual(error["name"], "STTP_ERR_OUTCOME_UNKNOWN")
        self.assertEqual(error["cause"], "STTP_ERR_EMPTY_ANSWER")
        answer = json.loads(self.cli("--json", "show", b"/\xff".decode("utf-8", "surrogateescape"),
                                     status=2).out)
        self.assertEqual((answer["path"], answer["exit"]), ("/\ufffd", 2))

    def test_hostile_texts(self):
        text = "\x00\x1f\x7f\x9b\u2028\U0001f600\"\\/"
        server = self.naive(naive_servers.answers(f"200 /a OK\n{text}\n".encode()))
        run = self.to(server, "--json", "/a")
        self.assertEqual(json.loads(run.out)["contents"], text)
        self.assertFalse([c for c in run.out if ord(c) < 32 and c != "\n" or 127 <= ord(c) < 160])


class Batches(CliTest):
    def batch(self, lines, *arguments, **options):
        run = self.here("--batch", "-", *arguments, stdin=lines.encode("utf-8", "surrogateescape"),
                        **options)
        return [line.split("\t", 2) for line in run.out.splitlines()]

    def test_results_have_the_numbers_of_their_lines(self):
        p = self.base
        results = self.batch(f"# a comment\n\nCREATE {p}/a \"Buy milk\"\r\n   \nshow {p}/a\n"
                             f"update {p}/a Call \"home\"\nLIST {p}\nshow {p}/b\ndelete {p}/a",
                             status=40)
        self.assertEqual(results, [
            ["1", "skipped"], ["2", "skipped"], ["3", f"100 {p}/a CREATED"], ["4", "skipped"],
            ["5", f"200 {p}/a OK", "Buy milk"],
            ["6", f"200 {p}/a OK", 'Call "home"'], ["7", f"200 {p} OK", "a"],
            ["8", f"400 {p}/b NOT FOUND"], ["9", f"600 {p}/a DELETED"]])

    def test_lines_that_cannot_be_sent(self):
        p = self.base
        lines = (f"CREATE {p}/a one\nshwo {p}/a\nSHOW\nSHOW {p}/a x\nCREATE {p}/b\n"
                 f"CREATE {p}/b \x01\nCREATE {p}/b {'x' * 161}\nSHOW {p}/{'n' * 33}\n"
                 f"SHOW http://h/a\nSHOW {p}//a\nLIST {p}?limit=0\nSHOW {p}/\udcff\n"
                 f"{'x' * 200000}\nSHOW {p}/a\n SHOW {p}/a\n")
        results = self.batch(lines, status=2)
        self.assertEqual([result[:2] for result in results], [
            ["1", f"100 {p}/a CREATED"], ["2", "error 2"], ["3", "error 2"], ["4", "error 2"],
            ["5", "error 2"], ["6", "error 2"], ["7", "error 2"], ["8", "error 31"],
            ["9", "error 3"], ["10", "error 2"], ["11", "error 2"], ["12", "error 2"],
            ["13", "error 2"], ["14", f"200 {p}/a OK"], ["15", "error 2"]])
        self.assertIn("begins with a space", results[14][2])
        self.assertIn("did you mean show", results[1][2])
        self.assertIn("161 characters, 1 over", results[6][2])

    def test_worst_status(self):
        p = self.base
        create, missing, deep = f"CREATE {p}/a x\n", f"SHOW {p}/b\n", f"SHOW {p}/b/c\n"
        for lines, status in ((create, 0), (missing, 40), (deep + missing, 41),
                              (f"LIST {p}/a\n" + deep, 30), (f"SHOW {p}/{'n' * 33}\n" + deep, 31),
                              (f"CREATE {p}/a/b x\nLIST {p}/a\n", 51),
                              (f"SHOW http://h/a\nCREATE {p}/a/b x\n", 3), ("x\nSHOW x:\n", 2)):
            with self.subTest(lines=lines):
                self.batch(lines, status=status)

    def test_urls(self):
        path = self.create("a+b", "text")
        port = self.port
        results = self.batch(f"SHOW sttp://127.0.0.1:{port}{self.base}/a%2Bb\n"
                             f"SHOW sttp://127.0.0.2:{port}{path}\nSHOW sttp://127.0.0.1:1/a\n"
                             f"SHOW sttp+unix:{self.socket_path}:{path}\n", status=3)
        self.assertEqual(results[0], ["1", f"200 {path} OK", "text"])
        self.assertEqual([result[1] for result in results[1:]], ["error 3"] * 3)
        for result in results[1:]:
            self.assertIn("--address and --port or --unix name it", result[2])

    def test_ten_thousand_lines(self):
        p = self.base
        lines = [f"CREATE {p}/{i} text {i}" for i in range(50)]
        lines += [f"SHOW {p}/{i % 51}" for i in range(50, 10000)]
        file = self.temporary() / "batch"
        file.write_text("\n".join(lines) + "\n")
        run = self.here("--batch", file, status=40)
        results = run.out.splitlines()
        self.assertEqual(len(results), 10000)
        for number, result in enumerate(results, 1):
            i = (number - 1) % 51 if number > 50 else number - 1
            expected = (f"100 {p}/{i} CREATED" if number <= 50 else f"400 {p}/{i} NOT FOUND"
                        if i == 50 else f"200 {p}/{i} OK\ttext {i}")
            self.assertEqual(result, f"{number}\t{expected}")
        self.assertLess(run.seconds, 15)

    def test_answers_come_while_the_input_is_open(self):
        run = self.start("-a", "127.0.0.1", "-p", self.port, "--batch", "-",
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def say(text):
            run.stdin.write(text.format(self.base).encode())
            run.stdin.flush()

        for number, line in enumerate(("CREATE {}/a x", "SHOW {}/a", "bad", "SHOW {}/a"), 1):
            say(line + "\n")
            self.assertTrue(run.stdout.readline().startswith(b"%d\t" % number))
        say("\n")
        self.assertEqual(run.stdout.readline(), b"5\tskipped\n")
        say("SHOW {0}/a\nSHOW {0}/b\nSHOW")
        self.assertTrue(run.stdout.readline().startswith(b"6\t200"))
        self.assertTrue(run.stdout.readline().startswith(b"7\t400"))
        out, _ = run.communicate(f" {self.base}/a".encode(), timeout=60)
        self.assertEqual(out, f"8\t200 {self.base}/a OK\tx\n".encode())
        self.assertEqual(run.returncode, 2)

    def test_an_answer_is_printed_while_the_next_is_awaited(self):
        seen = threading.Event()

        def behaviour(server, connection):
            connection.sendall(naive_servers.answer_to(server.read_request(connection)))
            line = server.read_request(connection)
            if seen.wait(30):
                connection.sendall(naive_servers.answer_to(line))

        run = self.start("-a", "127.0.0.1", "-p", self.naive(behaviour).port, "--batch", "-",
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        run.stdin.write(b"SHOW /1\nSHOW /2\n")
        run.stdin.close()
        self.assertEqual(run.stdout.readline(), b"1\t200 /1 OK\ttext\n")
        seen.set()
        self.assertEqual(run.stdout.readline(), b"2\t200 /2 OK\ttext\n")

    def test_many_lines_that_need_no_answer_behind_one_that_does(self):
        path = self.create("a")
        results = self.batch(f"SHOW {path}\n" + "#\nSHOW\n" * 1000, status=2)
        self.assertEqual(results[0], ["1", f"200 {path} OK", "text"])
        self.assertEqual([int(result[0]) for result in results], list(range(1, 2002)))

    def test_json(self):
        p = self.base
        run = self.here("--batch", "-", "--json", status=2,
                        stdin=f"\nCREATE {p}/a x\nSHOW {p}/a\nfetch\nSHOW {p}/a x\n".encode())
        results = [json.loads(line) for line in run.out.splitlines()]
        self.assertEqual([r["line"] for r in results], [1, 2, 3, 4, 5])
        self.assertEqual([r["exit"] for r in results], [0, 0, 0, 2, 2])
        self.assertEqual(results[0],
                         {"line": 1, "action": None, "path": "", "skipped": True, "exit": 0})
        self.assertEqual(results[2]["contents"], "x")
        self.assertEqual(results[3]["action"], None)
        self.assertEqual(results[4]["error"]["name"], "STTP_ERR_CONTENTS_UNEXPECTED")

    def test_output_file_takes_failures_too(self):
        file = self.temporary() / "out"
        self.here("--batch", "-", "-o", file, stdin=f"SHOW {self.base}/a\n".encode(), status=41)
        self.assertEqual(file.read_text(), f"1\t410 {self.base}/ PATH NOT FOUND\n")

    def test_server_that_is_not_there(self):
        run = self.cli("-a", "127.0.0.1", "-p", free_port(), "--batch", "-", status=7,
                       stdin=b"SHOW /a\nCREATE /b x\nSHOW /c\n")
        self.assertEqual([line.split("\t")[:2] for line in run.out.splitlines()],
                         [["1", "error 7"], ["2", "error 7"], ["3", "error 7"]])

    def test_changes_that_were_sent_are_not_repeated(self):
        def behaviour(server, connection):
            for _ in range(2):
                connection.sendall(naive_servers.answer_to(server.read_request(connection)))
            if server.connections == 1:
                for _ in range(3):  # the change arrives, and is never answered
                    server.read_request(connection)

        server = self.naive(behaviour)
        run = self.to(server, "--batch", "-", status=52,
                      stdin=b"SHOW /1\nSHOW /2\nCREATE /3 x\nSHOW /4\nSHOW /5\n")
        lines = run.out.splitlines()
        self.assertTrue(lines[2].startswith("3\terror 52\t"), lines)
        self.assertIn("outcome unknown", lines[2])
        self.assertEqual(lines[3:], ["4\t200 /4 OK\ttext", "5\t200 /5 OK\ttext"])
        self.assertEqual(server.requests.count(b'CREATE /3 "x"\n'), 1)

    def test_closed_output_ends_the_run(self):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as closed:
            run = self.start("-a", "127.0.0.1", "-p", self.port, "--batch", "-", stdout=closed,
                             stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        run.stdin.write(b"SHOW /a\n")  # and the input stays open
        run.stdin.flush()
        self.assertEqual(run.wait(30), 1)
        self.assertIn(b"Broken pipe", run.stderr.read())

    def test_full_output_ends_endless_input(self):
        with subprocess.Popen(["yes", "SHOW /a"], stdout=subprocess.PIPE) as endless:
            self.stack.callback(endless.kill)
            with open("/dev/full", "wb") as full:
                run = self.start("-a", "127.0.0.1", "-p", self.port, "--batch", "-", stdout=full,
                                 stdin=endless.stdout, stderr=subprocess.PIPE)
            endless.stdout.close()
            self.assertEqual(run.wait(30), 1)
            self.assertIn(b"No space left", run.stderr.read())

    def test_input_that_fails_within_a_line(self):
        path = self.create("a")
        master, slave = pty.openpty()  # reading a master fails when nobody has the slave open
        with os.fdopen(master) as source:
            with os.fdopen(slave, "wb") as terminal:
                terminal.write(f"SHOW {path}\nDELETE {path}".encode())
            done = subprocess.run([CLI, "-a", "127.0.0.1", "-p", str(self.port), "--batch", "-"],
                                  stdin=source, timeout=60, capture_output=True)
        self.assertIn(b"Input/output error", done.stderr)
        self.assertEqual((done.returncode, done.stdout), (2, f"1\t200 {path} OK\ttext\n".encode()))
        self.here("show", path)

    def test_unreadable_input(self):
        directory = os.open(self.directory, os.O_RDONLY)
        self.stack.callback(os.close, directory)
        done = subprocess.run([CLI, "-a", "127.0.0.1", "-p", str(self.port), "--batch", "-"],
                              stdin=directory, timeout=60, capture_output=True)
        self.assertIn(b"Is a directory", done.stderr)
        self.assertEqual(done.returncode, 2)


if __name__ == "__main__":
    unittest.main()
