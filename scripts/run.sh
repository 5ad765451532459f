#!/usr/bin/env bash
# Builds the project, starts a server on 127.0.0.1 and shows what it does. Then it serves until Ctrl-C.
#   scripts/run.sh [--once] [--port N]
# The document root is sttp-files below the current folder.
set -euo pipefail

once=false
port=8080
while [ $# -gt 0 ]; do
  case "$1" in
  --once) once=true ;;
  --port)
    [ $# -gt 1 ] || { echo "run.sh: --port needs a number" >&2; exit 2; }
    port=$2
    shift
    ;;
  *)
    echo "usage: scripts/run.sh [--once] [--port N]" >&2
    exit 2
    ;;
  esac
  shift
done

source_dir=$(cd "$(dirname "$0")/.." && pwd)
docroot=$PWD/sttp-files

"$source_dir/scripts/install-deps.sh" build
(
  cd "$source_dir"
  echo "Building ..." >&2
  cmake --preset release >build.log 2>&1 && cmake --build --preset release >>build.log 2>&1 || {
    cat build.log >&2
    exit 1
  }
  rm build.log
)
PATH=$source_dir/build/bin:$PATH

mkdir -p "$docroot"
exec {log}< <(exec sttpd -a 127.0.0.1 -p "$port" -d "$docroot" 2>&1)
server=$!
trap 'kill -TERM "$server" 2>/dev/null || true' EXIT
ready=false
while read -r -u "$log" line; do
  echo "sttpd: $line"
  case "$line" in
  *"listening on "*) port=${line##*:} ;;
  *ready)
    ready=true
    break
    ;;
  esac
done
$ready || { echo "run.sh: sttpd did not start" >&2; exit 1; }

print_log() {
  while read -r -u "$log" line; do
    echo "sttpd: $line"
  done
}

# Prints a command as it would be typed, and runs it.
show() {
  local word typed=""
  for word in "$@"; do
    case "$word" in
    *" "*) typed+=" \"$word\"" ;;
    *) typed+=" $word" ;;
    esac
  done
  printf '\n$%s\n' "$typed"
  "$@"
}

tour=/tour-$$
show sttp-cli -p "$port" create "$tour/hello.txt" "Hello, world"
show sttp-cli -p "$port" show "$tour/hello.txt"
show sttp-cli -p "$port" list "$tour/"
show sttp-cli -p "$port" update "$tour/hello.txt" "Hello again"
show sttp-cli show "sttp://127.0.0.1:$port$tour/hello.txt"
show sttp-cli -p "$port" delete "$tour/hello.txt"
show sttp-cli -p "$port" delete "$tour/"
echo

if $once; then
  kill -TERM "$server"
else
  trap : INT # the terminal tells the server itself
  trap 'kill -TERM "$server" 2>/dev/null || true' TERM HUP
  echo "Serving $docroot on 127.0.0.1:$port until Ctrl-C."
fi
print_log
print_log # a signal ends the first one early
trap - EXIT INT TERM HUP
wait "$server"
