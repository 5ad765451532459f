"""What clients asked of a server and what it answered, and what may stand at a path afterwards.

Times are numbers that only grow: positions in a trace, or a clock. A path's name is that of the
protocol; a directory's ends in a slash. What stands there is a text, DIRECTORY, or None.
"""

import dataclasses

DIRECTORY = "a directory"
SOMETHING = "something"  # a listing tells names and no texts
NOW = float("inf")


@dataclasses.dataclass
class Fact:
    """A change, or what an answer said of a path."""
    value: object
    asked: float
    ended: float     # answered, or the server was dead
    answered: bool   # it is certain
    change: bool
    replaces: bool = False  # an UPDATE: one file takes another's place

    def contradicts(self, value):
        if self.change:
            return True
        return value is None if self.value == SOMETHING else value != self.value


@dataclasses.dataclass
class Listing:
    """A LIST without a filter, and the names in its answer."""
    directory: bytes
    recursive: bool
    names: set
    asked: float
    ended: float

    def lacks(self, path):
        """It would have named the path, and did not."""
        name = path.removeprefix(self.directory)
        reached = path != name != b"" and (self.recursive or b"/" not in name[:-1])
        return reached and name not in self.names


class History:
    """Changes of one path are taken to be whole and to happen at some moment between request and
    answer. Texts must be unique."""

    def __init__(self):
        self.facts = {}
        self.listings = []

    def _add(self, path, *fact):
        self.facts.setdefault(path, []).append(Fact(*fact))

    def add(self, request, answer, asked, ended):
        """A request line and its answer: (status line, contents line), or None where none came."""
        action, path, *rest = request.split(b" ", 2)
        code = answer[0][:3] if answer else None
        if code == b"500" and b"outcome unknown" in answer[0]:
            code = answer = None
        self._add_change(action, path, rest[0] if rest else b"", code, asked, ended)
        if code is not None and action in (b"SHOW", b"LIST"):
            self._add_seen(action, path, code, answer[-1], asked, ended)

    def _add_change(self, action, path, contents, code, asked, ended):
        done = {b"CREATE": b"100", b"UPDATE": b"200", b"DELETE": b"600"}.get(action)
        if done is None or code not in (done, None):
            return
        known = code is not None
        value = None if action == b"DELETE" else contents.removeprefix(b'"').removesuffix(b'"')
        self._add(path, value, asked, ended, known, True, action == b"UPDATE")
        for above in directories_above(path) if action == b"CREATE" else ():
            self._add(above, DIRECTORY, asked, ended, known, True)

    def _add_seen(self, action, path, code, contents, asked, ended):
        if action == b"SHOW" and code in (b"200", b"400", b"410"):
            self._add(path, contents if code == b"200" else None, asked, ended, True, False)
        if action == b"LIST" and code == b"200":
            path, _, query = path.partition(b"?")
            directory = path.rstrip(b"/") + b"/"
            names = contents.split(b", ") if contents else []
            for name in names:
                value = DIRECTORY if name.endswith(b"/") else SOMETHING
                self._add(directory + name, value, asked, ended, True, False)
            if query in (b"", b"recursive=1"):  # others leave out what is there
                self.listings.append(Listing(directory, bool(query), set(names), asked, ended))

    def _missed(self, path):
        """Facts of listings that lack the path. Not of one during which a file took the place of
        another: there a directory that is read meanwhile may show neither."""
        replaced = [fact for fact in self.facts[path] if fact.replaces]
        for listing in self.listings:
            if listing.lacks(path) and not any(
                    fact.asked < listing.ended and listing.asked < fact.ended
                    for fact in replaced):
                yield Fact(None, listing.asked, listing.ended, True, False)

    def start_from(self, view):
        """Forgets everything: `view` is what stands there, and is known."""
        self.facts = {path: [Fact(value, -1, -1, True, True)] for path, value in view.items()}
        self.listings = []

    def allowed(self, path, now=NOW):
        """Whatever may stand at a path, given what was asked and answered before `now`."""
        facts = self.facts.get(path, ())
        if facts:
            facts = [*facts, *self._missed(path)]
        certain = [fact for fact in facts if fact.answered and fact.ended < now]
        candidates = [Fact(None, -1, -2, True, True)]
        candidates += [fact for fact in facts if fact.change and fact.asked < now]
        return {candidate.value for candidate in candidates
                if not any(later.asked > candidate.ended and later.contradicts(candidate.value)
                           for later in certain)}

    def times(self):
        """Where what may stand somewhere changes."""
        return sorted({time for facts in self.facts.values() for fact in facts
                       for time in (fact.asked, fact.ended)})

    def rules(self, now=NOW):
        """What may stand at each path that was ever named."""
        return {path: self.allowed(path, now) for path in self.facts}


def directories_above(path):
    """The directories on the way to a file, without the root."""
    parts = path.strip(b"/").split(b"/")[:-1]
    return [b"/" + b"/".join(parts[:i + 1]) + b"/" for i in range(len(parts))]


def faults(view, rules):
    """What is wrong with a view of a store, path -> value, in words."""
    found = []
    for path, values in rules.items():
        if view.get(path) not in values:
            found.append(f"{path!r}: {view.get(path)!r}, not one of {sorted(map(str, values))}")
    found += [f"{path!r}: {value!r}: nobody asked for that"
              for path, value in view.items() if path not in rules]
    return found


def parse_answers(stream):
    """The answers in a stream of bytes, each as (lines, offset behind its end). What is not whole
    is left out."""
    answers = []
    lines = stream.split(b"\n")[:-1]
    offset = index = 0
    while index < len(lines):
        count = 2 if lines[index].startswith(b"200 ") else 1
        taken = lines[index:index + count]
        if len(taken) < count:
            break
        offset += sum(len(line) + 1 for line in taken)
        index += count
        answers.append((tuple(taken), offset))
    return answers


def served_view(server):
    """All that a server shows: it lists everything, then shows each file."""
    listed = server.exchange(b"LIST /?recursive=1\n").split(b"\n")
    assert listed[0] == b"200 / OK", listed[0]
    names = [b"/" + name for name in listed[1].split(b", ")] if listed[1] else []
    files = [name for name in names if not name.endswith(b"/")]
    stream = server.exchange(b"".join(b"SHOW %s\n" % name for name in files))
    answers = [lines for lines, _ in parse_answers(stream)]
    assert len(answers) == len(files), (files, answers)
    view = {name: DIRECTORY for name in names if name.endswith(b"/")}
    for name, lines in zip(files, answers):
        view[name] = lines[1] if lines[0] == b"200 %s OK" % name else lines[0].decode()
    return view
