#!/usr/bin/env bash
# The long run: every test with its full counts (gcc, gcc with AddressSanitizer and UndefinedBehaviorSanitizer, clang with
# ThreadSanitizer), then what speaks of the protocol alone on every store with every cache, then every fuzz target for 20
# minutes. Takes some hours; the machine should have nothing else to do.
#   scripts/soak.sh [gcc] [asan] [tsan] [stores] [fuzz] [fuzz_NAME]   the first five of them where none is named
# Prints one line a test and one a fuzz target; what they said stands in build/soak/*.log. Inputs that a fuzz target fails
# on stand in build/soak/findings. Ends with 1 where anything failed. STTP_SEED=N repeats the random choices of a run;
# FUZZ_SECONDS=N is the time for each fuzz target.
set -euo pipefail
cd "$(dirname "$0")/.."

parts=${*:-gcc asan tsan stores fuzz}
fuzz_seconds=${FUZZ_SECONDS:-1200}
jobs=$(nproc)
out=build/soak
failures=0
export STTP_SEED=${STTP_SEED:-$((RANDOM * 32768 + RANDOM))}

scripts/install-deps.sh test
rm -rf "$out"/*.log "$out/findings" "$out/corpus"
mkdir -p "$out/findings"
# What a test leaves that is killed at its deadline goes with this.
TMPDIR=$(mktemp -d)
export TMPDIR
chmod 1777 "$TMPDIR" # tests run servers as another user
trap 'rm -rf "$TMPDIR"' EXIT

fail() {
  echo "FAILED: $1"
  failures=$((failures + 1))
}

# test_fully NAME COMPILER PRESET
test_fully() {
  local dir=$out/$1 log=$out/$1.log
  echo "=== $1: all tests, full counts"
  cmake --preset "$3" -B "$dir" -DCMAKE_C_COMPILER="$2" -DSTTP_FULL=ON >"$log"
  cmake --build "$dir" -j "$jobs" -- --quiet >>"$log"
  ctest --test-dir "$dir" -j $((2 * jobs)) --output-on-failure --no-tests=error >>"$log" 2>&1 || fail "$1, see $log"
  sed -nE 's/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: (\S+) \.* *(\**[A-Za-z ]+) +([0-9.]+ sec).*/\1: \2, \3/p; /^[0-9]+% tests passed/p' "$log"
}

# test_stores: one pair of store and cache after the other
test_stores() {
  local dir=$out/stores store cache name started
  echo "=== stores: every store with every cache, full counts"
  cmake --preset dev -B "$dir" -DCMAKE_C_COMPILER=gcc >"$out/stores.log"
  cmake --build "$dir" -j "$jobs" -- --quiet >>"$out/stores.log"
  for store in fs sqlite postgres; do
    for cache in none memory redis both; do
      name=stores_${store}_$cache
      started=$SECONDS
      STTP_BIN=$dir/bin STTP_FULL=1 STTP_STORE=$store STTP_CACHE=$cache STTP_SESSIONS=5000 \
        python3 tests/integration/test_store_suite.py >"$out/$name.log" 2>&1 || fail "$name, see $out/$name.log"
      echo "$name: $(grep -c '^ok ' "$out/$name.log") tests passed, $((SECONDS - started)) s"
    done
  done
}

# fuzz NAME
fuzz() {
  local target=$out/fuzz/tests/fuzz_$1 log=$out/fuzz_$1.log seeds=tests/fuzz/corpus/$1 dictionary=tests/fuzz/fuzz_$1.dict
  local options=(-max_total_time="$fuzz_seconds" -print_final_stats=1 -artifact_prefix="$out/findings/$1-" -rss_limit_mb=4096)
  [ ! -e "$dictionary" ] || options+=(-dict="$dictionary")
  mkdir -p "$out/corpus/$1"
  "$target" "${options[@]}" "$out/corpus/$1" "$seeds" >"$log" 2>&1 || echo "FAILED: fuzz_$1, see $log"
  awk -v name="fuzz_$1" '
    /^stat::number_of_executed_units/ { inputs = $2 }
    /cov: / { for (i = 1; i < NF; i++) { if ($i == "cov:") edges = $(i + 1); if ($i == "corp:") corpus = $(i + 1) } }
    /^Done / { seconds = $(NF - 1) }
    END { printf "%s: %s inputs in %s s, %s edges, %s inputs kept\n", name, inputs, seconds, edges, corpus }' "$log"
}

# fuzz_all PATTERN
fuzz_all() {
  echo "=== fuzz targets, $fuzz_seconds s each, $jobs at a time"
  cmake --preset fuzz -B "$out/fuzz" >"$out/fuzz.log"
  cmake --build "$out/fuzz" -j "$jobs" -- --quiet >>"$out/fuzz.log"
  export -f fuzz
  export out fuzz_seconds
  printf '%s\n' "$out"/fuzz/tests/$1 | sed 's/.*fuzz_//' | xargs -P "$jobs" -I{} bash -c 'fuzz {}' |
    tee "$out/fuzz_results.log"
  ! grep -q FAILED "$out/fuzz_results.log" || fail "fuzzing"
}

echo "STTP_SEED=$STTP_SEED, $(git describe --always --dirty), $(date -u +%F), $jobs cores, Linux $(uname -r)"
for part in $parts; do
  case $part in
    gcc) test_fully gcc gcc dev ;;
    asan) test_fully asan gcc asan ;;
    tsan) test_fully tsan clang tsan ;;
    stores) test_stores ;;
    fuzz) fuzz_all 'fuzz_*' ;;
    fuzz_*) fuzz_all "$part" ;;
    *) fail "no part $part: gcc, asan, tsan, stores, fuzz" ;;
  esac
done
echo "=== $failures failures"
[ "$failures" = 0 ]
