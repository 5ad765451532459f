"""Whether what clients saw of one path can have happened in some order.

A history is linearizable when each operation can be given a moment between its request and its
answer so that, carried out one after another in the order of these moments, every operation gives
the answer that it gave. The check is per path: a set of paths is linearizable when each of them is
(Herlihy and Wing). Method: just-in-time linearization (Lowe, "Testing for linearizability", after
Wing and Gong) with memory of the configurations seen.

    find_violation(steps_of(b"/a", operations))  ->  None, or why there is no such order

A path is a register that holds a text or is absent. An operation is brought down to a Step: what
the register must hold for its answer to be true, and what it holds afterwards. One without an
answer, or with "outcome unknown", may take effect at any moment after its request, or never.
"""

import math
from collections import Counter
from typing import NamedTuple, Optional

ABSENT = "absent"
PRESENT = "present"
KEEP = "keep"
UNSEEN = "a text that nobody has seen"


class Operation(NamedTuple):
    """A request and its answer as a client saw them. Times are of one monotonic clock."""
    session: object  # of one connection: its requests take effect in their order
    action: bytes
    path: bytes
    text: Optional[bytes]
    invoked: int
    answered: Optional[int] = None  # None where no answer came
    code: Optional[int] = None
    contents: Optional[bytes] = None  # the contents line of a 200
    message: bytes = b""


class Step(NamedTuple):
    """An operation as one path sees it."""
    operation: Operation
    needs: object  # ABSENT, PRESENT or the text that the register must hold
    makes: object  # KEEP, ABSENT or the text that it holds afterwards
    optional: bool = False  # it may also never have happened


class Unexpected(Exception):
    """An answer that has no meaning for a history of texts."""


def change_of(operation):
    """What a change needs and makes when it is done."""
    return {b"CREATE": (ABSENT, operation.text), b"UPDATE": (PRESENT, operation.text),
            b"DELETE": (PRESENT, ABSENT)}[operation.action]


def change_step(operation):
    needs, makes = change_of(operation)
    code = operation.code
    if code is None or (code == 500 and b"outcome unknown" in operation.message):
        return Step(operation, needs, makes, optional=True)
    if code == 500:
        return None  # nothing was changed, and nothing is told
    if code == {b"CREATE": 100, b"UPDATE": 200, b"DELETE": 600}[operation.action]:
        return Step(operation, needs, makes)
    if operation.action == b"CREATE" and code == 300 and b"already exists" in operation.message:
        return Step(operation, PRESENT, KEEP)
    if operation.action != b"CREATE" and code in (400, 410):
        return Step(operation, ABSENT, KEEP)
    raise Unexpected(operation)


def directory_step(operation):
    """DELETE of a directory above the path: it was empty, or was not there, or nothing is told."""
    if operation.code in (600, 400, 410):
        return Step(operation, ABSENT, KEEP)
    if operation.code in (None, 500) or (operation.code == 300 and
                                         b"not empty" in operation.message):
        return None
    raise Unexpected(operation)


def list_step(operation, path):
    """LIST with recursive=1 of a directory above `path`."""
    directory = operation.path.split(b"?")[0]
    if operation.code == 200:
        names = operation.contents.split(b", ")
        if len(set(names)) != len(names):
            raise Unexpected(operation)
        listed = path[len(directory.rstrip(b"/")) + 1:] in names
        return Step(operation, PRESENT if listed else ABSENT, KEEP)
    if operation.code in (400, 410):
        return Step(operation, ABSENT, KEEP)
    if operation.code in (None, 500):
        return None
    raise Unexpected(operation)


def step_of(operation, path):
    """The Step, or None where the operation tells nothing of the path."""
    target = operation.path.split(b"?")[0]
    above = target if target.endswith(b"/") else target + b"/"
    if operation.action == b"LIST":
        return list_step(operation, path) if path.startswith(above) else None
    if target.endswith(b"/"):
        return directory_step(operation) if path.startswith(above) else None
    if target != path:
        return None
    if operation.action != b"SHOW":
        return change_step(operation)
    if operation.code in (None, 500):
        return None
    if operation.code == 200:
        return Step(operation, operation.contents, KEEP)
    if operation.code in (400, 410):
        return Step(operation, ABSENT, KEEP)
    raise Unexpected(operation)


def steps_of(path, operations):
    """The steps of a path. The operations of a session stand in their order."""
    steps = (step_of(operation, path) for operation in operations)
    return [step for step in steps if step is not None]


def holds(state, needs):
    if needs is PRESENT:
        return state is not ABSENT
    return state == needs


class _Open:
    """A step between its request and its answer. Each has a bit in the masks of the configurations;
    the bits of answered steps are used again."""

    __slots__ = ("step", "bit", "before")

    def __init__(self, step, bit, before):
        self.step = step
        self.bit = bit
        self.before = before  # the bits of those of its session that come first


def is_blind(step):
    return step.needs is PRESENT and step.makes is UNSEEN


class _Checker:
    """The configurations that are possible: for each content of the register and each set of other
    changes than the optional ones, the sets of steps that have taken effect, of those that are open
    or optional. Of two sets one makes the other superfluous when it has used no more optional
    steps, the same of the other changes, and no fewer reads. Optional steps that do the same are
    used in the order in which they came.

    A text is written once: where there is foresight, nothing else takes its place while somebody
    has yet to see it. That may leave out too much where a history is not of such texts, so who finds
    no order with it looks again without. An UPDATE whose text nobody saw is as good as a read: it is
    in nobody's way where it stands just before another change of a text, or behind a text that
    nobody saw either."""

    def __init__(self, initial, steps, foresight):
        self.open = {}
        self.optional = {}  # what it does: the bits of the steps, in the order in which they came
        self.free = []
        self.bits = 0
        self.optionals = 0  # the bits of all optional steps
        self.reads = 0
        self.foresight = foresight
        self.to_come = Counter(step.needs for step in steps)  # that have not been invoked yet
        self.seers = {}  # for each text the bits of the open steps that need it
        self.states = {(initial, 0): [0]}

    def _bit(self):
        if self.free:
            return self.free.pop()
        self.bits += 1
        return 1 << (self.bits - 1)

    def invoke(self, number, step):
        bit = self._bit()
        if step.optional:
            self.optional.setdefault((step.needs, step.makes), []).append(bit)
            self.optionals |= bit
            return
        listing = step.operation.action == b"LIST"
        before = 0
        for other in self.open.values():
            earlier = other.step.operation
            # A listing may begin beside the SHOWs before it.
            if earlier.session == step.operation.session and \
                    not (listing and earlier.action == b"SHOW"):
                before |= other.bit
        self.open[number] = _Open(step, bit, before)
        if step.makes is KEEP or is_blind(step):
            self.reads |= bit
        self.to_come[step.needs] -= 1
        self.seers[step.needs] = self.seers.get(step.needs, 0) | bit

    def _may_take_effect(self, opened, state, done):
        return not opened.bit & done and opened.before & ~done == 0 and \
            holds(state, opened.step.needs)

    def _with_reads(self, state, done):
        """Reads take effect as soon as they can."""
        again = True
        while again:
            again = False
            for opened in self.open.values():
                if opened.step.makes in (KEEP, state) and opened.bit & self.reads and \
                        self._may_take_effect(opened, state, done):
                    done |= opened.bit
                    again = True
        return done

    def _superfluous(self, done, other):
        """Whether `done` adds nothing to `other`, of the same content and changes."""
        return other & self.optionals & ~done == 0 and done & self.reads & ~other == 0

    def _add(self, states, state, done):
        known = states.setdefault((state, done & ~(self.optionals | self.reads)), [])
        if any(self._superfluous(done, other) for other in known):
            return False
        known[:] = [other for other in known if not self._superfluous(other, done)]
        known.append(done)
        return True

    def _is_awaited(self, state, done):
        return self.foresight and state is not ABSENT and \
            (self.to_come[state] > 0 or self.seers.get(state, 0) & ~done != 0)

    def _successors(self, state, done):
        """What one more change makes of a configuration."""
        if self._is_awaited(state, done):
            return
        blind = done if state is ABSENT else self._with_reads(UNSEEN, done)
        for opened in self.open.values():
            if opened.step.makes is not KEEP and self._may_take_effect(opened, state, done):
                more = blind if opened.step.needs is PRESENT else done
                yield opened.step.makes, more | opened.bit
        for (needs, makes), bits in self.optional.items():
            if makes != state and holds(state, needs):
                unused = next((bit for bit in bits if not bit & done), 0)
                if unused:
                    yield makes, done | unused

    def answer(self, number):
        """Keeps the configurations in which the step has taken effect. False where none is left."""
        wanted = self.open[number].bit
        seen, kept = {}, {}
        waiting = [(state, done) for (state, _), sets in self.states.items() for done in sets]
        while waiting:
            state, done = waiting.pop()
            done = self._with_reads(state, done)
            if done & wanted:
                self._add(kept, state, done)
            elif self._add(seen, state, done):
                waiting += self._successors(state, done)
        if not kept:
            return False
        self._close(number, kept)
        return True

    def _close(self, number, kept):
        """The answered step is in all sets: its bit goes."""
        closed = self.open.pop(number)
        bit = closed.bit
        self.reads &= ~bit
        self.seers[closed.step.needs] &= ~bit
        self.states = {}
        for (state, _), sets in kept.items():
            for done in sets:
                self._add(self.states, state, done & ~bit)
        for opened in self.open.values():
            opened.before &= ~bit
        self.free.append(bit)


def _simplified(steps):
    """The same steps with fewer configurations. Texts that nobody has ever seen cannot be told from
    each other. An optional change whose text was seen is not optional: it was made before whoever
    saw it first had an answer."""
    seen = {}
    for step in steps:
        answered = step.operation.answered
        seen[step.needs] = min(answered or math.inf, seen.get(step.needs, math.inf))
    for step in steps:
        if step.makes in (ABSENT, KEEP):
            yield step
        elif step.makes not in seen:
            unseen = step._replace(makes=UNSEEN)
            if not (unseen.optional and is_blind(unseen)):  # it helps nobody
                yield unseen
        elif step.optional:
            operation = step.operation
            until = max(operation.invoked, seen[step.makes])
            yield step._replace(optional=False, operation=operation._replace(
                answered=until, session=(operation.session, operation.text)))
        else:
            yield step


def _events(steps):
    """Requests and answers in the order of time; what has one time is taken to overlap."""
    events = []
    for number, step in enumerate(steps):
        events.append((step.operation.invoked, 0, number))
        if not step.optional:
            events.append((step.operation.answered, 1, number))
    return sorted(events)


def describe(operation, start):
    """One line: when, who, what, and what came of it. Times in microseconds."""
    since = (operation.invoked - start) // 1000
    until = "..." if operation.answered is None else (operation.answered - start) // 1000
    request = b" ".join(part for part in (operation.action, operation.path, operation.text) if part)
    answer = "no answer" if operation.code is None else \
        f"{operation.code} {(operation.contents or operation.message).decode()}"
    return f"  [{since} .. {until}] {operation.session}: {request.decode()} -> {answer}"


def _explain(checker, steps, number):
    """The step that fits nowhere, what the path can have held, and what went on before."""
    culprit = steps[number].operation
    start = min(step.operation.invoked for step in steps)
    near = [step.operation for step in steps if step.operation.invoked <= culprit.answered]
    near = sorted(near, key=lambda operation: operation.invoked)[-25:]
    held = ", ".join(sorted({str(state) for state, _ in checker.states}))
    return "\n".join(["not linearizable: there is no moment for", describe(culprit, start),
                      f"the path held: {held[:400]}", "the operations before its answer:",
                      *(describe(operation, start) for operation in near)])


def _find_misfit(steps, initial, foresight):
    checker = _Checker(initial, steps, foresight)
    for _, is_answer, number in _events(steps):
        if not is_answer:
            checker.invoke(number, steps[number])
        elif not checker.answer(number):
            return _explain(checker, steps, number)
    return None


def find_violation(steps, initial=ABSENT):
    """None where the steps are linearizable, else an explanation."""
    steps = list(_simplified(steps))
    if _find_misfit(steps, initial, foresight=True) is None:  # the faster way
        return None
    return _find_misfit(steps, initial, foresight=False)  # it tells who was the first to see it


def check_paths(paths, operations):
    """Fails where the history of a path is not linearizable."""
    for path in paths:
        violation = find_violation(steps_of(path, operations))
        assert violation is None, f"{path.decode()}: {violation}"
