"""The tests of sttp-cli again, with each of its runs under valgrind: all but one with STTP_FULL; else
one of each kind, since valgrind takes a second to start."""

import os
import shlex
import sys
import unittest

import harness

ALL = ["test_cli", "test_cli_answers", "test_cli_output", "test_cli_search"]
ONE_OF_EACH = [
    "test_cli.Actions.test_life_of_a_text",
    "test_cli.Addresses.test_one_refuses_one_hangs_one_serves",
    "test_cli_answers.Answers.test_retry_gives_up",
    "test_cli_answers.Batches.test_lines_that_cannot_be_sent",
    "test_cli_output.Output.test_file",
    "test_cli_output.Output.test_signal_leaves_no_temporary_file",
    "test_cli_output.Json.test_hostile_texts",
    "test_cli_search.Pages.test_failure_in_the_middle",
]
# Valgrind's own file becomes standard output where that is closed.
LEFT_OUT = "test_cli_output.Output.test_closed_standard_output_is_not_the_socket"
ERROR_STATUS = 99
# What is still reachable is no leak: a signal ends a run where it stands. Nor is what is possibly
# one: a name lookup that was given up leaves its thread, with its stack, to the end of the run.
LEAKS = "definite,indirect"
VALGRIND = ["valgrind", "--quiet", f"--error-exitcode={ERROR_STATUS}", "--leak-check=full",
            f"--show-leak-kinds={LEAKS}", f"--errors-for-leak-kinds={LEAKS}"]


def chosen_tests():
    names = sys.argv[1:] or (ALL if harness.FULL else ONE_OF_EACH)
    pending = list(unittest.defaultTestLoader.loadTestsFromNames(names))
    tests = unittest.TestSuite()
    while pending:
        test = pending.pop(0)
        if isinstance(test, unittest.TestSuite):
            pending[:0] = test
        elif test.id() != LEFT_OUT:
            tests.addTest(test)
    return tests


def run_all(directory):
    """Whether all tests pass and valgrind has reported nothing. A report goes into a file of its
    own, so that it is seen whatever becomes of the status, and the messages stay what they are."""
    os.environ["STTP_WRAP_CLI"] = shlex.join([*VALGRIND, f"--log-file={directory}/%p"])
    result = unittest.TextTestRunner().run(chosen_tests())
    reports = [path.read_text(errors="replace") for path in sorted(directory.iterdir())]
    found = [report for report in reports if report]
    print(f"{len(reports)} runs of sttp-cli, {len(found)} reports", *found, sep="\n")
    return result.wasSuccessful() and reports and not found


if __name__ == "__main__":
    with harness.temporary_directory() as scratch:
        scratch.chmod(0o777)  # some run as another user
        sys.exit(0 if run_all(scratch) else 1)
