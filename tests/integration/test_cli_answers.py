"""What sttp-cli makes of answers, of servers of every kind, and in batches."""

import json
import os
import pty
import subprocess
import threading
import unittest

from cli_support import CLI, DEADLINE, CliTest
from harness import free_port
import naive_servers


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
        self.assertIn("(600 DELETED)", self.to(server, "show", "/a", status=52).err)
        server = self.naive(naive_servers.answers(b"200 /a OK\nx\n"))
        run = self.to(server, "create", "/a", "x", status=52)
        self.assertIn("CREATE /a was sent, outcome unknown: ", run.err)
        self.assertIn("(200 OK)", run.err)

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
        run = self.to(server, "--timeout", DEADLINE, "/a", status=28)
        self.assertIn('what came begins with "login: "', run.err)

    def test_server_closes_without_answer(self):
        server = self.naive(naive_servers.closes_without_answer)
        self.to(server, "/a", status=52)
        self.assertIn("outcome unknown", self.to(server, "delete", "/a", status=52).err)

    def test_server_never_answers(self):
        server = self.naive(naive_servers.never_answers)
        run = self.to(server, "--timeout", "0.2", "/a", status=28)
        self.assertLess(run.seconds, 8)
        run = self.to(server, "--timeout", DEADLINE, "delete", "/a", status=28)
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
                               (naive_servers.never_answers, ["--timeout", DEADLINE])):
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
            done = subprocess.run([*CLI, "-a", "127.0.0.1", "-p", str(self.port), "--batch", "-"],
                                  stdin=source, timeout=60, capture_output=True)
        self.assertIn(b"Input/output error", done.stderr)
        self.assertEqual((done.returncode, done.stdout), (2, f"1\t200 {path} OK\ttext\n".encode()))
        self.here("show", path)

    def test_unreadable_input(self):
        directory = os.open(self.directory, os.O_RDONLY)
        self.stack.callback(os.close, directory)
        done = subprocess.run([*CLI, "-a", "127.0.0.1", "-p", str(self.port), "--batch", "-"],
                              stdin=directory, timeout=60, capture_output=True)
        self.assertIn(b"Is a directory", done.stderr)
        self.assertEqual(done.returncode, 2)


if __name__ == "__main__":
    unittest.main()
