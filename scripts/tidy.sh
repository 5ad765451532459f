#!/usr/bin/env bash
# Runs clang-tidy with the checks of .clang-tidy over all sources of a build directory (default build/dev).
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files 'libsttp/**.c' 'daemon/*.c' 'sttpd/*.c' 'sttpd-admin/*.c' 'sttp-proxy/*.c' 'sttp-cli/*.c' 'sttp-bench/*.c' |
  xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p "${1:-build/dev}" --warnings-as-errors='*' 2>/dev/null
