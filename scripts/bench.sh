#!/usr/bin/env bash
# Builds a release and measures it beside Debian's memcached, redis, nginx and haproxy, which it starts on loopback and ends.
# Prints every figure, its target and whether it is met; ends with 1 where one is missed.
#   scripts/bench.sh [NAME...]   all, or some of: memory cache cli handover bytes netcat compare proxy durable sqlite postgres redis
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install-deps.sh bench
cmake --preset release -B build/bench >/dev/null
cmake --build build/bench -j "$(nproc)" -- --quiet

[ $# -gt 0 ] || set -- memory cache cli handover bytes netcat compare proxy durable sqlite postgres redis
status=0
for name in "$@"; do
  STTP_BIN=build/bench/bin PYTHONDONTWRITEBYTECODE=1 python3 "tests/bench/bench_$name.py" || status=1
done
exit $status
