"""sttp-cli shows a text over loopback, start to exit, beside `redis-cli GET` of the same text and a
program that does nothing."""

import json
import pathlib
import shutil
import subprocess
import sys

import bench
import harness

ROUNDS = 10
RUNS = 60  # of each command in each round


def times(commands, directory):
    """Seconds of every run. The commands take turns, so that a busy moment hits all of them."""
    found = {name: [] for name in commands}
    report = directory / "times.json"
    for _ in range(ROUNDS):
        for name, command in commands.items():
            subprocess.run(["hyperfine", "--shell=none", "--style=none", "--warmup=3",
                            f"--runs={RUNS}", f"--export-json={report}",
                            " ".join(map(str, command))],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            found[name] += json.loads(report.read_text())["results"][0]["times"]
    return found


def peak(program, command):
    """KiB of resident memory at its peak."""
    done = subprocess.run([program, *map(str, command)], check=True, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True)
    return int(done.stderr)


def loaded_libraries(command):
    traced = subprocess.run(["ldd", command[0]], check=True, capture_output=True, text=True).stdout
    return [line.split()[0] for line in traced.splitlines() if "=>" in line]


def main():
    bench.require("redis-server", "redis-cli", "hyperfine", "ldd", "cc")
    with harness.temporary_directory() as directory, bench.sttpd() as sttpd, bench.redis() as redis:
        get = [shutil.which("redis-cli"), "-p", redis.port]
        text = (sttpd.docroot / "a").read_text()
        subprocess.run([*map(str, get), "SET", "a", text], check=True, stdout=subprocess.DEVNULL)
        commands = {
            "sttp-cli": [harness.BIN / "sttp-cli", "-a", "127.0.0.1", "-p", sttpd.port, "/a"],
            "redis-cli": [*get, "GET", "a"],
            "minimal C program": [bench.compile_c("minimal", pathlib.Path(directory))],
        }
        for name in ("sttp-cli", "redis-cli"):
            shown = subprocess.run([*map(str, commands[name])], check=True, capture_output=True)
            assert shown.stdout == text.encode() + b"\n", shown.stdout
        found = times(commands, directory)
        meter = bench.compile_c("peak", directory, "-static")
        peaks = {name: peak(meter, command) for name, command in commands.items()}

    print(f"a SHOW over loopback, start to exit; medians of {ROUNDS * RUNS} runs each")
    seconds = {name: bench.median(values) for name, values in found.items()}
    for name in commands:
        bench.figure(f"  {name}, time", seconds[name] * 1e6, None, "us")
        bench.figure(f"  {name}, peak memory", peaks[name], None, "KiB")
    bench.figure("  sttp-cli to redis-cli, time, fastest runs",
                 min(found["sttp-cli"]) / min(found["redis-cli"]))
    for name, of_time, of_memory in (("sttp-cli", 0.25, 0.3), ("minimal C program", None, None)):
        bench.figure(f"  {name} to redis-cli, time", seconds[name] / seconds["redis-cli"], of_time)
        bench.figure(f"  {name} to redis-cli, memory", peaks[name] / peaks["redis-cli"], of_memory)
    libraries = loaded_libraries(commands["sttp-cli"])
    bench.figure(f"  sttp-cli, libraries loaded ({' '.join(libraries)})", len(libraries), 1)
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
