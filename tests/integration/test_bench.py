"""sttp-bench as its users meet it: the default run, measurements, mistakes, the live line."""

import json
import os
import pathlib
import pty
import re
import subprocess
import tempfile
import time
import unittest

import bench_support as support
from bench_support import BENCH, bench, bench_json, failures, first_failure
from harness import SANITIZED, Server, names_of

MANUAL = pathlib.Path(__file__).parents[2] / "docs" / "sttp-bench.1.scd"


class BenchTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server("--durability", "none"))
        cls.port = cls.server.port

    def measure(self, *arguments):
        return bench_json(*arguments, port=self.port)


class DefaultRun(BenchTest):
    def test_default_run_makes_3100_requests_without_an_error_and_prints_them(self):
        with tempfile.TemporaryDirectory() as directory:
            file = pathlib.Path(directory) / "r.json"
            done = bench("-a", "127.0.0.1", "-p", self.port, "-i", 0, "-c", 50, "--json", file)
            result = json.loads(file.read_text())
        self.assertEqual(done.status, support.OK, done.out)
        self.assertEqual((result["answers"], result["errors"]), (3100, 0))
        phases = [(phase["name"], phase["answers"]) for phase in result["phases"]]
        self.assertEqual(phases, [("CREATE", 1000), ("SHOW", 1100), ("DELETE", 1000)])
        self.assertEqual(names_of(self.server, b"LIST /snippets/"), [])
        for name, count in (("CREATE", 1000), ("SHOW", 1100), ("DELETE", 1000), ("all", 3100)):
            self.assertRegex(done.out, rf"(?m)^{name} +{count} +0 +\d+\.\d+ s")
        self.assertIn("no errors", done.out)

    def test_the_interval_is_kept_between_requests(self):
        _, result = self.measure("-i", 20, "-c", 500)
        # 1,000 requests by 500 connections: at least two each on average, one interval apart.
        self.assertGreaterEqual(result["phases"][0]["elapsed_s"], 0.02)
        self.assertEqual(result["errors"], 0)

    @unittest.skipIf(SANITIZED, "sanitizers slow one side down")
    def test_texts_that_are_there_already_are_refusals(self):
        self.server.exchange(b"CREATE /snippets/snippet_7.txt x\n")
        status, result = self.measure()
        self.assertEqual((status, failures(result)), (support.ERRORS, {"refused 300": 1}))
        self.assertIn("snippet_7.txt", first_failure(result, "refused 300"))
        self.assertIn("already exists", first_failure(result, "refused 300"))


class Measurement(BenchTest):
    def test_requests_are_counted_exactly(self):
        for connections, threads, pipeline in ((1, 1, 1), (7, 2, 3), (20, 4, 16)):
            with self.subTest(connections=connections):
                status, result = self.measure("--requests", 997, "-c", connections, "--threads",
                                              threads, "--pipeline", pipeline, "--keys", 50)
                self.assertEqual((status, result["answers"], result["errors"]), (0, 997, 0))
                self.assertEqual(result["sending"]["sent"], 997)

    def test_all_actions_with_verify(self):
        mix = "create=2,show=5,list=1,update=2,delete=2"
        status, result = self.measure("--requests", 600, "-c", 5, "--keys", 30, "--mix", mix,
                                      "--verify")
        self.assertEqual((status, failures(result)), (support.OK, {}))
        self.assertEqual(set(result["actions_us"]), {"CREATE", "SHOW", "LIST", "UPDATE", "DELETE"})

    def test_nothing_is_left_on_the_server(self):
        self.measure("--requests", 200, "--keys", 20, "--seed", 5, "--mix", "create=1,show=1")
        self.assertEqual(names_of(self.server, b"LIST /sttp-bench/?name=5"), [])

    def test_keep_leaves_the_texts_and_a_second_run_replaces_them(self):
        arguments = ("--requests", 100, "--keys", 20, "--seed", 6, "--verify")
        self.measure(*arguments, "--keep")
        self.assertEqual(len(names_of(self.server, b"LIST /sttp-bench/6/")), 20)
        status, result = self.measure(*arguments, "--size", 120)
        self.assertEqual((status, result["errors"]), (support.OK, 0))

    def test_texts_created_by_a_run_are_not_in_the_way_of_the_next_one_with_its_seed(self):
        for _ in range(2):
            status, result = self.measure("--requests", 100, "--keys", 5, "--seed", 8, "--keep",
                                          "--mix", "create=1")
            self.assertEqual((status, failures(result)), (support.OK, {}))
        self.assertEqual(len(names_of(self.server, b"LIST /sttp-bench/8/")), 200)

    def test_connection_per_request(self):
        status, result = self.measure("--requests", 300, "-c", 5, "--connection-per-request",
                                      "--keys", 10)
        self.assertEqual((status, result["errors"]), (support.OK, 0))
        self.assertEqual(result["tester"]["connections"], 300)

    def test_warm_up_is_not_measured(self):
        _, result = self.measure("--requests", 100, "--warm-up", "300ms", "--ramp", "200ms",
                                 "--keys", 10)
        self.assertEqual(result["answers"], 100)
        self.assertGreater(result["tester"]["bytes_sent"], 100 * len("SHOW /sttp-bench/"))

    def test_duration(self):
        _, result = self.measure("--duration", "1500ms", "--keys", 10)
        self.assertGreaterEqual(result["elapsed_s"], 1.5)
        self.assertGreater(result["answers"], 0)

    def test_a_seed_repeats_the_requests(self):
        counts = []
        for _ in range(2):
            _, result = self.measure("--requests", 200, "-c", 1, "--threads", 1, "--seed", 99,
                                     "--keys", 20, "--mix", "show=1,update=1")
            counts.append(result["actions_us"]["SHOW"]["count"])
        self.assertEqual(counts[0], counts[1])
        self.assertEqual(result["options"]["seed"], 99)

    def test_check_finds_sttpd_linearizable(self):
        status, result = self.measure("--requests", 3000, "-c", 20, "--keys", 3, "--mix",
                                      "show=5,update=3,create=1,delete=1", "--check")
        self.assertEqual((status, result["check"]["violations"]), (support.OK, 0))
        self.assertEqual(result["check"]["requests"], 3000)

    def test_unix_socket(self):
        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/s"
            with Server("--listen", f"unix:{path}", listen=[]):
                status, result = bench_json("--unix", path, "--requests", 100, "--keys", 10)
        self.assertEqual((status, result["answers"]), (support.OK, 100))
        self.assertEqual(result["server"], f"unix:{path}")


class Slo(BenchTest):
    def test_terms_decide_the_exit_status(self):
        run = ("--requests", 100, "--keys", 10, "--slo")
        self.assertEqual(self.measure(*run, "p99<1h,max<1h,errors<0.1%,rate>0.001")[0], support.OK)
        status, result = self.measure(*run, "errors<1%,p50<1us")
        self.assertEqual(status, support.SLO)
        self.assertEqual([term["holds"] for term in result["slo"]], [True, False])


class Mistakes(unittest.TestCase):
    def test_each_is_told_with_status_2(self):
        for arguments, what in (
                (["--conections", "5"], "did you mean --connections?"),
                (["-c", "0"], "from 1 to"),
                (["-c", "1e9"], "from 1 to"),
                (["-p", "65536"], "from 1 to 65535"),
                (["-c"], "needs a value"),
                (["-x"], "unknown option -x"),
                (["--mix", "show=1,get=2"], "create, show, list, update and delete"),
                (["--mix", "show=0"], "weights"),
                (["--distribution", "zipf"], "zipf:S"),
                (["--rate", "0"], "requests a second"),
                (["--rate", "-5"], "requests a second"),
                (["--duration", "soon"], "like 250ms"),
                (["--size", "161"], "from 0 to 160"),
                (["--verify", "--size", "10"], "at least 32"),
                (["--arrivals", "poisson"], "--rate"),
                (["--rate", "10", "-i", "5"], "leave one out"),
                (["--connection-per-request", "--pipeline", "2"], "--pipeline"),
                (["--check", "--mix", "list=1"], "list"),
                (["--slo", "p99<fast"], "p99<2ms"),
                (["--unix", "/x" * 100], "at most 107 bytes"),
                (["--proxy", "nowhere"], "HOST:PORT"),
                (["--proxy", "127.0.0.1:1", "-a", "a/b"], "cannot be asked for it"),
                (["--json", "-", "--csv", "-"], "only one of"),
                (["sttp://localhost/"], "--address"),
                (["--verify=yes"], "takes no value")):
            with self.subTest(arguments=arguments):
                done = bench(*arguments)
                self.assertEqual((done.status, done.out), (support.USAGE, ""))
                self.assertIn(what, done.err)

    def test_help_and_manual_name_every_option(self):
        done = bench("--help")
        self.assertEqual(done.status, support.OK)
        options = set(re.findall(r"(?m)^ +(?:-\w, )?(--[\w-]+)", done.out))
        manual = MANUAL.read_text()
        self.assertGreater(len(options), 25)
        for option in options:
            self.assertIn(f"*{option}*", manual)
        for status in range(8):
            self.assertRegex(done.out, rf"(?m)^ +{status}  ")
            self.assertIn(f"*{status}*", manual)


class LiveLine(BenchTest):
    def test_it_is_shown_on_a_terminal_alone(self):
        controller, terminal = pty.openpty()
        with os.fdopen(controller, "rb", buffering=0) as reader:
            process = subprocess.Popen([BENCH, "-p", str(self.port), "--duration", "800ms",
                                        "--keys", "10"],
                                       stdout=subprocess.DEVNULL, stderr=terminal)
            os.close(terminal)
            shown = b""
            while True:
                try:
                    block = reader.read(4096)
                except OSError:  # the terminal was closed
                    break
                if not block:
                    break
                shown += block
            self.assertEqual(process.wait(support.DEADLINE), support.OK)
        self.assertRegex(shown.decode(), r"measure +[█░]+ +\d+%  .*errors")
        lines = re.split(r"\r", re.sub(r"\x1b\[[?\w]*[a-zA-Z]", "", shown.decode()))
        self.assertRegex("".join(lines), r"\d+/s  p50 [\d.]+ [mu]?s  p99 [\d.]+ [mu]?s  0 errors")
        self.assertLess(max(map(len, lines)), 80)
        self.assertTrue(shown.endswith(b"\r\x1b[K"), shown[-80:])  # nothing is left of it
        self.assertEqual(bench("--duration", "300ms", "--keys", 10, port=self.port).err, "")


if __name__ == "__main__":
    unittest.main(verbosity=2)
