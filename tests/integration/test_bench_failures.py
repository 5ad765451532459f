"""sttp-bench against nothing, against what is not STTP, against servers that die."""

import pathlib
import signal
import subprocess
import tempfile
import unittest

import bench_support as support
from bench_support import BENCH, FakeServer, bench, bench_json, failures, first_failure
from harness import Server, free_port, wait_until


class BadServers(unittest.TestCase):
    """A clear result, never a hang, and what was measured is kept."""

    def test_nobody_is_there(self):
        done = bench(port=free_port())
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
        self.assertRegex(out, r"connect +\d+  first: Connection refused")
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


if __name__ == "__main__":
    unittest.main(verbosity=2)
