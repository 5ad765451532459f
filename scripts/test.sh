#!/usr/bin/env bash
# Everything that CI runs: installs what is missing, then builds and tests four ways, each with warnings as errors:
# gcc, clang, gcc with AddressSanitizer and UndefinedBehaviorSanitizer, clang with ThreadSanitizer. First comes the release of
# run.sh, which some of the tests look at.
# Ends with ctest's summary of the last build, and with 1 as soon as anything fails.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install-deps.sh test
jobs=$(nproc)
# What a test leaves that is killed at its deadline goes with this.
TMPDIR=$(mktemp -d)
export TMPDIR
chmod 1777 "$TMPDIR" # tests run servers as another user
trap 'rm -rf "$TMPDIR"' EXIT

# build_and_test NAME COMPILER PRESET
build_and_test() {
  local dir=build/$1
  echo "=== $1"
  cmake --preset "$3" -B "$dir" -DCMAKE_C_COMPILER="$2" >/dev/null
  cmake --build "$dir" -j "$jobs" -- --quiet
  # Two for each processor: tests/CMakeLists.txt says which tests take one of them, which both.
  ctest --test-dir "$dir" -j $((2 * jobs)) --output-on-failure --no-tests=error
}

echo "=== format"
git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror

echo "=== run.sh"
tour=$(mktemp -d)
(cd "$tour" && "$OLDPWD/scripts/run.sh" --once --port 0)
export STTP_RELEASE=$PWD/build
build_and_test dev gcc dev
echo "=== clang-tidy"
scripts/tidy.sh build/dev
build_and_test clang clang dev
build_and_test asan gcc asan
build_and_test tsan clang tsan
