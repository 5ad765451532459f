"""sttpd on PostgreSQL: several servers on one database, what else is in the database, and what is
refused at the start. One cluster for all of it, a database for each test."""

import contextlib
import random
import sys
import threading

import postgres_support
from harness import (FULL, NO_CACHE, SEED, Server, StartFailure, lines_of, names_of, run_tests,
                     status_of, wait_until)
from linearizability import check_paths
from race_clients import Plan, Processes

# They share directories, which are removed and made again.
PATHS = (b"/b", b"/a/x", b"/a/d/y")

ORPHANS = """SELECT count(*) FROM sttp_entry AS e WHERE parent <> '/' AND NOT EXISTS (SELECT 1 FROM
    sttp_entry AS p WHERE p.parent || p.name || '/' = e.parent AND p.directory)"""


def on(database, *options):
    return Server("--storage-backend", "postgres", "--storage-postgres-conninfo",
                  database.conninfo, *options)


@contextlib.contextmanager
def two_servers(*options):
    with CLUSTER.database() as database:
        with on(database, *NO_CACHE, *options) as first, on(database, *NO_CACHE, *options) as second:
            yield database, first, second


def at_once(*works):
    """Runs some functions at the same time; their results."""
    results = [None] * len(works)
    barrier = threading.Barrier(len(works))

    def run(index):
        barrier.wait()
        results[index] = works[index]()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def codes_of(server, requests):
    """The codes of changes."""
    return [int(line.split(b" ")[0]) for line in lines_of(server, *requests)
            if line[:4] in (b"100 ", b"300 ", b"400 ", b"410 ", b"500 ", b"510 ", b"600 ")]


def orphans(database):
    return int(database.sql(ORPHANS)[0])


# -- several servers


def test_create_race_has_one_winner():
    with two_servers() as (database, *servers):
        for round_ in range(20 if FULL else 5):
            paths = [b"/r%d/%s%d" % (round_, directory, i) for i in range(50)
                     for directory in (b"", b"d%d/e/" % i)]
            clients = [(servers[i % 2], b"by %d" % i) for i in range(4)]
            codes = at_once(*[
                lambda server=server, text=text:
                codes_of(server, [b"CREATE %s %s" % (path, text) for path in paths])
                for server, text in clients])
            for i, path in enumerate(paths):
                winners = [number for number in range(4) if codes[number][i] == 100]
                assert len(winners) == 1, (path, [code[i] for code in codes])
                for server in servers:
                    assert lines_of(server, b"SHOW " + path)[1] == b"by %d" % winners[0]
        assert orphans(database) == 0


def test_a_change_is_seen_by_the_other_server_at_once():
    with two_servers() as (_, first, second):
        for i in range(200 if FULL else 40):
            path = b"/d%d/f" % i
            assert status_of(second, b"SHOW " + path)[0] == 410
            assert status_of(first, b"CREATE %s one" % path)[0] == 100
            assert lines_of(second, b"SHOW " + path)[1] == b"one"
            assert lines_of(second, b"UPDATE %s two" % path)[1] == b"two"
            assert lines_of(first, b"SHOW " + path)[1] == b"two"
            assert names_of(second, b"LIST /d%d" % i) == [b"f"]
            assert status_of(first, b"DELETE " + path)[0] == 600
            assert status_of(second, b"SHOW " + path)[0] == 400
            assert status_of(second, b"DELETE /d%d/" % i)[0] == 600
            assert status_of(first, b"SHOW " + path)[0] == 410


def test_histories_through_both_are_linearizable():
    operations = 100_000 if FULL else 4_200
    with two_servers() as (database, first, second):
        plan = Plan((first.address, second.address), PATHS, SEED, operations // 6)
        with Processes(plan, 6) as clients:
            history = clients.history()
        check_paths(PATHS, history)
        assert orphans(database) == 0
    seen = {(operation.action, operation.code) for operation in history}
    assert {(b"CREATE", 100), (b"CREATE", 300), (b"UPDATE", 200), (b"UPDATE", 400),
            (b"DELETE", 600), (b"DELETE", 300), (b"SHOW", 200), (b"SHOW", 410)} <= seen, seen
    assert not any(operation.code == 500 for operation in history), "none may fail"


def test_a_directory_is_removed_or_created_in():
    """DELETE of directories through one server beside CREATEs in them through the other."""
    rng = random.Random(SEED)
    count, seen = 40, set()
    with two_servers() as (database, first, second):
        for round_ in range(200 if FULL else 25):
            names = [b"/x%d/d%d" % (round_ % 7, i) for i in range(count)]
            lines_of(first, *[b"CREATE %s/x x" % name for name in names])
            lines_of(first, *[b"DELETE %s/x" % name for name in names])
            rng.shuffle(names)
            removed, created = at_once(
                lambda: codes_of(first, [b"DELETE %s/" % name for name in names]),
                lambda: codes_of(second, [b"CREATE %s/new%s x" % (name, deep) for name, deep in
                                          zip(names, [b"", b"/deep"] * count)]))
            assert orphans(database) == 0, round_
            assert set(created) == {100}, created
            assert set(removed) <= {600, 300}, removed
            seen |= set(removed)
            for name, code in zip(names, removed):
                there = names_of(second, b"LIST " + name)
                assert there and there[0].startswith(b"new"), (name, code)
            lines_of(first, *[b"DELETE %s/new/deep" % name for name in names])
            lines_of(first, *[b"DELETE %s/new/" % name for name in names])
            lines_of(first, *[b"DELETE %s/new" % name for name in names])
    assert seen == {600, 300}, "they never met"


def test_one_connection():
    """All kinds of work share it."""
    with CLUSTER.database() as database, on(database, *NO_CACHE, "--storage-postgres-pool", 1) as \
            server:
        answers = at_once(*[
            lambda i=i: lines_of(server, b"CREATE /d%d/e/f x" % i, b"UPDATE /d%d/e/f y" % i,
                                 b"SHOW /d%d/e/f" % i, b"LIST /d%d?recursive=1" % i,
                                 b"DELETE /d%d/e/f" % i, b"DELETE /d%d/e/" % i)
            for i in range(16)])
        for answer in answers:
            assert [line.split(b" ")[0] for line in answer] == \
                [b"100", b"200", b"y", b"200", b"y", b"200", b"e/,", b"600", b"600"], answer


# -- what else is in the database


def test_a_text_that_breaks_the_limits():
    with CLUSTER.database() as database, on(database) as server:
        lines_of(server, b"CREATE /d/f x", b"CREATE /d/g x")
        database.sql("UPDATE sttp_entry SET contents = E'a\\nb' WHERE name = 'f'")
        database.sql("INSERT INTO sttp_entry VALUES ('/d/', 'two words', false, 'x')")
        database.sql("INSERT INTO sttp_entry VALUES ('/d/', repeat('n', 40), false, 'x')")
        assert lines_of(server, b"SHOW /d/f") == \
            [b'500 /d/f SERVER ERROR "stored file is not a valid short text"']
        assert names_of(server, b"LIST /d") == [b"f", b"g"]
        assert names_of(server, b"LIST /d?q=") == [b"g"]
        assert lines_of(server, b"UPDATE /d/f y") == [b"200 /d/f OK", b"y"]
        assert lines_of(server, b"SHOW /d/f") == [b"200 /d/f OK", b"y"]


def test_search_with_and_without_trigrams():
    for trigrams in (False, True):
        with CLUSTER.database(trigrams) as database:
            with on(database, *NO_CACHE) as server:
                lines_of(server, b"CREATE /a/f Buy milk", "CREATE /a/g MÉLANGE 50%".encode(),
                         b"CREATE /a/b/h more MILK")
                for query, found in ((b"milk", [b"b/h", b"f"]), (b"ILK", [b"b/h", b"f"]),
                                     (b"50%25", [b"g"]), (b"%C3%89lang", [b"g"]),
                                     (b"%C3%A9lang", []), (b"_ilk", [])):
                    assert names_of(server, b"LIST /a?recursive=1&q=" + query) == found, query
            index = database.sql("SELECT 1 FROM pg_indexes WHERE indexname = 'sttp_contents'")
            assert index == (["1"] if trigrams else []), index
            if trigrams:
                plan = "\n".join(database.sql(
                    "SET enable_seqscan = off; SET enable_indexscan = off; EXPLAIN SELECT name FROM "
                    "sttp_entry WHERE NOT directory AND lower(contents) LIKE '%milk%'"))
                assert "sttp_contents" in plan, plan


def test_an_engine_without_notifications():
    """What only servers tell each other is missing: all else is there."""
    with CLUSTER.database() as database:
        database.sql("""CREATE SCHEMA first;
            CREATE FUNCTION first.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'unknown function' USING ERRCODE = '42883'; END $$""")
        database.sql(f"ALTER DATABASE {database.name} SET search_path = first, pg_catalog, public")
        with on(database) as server, on(database, *NO_CACHE) as other:
            server.wait_log("has no notifications")
            assert [line[:3] for line in lines_of(
                server, b"CREATE /a/b x", b"UPDATE /a/b y", b"DELETE /a/b", b"DELETE /a/",
                b"CREATE /f x")] == [b"100", b"200", b"y", b"600", b"600", b"100"]
            assert lines_of(server, b"SHOW /f")[1] == b"x"
            lines_of(other, b"UPDATE /f later")
            wait_until(lambda: lines_of(server, b"SHOW /f")[1] == b"later", 10, "the other's text")


def test_a_table_that_is_gone():
    with CLUSTER.database() as database, on(database, *NO_CACHE) as server:
        lines_of(server, b"CREATE /a x")
        database.sql("ALTER TABLE sttp_entry RENAME TO elsewhere")
        for request in (b"SHOW /a", b"LIST /", b"UPDATE /a y", b"CREATE /d/b x", b"DELETE /d/"):
            assert status_of(server, request)[0] == 500
        database.sql("ALTER TABLE elsewhere RENAME TO sttp_entry")
        assert lines_of(server, b"SHOW /a") == [b"200 /a OK", b"x"]
        assert status_of(server, b"CREATE /d/b x")[0] == 100


# -- the start


def refused_with(word, *options):
    """The one line of a start that fails."""
    try:
        with Server("--storage-backend", "postgres", *options):
            raise AssertionError("it starts")
    except StartFailure as failure:
        assert failure.status == 1, failure
        errors = [line for line in failure.stderr.split("\n") if " error " in line]
        assert len(errors) == 1 and word in errors[0], failure.stderr


def test_a_wrong_conninfo_is_refused():
    with CLUSTER.database() as database:
        info = database.conninfo
        for conninfo, word in ((info + " dbname=nowhere", "nowhere"), (info + " port=1", "port"),
                               (info + " user=nobody", "nobody"), ("what is this", "what"),
                               (info + " host=no.such.host.invalid", "no.such.host.invalid"),
                               (info + " colour=red", "colour")):
            refused_with(word, "--storage-postgres-conninfo", conninfo)


def test_a_newer_schema_is_refused():
    with CLUSTER.database() as database:
        with on(database):
            pass
        database.sql("UPDATE sttp_meta SET version = version + 1")
        refused_with("version 2", "--storage-postgres-conninfo", database.conninfo)


def test_a_foreign_encoding_is_refused():
    CLUSTER.sql("CREATE DATABASE latin ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
    with CLUSTER.database() as database:
        refused_with("LATIN1", "--storage-postgres-conninfo", database.conninfo + " dbname=latin")


def test_a_server_that_takes_no_changes_is_refused():
    with CLUSTER.database() as database:
        with on(database):
            pass
        database.sql(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
        refused_with("read-only", "--storage-postgres-conninfo",
                     database.conninfo.replace("target_session_attrs=read-write", ""))


def main():
    global CLUSTER  # pylint: disable=global-variable-undefined
    with postgres_support.Cluster() as CLUSTER:
        return run_tests(globals())


if __name__ == "__main__":
    sys.exit(main())
