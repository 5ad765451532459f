"""Settings of sttp-proxy: mistakes are told all together, with line and column; what it says of
itself."""

import re
import subprocess
import sys

from harness import BIN, run_tests, temporary_directory

PROGRAM = BIN / "sttp-proxy"
PLACE = re.compile(r"^(\S+):(\d+):(\d+): (.*)$", re.MULTILINE)


def run(*arguments):
    return subprocess.run([str(PROGRAM), *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=30, check=False)


def check(text, *mistakes):
    """Each is (line, column, words): the only ones, in any order, with -T and without it."""
    with temporary_directory() as directory:
        path = directory / "sttp-proxy.yaml"
        path.write_text(text, encoding="utf-8")
        for test in (("-T",), ()):
            done = run("-c", path, *test)
            assert (done.returncode, done.stdout) == (1, ""), done
            found = sorted((int(line), int(column), message) for file, line, column, message
                           in PLACE.findall(done.stderr) if file == str(path))
            assert [place[:2] for place in found] == sorted(mistake[:2] for mistake in mistakes), \
                done.stderr
            for (line, column, message), (*_, words) in zip(found, sorted(mistakes)):
                assert words in message, (words, message)
                shown = text.split("\n")[line - 1]
                assert f"\n    {shown}\n    {' ' * (column - 1)}^" in done.stderr, done.stderr


def check_good(text):
    with temporary_directory() as directory:
        path = directory / "sttp-proxy.yaml"
        path.write_text(text, encoding="utf-8")
        done = run("-T", "-c", path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "settings ok\n", ""), done


EXAMPLE = """listen_address: "127.0.0.1"
port: 3128
forward:
  enabled: true
  clients: ["127.0.0.0/8", "::1"]          # who may use it; this is the default
  allow: ["*.example.org:8080", "10.0.0.0/8:*"]   # where to; default: nothing
  parent: "sttp://10.0.0.2:3128"           # optional: chain through another proxy
reverse:
  - prefix: "/"                            # longest prefix wins
    balance: least_in_flight               # or round_robin, random_two, hash
    upstreams:
      - {address: "127.0.0.1:8081", weight: 1}
      - {address: "[::1]:8082"}
      - {address: "unix:/run/sttpd.sock", backup: true}
    health: {interval: 2s, timeout: 500ms, rise: 2, fall: 3}
cache: {enabled: false, max_files: 10000, max_size: 64MiB, expiration: 5s}
"""


def test_good_settings():
    check_good(EXAMPLE)
    for balance in ("round_robin", "random_two", "hash"):
        check_good(EXAMPLE.replace("least_in_flight", balance))


def test_every_mistake_in_one_run():
    check("""forward:
  enabled: true
  clients: ["127.0.0.1/8", "nowhere"]
  allow: ["*.example.org", "10.0.0.0/33:*", "a.b:0", "[fd00::/8:1"]
  parent: "http://10.0.0.2:3128"
reverse:
  - prefix: "/a"
    balance: fair
    upstreams:
      - {address: "127.0.0.1:"}
      - {address: "unix:run/sttpd.sock"}
      - {adress: "127.0.0.1:1"}
    health: {interval: 2 parsecs}
  - prefix: "a"
    upstreams: []
cache: {max_files: many}
""",
          (3, 13, "'127.0.0.1/8'"), (3, 28, "'nowhere'"), (4, 11, "'*.example.org'"),
          (4, 28, "'10.0.0.0/33:*'"), (4, 45, "'a.b:0'"), (4, 54, "'[fd00::/8:1'"),
          (5, 11, "'http://10.0.0.2:3128'"), (8, 14, "'fair'"), (10, 19, "'127.0.0.1:'"),
          (11, 19, "'unix:run/sttpd.sock'"), (12, 9, "the key 'address' is missing"),
          (12, 10, "did you mean 'address'?"), (13, 24, "'2 parsecs'"), (14, 13, "'a'"),
          (15, 16, "the list is empty"), (16, 20, "'many'"))


def test_overlapping_prefixes():
    check("""reverse:
  - prefix: "/a"
    upstreams: ["127.0.0.1:1"]
  - prefix: "/b"
    upstreams: ["127.0.0.1:1"]
  - prefix: "/a/"
    upstreams: ["127.0.0.1:1"]
  - prefix: "/b"
    upstreams: ["127.0.0.1:1"]
""", (6, 13, "'/a/'"), (8, 13, "'/b'"))


def test_prefixes_that_only_look_alike():
    check_good("""reverse:
  - {prefix: "/", upstreams: ["127.0.0.1:1"]}
  - {prefix: "/a", upstreams: ["127.0.0.1:1"]}
  - {prefix: "/ab", upstreams: ["127.0.0.1:1"]}
  - {prefix: "/a/b", upstreams: ["127.0.0.1:1"]}
""")


def test_the_proxy_itself():
    check("""listen_address: "127.0.0.1"
port: 3128
forward: {enabled: true, allow: ["a:*"], parent: "sttp://127.0.0.1:3128"}
reverse:
  - prefix: "/"
    upstreams:
      - "127.0.0.1:3129"
      - "127.0.0.1:3128"
      - "localhost:3128"
""", (3, 50, "itself"), (8, 9, "itself"), (9, 9, "itself"))


def test_faults_need_their_flag():
    text = """reverse:
  - prefix: "/"
    upstreams: ["127.0.0.1:1"]
faults:
  - {prefix: "/", fault: delay, delay: 10ms}
"""
    check(text, (5, 3, "--allow-faults"))


def test_manual_pages_and_help_name_every_setting():
    done = run("--help")
    assert done.returncode == 0 and done.stdout.startswith("Usage: sttp-proxy "), done
    assert max(map(len, done.stdout.splitlines())) <= 80
    done = run("-V")
    assert done.returncode == 0 and re.fullmatch(r"sttp-proxy \d+\.\d+\.\d+\n", done.stdout), done


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
