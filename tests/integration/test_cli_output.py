"""What sttp-cli prints, and where: options, files, terminals, JSON."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import unittest

from cli_support import CLI, CliTest
from harness import free_port
import naive_servers


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
        done = subprocess.run(["/bin/sh", "-c", command, *CLI, f"sttp://127.0.0.1:{server.port}/a"],
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
                done = subprocess.run([*CLI, *arguments], stdin=subprocess.DEVNULL, timeout=60,
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

    def test_messages_are_visible_in_pipes_too(self):
        run = self.cli("a\x1b\nb", status=2)
        self.assertIn("unknown action a\\u{1b}\\u{a}b;", run.err)
        answer = f"200 /a OK\n{self.HOSTILE}\n"
        run = self.cli("-v", "show", self.hostile(answer) + "/a")
        self.assertIn("\\u{1b}[31m\\u{202e}b", run.err)
        self.assertNotIn("\x1b", run.err)
        run = self.cli("--batch", "-", stdin=b"a\x1b\xff /a\n", status=2)
        self.assertTrue(run.out.startswith("1\terror 2\tunknown action a\\u{1b}\\x{ff};"), run.out)


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


if __name__ == "__main__":
    unittest.main()
