"""sttp-bench against nothing, against what is not STTP, against servers that die."""

import errno
import os
import pathlib
import random
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

import bench_support as support
from bench_support import BENCH, FakeServer, bench, bench_json, failures, first_failure
from faults import Faults
from harness import FULL, SANITIZER_REPORT, SEED, Server, wait_until


class BadServers(unittest.TestCase):
    """A clear result, never a hang, and what was measured is kept."""

    def test_nobody_is_there(self):
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))  # so that no other test listens there
            done = bench(port=nobody.getsockname()[1])
        self.assertEqual((done.status, done.out), (support.NO_SERVER, ""))
        self.assertIn("Connection refused", done.err)

    def test_name_that_does_not_resolve(self):
        done = bench("-a", "no.such.host.invalid")
        self.assertEqual(done.status, support.NO_SERVER)
        self.assertIn("cannot resolve", done.err)

    def test_another_protocol(self):
        def http(connection):
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            connection.recv(4096)

        with FakeServer(http) as server:
            status, result = bench_json("-c", 5, port=server.port)
        self.assertEqual(status, support.NO_SERVER)
        self.assertEqual(result["answers"], 0)
        self.assertIn("HTTP/1.1 400", first_failure(result, "protocol"))

    def test_a_server_that_speaks_first(self):
        def greet(connection):
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\x1b[31m")
            connection.recv(4096)

        with FakeServer(greet) as server:
            status, result = bench_json("-c", 2, port=server.port)
        self.assertEqual(status, support.NO_SERVER)
        self.assertIn("SSH-2.0", first_failure(result, "protocol"))
        self.assertNotIn("\x1b", first_failure(result, "protocol"))

    def test_silence_ends_by_the_deadline(self):
        with FakeServer(lambda connection: connection.recv(1 << 20) and connection.recv(1)) as server:
            status, result = bench_json("-c", 5, "--timeout", "300ms", port=server.port)
        self.assertEqual((status, result["gave_up"]), (support.NO_SERVER, True))
        self.assertEqual(set(failures(result)), {"timeout"})

    def test_connections_that_are_closed_at_once(self):
        with FakeServer(lambda connection: None) as server:
            status, result = bench_json("-c", 5, port=server.port)
        self.assertEqual(status, support.NO_SERVER)
        self.assertLessEqual(set(failures(result)), {"closed", "reset"})

    def test_lines_without_an_end(self):
        def pour(connection):
            connection.recv(4096)
            while True:
                connection.sendall(b"200 /" + b"x" * 65536)

        with FakeServer(pour) as server:
            status, result = bench_json("-c", 3, port=server.port)
        self.assertEqual((status, result["answers"]), (support.NO_SERVER, 0))
        self.assertLessEqual(set(failures(result)), {"protocol", "reset"})

    def test_garbage(self):
        chance = random.Random(SEED)
        print(f"STTP_SEED={SEED}")

        def babble(connection):
            connection.recv(4096)
            connection.sendall(chance.randbytes(5000))
            connection.recv(4096)

        with FakeServer(babble) as server:
            status, result = bench_json("-c", 3, "--timeout", "500ms", port=server.port)
        self.assertEqual((status, result["answers"]), (support.NO_SERVER, 0))

    def test_an_answer_in_single_bytes_ends_by_the_deadline(self):
        stop = threading.Event()

        def trickle(connection):
            connection.recv(4096)
            while not stop.wait(0.05):
                connection.sendall(b"2")

        with FakeServer(trickle) as server:
            status, result = bench_json("-c", 2, "--timeout", "400ms", port=server.port)
            stop.set()
        self.assertEqual((status, set(failures(result)) - {"protocol"}),
                         (support.NO_SERVER, {"timeout"}))

    def test_a_server_that_takes_nothing_ends_by_the_deadline(self):
        stop = threading.Event()
        with FakeServer(lambda connection: stop.wait(support.DEADLINE)) as server:
            status, result = bench_json("-c", 2, "--timeout", "400ms", "--pipeline", 1000,
                                        port=server.port)
            stop.set()
        self.assertEqual((status, set(failures(result))), (support.NO_SERVER, {"timeout"}))

    def test_too_few_descriptors_are_told_at_once(self):
        done = subprocess.run(["prlimit", "--nofile=20", BENCH, "-c", "100"], check=False,
                              capture_output=True, text=True, timeout=support.DEADLINE)
        self.assertEqual((done.returncode, done.stdout), (support.USAGE, ""))
        self.assertIn("100 connections need", done.stderr)
        self.assertIn("ulimit -n", done.stderr)

    def test_server_that_dies_in_mid_run(self):
        with tempfile.TemporaryDirectory() as directory, Server("--durability", "none") as server:
            output = pathlib.Path(directory) / "r.csv"
            process = subprocess.Popen([BENCH, "-p", str(server.port), "--duration", "60s",
                                        "-c", "5", "--keys", "10", "--csv", output],
                                       stdout=subprocess.PIPE, text=True)
            wait_until(lambda: server.docroot.joinpath("sttp-bench").exists())
            wait_until(lambda: len(list(server.docroot.glob("sttp-bench/*/key_*.txt"))) == 10)
            server.process.kill()
            out, _ = process.communicate(timeout=support.DEADLINE)
            server.stop_status = -signal.SIGKILL
        self.assertEqual(process.returncode, support.NO_SERVER, out)
        # The first to connect may have been in the backlog when it died.
        self.assertRegex(out, r"connect +\d+  first: Connection (refused|reset by peer)")
        self.assertIn("STOPPED ANSWERING", out)

    def test_interrupted_run_keeps_its_results(self):
        with Server("--durability", "none") as server:
            process = subprocess.Popen([BENCH, "-p", str(server.port), "--duration", "60s",
                                        "-c", "5", "--keys", "10"],
                                       stdout=subprocess.PIPE, text=True)
            wait_until(lambda: len(list(server.docroot.glob("sttp-bench/*/key_*.txt"))) == 10)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=support.DEADLINE)
        self.assertEqual(process.returncode, support.OK, out)
        self.assertIn("interrupted", out)


class Memory(unittest.TestCase):
    """Each allocation fails once: it is told, with status 1, and nothing is left allocated."""

    RUN = ("--requests", 60, "-c", 4, "--threads", 2, "--pipeline", 2, "--keys", 5,
           "--mix", "show=2,update=1,create=1,delete=1", "--verify")

    def run_bench(self, faults, server, *arguments):
        done = subprocess.run([faults.program, "-p", str(server.port), *map(str, arguments)],
                              env={**os.environ, **faults.env}, capture_output=True, text=True,
                              timeout=support.DEADLINE, check=False)
        self.assertIsNone(SANITIZER_REPORT.search(done.stderr), done.stderr)
        return done

    def test_every_allocation_of_a_run(self):
        with tempfile.TemporaryDirectory() as directory, Server("--durability", "none") as server, \
                Faults(Faults.BENCH) as faults:
            arguments = (*self.RUN, "--html", f"{directory}/h", "--json", f"{directory}/j")
            faults.count_from_zero("allocation")
            self.assertEqual(self.run_bench(faults, server, *arguments).returncode, support.OK)
            self.every_one(faults, server, arguments, faults.calls("allocation"))

    def every_one(self, faults, server, arguments, count):
        told = 0
        step = 1 if FULL else 5
        for number in range(1 + SEED % step, count + 1, step):
            with self.subTest(allocation=number), \
                    faults.armed("allocation", errno.ENOMEM, first=number):
                done = self.run_bench(faults, server, *arguments)
                self.assertEqual(faults.outstanding, 0)
                self.assertIn(done.returncode, (support.OK, support.OUTPUT), done.stderr)
                self.assertEqual("memory" in done.stderr, done.returncode == support.OUTPUT)
                told += done.returncode == support.OUTPUT
        self.assertGreater(told, 20 // step)


if __name__ == "__main__":
    unittest.main(testRunner=support.SideBySide())
