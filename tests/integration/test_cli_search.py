"""sttp-cli find, and the options of list: queries, pages, and listings that end in the middle."""

import bisect
import json
import os
import pathlib
import re
import signal
import subprocess
import unittest
from urllib.parse import unquote

from cli_support import CLI, CliTest
from harness import SANITIZED
import naive_servers

HOSTILE = ("a&b", "a%26b", "a+b", "a=b", "a%", "a#b", "a*b", "\U0001f600", "\u00e9", "a,b", '"')


def pages_of(names):
    """A server that lists the names, as many as `limit` says, from behind `after` on."""
    names = sorted(name.encode() for name in names)

    def behaviour(server, connection):
        while line := server.read_request(connection):
            query = line.decode().split()[1].partition("?")[2]
            keys = dict(part.split("=", 1) for part in query.split("&"))
            first = bisect.bisect_right(names, unquote(keys.get("after", "")).encode())
            page = b", ".join(names[first:first + int(keys["limit"])])
            connection.sendall(naive_servers.answer_to(line, page.decode()))
    return behaviour


def loses_answers(*pages):
    """A server that closes the connection in place of each second answer."""
    def behaviour(server, connection):
        line = server.read_request(connection)
        number = len(server.requests)
        if number % 2 == 1 and number // 2 < len(pages):
            connection.sendall(naive_servers.answer_to(line, pages[number // 2]))
            server.read_request(connection)
    return behaviour


def peak_of(pid):
    """The most memory that a process has had, in KiB."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


class Search(CliTest):
    def test_find(self):
        self.create("a", "Buy MILK")
        self.create("d/b", "milk it")
        self.create("c", "bread")
        self.assertEqual(self.here("find", self.base, "Milk").out, "a\nd/b\n")
        self.assertEqual(self.here("Find", f"{self.base}/", "milk it").out, "d/b\n")
        self.assertEqual(self.here("find", self.base, "").out, "a\nc\nd/b\n")
        self.assertEqual(self.here("find", self.base, "butter").out, "")
        url = f"sttp://127.0.0.1:{self.port}{self.base}"
        self.assertEqual(self.cli("find", url, "bread").out, "c\n")
        self.assertEqual(self.here("find", f"{self.base}?recursive=0", "milk").out, "a\n")
        self.here("find", f"{self.base}/none", "milk", status=40)

    def test_find_from_the_root(self):
        path = self.create("a", "a text of this test alone")
        self.assertEqual(self.here("find", "OF THIS TEST alone").out, f"{path[1:]}\n")

    def test_texts_and_names_are_taken_as_they_are(self):
        for number, text in enumerate(HOSTILE + ("a b", "100% &c?", "-x", "\\", "'")):
            with self.subTest(text=text):
                self.create(f"t{number}", f"<{text}>")
                found = self.here("find", "--", self.base, f"<{text}>")
                self.assertEqual(found.out, f"t{number}\n")
        for name in HOSTILE:
            with self.subTest(name=name):
                self.create(f"names/{name}")
                found = self.here("list", "--name", name.replace("*", "?"), f"{self.base}/names")
                self.assertIn(name, found.out.splitlines())

    def test_list(self):
        for name in ("a.txt", "b", "d/a.txt", "d/e/c"):
            self.create(name)
        for options, names in ((["--recursive"], "a.txt b d/ d/a.txt d/e/ d/e/c"),
                               (["--name", "*.txt"], "a.txt"),
                               (["--recursive", "--name", "?.t*"], "a.txt d/a.txt"),
                               (["--type", "dir"], "d/"),
                               (["--type=file", "--limit", "1"], "a.txt"),
                               (["--recursive", "--type=all", "--limit=3"], "a.txt b d/"),
                               (["--recursive", "--limit=2", "--all"],
                                "a.txt b d/ d/a.txt d/e/ d/e/c")):
            with self.subTest(options=options):
                self.assertEqual(self.here("list", *options, self.base).out.split(), names.split())
                self.assertEqual(self.here(*options, self.base).out.split(), names.split())

    def test_options_go_with_a_query(self):
        for name in "abc":
            self.create(name, "milk" if name != "b" else "bread")
        url = f"sttp://127.0.0.1:{self.port}{self.base}/?after=a&q=milk"
        self.assertEqual(self.cli("list", url, "--limit", "1").out, "c\n")
        self.assertEqual(self.cli(url, "--all").out, "c\n")
        self.assertEqual(self.here("--all", f"{self.base}?limit=1&after=a").out, "b\nc\n")

    def test_mistakes(self):
        server = self.naive(naive_servers.never_answers)
        for arguments, told in (
                (["find"], "find needs a text"),
                (["find", "Buy", "milk"], "is 2 arguments; put it in quotes"),
                (["find", "/a", "Buy", "milk"], "is 2 arguments; put it in quotes"),
                (["fnd", "/a", "milk"], "did you mean find"),
                (["find", "/?q=a", "milk"], 'find and the query of the URL or path both say "q"'),
                (["find", "/a", "a\tb"], "what is looked for has a control character; none can stand"),
                (["find", "/a", "a\x01b"], "what is looked for has a control character"),
                (["list", "--name", "\x9f*", "/a"], "what is looked for has a control character"),
                (["find", "/a", b"\xff"], "UTF-8"),
                (["find", "/a", "x" * 5000], "over the limit of 4096"),
                (["list", "--limit", "0", "/"], "1 to 10000"),
                (["list", "--limit", "10001", "/"], "--all goes on"),
                (["list", "--type", "files", "/"], "file, dir and all"),
                (["list", "--name", "", "/"], "pattern is empty"),
                (["list", "--limit", "2", "/?limit=2"], '--limit and the query'),
                (["list", "--recursive", "/?recursive=1"], '--recursive and the query'),
                (["show", "--name", "a", "/a"], "--name is for list and find"),
                (["create", "--type", "dir", "/a", "x"], "--type is for list and find"),
                (["delete", "--recursive", "/a"], "--recursive is for list and find"),
                (["show", "--all", "/a"], "--all is for list and find"),
                (["--batch", "f", "--limit", "1"], "--limit does not go with --batch")):
            with self.subTest(arguments=arguments):
                arguments = [os.fsdecode(argument) for argument in arguments]
                self.assertIn(told, self.to(server, *arguments, status=2).err)
        self.assertEqual(server.connections, 0)
        self.cli("list", "--limit", "2", "sttp://127.0.0.1/?limt=2", status=3)


class Pages(CliTest):
    def test_all_pages_are_what_one_listing_has(self):
        names = [*HOSTILE, *(f"{number:02}" for number in range(20)), "d/x", "d/y", "d/z/w"]
        for name in names:
            self.create(name, "milk")
        for arguments in (["find", self.base, "MILK"], ["list", "--recursive", self.base],
                          ["list", self.base]):
            whole = self.here(*arguments).out
            for limit in (1, 2, 7, 30, 36, 37, 10000):
                run = self.here(*arguments, "--all", "--limit", limit)
                self.assertEqual(run.out, whole, (arguments, limit))

    def test_a_page_at_a_time(self):
        names = [f"n{number:05}" for number in range(25000)]
        server = self.naive(pages_of(names))
        run = self.to(server, "find", "/d", "x", "--all")
        self.assertEqual(run.out.split(), names)
        self.assertEqual([line.split()[1].decode() for line in server.requests],
                         ["/d?q=x&recursive=1&limit=10000",
                          "/d?q=x&recursive=1&limit=10000&after=n09999",
                          "/d?q=x&recursive=1&limit=10000&after=n19999"])
        self.assertEqual(server.connections, 1)

    def test_a_last_page_that_is_full(self):
        server = self.naive(pages_of("abcd"))
        self.assertEqual(self.to(server, "--all", "--limit", "2", "/d").out, "a\nb\nc\nd\n")
        self.assertEqual(len(server.requests), 3)

    @unittest.skipIf(SANITIZED or len(CLI) > 1, "the memory of the program alone")
    def test_memory_is_that_of_a_page(self):
        count = 200000  # 6.6 MB
        server = self.naive(pages_of(f"{number:08}{'x' * 24}" for number in range(count)))
        run = self.start("-a", "127.0.0.1", "-p", server.port, "--all", "--limit", "1000", "/d",
                         stdout=subprocess.PIPE)
        peaks = []
        for number, _ in enumerate(run.stdout, 1):
            if number in (5000, count - 5000):  # more than a pipe holds are still to come
                peaks.append(peak_of(run.pid))
        self.assertEqual(number, count)
        self.assertEqual(run.wait(60), 0)
        self.assertLess(peaks[1] - peaks[0], 1024, "KiB")

    def test_forms(self):
        for name in "abc":
            self.create(name)
        run = self.here("--json", "--all", "--limit", "2", self.base)
        pages = [json.loads(line) for line in run.out.splitlines()]
        self.assertEqual([page["names"] for page in pages], [["a", "b"], ["c"]])
        self.assertEqual({page["path"] for page in pages}, {self.base})
        run = self.here("-i", "--all", "--limit", "2", self.base)
        status = f"200 {self.base} OK\n"
        self.assertEqual(run.out, f"{status}a\nb\n{status}c\n")
        file = self.temporary() / "out"
        self.here("-o", file, "--all", "--limit", "1", self.base)
        self.assertEqual(file.read_text(), "a\nb\nc\n")

    def test_failure_in_the_middle(self):
        failing = naive_servers.answers(b"200 /d OK\na, b\n", b"200 /d OK\nc, d\n",
                                        b'500 /d SERVER ERROR "disk"\n')
        arguments = ["list", "--all", "--limit", "2", "/d"]
        run = self.to(self.naive(failing), *arguments, status=50)
        self.assertEqual(run.out, "a\nb\nc\nd\n")
        self.assertIn("500 /d SERVER ERROR", run.err)
        file = self.temporary() / "out"
        file.write_text("old")
        self.to(self.naive(failing), "-o", file, *arguments, status=50)
        self.assertEqual(file.read_text(), "old")
        self.assertEqual(os.listdir(file.parent), ["out"])
        run = self.to(self.naive(loses_answers("a, b")), *arguments, status=52)
        self.assertEqual(run.out, "a\nb\n")

    def test_retry_goes_on_where_it_was(self):
        server = self.naive(loses_answers("a, b", "c, d", "e"))
        run = self.to(server, "--retry", "3", "--all", "--limit", "2", "/d")
        self.assertEqual(run.out, "a\nb\nc\nd\ne\n")
        self.assertIn("trying again", run.err)
        self.assertEqual([line.partition(b"after=")[2] for line in server.requests],
                         [b"", b"b\n", b"b\n", b"d\n", b"d\n"])

    def test_servers_that_know_no_pages(self):
        for answer in (b"200 /d OK\na, b, c\n", b"200 /d OK\na, b\n"):
            server = self.naive(naive_servers.answers(answer, answer, answer))
            run = self.to(server, "list", "--all", "--limit", "2", "/d", status=52)
            self.assertIn("does not go on", run.err)
            self.assertEqual(len(server.requests), 2)

    def test_a_name_that_no_path_can_have(self):
        server = self.naive(naive_servers.answers(b"200 /d OK\n" + b"n" * 2000 + b"\n"))
        self.to(server, "list", "--all", "--limit", "1", "/d", status=52)

    def test_output_that_fails_ends_the_pages(self):
        server = self.naive(pages_of([f"{number:04}" for number in range(5000)]))
        with open("/dev/full", "wb") as full:
            run = self.to(server, "--all", "--limit", "100", "/d", stdout=full,
                          stderr=subprocess.PIPE, status=1)
        self.assertIn("No space left", run.err)
        self.assertEqual(len(server.requests), 1)

    def test_signal_between_pages(self):
        def one_page(server, connection):
            connection.sendall(naive_servers.answer_to(server.read_request(connection), "a, b"))
            server.wait_for_close(connection)
        port = self.naive(one_page).port
        file = self.temporary() / "out"
        run = self.start("-a", "127.0.0.1", "-p", port, "--all", "--limit", "2", "/d",
                         stdout=subprocess.PIPE)
        self.assertEqual([run.stdout.readline(), run.stdout.readline()], [b"a\n", b"b\n"])
        run.send_signal(signal.SIGINT)
        self.assertEqual(run.wait(60), -signal.SIGINT)
        self.assertEqual(run.stdout.read(), b"")
        run = self.start("-v", "-a", "127.0.0.1", "-p", port, "--all", "--limit", "2", "/d",
                         "-o", file, stderr=subprocess.PIPE)
        self.assertTrue(any(b"after=b" in line for line in run.stderr))
        run.send_signal(signal.SIGINT)
        self.assertEqual(run.wait(60), -signal.SIGINT)
        self.assertEqual(os.listdir(file.parent), [])


if __name__ == "__main__":
    unittest.main()
