"""The checker of histories itself: on histories made by hand, against a search through all orders,
and between clients and a server that lies."""

import itertools
import random
import sys

from faulty_proxy import DoubleCreate, Honest, LostUpdate, Proxy, ResurrectedDelete, StaleRead
from harness import FULL, SEED, Server, run_tests
from linearizability import ABSENT, KEEP, Operation, Unexpected, find_violation, holds, steps_of
from race_clients import Plan, Processes


ANSWERS = {"created": (100, None, b"CREATED"), "exists": (300, None, b'"file already exists"'),
           "absent": (400, None, b""), "no path": (410, None, b""), "deleted": (600, None, b""),
           "unknown": (500, None, b'"outcome unknown"'), "failed": (500, None, b'"no space"'),
           "not empty": (300, None, b'"directory is not empty"'), "pending": (None, None, b"")}


def done(session, invoked, answered, request, answer):
    """An operation on /a/f: `request` as it is sent, without the path; `answer` a name from
    ANSWERS, or the contents of a 200."""
    action, _, text = request.partition(" ")
    code, contents, message = ANSWERS.get(answer, (200, answer.encode(), b""))
    path = {"RMDIR": b"/a/", "LIST": b"/a?recursive=1"}.get(action, b"/a/f")
    return Operation(session, b"DELETE" if action == "RMDIR" else action.encode(), path,
                     text.encode() or None, invoked, None if answer == "pending" else answered,
                     code, contents, message)


def violation(*operations):
    return find_violation(steps_of(b"/a/f", [done(*operation) for operation in operations]))


def accepted(*operations):
    found = violation(*operations)
    assert found is None, found


def refused(*operations):
    """Refuses the history, for its last operation."""
    found = violation(*operations)
    assert found is not None, operations
    action = operations[-1][3].partition(" ")[0].replace("RMDIR", "DELETE")
    assert f"{operations[-1][0]}: {action}" in found.split("\n")[1], found


# -- histories that a server may give


def test_accepts_one_after_another():
    accepted(("p", 0, 1, "SHOW", "no path"), ("p", 2, 3, "CREATE x", "created"),
             ("q", 4, 5, "SHOW", "x"), ("q", 6, 7, "CREATE y", "exists"),
             ("p", 8, 9, "UPDATE y", "y"), ("q", 10, 11, "SHOW", "y"),
             ("q", 12, 13, "DELETE", "deleted"), ("p", 14, 15, "SHOW", "absent"),
             ("p", 16, 17, "UPDATE z", "absent"), ("p", 18, 19, "DELETE", "absent"),
             ("q", 20, 21, "CREATE z", "created"), ("q", 22, 23, "SHOW", "z"))


def test_accepts_either_order_of_what_overlaps():
    for shown in ("x", "y", "z"):
        accepted(("p", 0, 1, "CREATE x", "created"), ("p", 2, 9, "UPDATE y", "y"),
                 ("q", 3, 8, "UPDATE z", "z"), ("r", 4, 7, "SHOW", shown))
    for last in ("y", "z"):
        accepted(("p", 0, 1, "CREATE x", "created"), ("p", 2, 9, "UPDATE y", "y"),
                 ("q", 3, 8, "UPDATE z", "z"), ("r", 10, 11, "SHOW", last))


def test_accepts_what_has_no_answer_done_late_or_never():
    start = ("p", 0, 1, "CREATE x", "created"), ("q", 2, None, "UPDATE y", "pending")
    accepted(*start, ("r", 3, 4, "SHOW", "x"), ("r", 5, 6, "SHOW", "x"))
    accepted(*start, ("r", 3, 4, "SHOW", "x"), ("r", 5, 6, "SHOW", "y"))
    accepted(*start, ("r", 3, 4, "UPDATE z", "z"), ("r", 5, 6, "SHOW", "z"),
             ("r", 7, 8, "SHOW", "y"))
    accepted(("p", 0, 1, "CREATE x", "unknown"), ("q", 2, None, "DELETE", "pending"),
             ("r", 3, 4, "SHOW", "absent"), ("r", 5, 6, "SHOW", "x"), ("r", 7, 8, "SHOW", "absent"))
    accepted(("p", 0, 1, "CREATE x", "created"), ("p", 2, 3, "UPDATE y", "failed"),
             ("p", 4, 5, "SHOW", "x"))


def test_accepts_directories_and_listings_that_overlap():
    accepted(("p", 0, 1, "CREATE x", "created"), ("q", 2, 9, "DELETE", "deleted"),
             ("r", 3, 8, "RMDIR", "deleted"), ("s", 4, 7, "CREATE y", "created"),
             ("r", 10, 11, "RMDIR", "not empty"), ("r", 12, 13, "SHOW", "y"))
    for names in ("f, g", "g"):
        accepted(("p", 0, 1, "CREATE x", "created"), ("q", 2, 9, "DELETE", "deleted"),
                 ("r", 3, 8, "LIST", names))


def test_accepts_a_listing_beside_the_shows_before_it():
    accepted(("p", 0, 10, "CREATE x", "created"), ("q", 1, 5, "SHOW", "x"),
             ("q", 1, 6, "LIST", "g"))


# -- histories that no correct server gives


def test_refuses_a_stale_read():
    refused(("p", 0, 1, "CREATE x", "created"), ("p", 2, 3, "UPDATE y", "y"),
            ("q", 4, 5, "SHOW", "x"))
    refused(("p", 0, 1, "CREATE x", "created"), ("p", 2, 9, "UPDATE y", "y"),
            ("q", 3, 4, "SHOW", "y"), ("r", 5, 6, "SHOW", "x"))


def test_refuses_a_lost_update():
    refused(("p", 0, 1, "CREATE x", "created"), ("p", 2, 3, "UPDATE y", "y"),
            ("q", 2, 3, "UPDATE z", "z"), ("q", 4, 5, "SHOW", "x"))


def test_refuses_a_create_that_succeeds_twice():
    refused(("p", 0, 3, "CREATE x", "created"), ("q", 1, 4, "CREATE y", "created"))


def test_refuses_a_delete_that_comes_back():
    refused(("p", 0, 1, "CREATE x", "created"), ("p", 2, 3, "DELETE", "deleted"),
            ("q", 4, 5, "SHOW", "x"))
    refused(("p", 0, 1, "CREATE x", "created"), ("p", 2, 3, "DELETE", "deleted"),
            ("q", 4, 5, "CREATE y", "exists"))


def test_refuses_a_text_that_nobody_wrote():
    refused(("p", 0, 1, "CREATE x", "created"), ("q", 2, 3, "SHOW", "y"))
    refused(("p", 0, 1, "CREATE x", "created"), ("p", 2, 3, "UPDATE y", "failed"),
            ("q", 4, 5, "SHOW", "y"))


def test_refuses_what_has_no_answer_done_twice_or_too_early():
    start = ("p", 0, 1, "CREATE x", "created"), ("q", 4, None, "UPDATE y", "pending")
    refused(*start, ("r", 2, 3, "SHOW", "y"))
    refused(*start, ("r", 5, 6, "SHOW", "y"), ("r", 7, 8, "UPDATE z", "z"),
            ("r", 9, 10, "SHOW", "y"))


def test_refuses_requests_of_one_connection_out_of_order():
    start = ("p", 0, 1, "CREATE x", "created")
    accepted(start, ("q", 2, 9, "UPDATE y", "y"), ("r", 2, 9, "SHOW", "x"))
    refused(start, ("q", 2, 8, "UPDATE y", "y"), ("q", 2, 9, "SHOW", "x"))


def test_refuses_directories_and_listings_that_are_not_true():
    refused(("p", 0, 1, "CREATE x", "created"), ("q", 2, 3, "RMDIR", "deleted"))
    refused(("p", 0, 1, "CREATE x", "created"), ("q", 2, 3, "LIST", "g"))
    refused(("p", 0, 1, "CREATE x", "created"), ("p", 2, 3, "DELETE", "deleted"),
            ("q", 4, 5, "LIST", "f, g"))
    try:
        violation(("q", 2, 3, "LIST", "f, f"))
    except Unexpected:
        return
    raise AssertionError("a name that is listed twice")


# -- against a search through all orders


def possible(order):
    state = ABSENT
    for step in order:
        if not holds(state, step.needs):
            return False
        state = state if step.makes is KEEP else step.makes
    return True


def in_time(order):
    """Whether no step stands before one that was answered before it was asked."""
    return all(later.operation.answered is None or later.optional or
               later.operation.answered >= step.operation.invoked
               for i, step in enumerate(order) for later in order[i + 1:])


def in_session(order, steps):
    """Whether the steps of each session stand in their order, but for those that may be done at any
    time; a listing may pass a SHOW."""
    for i, step in enumerate(order):
        for later in order[i + 1:]:
            if later.operation.session == step.operation.session and \
                    not (step.optional or later.optional) and \
                    steps.index(later) < steps.index(step) and \
                    (step.operation.action, later.operation.action) != (b"LIST", b"SHOW"):
                return False
    return True


def naive(steps):
    """The definition, word by word."""
    needed = [step for step in steps if not step.optional]
    optional = [step for step in steps if step.optional]
    for count in range(len(optional) + 1):
        for chosen in itertools.combinations(optional, count):
            for order in itertools.permutations([*needed, *chosen]):
                if possible(order) and in_time(order) and in_session(order, steps):
                    return True
    return False


def random_history(source):
    """A few operations; half of the answers are those of a server, the others anything."""
    operations = []
    for number in range(source.randint(3, 6)):
        action = source.choice(("SHOW", "CREATE", "UPDATE", "DELETE", "LIST", "RMDIR"))
        text = f"t{number}"
        answers = {"SHOW": ["absent", *(f"t{i}" for i in range(number))],
                   "CREATE": ["created", "exists", "unknown", "pending"],
                   "UPDATE": [text, text, "absent", "unknown", "pending"],
                   "DELETE": ["deleted", "absent", "pending"],
                   "LIST": ["f", "g"], "RMDIR": ["deleted", "not empty"]}[action]
        invoked = source.randrange(12)
        request = f"{action} {text}" if action in ("CREATE", "UPDATE") else action
        operations.append((f"s{number}", invoked, invoked + source.randrange(1, 8), request,
                           source.choice(answers)))
    if source.random() < 0.5:  # two of one session, sent together
        first, second = operations[:2]
        together = first[1], first[2]
        operations[:2] = [("s0", *together, *first[3:]),
                          ("s0", together[0], together[1] + 1, *second[3:])]
        if first[4] == "pending":
            operations[1] = ("s1", *operations[1][1:])
    return operations


def test_agrees_with_a_search_through_all_orders():
    source = random.Random(SEED)
    verdicts = [0, 0]
    for _ in range(3000 if FULL else 1000):
        operations = random_history(source)
        steps = steps_of(b"/a/f", [done(*operation) for operation in operations])
        verdict = naive(steps)
        verdicts[verdict] += 1
        assert (find_violation(steps) is None) == verdict, (SEED, verdict, operations)
    assert min(verdicts) > 70, verdicts


# -- between clients and a server that lies

PATHS = (b"/a/f",)


def history_through(fault, operations=400 if FULL else 200):
    with Server("--durability", "none", "-t", "2") as server, \
            Proxy(server.address, fault) as proxy:
        plan = Plan((proxy.address,), PATHS, SEED, operations, leave=0)
        with Processes(plan, 2, threads=3) as clients:
            return clients.history()


def find_planted(fault):
    found = find_violation(steps_of(PATHS[0], history_through(fault)))
    assert fault.planted > 0, "nothing was planted"
    assert found is not None, f"{fault.planted} planted, none found; seed {SEED}"
    print(f"{fault.planted} planted\n" + "\n".join(found.split("\n")[:2]))


def test_accepts_an_honest_proxy():
    assert find_violation(steps_of(PATHS[0], history_through(Honest(SEED)))) is None


def test_finds_a_planted_stale_read():
    find_planted(StaleRead(SEED))


def test_finds_a_planted_lost_update():
    find_planted(LostUpdate(SEED))


def test_finds_a_planted_double_create():
    find_planted(DoubleCreate(SEED))


def test_finds_a_planted_resurrected_delete():
    find_planted(ResurrectedDelete(SEED))


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
