"""Many clients at once on a few paths: every history of a path is linearizable, whatever the
clients and the server do meanwhile. Under ThreadSanitizer it is the load that finds data races."""

import signal
import sys

from harness import FULL, SEED, Server, run_tests, temporary_directory
from linearizability import check_paths
from race_clients import Client, Plan, Processes, Session


# They share directories, which are removed and made again: a change of one path beside that of the
# directory of another.
PATHS = (b"/b", b"/a/x", b"/a/d/y")
MORE_PATHS = tuple(b"/%s%d" % (directory, i) for directory in (b"", b"a/x", b"a/d/y", b"c/c/c/z")
                   for i in range(4))


def check_six(operations, *options):
    """6 clients, of a process each."""
    with Server("-t", "3", *options) as server:
        plan = Plan((server.address,), PATHS, SEED, operations // 6)
        with Processes(plan, 6) as clients:
            history = clients.history()
    assert len(history) >= operations // 6 * 6
    check_paths(PATHS, history)
    return history


def test_histories_are_linearizable():
    history = check_six(100_000 if FULL else 4_200, "--durability", "none")
    # It has been a fight: both answers of every action, many times.
    seen = {(operation.action, operation.code) for operation in history}
    assert {(b"CREATE", 100), (b"CREATE", 300), (b"UPDATE", 200), (b"UPDATE", 400),
            (b"DELETE", 600), (b"DELETE", 300), (b"SHOW", 200), (b"SHOW", 410)} <= seen, seen


def test_histories_with_syncs_are_linearizable():
    check_six(100_000 if FULL else 1_200, "--durability", "always")


def test_histories_with_two_storage_threads_are_linearizable():
    check_six(20_000 if FULL else 1_200, "--durability", "interval", "--storage-threads", "2")


def test_histories_with_a_cache_of_two_are_linearizable():
    """What is kept is given up again and again."""
    check_six(100_000 if FULL else 4_200, "--durability", "none", "--cache-max-files", "2")


def test_histories_without_a_cache_are_linearizable():
    check_six(20_000 if FULL else 1_200, "--durability", "none", "--cache-enabled", "false")


# -- 32 clients


def shown_at_the_end(server, paths, now):
    """What each path holds when all is quiet, as operations that come last."""
    session = Session(server.address, "end")
    with session.socket:
        operations = session.send([(b"SHOW", path, None) for path in paths])
        operations = [session.answer(operation) for operation in operations]
    assert min(operation.invoked for operation in operations) > now
    return operations


def check_files(history):
    """Every path has a history of its own; what lists and removes directories is in all of them,
    and too much of it overlaps where 32 clients do it."""
    check_paths(MORE_PATHS, [operation for operation in history if operation.path in MORE_PATHS])


def latest(history):
    return max(operation.answered or operation.invoked for operation in history)


def check_many(*options, operations, may_lose=False):
    """32 clients, by TCP and by a Unix socket, that come and go."""
    with temporary_directory() as directory:
        listeners = ["--listen", "127.0.0.1:0", "--listen", f"unix:{directory}/s"]
        with Server("-t", "4", "--durability", "none", *options, listen=listeners) as server:
            plan = Plan(tuple(server.addresses), MORE_PATHS, SEED, operations, leave=0.2,
                        may_lose=may_lose)
            with Processes(plan, 4, threads=8) as clients:
                history = clients.history()
            history += shown_at_the_end(server, MORE_PATHS, latest(history))
    check_files(history)


def test_32_clients_that_come_and_go():
    check_many(operations=2_000 if FULL else 75)


def test_32_clients_with_room_for_20():
    """The longest idle of all workers' connections makes room, and new ones wait as guests."""
    check_many("--max-connections", "20", "--max-connections-per-address", "19", may_lose=True,
               operations=1_000 if FULL else 40)


def check_stop():
    """A stop in the middle of it. What was answered stands when the server runs again, and what was
    not answered was done or not."""
    with temporary_directory() as docroot:
        with Server("-t", "4", "--durability", "none", docroot=docroot) as server:
            plan = Plan((server.address,), MORE_PATHS, SEED, 0, may_lose=True, until_refused=True)
            with Processes(plan, 4, threads=8) as clients:
                watch = Client(plan._replace(operations=100, until_refused=False), 99)
                watch.run()
                server.process.send_signal(signal.SIGTERM)
                history = clients.history()
            server.wait(30)
        history += watch.history
        with Server(docroot=docroot) as server:
            history += shown_at_the_end(server, MORE_PATHS, latest(history))
    check_files(history)


def test_stop_under_the_load_of_32_clients():
    for _ in range(10 if FULL else 1):
        check_stop()


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
