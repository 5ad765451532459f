"""What the benchmarks share: peers on loopback, memory and CPU of a process, figures with targets.

Peers are Debian's own packages, started on free ports with a temporary directory and ended by their
process id. Every figure with a target is a ratio to a peer of the same run, a count, or bytes.
"""

import contextlib
import os
import pathlib
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
import harness  # noqa: E402 - found by the line above

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
RESULTS = []


def require(*programs):
    missing = [name for name in programs if shutil.which(name, path=PATH) is None]
    if missing:
        raise SystemExit(f"not installed: {' '.join(missing)} (scripts/install-deps.sh bench)")


def figure(what, value, target=None, unit="", least=None):
    """Prints one figure, and whether it is at most `target` or at least `least`, where given."""
    verdict = wanted = ""
    if target is not None:
        verdict, wanted = "pass" if value <= target else "MISS", f"<= {target:g}"
    elif least is not None:
        verdict, wanted = "pass" if value >= least else "MISS", f">= {least:g}"
    RESULTS.append(verdict)
    digits = 3 if value < 10 else 2 if value < 100 else 0
    print(f"{what:<60} {value:>9.{digits}f} {unit:<5} {wanted:<8} {verdict}", flush=True)


def finish():
    """The exit status."""
    return 1 if "MISS" in RESULTS or "pass" not in RESULTS else 0


def compile_c(name, directory, *flags):
    """Builds a helper of this folder as the release is built."""
    output = directory / name
    subprocess.run(["cc", "-O2", "-o", output, HERE / f"{name}.c", *flags], check=True)
    return output


def raise_descriptor_limit(wanted):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        except (ValueError, PermissionError):
            raise SystemExit(f"the limit of open files is {hard}, {wanted} are needed (as root: "
                             f"prlimit --nofile={wanted} scripts/bench.sh)") from None
    elif soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Peer:
    """A server of another project; `pid` is the process that serves."""

    def __init__(self, process, port):
        self.process = process
        self.port = port
        self.pid = process.pid

    @property
    def address(self):
        return "127.0.0.1", self.port


@contextlib.contextmanager
def on_core(core):
    """What this starts meanwhile runs on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def user_arguments(flag):
    return [flag, "nobody"] if os.geteuid() == 0 else []


@contextlib.contextmanager
def peer(command, port):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env={**os.environ, "PATH": PATH})
    try:
        def answers():
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return True
            return False

        harness.wait_until(answers, what=command[0])
        yield Peer(process, port)
    finally:
        process.terminate()
        process.wait(harness.STOP_DEADLINE)


def memcached(connections=1024, *arguments):
    port = harness.free_port()
    return peer(["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-c", str(connections),
                 *user_arguments("-u"), *arguments], port)


@contextlib.contextmanager
def redis(*arguments, directory=None):
    """On loopback alone; its protected mode would refuse all addresses of it but 127.0.0.1."""
    with contextlib.ExitStack() as stack:
        directory = directory or stack.enter_context(harness.temporary_directory())
        port = harness.free_port()
        with peer(["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "",
                   "--protected-mode", "no", "--dir", str(directory), "--daemonize", "no",
                   *arguments], port) as server:
            yield server


NGINX = """daemon off; master_process off; pid {0}/pid; error_log /dev/null; worker_processes 1;
events {{ worker_connections {1}; }}
http {{
  access_log off; keepalive_timeout 1h; keepalive_requests 1000000; sendfile {4};
  server_tokens off; etag off; add_header Last-Modified "";
  client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/fastcgi;
  uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;
  server {{ listen 127.0.0.1:{2}; root {3}; }}
}}
"""


@contextlib.contextmanager
def nginx(connections=1024, root=None, sendfile="on"):
    """Serves the files of a directory; without one, /a of 150 bytes."""
    with harness.temporary_directory() as directory:
        port = harness.free_port()
        (directory / "a").write_text("x" * 150)
        config = directory / "nginx.conf"
        config.write_text(NGINX.format(directory, connections, port, root or directory, sendfile))
        with peer(["nginx", "-p", str(directory), "-c", str(config)], port) as server:
            yield server


@contextlib.contextmanager
def sttpd(*arguments):
    """A server with one text, /a, of 150 bytes."""
    with harness.Server(*arguments) as server:
        (server.docroot / "a").write_text("x" * 150)
        server.pid = server.process.pid
        yield server


def memory(pid):
    """Bytes of resident memory: `Rss` counts pages that it shares with others (the C library),
    `Pss` its share of them, `Private` none. The kernel walks the page tables for this file, so it
    is exact where VmRSS may be some pages off."""
    found = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, _ = line.split()
        found[name.rstrip(":")] = int(value) * 1024
    found["Private"] = found["Private_Clean"] + found["Private_Dirty"]
    return found


def settled_memory(pid):
    """The memory once it has stopped changing: the server may still put things away."""
    before = None
    while (now := memory(pid)) != before:
        before = now
        time.sleep(0.2)
    return now


def cpu_seconds(pid):
    """The CPU time of all threads, to the nanosecond (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def median(values):
    return statistics.median(values)
