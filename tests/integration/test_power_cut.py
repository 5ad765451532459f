"""A power cut at every moment of a recorded run: what was acknowledged or shown is there.

At each moment that changes something, and for each path, all that the disk could hold there is
judged: nothing of that is left to chance. The judge asks nothing of two paths together, so this is
the same as judging all states of the disk. sttpd itself is started on some whole states: of each
moment all choices of changes not yet synced where they are at most STATES_EACH, else as many at
random; of all of these STARTED at random. STTP_SEED repeats a run's choices."""

import bisect
import collections
import concurrent.futures
import itertools
import pathlib
import random
import sys
import tempfile
import threading

from disk_model import Directory, Disk, Replay, build, frozen, has_leftovers, read_tree, view_of
from harness import FULL, MEMORY, SEED, STOP_DEADLINE, Server, connect, read_line, remove_tree, \
    run_tests, wait_until
from history import History, faults, served_view
from syscalls import Call, Conversations, Traced

CLIENTS = 8
MANY = 64  # clients that change one directory
ROUNDS = 4 if FULL else 3
STATES_EACH = 32 if FULL else 16  # of one moment
STARTED = 4000 if FULL else 40    # states on which a server is started

# So that changes overlap as they do on a slow disk: every third sync of a thread takes some
# milliseconds more. Of a CREATE that makes a directory it is the one above that.
SLOW_SYNC = "fsync:delay_enter=15000:when=3+3"

# The document root is in memory. With this it passes for XFS: one thread makes many changes there.
AS_XFS = "fstatfs:poke_exit=@arg2=4253465800000000"


def memory_directory():
    """For many small trees that nobody needs to have on a disk."""
    return pathlib.Path(tempfile.mkdtemp(prefix="sttp-test-", dir=MEMORY))


class Client(threading.Thread):
    """Sends its requests one after the other."""

    def __init__(self, server, requests, barrier):
        super().__init__(daemon=True)
        self.server, self.requests, self.barrier = server, requests, barrier
        self.answered = 0

    def run(self):
        with connect(self.server.address) as connection:
            for request in self.requests:
                if request is None:
                    self.barrier.wait()
                    continue
                connection.sendall(request + b"\n")
                if read_line(connection).startswith(b"200 "):
                    read_line(connection)
                self.answered += 1


def mixed_requests(rng, client):
    """What one client asks. In each round all of them make files in the same new directories; the
    Nones are where they wait for each other."""
    requests = []
    for round_ in range(ROUNDS):
        new = b"/r%d" % round_
        own = b"%s/d/c%d" % (new, client) if client % 2 else b"%s/c%d" % (new, client)
        shared = [b"%s/shared%d" % (new, i) for i in range(2)] + [own]
        requests += [None, b'CREATE %s "%s first"' % (own, own)]
        for step in range(4):
            path = rng.choice(shared)
            text = b'"%d.%d.%d %s"' % (client, round_, step, b"x" * rng.randrange(60))
            requests.append(rng.choice([
                b"CREATE %s %s" % (path, text), b"UPDATE %s %s" % (path, text),
                b"CREATE %s/d/e%d/f %s" % (new, step, text), b"UPDATE %s %s" % (own, text),
                b"DELETE %s" % path, b"DELETE %s/d/e%d/f" % (new, step),
                b"DELETE %s/d/e%d/" % (new, step), b"SHOW %s" % path, b"LIST %s" % new,
                b"LIST %s/d" % new, b"LIST /?recursive=1"]))
    return requests


def same_directory_requests(rng, client):
    """What one of many clients asks, all of which change the same directory at the same time."""
    paths = [b"/m%d" % client, b"/shared%d" % rng.randrange(8)]
    return [None, *(b'CREATE %s "%d %s"' % (path, client, path) for path in paths), None,
            b"UPDATE %s %d" % (paths[0], client), rng.choice(
                [b"DELETE %s" % paths[1], b"SHOW %s" % paths[1], b"UPDATE %s new" % paths[1]])]


def record(directory, plans, *arguments, inject=()):
    """A run of a real server with some clients, each with its requests; the trace's calls and the
    document root."""
    docroot = directory / "files"
    docroot.mkdir()
    barrier = threading.Barrier(len(plans))
    with Traced(directory / "trace", *arguments, docroot=docroot,
                inject=[SLOW_SYNC, *inject]) as server:
        clients = [Client(server, plan, barrier) for plan in plans]
        for client in clients:
            client.start()
        for client, plan in zip(clients, plans):
            client.join()
            assert client.answered == len(plan) - plan.count(None), client.answered
        server.stop()
        return server.calls(), docroot


class Cuts:
    """What a power cut could leave: all of it judged path by path, and some whole states, each with
    the rules it has to obey."""

    def __init__(self, rng, states_each=STATES_EACH):
        self.rng = rng
        self.states_each = states_each
        self.trees = {}                              # frozen -> tree
        self.moments = collections.defaultdict(set)  # frozen -> index of rules
        self.rules = []
        self.disk = Disk()
        self.log = []        # of the last run
        self.found = {}      # what is wrong, each once
        self.judged = 0      # values at paths
        self.exhaustive = 0  # moments of which all choices of changes are among the states
        self.sampled = 0     # the other moments

    def add_run(self, calls, docroot, history, start=0):
        """`start` is where the run's positions begin in the history."""
        times = history.times()
        passed = -1
        replay = Replay(self.disk, docroot, calls)
        self.log = replay.log
        for position in replay.steps():
            now = bisect.bisect_right(times, start + position)
            if now != passed:
                self.rules.append(history.rules(start + position + 0.5))
                passed = now
            self._cut()

    def _cut(self):
        possible = self.disk.possible()
        rules = self.rules[-1]
        for path in possible.keys() | rules.keys():
            rule = {path: rules[path]} if path in rules else {}
            for value in possible.get(path, {None}):
                self.judged += 1
                self.found.update(dict.fromkeys(
                    faults({} if value is None else {path: value}, rule)))
        self._add_states()

    def _add_states(self):
        for tree in self.disk.states(self.states_each, self.rng):
            key = frozen(tree)
            self.trees.setdefault(key, tree)
            self.moments[key].add(len(self.rules) - 1)
        if 2 ** len(self.disk.pending()) <= self.states_each:
            self.exhaustive += 1
        else:
            self.sampled += 1

    def faults(self, key, view):
        return [fault for index in sorted(self.moments[key])
                for fault in faults(view, self.rules[index])]

    def faults_of_servers(self, count):
        """Starts a server on some of the states."""
        keys = list(self.trees)
        chosen = keys if len(keys) <= count else self.rng.sample(keys, count)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            return [fault for some in pool.map(self._serve, chosen) for fault in some], len(chosen)

    def _serve(self, key):
        directory = memory_directory()
        try:
            build(self.trees[key], directory)
            with Server(docroot=directory) as server:
                view = served_view(server)
                found = self.faults(key, view)
                if has_leftovers(read_tree(directory)):
                    found.append("a reserved name is still there")
                if view != view_of(self.trees[key]):
                    found.append(f"served {view}, on disk {view_of(self.trees[key])}")
                server.stop()
                found += [line for line in server.log if " warning " in line or " error " in line]
            return found
        finally:
            remove_tree(directory)


def history_of(*runs):
    """The history of runs of one document root, one behind the other."""
    history = History()
    for index, calls in enumerate(runs):
        start = start_of(runs, index)
        for request, answer, asked, ended in Conversations(calls).exchanges():
            history.add(request, answer, start + asked, start + ended)
    return history


def start_of(runs, index):
    """Where the positions of one of some runs begin in their history."""
    return sum(1 + max(call.returned for call in calls) for calls in runs[:index])


def cuts_of_recorded_run(rng, *arguments, states_each=STATES_EACH, plans=None, inject=()):
    plans = plans or [mixed_requests(rng, client) for client in range(CLIENTS)]
    directory = memory_directory()
    try:
        calls, docroot = record(directory, plans, *arguments, inject=inject)
        cuts = Cuts(rng, states_each)
        cuts.add_run(calls, docroot, history_of(calls))
        # The model saw everything, and saw it right.
        assert cuts.disk.in_memory() == read_tree(docroot)
        return cuts
    finally:
        remove_tree(directory)


def test_a_power_cut_at_any_moment_loses_nothing_that_was_acknowledged_or_shown():
    cuts = cuts_of_recorded_run(random.Random(SEED))
    found = list(cuts.found)
    assert not found, f"seed {SEED}, {len(found)} faults: " + "\n".join(found[:5])
    found, started = cuts.faults_of_servers(STARTED)
    assert not found, f"seed {SEED}: " + "\n".join(found[:5])
    leftovers = sum(has_leftovers(tree) for tree in cuts.trees.values())
    print(f"seed {SEED}: {cuts.exhaustive + cuts.sampled} moments, {cuts.judged} values judged; "
          f"{len(cuts.trees)} states, {leftovers} with leftovers, of {cuts.exhaustive} moments all "
          f"and of {cuts.sampled} some; servers started on {started}")
    assert leftovers > 0


def many_clients(*inject):
    rng = random.Random(SEED)
    plans = [same_directory_requests(rng, client) for client in range(MANY)]
    cuts = cuts_of_recorded_run(rng, states_each=2, plans=plans, inject=inject)
    found = list(cuts.found)
    assert not found, f"seed {SEED}, {len(found)} faults: " + "\n".join(found[:5])
    changes = sum(call.name in ("renameat", "renameat2", "unlinkat") for call, _, _ in cuts.log)
    syncs = sum(call.name == "fsync" and isinstance(about, Directory)
                for call, about, _ in cuts.log)
    print(f"     {changes} changes of one directory, made durable by {syncs} syncs of it")
    assert 0 < syncs < changes
    return sum(call.name == "syncfs" for call, _, _ in cuts.log)


def test_a_power_cut_while_64_clients_change_one_directory_loses_nothing():
    assert many_clients() == 1, "the one of the start"


def test_a_power_cut_while_one_thread_makes_many_changes_loses_nothing():
    assert many_clients(AS_XFS) > 1


def test_a_descriptor_that_is_closed_and_accepted_again_at_once_is_the_new_connection():
    calls = [Call(1, "accept4", ["3", "NULL", "NULL"], 7, 1, 4),
             Call(2, "close", ["7"], 0, 2, 3),
             Call(1, "recvfrom", ["7", '"\\x61\\x0a"', "2"], 2, 5, 6)]
    assert list(Conversations(calls).exchanges()) == [(b"a", None, 6, 6)]


def overtake(directory, request):
    """A request that comes while new directories are visible and the sync above them is still under
    way: the third one of the CREATE that made them, which takes a second more. The calls."""
    docroot = directory / "files"
    docroot.mkdir()
    slow = "fsync:delay_enter=1000000:when=3"
    with Traced(directory / "trace", docroot=docroot, inject=[slow]) as server, \
            connect(server.address) as connection:
        connection.sendall(b"CREATE /new/one first\n")
        wait_until(lambda: server.exchange(b"SHOW /new/other\n").startswith(b"400 "))
        answer = server.exchange(request + b"\n")
        assert answer.startswith((b"100 /new/two CREATED\n", b"200 ")), answer
        assert read_line(connection) == b"100 /new/one CREATED\n"
        connection.close()
        server.stop()
        return server.calls(), docroot


def test_what_is_below_directories_not_yet_synced_is_not_acknowledged_or_listed_before_they_are():
    for request in (b"CREATE /new/two second", b"LIST /new", b"LIST /", b"LIST /?recursive=1"):
        directory = memory_directory()
        try:
            calls, docroot = overtake(directory, request)
            cuts = Cuts(random.Random(SEED))
            cuts.add_run(calls, docroot, history_of(calls))
            assert cuts.disk.in_memory() == read_tree(docroot)
            found = list(cuts.found)
            assert not found, (request, *found[:5])
        finally:
            remove_tree(directory)


def kill_and_start_again(directory, syncs):
    """One server is killed when it begins its n-th sync of a CREATE with a new directory; the next
    one shows what is there, and puts another file beside it. The calls of both."""
    docroot = directory / "files"
    docroot.mkdir()
    kill = f"fsync:signal=KILL:when={syncs}"
    with Traced(directory / "first", docroot=docroot, inject=[kill], stop_status=-9) as first:
        assert first.exchange(b"CREATE /new/one first\n", half_close=False) == b""
        first.wait(STOP_DEADLINE)
        calls = [first.calls()]
    with Traced(directory / "second", docroot=docroot) as second:
        shown = second.exchange(b"SHOW /new/one\nLIST /\nLIST /new\n")
        assert second.exchange(b"CREATE /new/two second\n") == b"100 /new/two CREATED\n"
        second.stop()
        calls.append(second.calls())
    return calls, docroot, shown


def test_what_a_killed_server_did_not_sync_the_next_one_syncs_before_it_shows_it():
    seen = 0
    for syncs in (1, 2, 3):
        directory = memory_directory()
        try:
            calls, docroot, shown = kill_and_start_again(directory, syncs)
            cuts = Cuts(random.Random(SEED))
            history = history_of(*calls)
            cuts.add_run(calls[0], docroot, history)
            cuts.add_run(calls[1], docroot, history, start_of(calls, 1))
            assert cuts.disk.in_memory() == read_tree(docroot)
            found = list(cuts.found)
            assert not found, "\n".join(found[:5])
            seen += shown.startswith(b"200 /new/one OK\nfirst\n")
        finally:
            remove_tree(directory)
    assert seen == 1, "one of the kills is between the rename and its sync"


def test_the_judge_finds_what_a_server_without_syncs_loses():
    cuts = cuts_of_recorded_run(random.Random(SEED), "--durability", "none",
                                states_each=2)
    assert any(": None, not one of" in fault for fault in cuts.found), f"seed {SEED}"
    assert any("\\x00" in fault for fault in cuts.found), f"seed {SEED}"
    found, _ = cuts.faults_of_servers(STARTED // 4)
    assert any("not one of" in fault for fault in found), f"seed {SEED}"


def every_state(disk):
    """All choices of changes with all variants of all files."""
    pending = disk.pending()
    unsynced = [file for file in disk.files if file.durable != file.data]
    for bits in itertools.product((False, True), repeat=len(pending)):
        for data in itertools.product(*(file.variants() for file in unsynced)):
            yield disk.tree(disk.root, set(itertools.compress(pending, bits)),
                             dict(zip(map(id, unsynced), data)))


def random_disk(rng):
    """A few changes of a few names, some of them synced."""
    disk = Disk()
    names = [b"a", b"b", b".sttp-1"]
    for _ in range(7):
        directory = rng.choice(disk.directories)
        name, other = rng.sample(names, 2)
        action = rng.randrange(6) if disk.changes < 5 else 4
        if action == 0:
            disk.change(directory, {name: disk.new_directory(directory)})
        elif action == 1 and len(disk.files) < 3:
            file = disk.new_file()
            file.data = b"text%d" % disk.changes
            disk.change(directory, {name: file})
        elif action == 2 and name in directory.entries:
            disk.change(directory, {name: None})
        elif action == 3 and name in directory.entries:
            disk.change(directory, {name: None, other: directory.entries[name]})
        elif action == 4:
            directory.commit(rng.randint(1, disk.changes + 1))
        elif disk.files:
            file = rng.choice(disk.files)
            file.durable = file.data
    return disk


def test_what_is_judged_at_each_path_is_what_all_states_together_hold_there():
    for seed in range(SEED, SEED + (500 if FULL else 50)):
        disk = random_disk(random.Random(seed))
        views = [view_of(tree) for tree in every_state(disk)]
        paths = set().union(*views)
        held = {path: {view.get(path) for view in views} for path in paths}
        possible = {path: values for path, values in disk.possible().items() if values != {None}}
        assert possible == held, f"seed {seed}: {possible}, not {held}"


def test_changes_in_what_is_gone_from_the_disk_are_not_waited_for():
    disk = Disk()
    lost = disk.new_directory(disk.root)
    disk.change(disk.root, {b".sttp-1": lost})
    disk.change(lost, {b"f": disk.new_file()})
    assert len(disk.pending()) == 2
    disk.change(disk.root, {b".sttp-1": None})
    assert len(disk.pending()) == 3
    disk.root.commit(disk.changes + 1)
    assert disk.pending() == [] and len(lost.pending) == 1


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
