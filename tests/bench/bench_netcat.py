"""The default run of sttp-bench beside what it replaces: the same 3,100 requests by a shell loop with a
netcat for each, 50 at a time. Both find the same server and take turns. Its files are in memory: ext4
takes longer to create files where others were deleted a moment ago, which is not what is measured."""

import re
import subprocess
import sys
import time

import bench
import harness

ROUNDS = 3
REQUESTS = 3100
TEXT = "x" * 100

# Every request of a phase is made before the next phase begins. An empty line ends the session, so
# that netcat ends when it has the answer.
LOOP = r"""
ask() { printf '%s\n\n' "$1" | nc 127.0.0.1 "$port"; }
throttle() { if [ $((n % 50)) = 0 ]; then wait; fi; }
for ((n = 1; n <= 1000; n++)); do ask "CREATE /snippets/snippet_$n.txt $text" & throttle; done; wait
for ((n = 1; n <= 1000; n++)); do
  ask "SHOW /snippets/snippet_$n.txt" & [ $((n % 10)) != 0 ] || ask "SHOW /snippets/snippet_$n.txt" &
  throttle
done; wait
for ((n = 1; n <= 1000; n++)); do ask "DELETE /snippets/snippet_$n.txt" & throttle; done; wait
"""


def by_netcat(port):
    """Seconds."""
    begun = time.monotonic()
    done = subprocess.run(["bash", "-c", f"port={port} text={TEXT}\n{LOOP}"], check=True,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    elapsed = time.monotonic() - begun
    good = len(re.findall(r"^(?:100|200|600) /snippets/", done.stdout, re.MULTILINE))
    assert good == REQUESTS, f"{good} good answers: {done.stdout[:500]} {done.stderr[:500]}"
    return elapsed


def by_sttp_bench(port):
    """Seconds, start and end of the program included."""
    begun = time.monotonic()
    done = subprocess.run([harness.BIN / "sttp-bench", "-p", str(port), "-i", "0", "-c", "50"],
                          check=True, capture_output=True, text=True)
    elapsed = time.monotonic() - begun
    assert re.search(rf"^all +{REQUESTS} +0 ", done.stdout, re.MULTILINE), done.stdout
    return elapsed


def main():
    bench.require("nc", "bash")
    ratios, seconds = [], {by_netcat: [], by_sttp_bench: []}
    with harness.temporary_directory(harness.MEMORY) as docroot, \
            harness.Server("--durability", "none", docroot=docroot) as server:
        for _ in range(ROUNDS):
            for run, found in seconds.items():
                found.append(run(server.port))
            ratios.append(seconds[by_netcat][-1] / seconds[by_sttp_bench][-1])
    bench.figure("netcat: 3,100 requests by a shell loop, 50 at a time",
                 bench.median(seconds[by_netcat]), unit="s")
    bench.figure("netcat: the same by sttp-bench -i 0 -c 50",
                 bench.median(seconds[by_sttp_bench]), unit="s")
    bench.figure("netcat: sttp-bench is so many times faster, median of 3", bench.median(ratios),
                 least=20)
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
