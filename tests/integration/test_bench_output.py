"""What sttp-bench writes: JSON with its schema, CSV, a page that stands by itself; what happens where
it cannot write."""

import csv
import html.parser
import itertools
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import unittest
import xml.dom.minidom

import bench_support as support
from bench_support import BENCH, FakeServer, Texts, bench, bench_json
from harness import Server, free_port, wait_until

HOSTILE = b'</script><b>&"\'<svg onload=x>'


class Output(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server("--durability", "none"))
        cls.directory = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))

    def run_bench(self, *arguments):
        return bench(*arguments, port=self.server.port)

    def test_json_schema(self):
        _, result = bench_json("--duration", "500ms", "--keys", 10, port=self.server.port)
        self.assertEqual((result["schema"], result["version"]), ("sttp-bench", 1))
        self.assertEqual(set(result), {
            "schema", "version", "program", "started", "server", "options", "elapsed_s", "answers",
            "errors", "error_percent", "rate", "warm_up_answers", "phases", "latency_us",
            "service_us", "actions_us", "failures", "sending", "tester", "slo", "histogram_ns", "series", "interrupted",
            "gave_up", "exit"})
        self.assertEqual(sum(count for _, count in result["histogram_ns"]["slots"]),
                         result["answers"])
        self.assertEqual(sum(point["answers"] for point in result["series"]), result["answers"])
        latency = result["latency_us"]
        ordered = [latency[name] for name in ("min", "p50", "p75", "p90", "p95", "p99", "p99.9",
                                              "p99.99", "max")]
        self.assertEqual(ordered, sorted(ordered))

    def test_percentiles_are_those_of_the_histogram(self):
        _, result = bench_json("--requests", 2000, "--keys", 10, port=self.server.port)
        left = 1000
        for low, count in result["histogram_ns"]["slots"]:
            left -= count
            if left <= 0:
                break
        self.assertAlmostEqual(result["latency_us"]["p50"] * 1000, low, delta=low / 500)

    def test_csv_has_the_same_course(self):
        path = self.directory / "a.csv"
        _, result = bench_json("--duration", "500ms", "--csv", path, port=self.server.port)
        with path.open() as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([int(row["answers"]) for row in rows],
                         [point["answers"] for point in result["series"]])


class Page(html.parser.HTMLParser):
    """Reads a page; finds what is not closed, what would be fetched, and what runs."""

    VOID = {"meta", "br"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attributes:
            assert name not in ("src", "href", "srcset", "data", "action"), (tag, name)
            assert not name.startswith("on"), (tag, name)
            assert name == "xmlns" or "://" not in value, (tag, name, value)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        self.text += data


class Html(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server("--durability", "none"))
        cls.directory = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))

    def page(self, *arguments, port=None):
        path = self.directory / "page.html"
        bench(*arguments, "--html", path, port=port or self.server.port)
        text = path.read_text(encoding="utf-8")
        self.assertNotRegex(text, r"<script|<link|<img|@import|url\(")
        for chart in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
            xml.dom.minidom.parseString(chart)
            self.assertNotRegex(chart, r"nan|inf")
        return text, Page(text)

    def test_it_needs_nothing_from_elsewhere_and_has_four_charts(self):
        for arguments in (["--duration", "500ms"], [], ["--requests", 1, "-c", 1],
                          ["--rate", 50, "--duration", "500ms"]):
            with self.subTest(arguments=arguments):
                text, page = self.page(*arguments)
                self.assertEqual(page.tags.count("svg"), 4)
                for line in re.findall(r'class="line c1" d="([^"]*)"', text):
                    self.assertRegex(line, r"^M.*[HL]")  # something is drawn, however short the run

    def test_cells_of_the_heat_map_touch(self):
        """A tenth of a unit between or above two of them would be a line on the screen."""
        text, _ = self.page("--duration", "500ms", "--keys", 10)
        cells = [tuple(map(float, cell)) for cell in re.findall(
            r'class="heat" fill-opacity="[\d.]+" d="M([\d.]+) ([\d.]+)V([\d.]+)H([\d.]+)V\2Z"',
            text)]
        self.assertEqual(len(cells), text.count('class="heat"'))
        for edges in ({x for left, _, _, right in cells for x in (left, right)},
                      {y for _, bottom, top, _ in cells for y in (bottom, top)}):
            self.assertGreater(len(edges), 3)
            self.assertGreater(min(b - a for a, b in itertools.pairwise(sorted(edges))), 0.5)

    def test_the_command_that_repeats_the_run_is_on_it(self):
        _, page = self.page("--requests", 20, "--keys", 5, "--seed", 77, "--slo", "p99<1h")
        self.assertRegex(page.text, r"sttp-bench --port \d+ --requests 20 --keys 5 --seed 77 "
                                    r"--slo 'p99<1h' --html ")
        _, page = self.page("--requests", 20)
        self.assertRegex(page.text, r"--html \S+ --seed \d+\n")

    def test_hostile_texts_are_escaped(self):
        def refuse(action, path, answer):
            return b'500 %s SERVER ERROR "%s"\n' % (path, HOSTILE.replace(b'"', b"")) \
                if action == b"SHOW" else answer

        with FakeServer(Texts(refuse)) as server:
            text, page = self.page("--requests", 20, "--keys", 5, port=server.port)
        self.assertIn(HOSTILE.replace(b'"', b"").decode(), page.text)
        self.assertNotIn("b>&'", text)
        path = f"{self.directory}/{HOSTILE.replace(b'/', b'').decode()}"
        with Server("--listen", f"unix:{path}", listen=[]):
            _, page = self.page("--unix", path, "--requests", 20, "--keys", 5, port="8080")
        self.assertIn(path, page.text)

    def test_a_run_without_an_answer(self):
        with FakeServer(lambda connection: connection.sendall(b"<b>&\n")) as server:
            text, page = self.page("-c", 2, port=server.port)
        self.assertNotIn("<b>&", text)
        self.assertIn("<b>&", page.text)
        self.assertIn("stopped answering", page.text)


class NotWritten(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server("--durability", "none"))
        cls.directory = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))

    def test_a_file_that_cannot_be_written_is_told_before_the_run(self):
        for option in ("--json", "--csv", "--html"):
            with self.subTest(option=option):
                done = bench("--duration", "1h", option, "/nowhere/x", port=self.server.port)
                self.assertEqual((done.status, done.out), (support.OUTPUT, ""))
                self.assertIn("cannot write /nowhere/x: No such file", done.err)

    def test_a_full_disk_is_told_and_the_results_are_printed(self):
        for option in ("--json", "--csv", "--html"):
            with self.subTest(option=option):
                done = bench("--requests", 10, option, "/dev/full", port=self.server.port)
                self.assertEqual(done.status, support.OUTPUT)
                self.assertIn("cannot write /dev/full: No space left", done.err)
                self.assertIn("no errors", done.out)

    def test_a_full_standard_output_is_told(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([BENCH, "-p", str(self.server.port), "--requests", "10"],
                                  stdout=full, stderr=subprocess.PIPE, text=True, check=False,
                                  timeout=support.DEADLINE)
        self.assertEqual(done.returncode, support.OUTPUT)
        self.assertIn("No space left", done.stderr)

    def test_a_reader_that_went_away_is_told(self):
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            done = subprocess.run([BENCH, "-p", str(self.server.port), "--requests", "10"],
                                  stdout=pipe, stderr=subprocess.PIPE, text=True, check=False,
                                  timeout=support.DEADLINE)
        self.assertEqual(done.returncode, support.OUTPUT)
        self.assertIn("Broken pipe", done.stderr)

    def test_an_old_file_stays_until_there_are_results(self):
        path = self.directory / "old.json"
        path.write_text("old")
        port = free_port()
        self.assertEqual(bench("--json", path, port=port).status, support.NO_SERVER)
        self.assertEqual(path.read_text(), "old")
        bench("--requests", 10, "--json", path, port=self.server.port)
        self.assertTrue(path.read_text().startswith('{\n  "schema"'))

    def test_an_interrupted_run_writes_its_files(self):
        paths = [self.directory / f"interrupted.{kind}" for kind in ("json", "csv", "html")]
        process = subprocess.Popen(
            [BENCH, "-p", str(self.server.port), "--duration", "1h", "-c", "5", "--keys", "11",
             "--json", paths[0], "--csv", paths[1], "--html", paths[2]],
            stdout=subprocess.PIPE, text=True)
        wait_until(lambda: list(self.server.docroot.glob("sttp-bench/*/key_10.txt")))
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=support.DEADLINE)
        self.assertEqual(process.returncode, support.OK, out)
        self.assertIn('"interrupted": true', paths[0].read_text())
        self.assertTrue(paths[1].read_text().startswith("phase,"))
        self.assertIn("interrupted", Page(paths[2].read_text()).text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
