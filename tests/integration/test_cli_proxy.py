"""sttp-cli through a forward proxy: what it sends, whom it asks, what it says of failures."""

import json
import os
import unittest

from cli_support import CliTest
from harness import connect, free_port, read_line
import naive_servers

ORIGIN = "sttp://origin.example:8080"


def forwards(address):
    """A proxy for which every origin is the server at `address`."""
    def behaviour(server, connection):
        with connect(address) as upstream:
            while line := server.read_request(connection):
                action, target, *rest = line.decode().split(" ", 2)
                path = "/" + target.split("/", 3)[3]
                upstream.sendall(" ".join([action, path, *rest]).encode())
                answer = read_line(upstream)
                connection.sendall(answer + (read_line(upstream) if answer[:3] == b"200" else b""))
    return behaviour


def refuses(server, connection):
    """A proxy that allows nothing."""
    while line := server.read_request(connection):
        target = line.split()[1].partition(b"?")[0]
        connection.sendall(b'300 %s CLIENT ERROR "destination not allowed"\n' % target)


class Proxied(CliTest):
    def through(self, proxy, *arguments, env=None, **options):
        return self.cli(*arguments, env={**os.environ, "STTP_PROXY": f"sttp://127.0.0.1:{proxy.port}",
                                         **(env or {})}, **options)

    def forwarding(self):
        return self.naive(forwards(("127.0.0.1", self.port)))

    def test_life_of_a_text(self):
        path, proxy = f"{self.base}/a", self.forwarding()
        option = ["--proxy", f"sttp://127.0.0.1:{proxy.port}"]
        url = f"{ORIGIN}{path}"
        self.assertEqual(self.cli(*option, "create", url, "one").out, f"100 {path} CREATED\n")
        self.assertEqual(self.cli(*option, url).out, "one\n")
        self.assertEqual(self.cli(*option, f"{ORIGIN}{self.base}?limit=5").out, "a\n")
        self.assertEqual(self.cli(*option, "update", url, "two").out, f"200 {path} OK\n")
        self.assertEqual(self.cli(*option, "delete", url).out, f"600 {path} DELETED\n")
        run = self.cli(*option, url, status=40)
        self.assertEqual(run.err, f"sttp-cli: 400 {path} NOT FOUND\n")
        target = url.encode()
        self.assertEqual(proxy.requests, [
            b'CREATE %s "one"\n' % target, b"SHOW %s\n" % target,
            b"LIST %s/%s?limit=5\n" % (ORIGIN.encode(), self.base[1:].encode()),
            b'UPDATE %s "two"\n' % target, b"DELETE %s\n" % target, b"SHOW %s\n" % target])

    def test_what_is_asked_of_the_proxy(self):
        """The path as it is sent to a server, and always a port."""
        proxy = self.naive(refuses)
        for given, sent in ((["sttp://Host/a%25b"], "sttp://host:8080/a%b"),
                            (["sttp://h:99/caf%C3%A9"], "sttp://h:99/caf\u00e9"),
                            (["sttp://[::1]/a"], "sttp://[::1]:8080/a"),
                            (["sttp://[fe80::1%25a%40b]:9/a"], "sttp://[fe80::1%25a%40b]:9/a"),
                            (["-a", "h", "/a%25b"], "sttp://h:8080/a%25b"),
                            (["/a"], "sttp://localhost:8080/a")):
            with self.subTest(given=given):
                self.through(proxy, "show", *given[:-1], given[-1], status=30)
                self.assertEqual(proxy.requests[-1].decode(), f"SHOW {sent}\n")

    def test_batch(self):
        for name in "ab":
            self.create(name, name)
        proxy = self.forwarding()
        run = self.through(proxy, "-a", "origin.example", "--batch", "-",
                           stdin=f"SHOW {self.base}/a\nSHOW {self.base}/b\n"
                                 f"SHOW {ORIGIN}{self.base}/none\n".encode(), status=40)
        self.assertEqual(run.out, f"1\t200 {self.base}/a OK\ta\n2\t200 {self.base}/b OK\tb\n"
                                  f"3\t400 {self.base}/none NOT FOUND\n")
        self.assertEqual(proxy.connections, 1)

    # -- Whose answer, whose failure

    def test_answer_of_the_proxys_own(self):
        proxy = self.naive(refuses)
        answer = f'300 {ORIGIN}/a CLIENT ERROR "destination not allowed"'
        run = self.through(proxy, f"{ORIGIN}/a", status=30)
        self.assertEqual((run.out, run.err), ("", f"sttp-cli: the proxy answered {answer}\n"))
        run = self.through(proxy, "-i", f"{ORIGIN}/a", status=30)
        self.assertEqual((run.out, run.err), (f"{answer}\n", ""))
        run = self.through(proxy, "-a", "origin.example", "--batch", "-", stdin=b"SHOW /a\n",
                           status=30)
        self.assertEqual(run.out, f"1\t{answer}\n")

    def test_json_says_whose_answer_it_is(self):
        path = self.create("a")
        for behaviour, own, status in ((refuses, True, 30),
                                       (forwards(("127.0.0.1", self.port)), None, 0)):
            run = self.through(self.naive(behaviour), "--json", f"{ORIGIN}{path}", status=status)
            self.assertIs(json.loads(run.out).get("proxy"), own)

    def test_answer_that_nobody_asked_for(self):
        for line in (f"200 {ORIGIN}/a OK\nx\n", f'500 {ORIGIN}/b SERVER ERROR "no"\n'):
            proxy = self.naive(naive_servers.answers(line.encode()))
            run = self.through(proxy, f"{ORIGIN}/a", status=52)
            self.assertIn(f"proxy 127.0.0.1:{proxy.port} answered SHOW {ORIGIN}/a with", run.err)

    def test_failures_name_the_proxy(self):
        port = free_port()
        run = self.cli("--proxy", f"sttp://127.0.0.1:{port}", f"{ORIGIN}/a", status=7)
        self.assertIn(f"cannot connect to proxy 127.0.0.1: 127.0.0.1:{port}", run.err)
        proxy = self.naive(naive_servers.closes_without_answer)
        run = self.through(proxy, f"{ORIGIN}/a", status=52)
        self.assertIn(f"proxy 127.0.0.1:{proxy.port} closed the connection", run.err)

    def test_verbose(self):
        proxy = self.naive(refuses)
        run = self.through(proxy, "-v", f"{ORIGIN}/a", status=30)
        self.assertIn(f"* through proxy sttp://127.0.0.1:{proxy.port}\n", run.err)
        self.assertIn(f"> SHOW {ORIGIN}/a\n", run.err)

    def test_line_that_is_too_long_for_a_proxy(self):
        proxy = self.naive(refuses)
        query = "q=" + "x" * (4096 - len("LIST /?q=\n"))
        run = self.through(proxy, "list", f"{ORIGIN}/?{query}", status=2)
        self.assertIn("over the limit of 4096", run.err)
        self.assertEqual(proxy.requests, [])

    # -- Which proxy

    def test_default_port(self):
        run = self.cli("-v", "--proxy", "sttp://127.0.0.3", "--resolve",
                       "127.0.0.3:3128:127.0.0.9", f"{ORIGIN}/a", status=7)
        self.assertIn("* through proxy sttp://127.0.0.3:3128\n", run.err)
        self.assertIn("connecting to 127.0.0.9:3128\n", run.err)

    def test_option_counts_more_than_the_environment(self):
        path, proxy = self.create("a", "direct"), self.naive(refuses)
        url = f"sttp://127.0.0.1:{self.port}{path}"
        self.through(proxy, url, status=30)
        self.assertEqual(self.through(proxy, "--proxy", "", url).out, "direct\n")
        self.assertEqual(self.cli(url, env={**os.environ, "STTP_PROXY": ""}).out, "direct\n")
        other = self.naive(refuses)
        self.through(proxy, "--proxy", f"sttp://127.0.0.1:{other.port}", url, status=30,
                     env={"STTP_NO_PROXY": "*"})
        self.assertEqual((len(proxy.requests), len(other.requests)), (1, 1))

    def test_unix_sockets_are_never_asked_through_a_proxy(self):
        path, proxy = self.create("a", "local"), self.naive(refuses)
        for target in (["--unix", self.socket_path, path],
                       [f"sttp+unix:{self.socket_path}:{path}"]):
            self.assertEqual(self.through(proxy, *target).out, "local\n")
        self.assertEqual(proxy.connections, 0)

    def test_exceptions(self):
        """The server either is asked, and there is none, or the proxy is, which refuses."""
        proxy, port = self.naive(refuses), free_port()
        for host, listed, exempt in (
                ("h.example", "h.example", True), ("h.example", "H.Example", True),
                ("h.example", "h.example.", True), ("h.example.", "h.example", True),
                ("h.example", "other, h.example", True), ("h.example", "a,,h.example,b", True),
                ("h.example", "example", False), ("h.example", "xh.example", False),
                ("h.example", ".example", True), ("h.example", "*.example", True),
                ("a.h.example", "*.example", True), ("example", ".example", False),
                ("example", "*.example", False), ("hexample", ".example", False),
                ("h.example", "*", True), ("h.example", "", False),
                ("h.example", f"h.example:{port}", True), ("h.example", "h.example:1", False),
                ("h.example", f".example:{port}", True), ("h.example", f"*:{port}", True),
                ("h.example", "*:1", False), ("h.example", "0.0.0.0/0,::/0", False),
                ("127.0.0.2", "127.0.0.2", True), ("127.0.0.2", "127.0.0.0/8", True),
                ("127.0.0.2", "127.0.0.3", False), ("127.0.0.2", "10.0.0.0/8", False),
                ("127.0.0.2", f"127.0.0.0/8:{port}", True), ("127.0.0.2", "127.0.0.0/8:1", False),
                ("[::1]", "::1", True), ("[::1]", "[::1]", True),
                ("[0::1]", f"[::]/64:{port}", True), ("[::1]", "[::1]:1", False),
                ("[::1]", "::/127", True), ("[::1]", "fd00::/8", False),
                ("[::ffff:127.0.0.2]", "127.0.0.0/8", True)):
            with self.subTest(host=host, listed=listed):
                run = self.through(proxy, "--resolve", f"{host}:{port}:127.0.0.9",
                                   f"sttp://{host}:{port}/a", env={"STTP_NO_PROXY": listed},
                                   status=7 if exempt else 30)
                self.assertEqual("proxy" in run.err, not exempt)

    def test_mistakes(self):
        for value, told in (("h:80", "begins with sttp://"), ("http://h", "begins with sttp://"),
                            ("sttp+unix:/s", "begins with sttp://"), ("sttps://h", "no TLS"),
                            ("sttp://h/", "ends with its host"), ("sttp://h:1/x", "ends with"),
                            ("sttp://u@h", "user"), ("sttp://h:0", "port"), ("sttp://", "host"),
                            ("sttp://[::g]", "IPv6"), ("sttp://" + "h" * 900, "host")):
            with self.subTest(value=value):
                run = self.cli("--proxy", value, "/a", status=2)
                self.assertIn(told, run.err)
                self.assertIn("sttp://HOST[:PORT]", run.err)
                run = self.cli("/a", env={**os.environ, "STTP_PROXY": value}, status=2)
                self.assertIn(told, run.err)
                self.assertIn("STTP_PROXY", run.err)
        self.assertIn("needs a value", self.cli("--proxy", status=2).err)

    def test_mistakes_in_exceptions(self):
        """Found whatever the server is: it may be the one that they were meant for."""
        proxy = self.naive(refuses)
        for item in ("10.0.0.0/33", "10.0.0.1/8", "h/8", "h:0", "h:x", "h:", "[::1", "::1/129",
                     "a..b", "10.1", "*h", "h*", "**", "a@b", "-\x1b", "h" * 300, "caf\u00e9"):
            with self.subTest(item=item):
                run = self.through(proxy, f"{ORIGIN}/a", env={"STTP_NO_PROXY": f"*,{item}"},
                                   status=2)
                self.assertIn("STTP_NO_PROXY", run.err)
                self.assertNotIn("\x1b", run.err)
        self.assertEqual(proxy.connections, 0)


if __name__ == "__main__":
    unittest.main()
