"""The tests that speak of the protocol alone, on the store of STTP_STORE with the cache of
STTP_CACHE, one file after another: they share what these need. Files named on the command line
choose some."""

import importlib
import sys

from harness import FULL, run_tests
from stores_support import CACHE, redis_hits

FILES = ("test_vectors", "test_differential", "test_races", "test_crash",
         *(["test_linearizability"] if FULL else []))  # of the judge of test_races, mostly


def run_files(files):
    sys.argv[1:] = []  # they would take what is left for names of tests
    return max(run_tests(vars(importlib.import_module(file))) for file in files)


def test_redis_was_used():
    assert (redis_hits() > 0) == (CACHE in ("redis", "both")), redis_hits()


if __name__ == "__main__":
    chosen = sys.argv[1:]
    status = run_files(chosen or FILES)
    sys.exit(max(status, run_tests(globals())))
