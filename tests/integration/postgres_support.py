"""PostgreSQL servers for tests: clusters of their own in temporary directories, on a Unix socket and
a free port of 127.0.0.1, run by an ordinary user whoever runs the test; replicas that stream from
them; and SQL by psql.

    with postgres_support.Cluster() as cluster:
        with cluster.database() as database:
            ... database.conninfo, database.sql("SELECT 1") ...

A cluster takes a second or two to make: one for a file of tests, and a database for each test.
"""

import contextlib
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import harness

ROLE = "sttp"
START_DEADLINE = 60.0
# Nothing but the database's own environment: settings of the person who runs the tests (PGHOST,
# PGPASSFILE) must not change what is connected to.
ENVIRONMENT = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "HOME": "/"}

# What makes a cluster fast that has to survive no power cut.
FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}

SETTINGS = {
    "max_connections": 100,
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "wal_level": "replica",
    "max_wal_senders": 4,
    "hot_standby": "on",
    "listen_addresses": "'127.0.0.1'",
    "log_min_messages": "warning",
    "autovacuum_naptime": "10s",
    "dynamic_shared_memory_type": "mmap",
    # A test that kills a server and starts it again waits for no checkpoint of much.
    "checkpoint_timeout": "1h",
    "wal_retrieve_retry_interval": "100ms",
}


def programs():
    """The directory of the newest PostgreSQL's programs; None where there is none."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"),
                   key=lambda path: int(path.parts[4]))
    return found[-1].parent if found else None


def is_there():
    return programs() is not None


def _owner():
    user = harness.UNPRIVILEGED.get("user")
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def is_running(pid):
    """Whether there is such a process, and more of it than its status."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class Server:
    """One PostgreSQL server: a data directory, and the process that has it while it runs."""

    def __init__(self, data, settings):
        self.data = data
        self.directory = data.parent
        self.port = harness.free_port()
        self.process = None
        self._settings = settings

    def _configure(self):
        lines = {**self._settings, "port": self.port,
                 "unix_socket_directories": f"'{self.directory}'"}
        text = "".join(f"{name} = {value}\n" for name, value in lines.items())
        (self.data / "sttp.conf").write_text(text, encoding="ascii")
        main = self.data / "postgresql.conf"
        if "sttp.conf" not in main.read_text(encoding="utf-8"):
            with open(main, "a", encoding="utf-8") as file:
                file.write("include 'sttp.conf'\n")

    @property
    def address(self):
        """For a conninfo: how to reach it by TCP."""
        return f"host=127.0.0.1 port={self.port}"

    @property
    def local_address(self):
        """For a conninfo: how to reach it by its Unix socket."""
        return f"host={self.directory} port={self.port}"

    def start(self, wait=True):
        self._configure()
        log = open(self.directory / "log", "ab")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen(
            [programs() / "postgres", "-D", self.data], stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, env=ENVIRONMENT, cwd=self.directory, **_owner())
        log.close()
        harness.end_with_us(self.process, signal.SIGQUIT)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        deadline = time.monotonic() + START_DEADLINE
        while not self._answers():
            status = self.process.poll()
            assert status is None, f"postgres ended with {status}:\n{self.log()}"
            assert time.monotonic() < deadline, f"postgres is not ready:\n{self.log()}"
            time.sleep(0.02)

    def _answers(self):
        done = subprocess.run([programs() / "pg_isready", "-q", "-U", ROLE, "-h", self.directory, "-p",
                               str(self.port)], check=False, env=ENVIRONMENT)
        return done.returncode == 0

    def log(self):
        return (self.directory / "log").read_text(encoding="utf-8", errors="replace")

    def _signal(self, number):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def stop(self, fast=True):
        """An orderly end: clients are cut off (fast), or not even waited for (immediate, after which
        the server recovers as after a crash)."""
        self._signal(signal.SIGINT if fast else signal.SIGQUIT)
        if self.process is not None:
            self.process.wait(START_DEADLINE)

    def kill(self):
        """As a crash of the machine does, but for what was written and not synced: all processes
        end at once and nobody is told."""
        if self.process is None or self.process.poll() is not None:
            return
        self._signal(signal.SIGSTOP)  # it starts no more of them
        children = self.children()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._signal(signal.SIGKILL)
        self.process.wait(START_DEADLINE)
        # A new server does not start as long as one of them has the memory that they shared.
        harness.wait_until(lambda: not any(map(is_running, children)), START_DEADLINE, "the end")

    def restart(self):
        self.stop()
        self.start()

    def children(self):
        """The process ids of the backends and workers."""
        pid = self.process.pid
        try:
            text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        except FileNotFoundError:
            return []
        return [int(child) for child in text.split()]

    def freeze(self):
        """The server answers nothing any more, and closes nothing either, until thaw."""
        for pid in (self.process.pid, *self.children()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self):
        for pid in (self.process.pid, *self.children()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def sql(self, text, database="postgres", role=ROLE):
        """Runs SQL by psql; the rows as it prints them, one string each, columns joined by `|`."""
        done = subprocess.run(
            [programs() / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d",
             f"{self.local_address} dbname={database} user={role}"],
            input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
            env=ENVIRONMENT)
        assert done.returncode == 0, f"{text}\n{done.stderr.decode()}"
        return done.stdout.decode().splitlines()


class Database:
    """A database of a cluster."""

    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name

    @property
    def conninfo(self):
        return self.conninfo_of(self.cluster)

    def conninfo_of(self, *servers):
        """For several servers, in this order: what a store is given that fails over."""
        ports = ",".join(str(server.port) for server in servers)
        hosts = ",".join("127.0.0.1" for _ in servers)
        return f"host={hosts} port={ports} dbname={self.name} user={ROLE} " \
            "target_session_attrs=read-write"

    def sql(self, text):
        return self.cluster.sql(text, self.name)

    def clear(self):
        """Takes all files and directories out of it, behind the back of a server with no cache."""
        tables = self.sql("SELECT tablename FROM pg_tables WHERE tablename = 'sttp_entry'")
        if tables:
            self.sql("TRUNCATE sttp_entry")


class Cluster(Server):
    """A new cluster, used as `with Cluster() as cluster:`; it runs within.

    durable   with fsync: for what is about durability, or speed
    where     the directory in which to make its own; the one for temporary files otherwise
    settings  more settings, name to value as the configuration file has it
    """

    def __init__(self, durable=False, where=None, **settings):
        directory = pathlib.Path(tempfile.mkdtemp(prefix="sttp-pg-", dir=where))
        directory.chmod(0o755)
        user = harness.UNPRIVILEGED.get("user")
        if user is not None:
            os.chown(directory, user, user)
        super().__init__(directory / "data",
                         {**SETTINGS, **({} if durable else FAST), **settings})
        self._replicas = []

    def __enter__(self):
        try:
            self._create()
            self.start()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(self, kind, value, traceback):
        self._discard()

    def _create(self):
        done = subprocess.run(
            [programs() / "initdb", "-D", self.data, "-U", ROLE, "--auth=trust", "--no-sync",
             "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"], check=False,
            env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.directory,
            **_owner())
        assert done.returncode == 0, done.stdout.decode()

    def _discard(self):
        for server in (*self._replicas, self):
            server.kill()
            shutil.rmtree(server.directory, ignore_errors=True)

    @contextlib.contextmanager
    def database(self, trigrams=False):
        """A new, empty database; `trigrams`: with the extension pg_trgm in it."""
        name = f"sttp_{secrets.token_hex(6)}"
        self.sql(f"CREATE DATABASE {name}")
        if trigrams:
            self.sql("CREATE EXTENSION pg_trgm", name)
        try:
            yield Database(self, name)
        finally:
            if self.process is not None and self.process.poll() is None:
                self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def replica(self, synchronous=False):
        """A running server that streams from this one; `synchronous`: this one acknowledges no
        commit from now on that the replica has not on its disk. Ends with the cluster."""
        directory = pathlib.Path(tempfile.mkdtemp(prefix="sttp-pg-", dir=self.directory.parent))
        directory.chmod(0o755)
        user = harness.UNPRIVILEGED.get("user")
        if user is not None:
            os.chown(directory, user, user)
        replica = Server(directory / "data", dict(self._settings))
        self._replicas.append(replica)
        done = subprocess.run(
            [programs() / "pg_basebackup", "-D", replica.data, "-R", "-X", "stream", "-c", "fast",
             "--no-sync", "-d", f"{self.local_address} user={ROLE} application_name=replica"],
            check=False, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=directory, **_owner())
        assert done.returncode == 0, done.stdout.decode()
        replica.start()
        harness.wait_until(lambda: self.sql("SELECT 1 FROM pg_stat_replication WHERE state = "
                                            "'streaming'") == ["1"], START_DEADLINE, "streaming")
        if synchronous:
            self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
            self.sql("ALTER SYSTEM SET synchronous_commit = 'on'")
            self.sql("SELECT pg_reload_conf()")
            harness.wait_until(lambda: self.sql("SELECT sync_state FROM pg_stat_replication") ==
                               ["sync"], START_DEADLINE, "synchronous")
        return replica

    def promote(self, replica):
        """Makes a replica a server that takes changes; this one must not run any more."""
        assert self.process.poll() is not None, "two servers would take changes"
        done = subprocess.run([programs() / "pg_ctl", "promote", "-w", "-D", replica.data],
                              check=False, env=ENVIRONMENT, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, cwd=replica.directory, **_owner())
        assert done.returncode == 0, done.stdout.decode()
        # It has the settings of the first one, and no replica to wait for.
        replica.sql("ALTER SYSTEM RESET synchronous_standby_names")
        replica.sql("SELECT pg_reload_conf()")


def main():
    """Runs a command with a new cluster, a database of which STTP_POSTGRES names."""
    signal.signal(signal.SIGTERM, harness.interrupt)
    with Cluster() as cluster, cluster.database() as database:
        environment = {**os.environ, "STTP_POSTGRES": database.conninfo}
        return subprocess.run(sys.argv[1:], check=False, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
