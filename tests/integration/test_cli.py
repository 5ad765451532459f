"""sttp-cli as its users meet it: actions, contents, the command line, addresses."""

import os
import pathlib
import pty
import re
import subprocess
import unittest

from cli_support import CLI, CliTest
from harness import Server, free_port
import naive_servers

MANUAL = pathlib.Path(__file__).parents[2] / "docs" / "sttp-cli.1.scd"


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
            done = subprocess.run([*CLI, "create", "/a"], stdin=terminal, capture_output=True,
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
        for path, told in (("a/b", "a path with /"), ("/a b", "byte 3"), ("/a//b", "byte 4"),
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
        self.assertEqual(len(names), 23)
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

    def test_long_names(self):
        path = self.create("long", "text")
        here = ["--address", "127.0.0.1", "--port", self.port]
        self.assertEqual(self.cli(*here, "--include", path).out, f"200 {path} OK\ntext\n")
        self.assertIn(f"> SHOW {path}", self.cli(*here, "--verbose", path).err)
        self.assertEqual(self.cli(*here, "--quiet", "update", path, "new").out, "")
        file = self.temporary() / "out"
        self.assertEqual(self.cli(*here, "--output", file, path).out, "")
        self.assertEqual(file.read_text(encoding="utf-8"), "new\n")
        self.cli("--ipv6", f"sttp://127.0.0.1:{self.port}{path}", status=6)
        self.cli("--ipv4", f"sttp://[::1]:{self.port6}{path}", status=6)

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


if __name__ == "__main__":
    unittest.main()
