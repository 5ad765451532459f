"""The PostgreSQL servers that other tests use."""

import os
import shutil
import subprocess
import sys

import harness
import postgres_support


def test_database():
    with postgres_support.Cluster() as cluster:
        with cluster.database() as first, cluster.database(trigrams=True) as second:
            assert first.name != second.name
            first.sql("CREATE TABLE t (a text)")
            assert first.sql("INSERT INTO t VALUES ('x'), ('y') RETURNING a") == ["x", "y"]
            assert second.sql("SELECT count(*) FROM pg_tables WHERE tablename = 't'") == ["0"]
            assert second.sql("SELECT similarity('abc', 'abc')") == ["1"]
            done = subprocess.run(["psql", "-XqAt", "-c", "SELECT 7", first.conninfo],
                                  check=True, stdout=subprocess.PIPE)
            assert done.stdout == b"7\n"
            cluster.restart()
            assert first.sql("SELECT count(*) FROM t") == ["2"]
            cluster.kill()
            cluster.start()
            first.sql("SELECT count(*) FROM t")
        directory = cluster.directory
    assert cluster.process.poll() is not None
    assert not directory.exists()


def leave(kind, meanwhile):
    """Kills a test that has a server, and waits until nothing of that is left."""
    script = f"import postgres_support, redis_support, sys\n" \
        f"with {kind}() as server:\n" \
        f"    children = server.children() if hasattr(server, 'children') else []\n" \
        f"    {meanwhile}\n" \
        f"    print(server.directory, server.process.pid, *children, flush=True)\n" \
        f"    sys.stdin.read()\n"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, cwd=os.path.dirname(__file__)) as test:
        directory, *pids = test.stdout.readline().decode().split()
        test.kill()
    try:
        harness.wait_until(lambda: not any(map(postgres_support.is_running, pids)),
                           what="the end of the server")
    finally:
        harness.remove_tree(directory)
    return len(pids)


def test_a_killed_test_leaves_no_server():
    assert leave("postgres_support.Cluster", "pass") > 2
    assert leave("postgres_support.Cluster", "server.freeze()") > 2
    if shutil.which("redis-server"):
        assert leave("redis_support.Redis", "server.freeze()") == 1


def test_frozen():
    with postgres_support.Cluster() as cluster:
        cluster.freeze()
        try:
            with harness.connect(("127.0.0.1", cluster.port), 0.2) as connection:
                connection.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")  # asks for TLS
                try:
                    assert not connection.recv(1), "a frozen server answers"
                except TimeoutError:
                    pass
        finally:
            cluster.thaw()
        assert cluster.sql("SELECT 1") == ["1"]


def test_replica_takes_over():
    with postgres_support.Cluster() as cluster:
        cluster.sql("CREATE TABLE t (a int)")
        replica = cluster.replica(synchronous=True)
        cluster.sql("INSERT INTO t VALUES (1)")
        assert replica.sql("SELECT pg_is_in_recovery()") == ["t"]
        cluster.kill()
        cluster.promote(replica)
        assert replica.sql("INSERT INTO t VALUES (2) RETURNING (SELECT count(*) FROM t)") == ["1"]
        assert replica.sql("SELECT pg_is_in_recovery()") == ["f"]
    assert replica.process.poll() is not None and not replica.directory.exists()


if __name__ == "__main__":
    sys.exit(harness.run_tests(globals()))
