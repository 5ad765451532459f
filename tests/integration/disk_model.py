"""A document root in memory and on disk, as the system calls of a server make it.

What is in memory (entries, data) is what programs see. What is on disk is what was there at the
last sync of the same file or directory, and any of what changed since:

- Each change of a directory that is not yet synced is there after a power cut or is not,
  independently of every other. A rename within a directory is one change: old or new, never both
  and never neither. A rename across directories would need a file system that promises as much; the
  server makes none, and one in a trace is an error.
- A file that is not synced has the data of its last sync (none: it is empty), a part of the new,
  the new size with zero bytes in place of a part, or all of the new.
- fsync of a directory says nothing of what its entries lead to, and of a file nothing of its name.
"""

import itertools

from history import DIRECTORY

RESERVED = b".sttp-"
VISIBLE = {"mkdirat", "renameat", "renameat2", "linkat", "unlinkat"}
SYNCS = {"fsync", "fdatasync", "syncfs", "sync"}
SENDS = {"write", "writev", "sendto", "sendmsg"}
# Any of these below the document root would need a rule that is not here.
UNKNOWN = {"open", "creat", "dup", "dup2", "dup3", "pwrite64", "pwritev", "pwritev2", "writev",
           "ftruncate", "truncate", "fallocate", "sync_file_range", "mkdir", "rename", "link",
           "symlink", "symlinkat", "unlink", "rmdir", "copy_file_range", "sendfile",
           "io_uring_setup", "mmap"}


class Directory:
    def __init__(self, parent=None):
        self.parent = parent or self
        self.entries = {}
        self.durable = {}
        self.pending = []  # (number of the change, {name: node or None})

    def change(self, number, names):
        self.pending.append((number, names))
        put(self.entries, names)

    def commit(self, number):
        """All changes before `number` are on disk."""
        for _, names in (item for item in self.pending if item[0] < number):
            put(self.durable, names)
        self.pending = [item for item in self.pending if item[0] >= number]


class File:
    def __init__(self):
        self.data = b""
        self.durable = b""

    def variants(self):
        """What a power cut could leave of it."""
        if self.durable == self.data:
            return [self.data]
        half = len(self.data) // 2
        zeros = self.data[:half] + bytes(len(self.data) - half)
        return list(dict.fromkeys([self.durable, self.data[:half], zeros, self.data]))


def put(entries, names):
    for name, node in names.items():
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


class Disk:
    def __init__(self):
        self.root = Directory()
        self.directories = [self.root]
        self.files = []
        self.changes = 0

    def new_directory(self, parent):
        self.directories.append(Directory(parent))
        return self.directories[-1]

    def new_file(self):
        self.files.append(File())
        return self.files[-1]

    def change(self, directory, names):
        self.changes += 1
        directory.change(self.changes, names)

    def commit_all(self, number, data):
        for directory in self.directories:
            directory.commit(number)
        for file, written in data:
            file.durable = written

    # -- after a power cut

    def states(self, limit, rng):
        """Some of what a power cut now could leave: name -> data, or the same for a directory. All
        choices of changes where they are at most `limit`, else so many of them: none, all, and
        others at random. Each with one variant, at random, of each file that is not synced."""
        pending = self.pending()
        if 2 ** len(pending) <= limit:
            choices = (set(itertools.compress(pending, bits))
                       for bits in itertools.product((False, True), repeat=len(pending)))
        else:
            random = ({number for number in pending if rng.random() < share}
                      for share in (rng.random() for _ in range(limit - 2)))
            choices = itertools.chain([set(), set(pending)], random)
        unsynced = [file for file in self.files if file.durable != file.data]
        for chosen in choices:
            data = {id(file): rng.choice(file.variants()) for file in unsynced}
            yield self.tree(self.root, chosen, data)

    def pending(self):
        """The changes that a power cut now could lose, in directories that it could leave: not
        those of a tree that was made, removed, and never synced."""
        found, seen, reached = [], set(), [self.root]
        while reached:
            directory = reached.pop()
            if id(directory) in seen:
                continue
            seen.add(id(directory))
            found += [number for number, _ in directory.pending]
            for names in (directory.durable, *(names for _, names in directory.pending)):
                reached += [node for node in names.values() if isinstance(node, Directory)]
        return sorted(found)

    def tree(self, directory, chosen, data):
        entries = dict(directory.durable)
        for number, names in directory.pending:
            if number in chosen:
                put(entries, names)
        return {name: self.tree(node, chosen, data) if isinstance(node, Directory)
                else data.get(id(node), node.durable) for name, node in entries.items()}

    def possible(self):
        """All that a power cut now could leave at each path that a server may show: path -> set of
        values, None where nothing is there. Complete, as no change depends on another: the one that
        is there of those of a name, or the durable one if none is, decides what it leads to."""
        return self._possible(self.root, b"/")

    def _possible(self, directory, prefix):
        leads = {name: {node} for name, node in directory.durable.items()}
        for _, names in directory.pending:
            for name, node in names.items():
                leads.setdefault(name, {None}).add(node)
        found = {}
        for name, nodes in leads.items():
            if not name.startswith(RESERVED):
                each = [self._values(node, prefix + name) for node in nodes]
                for path in {path for values in each for path in values}:
                    found[path] = set().union(*(values.get(path, {None}) for values in each))
        return found

    def _values(self, node, path):
        if node is None:
            return {}
        if isinstance(node, File):
            return {path: set(node.variants())}
        return {path + b"/": {DIRECTORY}, **self._possible(node, path + b"/")}

    def in_memory(self, directory=None):
        """What programs see now."""
        return {name: self.in_memory(node) if isinstance(node, Directory) else node.data
                for name, node in (directory or self.root).entries.items()}


class Replay:
    """Does to a disk what the calls of one run of a server did."""

    def __init__(self, disk, docroot, calls):
        self.disk = disk
        self.docroot = str(docroot).encode()
        self.calls = calls
        self.descriptors = {}
        self.entered = []  # visible steps that may have been taken
        self.syncs = {}    # id of a call that was entered -> what it has to bring to disk
        self.log = []      # (call, what it was about, the directory it changed or None)

    def steps(self):
        """Applies one call after the other. Yields the position after each one that may matter:
        that changed something, or that began to send."""
        events = []
        for call in self.calls:
            events.append((call.entered, 0, call))
            events.append((call.returned, 1, call))
        for _, returned, call in sorted(events, key=lambda event: event[:2]):
            (self._return if returned else self._enter)(call)
            if call.name in (SYNCS | VISIBLE | {"write"} if returned else SENDS):
                yield call.returned if returned else call.entered
            elif returned and call.name == "openat" and "O_CREAT" in call.arguments[2]:
                yield call.returned

    def _enter(self, call):
        if call.name == "close":
            self.descriptors.pop(call.fd(), None)
        elif call.name in VISIBLE and call.done and call.fd() in self.descriptors:
            self.entered.append(call)
        elif call.name in SYNCS:
            data = [(file, file.data) for file in self.disk.files if file.data != file.durable]
            self.syncs[id(call)] = (self.synced(call), self.disk.changes + 1, data)

    def _return(self, call):
        if not call.done:
            known = call.result is not None or call.name not in VISIBLE | {"openat", "write"}
            assert known or call.fd() not in self.descriptors, f"killed in the midst of {call}"
            return
        if call.name in ("openat", "openat2"):
            self._open(call)
        elif call.name == "fcntl" and call.arguments[1].startswith("F_DUPFD"):
            self._duplicate(call)
        elif call.name == "write" and isinstance(self.node(call), File):
            self.node(call).data += call.data()
            self.log.append((call, self.node(call), None))
        elif call.name in SYNCS:
            self.log.append((call, self.syncs[id(call)][0], None))
            self._sync(*self.syncs.pop(id(call)))
        elif call in self.entered:
            self.entered.remove(call)
            self._show(call)
        elif call.name == "sync_file_range" and call.arguments[3] == "SYNC_FILE_RANGE_WAIT_BEFORE":
            pass  # writes nothing
        elif call.name in UNKNOWN:
            touched = call.arguments[0].isdigit() and self.node(call) is not None
            named = self.docroot.hex() in "".join(call.arguments).replace("\\x", "")
            assert not touched and not named and call.name != "io_uring_setup", call

    def node(self, call, index=0):
        return self.descriptors.get(call.fd(index))

    def _duplicate(self, call):
        if call.fd() in self.descriptors:
            self.descriptors[call.result] = self.descriptors[call.fd()]

    def _open(self, call):
        path = call.string(1)
        if call.fd() is None:
            if path == self.docroot:
                self.descriptors[call.result] = self.disk.root
            return
        base = self.node(call)
        if base is None:
            return
        flags = call.arguments[2]
        node = self._find(base, path)
        if node is None and "O_CREAT" in flags:
            node = self.disk.new_file()
            self.disk.change(base, {path: node})
            self.log.append((call, node, base))
        # What another thread has done may be told later than that this one has seen it.
        while node is None and self.entered:
            self._show(self.entered.pop(0))
            node = self._find(base, path)
        assert node is not None, f"nothing is there: {call}"
        assert "O_TRUNC" not in flags and "O_TMPFILE" not in flags, call
        self.descriptors[call.result] = node

    @staticmethod
    def _find(base, path):
        node = base
        for name in path.split(b"/"):
            if name == b"..":
                node = node.parent
            elif name != b".":
                node = node.entries.get(name) if isinstance(node, Directory) else None
        return node

    def synced(self, call):
        """The file or directory that a sync is about, the disk where it is about everything, None
        where it is about something else."""
        node = self.disk.root if call.name == "sync" else self.node(call)
        return self.disk if node is not None and call.name in ("sync", "syncfs") else node

    @staticmethod
    def _sync(node, number, data):
        if isinstance(node, Disk):
            node.commit_all(number, data)
        elif isinstance(node, Directory):
            node.commit(number)
        elif isinstance(node, File):
            node.durable = next((written for file, written in data if file is node), node.durable)

    def _show(self, call):
        """A step that makes something visible."""
        base = self.node(call)
        name = call.string(1)
        node = base.entries.get(name)
        if call.name == "mkdirat":
            node = self.disk.new_directory(base)
            self.disk.change(base, {name: node})
        elif call.name == "unlinkat":
            self.disk.change(base, {name: None})
        else:
            assert self.node(call, 2) is base, f"across directories: {call}"
            moved = {} if call.name == "linkat" else {name: None}
            self.disk.change(base, {**moved, call.string(3): node})
        self.log.append((call, node, base))


def view_of(tree, prefix=b"/"):
    """What a server may show of it: path -> text or DIRECTORY."""
    view = {}
    for name, node in tree.items():
        if name.startswith(RESERVED):
            continue
        if isinstance(node, dict):
            view[prefix + name + b"/"] = DIRECTORY
            view.update(view_of(node, prefix + name + b"/"))
        else:
            view[prefix + name] = node
    return view


def has_leftovers(tree):
    return any(name.startswith(RESERVED) or isinstance(node, dict) and has_leftovers(node)
               for name, node in tree.items())


def frozen(tree):
    """The same as a key."""
    return frozenset((name, frozen(node) if isinstance(node, dict) else node)
                     for name, node in tree.items())


def build(tree, path):
    """Makes it at `path`, a directory that is there."""
    for name, node in tree.items():
        here = path / name.decode()
        if isinstance(node, dict):
            here.mkdir()
            build(node, here)
        else:
            here.write_bytes(node)


def read_tree(path):
    """What is on the disk of this machine."""
    return {entry.name.encode(): read_tree(entry) if entry.is_dir() else entry.read_bytes()
            for entry in path.iterdir()}
