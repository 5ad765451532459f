"""What sttp-bench says: planted lies are found, the open loop counts from when a request was due, two
results are compared."""

import itertools
import json
import pathlib
import random
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import bench_support as support
from bench_support import BENCH, FakeServer, Texts, bench, bench_json, failures, first_failure
from harness import SEED, Server


class Once:
    """Falsifies the n-th answer to an action, by `change`."""

    def __init__(self, action, number, change):
        self._left = {action: number}
        self._change = change
        self._lock = threading.Lock()

    def __call__(self, action, path, answer):
        with self._lock:
            if action not in self._left:
                return answer
            self._left[action] -= 1
            return self._change(path, answer) if self._left[action] == 0 else answer


def with_lie(action, change, *arguments):
    """The result of a measurement of a server that lies once."""
    texts = Texts(Once(action, 20, change))  # about 50 are UPDATEs
    with FakeServer(texts) as server:
        return bench_json("--requests", 200, "-c", 4, "--keys", 5, "--mix", "show=3,update=1",
                          *arguments, port=server.port)


class Lies(unittest.TestCase):
    def test_an_honest_server_passes(self):
        status, result = with_lie(b"NONE", None, "--check")
        self.assertEqual((status, failures(result)), (support.OK, {}))

    def test_verify_finds_a_changed_byte(self):
        def change(_, answer):
            return answer[:-2] + (b"y\n" if answer[-2:-1] == b"x" else b"x\n")

        status, result = with_lie(b"SHOW", change, "--verify")
        self.assertEqual((status, failures(result)), (support.LIE, {"wrong content": 1}))
        self.assertRegex(first_failure(result, "wrong content"), r"^SHOW /sttp-bench/.* -> 200 ")
        self.assertEqual(with_lie(b"SHOW", change)[0], support.OK)  # nobody asked

    def test_verify_finds_the_text_of_another_path(self):
        seen = {}

        def swap(action, path, answer):
            if action != b"SHOW":
                return answer
            status, text, _ = answer.split(b"\n")
            other = next((text for name, text in seen.items() if name != path), None)
            seen[path] = text
            return status + b"\n" + (other or text) + b"\n"

        with FakeServer(Texts(swap)) as server:
            status, result = bench_json("--requests", 100, "-c", 1, "--keys", 5, "--verify",
                                        port=server.port)
        self.assertEqual(status, support.LIE)
        self.assertGreater(failures(result)["wrong content"], 0)

    def test_verify_finds_an_update_that_shows_another_text(self):
        def change(_, answer):
            return answer[:-2] + (b"y\n" if answer[-2:-1] == b"x" else b"x\n")

        status, result = with_lie(b"UPDATE", change, "--verify")
        self.assertEqual((status, failures(result)), (support.LIE, {"wrong content": 1}))

    def test_an_answer_for_another_path_ends_the_connection(self):
        def change(path, answer):
            return answer.replace(path, b"/other.txt")

        status, result = with_lie(b"SHOW", change)
        self.assertEqual((status, failures(result)), (support.ERRORS, {"wrong answer": 1}))
        self.assertIn("/other.txt", first_failure(result, "wrong answer"))

    def test_an_answer_too_many_is_found(self):
        status, result = with_lie(b"SHOW", lambda _, answer: answer + answer)
        self.assertEqual(status, support.ERRORS)
        self.assertEqual(sum(failures(result).values()), result["errors"])
        self.assertLessEqual(set(failures(result)), {"protocol", "wrong answer"})

    def test_each_refusal_is_counted_by_its_code(self):
        for code, rest in ((300, b'CLIENT ERROR "no"'), (400, b"NOT FOUND"),
                           (500, b'SERVER ERROR "disk full"')):
            with self.subTest(code=code):
                status, result = with_lie(
                    b"SHOW", lambda path, _, c=code, r=rest: b"%d %s %s\n" % (c, path, r))
                self.assertEqual((status, failures(result)),
                                 (support.ERRORS, {f"refused {code}": 1}))

    def test_check_finds_a_stale_read(self):
        history = {}

        def stale(action, path, answer):
            """From some time on each SHOW has the first text that the path ever had."""
            if action == b"SHOW":
                text = history.setdefault(path, answer)
                return text
            return answer

        with FakeServer(Texts(stale)) as server:
            status, result = bench_json("--requests", 300, "-c", 3, "--keys", 2, "--mix",
                                        "show=1,update=1", "--check", port=server.port)
        self.assertEqual((status, failures(result)), (support.LIE, {}))
        self.assertGreater(result["check"]["violations"], 0)
        self.assertRegex(result["check"]["first"], r"^key \d+: ")


    ALL = ("--requests", 1500, "-c", 4, "--threads", 1, "--keys", 2, "--check", "--mix",
           "show=6,update=3,create=2,delete=2")

    def test_check_covers_create_and_delete(self):
        with FakeServer(Texts()) as server:
            status, result = bench_json(*self.ALL, port=server.port)
        self.assertEqual((status, failures(result)), (support.OK, {}))
        self.assertEqual(set(result["actions_us"]), {"CREATE", "SHOW", "UPDATE", "DELETE"})
        self.assertEqual(result["check"], {"requests": 1500, "violations": 0, "first": ""})

    def test_check_finds_a_text_that_comes_back_after_its_delete(self):
        old = {}

        def undead(action, path, answer):
            if action == b"SHOW" and answer.startswith(b"200"):
                old[path] = answer
            return old.get(path, answer) if action == b"SHOW" else answer

        with FakeServer(Texts(undead)) as server:
            status, result = bench_json(*self.ALL, port=server.port)
        self.assertEqual((status, failures(result)), (support.LIE, {}))
        self.assertGreater(result["check"]["violations"], 0)

    def test_check_finds_a_text_that_is_missing_before_its_delete(self):
        shown = itertools.count(1)

        def lose(action, path, answer):
            is_one = action == b"SHOW" and b"/new_" in path and answer.startswith(b"200")
            return b"400 " + path + b" NOT FOUND\n" if is_one and next(shown) % 10 == 0 else answer

        with FakeServer(Texts(lose)) as server:
            status, result = bench_json(*self.ALL, port=server.port)
        self.assertEqual((status, failures(result)), (support.LIE, {}))
        self.assertRegex(result["check"]["first"], "was missing|shown")

    def test_check_finds_answers_swapped_between_connections(self):
        """Each SHOW has the text that its path had at the SHOW before: of the right path, so that
        --verify alone is content."""
        seen = {}

        def swap(action, path, answer):
            if action != b"SHOW" or not answer.startswith(b"200"):
                return answer
            before, seen[path] = seen.get(path, answer), answer
            return before

        run = ("--requests", 400, "-c", 4, "--keys", 3, "--mix", "show=1,update=1")
        with FakeServer(Texts(swap)) as server:
            self.assertEqual(bench_json(*run, "--verify", port=server.port)[0], support.OK)
            self.assertEqual(bench_json(*run, "--check", port=server.port)[0], support.LIE)


class Answers(unittest.TestCase):
    """An answer that is as usual is known by its bytes; all others must be understood, too."""

    def test_answers_in_pieces_and_with_other_line_ends(self):
        texts = Texts()

        def serve(connection):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection.makefile("rb") as lines:
                for number, line in enumerate(lines):
                    answer = texts.answer(line.rstrip())
                    if number % 2:
                        answer = answer.replace(b"\n", b"\r\n")
                    cut = number * 7 % len(answer)
                    connection.sendall(answer[:cut])
                    time.sleep(0.0005)  # what is tried: the rest comes later
                    connection.sendall(answer[cut:])

        with FakeServer(serve) as server:
            for verify in ([], ["--verify"]):
                status, result = bench_json("--requests", 300, "-c", 1, "--pipeline", 3, "--keys",
                                            5, "--mix", "show=4,update=1,create=1,delete=1",
                                            "--timeout", "20s", *verify, port=server.port)
                self.assertEqual((status, failures(result)), (support.OK, {}))

    def test_a_text_that_is_none_is_found_without_verify(self):
        for byte in (b"\xff", b"\n"):
            for place in (-2, -50, -101):  # of 100 characters and a line end
                def spoil(_, answer, byte=byte, place=place):
                    end = len(answer) + place
                    return answer[:end] + byte + answer[end + 1:]

                with self.subTest(byte=byte, place=place):
                    status, result = with_lie(b"SHOW", spoil)
                    self.assertEqual((status, set(failures(result))),
                                     (support.ERRORS, {"protocol"}))

    def test_a_text_of_another_length_is_no_failure_without_verify(self):
        status, result = with_lie(b"SHOW", lambda _, answer: answer[:-5] + b"\n")
        self.assertEqual((status, failures(result)), (support.OK, {}))


class WarmUp(unittest.TestCase):
    def test_what_was_due_in_it_is_not_measured(self):
        """The server stops from the warm-up into the measured time: what was due before is sent in
        it, and is not of it."""
        pause = Once(b"SHOW", 10, lambda _, answer: time.sleep(0.8) or answer)
        with FakeServer(Texts(pause)) as server:
            _, result = bench_json("--rate", 100, "--warm-up", "600ms", "--duration", "1s", "-c", 1,
                                   "--keys", 5, port=server.port)
        due = result["sending"]["sent"] + result["sending"]["unsent"]
        self.assertAlmostEqual(due, 100, delta=2)

    def test_its_errors_are_of_its_answers_and_of_no_interval(self):
        refused = itertools.count()

        def refuse(action, path, answer):
            if action == b"SHOW" and next(refused) < 5:
                return b"500 " + path + b' SERVER ERROR "no"\n'
            return answer

        with FakeServer(Texts(refuse)) as server:
            status, result = bench_json("--rate", 100, "--warm-up", "1s", "--duration", "500ms",
                                        "-c", 2, "--keys", 5, port=server.port)
        self.assertIn(status, (support.ERRORS, support.BOTTLENECK))
        self.assertEqual(failures(result)["refused 500"], 5)
        self.assertEqual([point["errors"] for point in result["series"] if point["errors"]], [])
        everything = result["errors"] + result["answers"] + result["warm_up_answers"]
        self.assertGreaterEqual(result["warm_up_answers"], 80)
        self.assertAlmostEqual(result["error_percent"], result["errors"] / everything * 100, 3)


class Proxy(unittest.TestCase):
    ORIGIN = b"sttp://origin.example:99"

    def through_proxy(self, change=None):
        """The result, and the lines that the proxy saw. `change` falsifies an answer."""
        texts, falsify = Texts(), Once(b"SHOW" if change else b"NONE", 20, change)
        seen = []

        def forward(connection):
            with connection.makefile("rb") as lines:
                for line in lines:
                    seen.append(line)
                    line = line.rstrip().replace(b" " + self.ORIGIN, b" ")
                    action, path = line.split(b" ", 2)[:2]
                    connection.sendall(falsify(action, path, texts.answer(line)))

        with FakeServer(forward) as server:
            status, result = bench_json("-a", "origin.example", "-p", 99, "--verify", "--proxy",
                                        f"127.0.0.1:{server.port}", "--requests", 50, "--keys", 5)
        return status, result, seen

    def test_requests_go_through_a_proxy_as_urls(self):
        status, result, seen = self.through_proxy()
        self.assertEqual((status, failures(result)), (support.OK, {}))
        self.assertTrue(all(b" " + self.ORIGIN + b"/sttp-bench/" in line for line in seen))

    def test_refusals_of_the_proxys_own(self):
        status, result, _ = self.through_proxy(
            lambda path, _: b"500 " + self.ORIGIN + path + b' SERVER ERROR "no"\n')
        self.assertEqual((status, failures(result)), (support.ERRORS, {"refused 500": 1}))

    def test_no_text_is_the_proxys_own(self):
        status, result, _ = self.through_proxy(
            lambda path, answer: answer.replace(path, self.ORIGIN + path))
        self.assertEqual((status, failures(result)), (support.ERRORS, {"wrong answer": 1}))

    def test_answer_about_another_origin(self):
        status, result, _ = self.through_proxy(
            lambda path, _: b"500 sttp://other.example:99" + path + b' SERVER ERROR "no"\n')
        self.assertEqual((status, failures(result)), (support.ERRORS, {"wrong answer": 1}))


class OpenLoop(unittest.TestCase):
    def test_latency_counts_from_when_a_request_was_due(self):
        """The server stops for half a second: those that were due meanwhile waited, though few of
        them were sent."""
        pause = Once(b"SHOW", 20, lambda _, answer: time.sleep(0.5) or answer)
        with FakeServer(Texts(pause)) as server:
            _, result = bench_json("--rate", 100, "--duration", "2s", "-c", 1, "--keys", 5,
                                   port=server.port)
        slow = sum(count for low, count in result["histogram_ns"]["slots"] if low >= 100e6)
        self.assertGreaterEqual(slow, 30)  # 40 were due in its first 400 ms
        self.assertGreaterEqual(result["latency_us"]["p90"], 100e3)
        self.assertLess(result["service_us"]["p50"], result["latency_us"]["p90"])
        self.assertGreaterEqual(result["sending"]["late"], 30)

    def test_rate_is_of_all_threads_together(self):
        with Server("--durability", "none") as server:
            for arrivals in ("constant", "poisson"):
                with self.subTest(arrivals=arrivals):
                    status, result = bench_json("--rate", 200, "--duration", "2s", "--threads", 2,
                                                "-c", 20, "--arrivals", arrivals, "--keys", 10,
                                                port=server.port)
                    self.assertIn(status, (support.OK, support.BOTTLENECK))
                    due = result["sending"]["sent"] + result["sending"]["unsent"]
                    slack = 2 if arrivals == "constant" else 120  # six deviations
                    self.assertAlmostEqual(due, 400, delta=slack)
                    self.assertEqual(result["options"]["loop"], "open")

    def test_the_tester_says_when_it_was_the_bottleneck(self):
        """It is stopped for half a second: what was due meanwhile it sends late, though all its
        connections were free."""
        begun = threading.Event()

        def note(action, _, answer):
            if action == b"SHOW":
                begun.set()
            return answer

        with FakeServer(Texts(note)) as server:
            process = subprocess.Popen([BENCH, "-p", str(server.port), "--rate", "100", "-c", "60",
                                        "--duration", "2s", "--keys", "5"],
                                       stdout=subprocess.PIPE, text=True)
            self.assertTrue(begun.wait(support.DEADLINE))
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.5)  # what is measured, not waited for
            process.send_signal(signal.SIGCONT)
            out, _ = process.communicate(timeout=support.DEADLINE)
        self.assertEqual(process.returncode, support.BOTTLENECK, out)
        self.assertIn("THE TESTER WAS THE BOTTLENECK", out)

    def test_a_stall_of_a_second_shows_in_p99(self):
        """One answer in 90 is slow, and those that were due behind it waited as well."""
        stall = Once(b"SHOW", 10, lambda _, answer: time.sleep(1) or answer)
        with FakeServer(Texts(stall)) as server:
            status, result = bench_json("--rate", 30, "--duration", "3s", "-c", 1, "--keys", 5,
                                        port=server.port)
        self.assertIn(status, (support.OK, support.BOTTLENECK))
        self.assertGreaterEqual(result["latency_us"]["p99"], 0.9e6)
        self.assertGreaterEqual(result["latency_us"]["p75"], 0.1e6)
        self.assertLess(result["service_us"]["p50"], 0.5e6)

    def test_what_was_never_sent_has_failed(self):
        """The server stops for good after its 50th answer: who was due later waits for ever."""
        stuck = threading.Event()
        stop = Once(b"SHOW", 50, lambda _, answer: stuck.wait(support.DEADLINE) and answer)
        with FakeServer(Texts(stop)) as server:
            status, result = bench_json("--rate", 100, "--duration", "1s", "-c", 1, "--keys", 5,
                                        "--timeout", "700ms", "--slo", "p50<1h,errors<10%",
                                        port=server.port)
            stuck.set()
        self.assertIn(status, (support.SLO, support.BOTTLENECK))
        self.assertGreaterEqual(failures(result)["not sent"], 40)
        self.assertEqual([term["holds"] for term in result["slo"]], [True, False])

    def test_the_rate_is_reached_at_the_end_of_the_ramp(self):
        """However few requests there are in it."""
        with FakeServer(Texts()) as server:
            _, result = bench_json("--rate", 40, "--ramp", "400ms", "--duration", "1s", "-c", 4,
                                   "--threads", 1, "--keys", 2, port=server.port)
        self.assertAlmostEqual(result["sending"]["sent"] + result["sending"]["unsent"], 40, delta=2)

    def test_what_was_not_sent_of_a_number_of_requests_has_failed(self):
        slow = Texts(lambda action, _, answer:
                     time.sleep(0.02) or answer if action == b"SHOW" else answer)
        with FakeServer(slow) as server:
            _, result = bench_json("--rate", 1000, "--duration", "1s", "-c", 2, "--keys", 2,
                                   "--requests", 500, port=server.port)
        self.assertEqual(result["sending"]["sent"] + result["sending"]["unsent"], 500)
        self.assertEqual(failures(result), {"not sent": result["sending"]["unsent"]})

    def test_a_slow_server_is_not_blamed_on_the_tester(self):
        """Only the first request of each connection can be late by the tester's fault, on a machine
        that is busy: so many are sent that these are below 1%."""
        slow = Texts(lambda action, _, answer:
                     time.sleep(0.002) or answer if action == b"SHOW" else answer)
        with FakeServer(slow) as server:
            status, result = bench_json("--rate", 3000, "--duration", "1s", "-c", 2, "--keys", 2,
                                        port=server.port)
        self.assertEqual((status, set(failures(result))), (support.ERRORS, {"not sent"}))
        self.assertGreater(result["sending"]["unsent"], 700)
        self.assertEqual(result["errors"], result["sending"]["unsent"])
        self.assertFalse(result["tester"]["bottleneck"])


def made(rates, p50=100.0):
    """A result whose intervals have these rates and medians, or all the same median."""
    p50 = p50 if isinstance(p50, list) else [p50] * len(rates)
    series = [{"phase": "measure", "width_s": 0.1, "answers": rate / 10, "errors": 0,
               "p50_us": one, "p90_us": one * 2, "p99_us": one * 3} for rate, one in zip(rates, p50)]
    return {"schema": "sttp-bench", "version": 1, "options": {"rate": 0}, "errors": 0,
            "answers": sum(rates) / 10, "phases": [{"name": "measure", "measured": True}],
            "series": series}


class Compare(unittest.TestCase):
    def compare(self, *results):
        with tempfile.TemporaryDirectory() as directory:
            names = []
            for number, result in enumerate(results):
                names.append(f"{directory}/{number}.json")
                pathlib.Path(names[-1]).write_text(
                    result if isinstance(result, str) else json.dumps(result))
            return bench("compare", *names)

    def verdict(self, done, name):
        return re.search(rf"(?m)^ +{name} .*?(\w+)$", done.out).group(1)

    def test_noise_is_called_noise(self):
        steady = [1000 + (i * 7919) % 200 for i in range(100)]
        done = self.compare(made(steady), made(steady[::-1]))
        self.assertEqual(done.status, support.OK, done.err)
        self.assertEqual(self.verdict(done, "answers a second"), "noise")

    def test_a_difference_within_the_spread_of_a_run_is_noise(self):
        wild = [500 if i % 20 < 10 else 1500 for i in range(100)]
        done = self.compare(made(wild), made([rate * 1.05 for rate in wild]))
        self.assertEqual(self.verdict(done, "answers a second"), "noise")

    def test_a_difference_is_found_in_both_directions(self):
        slow = [1000 + i % 20 for i in range(100)]
        fast = [1200 + i % 20 for i in range(100)]
        done = self.compare(made(slow), made(fast))
        self.assertEqual((done.status, self.verdict(done, "answers a second")), (0, "better"))
        done = self.compare(made(fast), made(slow))
        self.assertEqual((done.status, self.verdict(done, "answers a second")),
                         (support.SLO, "WORSE"))

    def test_longer_latency_is_worse(self):
        rates = [1000 + i % 20 for i in range(100)]
        done = self.compare(made(rates), made(rates, p50=150.0))
        self.assertEqual((done.status, self.verdict(done, "p50")), (support.SLO, "WORSE"))

    def test_errors_count(self):
        rates = [1000] * 100
        worse = {**made(rates), "errors": 500}
        self.assertEqual(self.compare(made(rates), worse).status, support.SLO)
        self.assertEqual(self.compare(worse, made(rates)).status, support.OK)

    def test_short_runs_tell_nothing(self):
        done = self.compare(made([1000] * 3), made([500] * 3))
        self.assertEqual(done.status, support.OK)
        self.assertIn("too short to tell", done.out)

    def test_a_fifth_more_latency_is_found_and_the_same_again_is_not(self):
        """Of one distribution, drawn anew."""
        chance = random.Random(SEED)

        def drawn(scale):
            return made([chance.gauss(1000, 100) for _ in range(100)],
                        [chance.gauss(100, 20) * scale for _ in range(100)])

        verdicts = {1: [], 1.2: []}
        for scale, found in verdicts.items():
            for _ in range(20):
                done = self.compare(drawn(1), drawn(scale))
                found.append(self.verdict(done, "p50"))
        print(f"STTP_SEED={SEED}", verdicts)
        self.assertLessEqual(len(verdicts[1]) - verdicts[1].count("noise"), 3)
        self.assertGreaterEqual(verdicts[1.2].count("WORSE"), 18)

    def test_files_that_are_no_results(self):
        good = made([1000] * 100)
        for bad in ("", "{", "[]", "nonsense", '{"schema": "other"}', "[" * 100000,
                    '{"schema": "sttp-bench", "version": 99}', '"\\', '{"a": "\\u00"}', "{}x",
                    '{"schema": "sttp-bench", "version": 1}', json.dumps(good)[:-2],
                    {**good, "phases": [{"name": "measure", "measured": True}] * 100000},
                    json.dumps(good).replace("100.0", "1e999", 1)):
            with self.subTest(bad=str(bad)[:40]):
                done = self.compare(good, bad)
                self.assertEqual((done.status, done.out), (support.USAGE, ""))
                self.assertIn("1.json: ", done.err)
        self.assertIn("version 99", self.compare(good, {**good, "version": 99}).err)
        self.assertEqual(bench("compare", "/nowhere").status, support.USAGE)
        self.assertEqual(bench("compare", "/nowhere", "/nowhere").status, support.USAGE)

    def test_members_of_wrong_types_are_taken_for_missing(self):
        good = made([1000] * 100)
        for name in good:
            for value in (None, [], {}, "x", 7, [[]], [{}], [{"phase": 3}], {"a": {"b": []}}):
                done = self.compare(good, {**good, name: value})
                self.assertIn(done.status, (support.OK, support.USAGE, support.SLO))

    def test_names_in_a_file_reach_the_terminal_escaped(self):
        good = made([1000] * 100)
        good["phases"][0]["name"] = "\x1b[31m"
        good["options"]["\x1b]0;x"] = 1
        done = self.compare(good, made([1000] * 100))
        self.assertNotIn("\x1b", done.out)
        self.assertIn("\\x1b", done.out)

    def test_real_results_can_be_compared(self):
        with Server("--durability", "none") as server, tempfile.TemporaryDirectory() as directory:
            names = [f"{directory}/{name}.json" for name in "ab"]
            for name in names:
                bench("--duration", "700ms", "--keys", 10, "--json", name, port=server.port)
            done = bench("compare", *names)
        self.assertIn(done.status, (support.OK, support.SLO))
        self.assertIn("answers a second", done.out)


if __name__ == "__main__":
    unittest.main(testRunner=support.SideBySide())
