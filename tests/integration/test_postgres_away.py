"""A database that is away: stopped, killed, frozen, restarted and failed over to a replica, without
load and under it. What clients saw has to be linearizable: nothing acknowledged is lost, nothing is
shown that nobody wrote, and what failed is counted."""

import collections
import re
import sys
import time

import postgres_support
from harness import (FULL, NO_CACHE, SEED, Server, connect, lines_of, read_line, run_tests,
                     wait_until)
from linearizability import check_paths
from race_clients import Client, Plan, Processes, Session

AWAY = b'"the database is not available'
WAIT, ANSWER = 5, 10  # seconds: STORE_POSTGRES_WAIT, STORE_POSTGRES_ANSWER
SLACK = 6
PATHS = tuple(b"/%s%d" % (directory, i) for directory in (b"", b"a/x", b"a/d/y") for i in range(4))
MESSAGE = re.compile(rb'"[^"]*"')


def on(conninfo, *options):
    return Server("--storage-backend", "postgres", "--storage-postgres-conninfo", conninfo,
                  *NO_CACHE, *options)


def timed(server, request):
    started = time.monotonic()
    line = lines_of(server, request)[0]
    return line, time.monotonic() - started


def expect_away(server, request, least, most):
    line, took = timed(server, request)
    assert AWAY in line and least <= took <= most, (line, took)


def wait_for(server, request, wanted):
    wait_until(lambda: lines_of(server, request)[0].startswith(wanted), what=request)


def wait_for_pool(database, connections=8):
    wait_until(lambda: database.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name "
                                    "= 'sttpd'") == [str(connections)], what="the pool")


# -- without load


def test_stopped():
    with postgres_support.Cluster() as cluster, cluster.database() as database, \
            on(database.conninfo) as server:
        lines_of(server, b"CREATE /a x")
        for stop in (cluster.stop, cluster.kill):
            stop()
            expect_away(server, b"SHOW /a", WAIT - 1, WAIT + SLACK)
            for request in (b"SHOW /a", b"CREATE /b x", b"LIST /", b"DELETE /d/", b"UPDATE /a y"):
                expect_away(server, request, 0, WAIT - 2)
            cluster.start()
            wait_for(server, b"SHOW /a", b"200 ")
            assert lines_of(server, b"SHOW /a", b"SHOW /b")[1:] == [b"x", b"400 /b NOT FOUND"]
        # It was written before the answer; who reads it may be behind.
        wait_until(lambda: server.text().count("connected again") == 2, what="the log")
        text = server.text()
        assert text.count("no other can be made") == 2, text


def test_a_restart_within_the_wait_fails_nothing_that_comes_after_it():
    with postgres_support.Cluster() as cluster, cluster.database() as database, \
            on(database.conninfo) as server:
        lines_of(server, b"CREATE /a x")
        for i in range(10 if FULL else 3):
            cluster.restart()
            assert lines_of(server, b"UPDATE /a %d" % i) == [b"200 /a OK", b"%d" % i]
            assert lines_of(server, b"SHOW /a") == [b"200 /a OK", b"%d" % i]


def test_frozen():
    """Nothing answers and nothing is closed."""
    with postgres_support.Cluster() as cluster, cluster.database() as database, \
            on(database.conninfo) as server:
        lines_of(server, b"CREATE /a x")
        wait_for_pool(database)
        cluster.freeze()
        try:
            with connect(server.address) as change, connect(server.address) as show:
                started = time.monotonic()
                change.sendall(b"UPDATE /a y\n")
                show.sendall(b"LIST /\n")
                lines = read_line(show), read_line(change)
                assert AWAY in lines[0] and b'"outcome unknown"' in lines[1], lines
                assert ANSWER - 1 < time.monotonic() - started < ANSWER + WAIT + SLACK
        finally:
            cluster.thaw()
        wait_for(server, b"SHOW /a", b"200 ")
        assert lines_of(server, b"SHOW /a")[1] in (b"x", b"y")
        assert lines_of(server, b"UPDATE /a z") == [b"200 /a OK", b"z"]


# -- under load


def report(history, what):
    """How many requests failed, by what they were told."""
    told = collections.Counter()
    for operation in history:
        if operation.code == 500:
            told[(MESSAGE.search(operation.message) or [b"?"])[0].decode()] += 1
        elif operation.code is None:
            told["no answer"] += 1
    print(f"{what}: {len(history)} requests, failed: {dict(told)}", flush=True)


def final(address, now):
    """What each path holds when all is quiet, as operations that come last."""
    session = Session(address, "end")
    with session.socket:
        operations = [session.answer(operation) for operation in
                      session.send([(b"SHOW", path, None) for path in PATHS])]
    assert min(operation.invoked for operation in operations) > now
    assert all(operation.code != 500 for operation in operations), operations
    return operations


def latest(history):
    return max(operation.answered or operation.invoked for operation in history)


def under_load(conninfo, disturb, what, operations):
    """Two servers and six clients of each, while `disturb` does what it does, some requests of
    another client before and after it."""
    with on(conninfo) as first, on(conninfo) as second:
        plan = Plan((first.address, second.address), PATHS, SEED, operations)
        with Processes(plan, 2, threads=6) as clients:
            watch = Client(plan._replace(operations=100), 99)
            watch.run()
            disturb()
            for server in (first, second):
                wait_for(server, b"LIST /", b"200 ")
            watch.plan = plan._replace(operations=200)
            watch.run()
            history = clients.history() + watch.history
        history += final(second.address, latest(history))
    report(history, what)
    assert any(operation.code == 200 for operation in watch.history[-50:]), "it has not recovered"
    check_paths(PATHS, [operation for operation in history if operation.path in PATHS])


def test_restarted_under_load():
    for stop in (postgres_support.Cluster.stop, postgres_support.Cluster.kill):
        with postgres_support.Cluster(fsync="on") as cluster, cluster.database() as database:
            def disturb(cluster=cluster, stop=stop):
                for _ in range(3):
                    stop(cluster)
                    cluster.start()

            under_load(database.conninfo, disturb, stop.__name__, 3000 if FULL else 400)


def test_failed_over_under_load():
    """Killed, and the replica that has confirmed all that was acknowledged takes over."""
    with postgres_support.Cluster(synchronous_commit="on") as cluster, \
            cluster.database() as database:
        replica = cluster.replica(synchronous=True)

        def disturb():
            cluster.kill()
            cluster.promote(replica)

        under_load(database.conninfo_of(cluster, replica), disturb, "failed over",
                   3000 if FULL else 400)
        assert replica.sql("SELECT count(*) FROM sttp_meta", database.name) == ["1"]


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
