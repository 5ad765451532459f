#!/usr/bin/env bash
# Two servers of one database, with a proxy before them: starts PostgreSQL, Redis, two sttpd and a sttp-proxy on 127.0.0.1, shows
# what they do together, also when one is killed, and serves until Ctrl-C. Then all is stopped and removed.
#   examples/cluster/run.sh [--once]
# --once stops after the tour. Needs the Debian packages postgresql and redis-server, and the programs in build/bin
# (scripts/run.sh --once builds them; STTP_BIN names another directory). The settings are beside this script; a
# port that is taken is replaced by the next free one.
set -euo pipefail

once=false
case "${1:-}" in
"") ;;
--once) once=true ;;
*)
  echo "usage: examples/cluster/run.sh [--once]" >&2
  exit 2
  ;;
esac

here=$(cd "$(dirname "$0")" && pwd)
bin=${STTP_BIN:-$here/../../build/bin}
postgres_bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
unset "${!PG@}" STTP_PROXY # nothing of the caller's own settings

fail() {
  echo "run.sh: $*" >&2
  exit 1
}

[ -x "$bin/sttpd" ] || fail "no sttpd in $bin; build it with scripts/run.sh --once"
[ -x "$postgres_bin/postgres" ] || fail "PostgreSQL is not there; install the Debian package postgresql"
command -v redis-server >/dev/null || fail "Redis is not there; install the Debian package redis-server"

# ---- processes ----

umask 022 # where root starts it another user reads the settings
directory=$(mktemp -d "${TMPDIR:-/tmp}/sttp-cluster-XXXXXX")
chmod 755 "$directory"
declare -A process=()

# Sends a signal to a process of ours, and waits for its end.
end() {
  kill "-$2" "${process[$1]}" 2>/dev/null || true
  wait "${process[$1]}" 2>/dev/null || true
  unset "process[$1]"
}

stop_all() {
  local name
  trap - EXIT
  trap '' INT TERM HUP
  for name in proxy server1 server2 redis postgres; do
    if [ -n "${process[$name]:-}" ]; then
      # PostgreSQL ends its clients at SIGINT, and waits for them at SIGTERM.
      if [ "$name" = postgres ]; then end "$name" INT; else end "$name" TERM; fi
    fi
  done
  rm -rf "$directory"
}
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# start NAME COMMAND...: in the background, with a log of its own.
start() {
  local name=$1
  shift
  "$@" >>"$directory/$name.log" 2>&1 </dev/null &
  process[$name]=$!
}

# wait_for NAME COMMAND...: until the command succeeds; fails where the process has ended, or takes too long.
wait_for() {
  local name=$1 end_of_patience=$((SECONDS + 60))
  shift
  until "$@" >/dev/null 2>&1; do
    if ! kill -0 "${process[$name]}" 2>/dev/null || [ "$SECONDS" -ge "$end_of_patience" ]; then
      cat "$directory/$name.log" >&2
      fail "$name is not there; its log is above"
    fi
    sleep 0.02
  done
}

# ---- settings ----

# free_port FIRST: the first port from there on that nobody listens on.
free_port() {
  local port=$1
  while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
    port=$((port + 10))
  done
  echo "$port"
}

postgres_port=$(free_port 15432)
redis_port=$(free_port 16379)
port1=$(free_port 18081)
port2=$(free_port 18082)
proxy_port=$(free_port 13128)
for file in sttpd.yaml sttp-proxy.yaml postgresql.conf redis.conf; do
  sed -e "s/15432/$postgres_port/; s/16379/$redis_port/; s/18081/$port1/; s/18082/$port2/; s/13128/$proxy_port/" \
    "$here/$file" >"$directory/$file"
done

# ---- start ----

# PostgreSQL does not run as root.
as_user=()
if [ "$(id -u)" = 0 ]; then
  as_user=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
fi

start_postgres() {
  mkdir "$directory/data"
  [ "$(id -u)" != 0 ] || chown nobody "$directory/data"
  (cd "$directory" && "${as_user[@]}" "$postgres_bin/initdb" -D data -U sttp --auth=trust --encoding=UTF8 \
    --locale=C.UTF-8 --no-instructions) >"$directory/initdb.log" 2>&1 || fail "initdb: $(tail -n 1 "$directory/initdb.log")"
  echo "include '$directory/postgresql.conf'" >>"$directory/data/postgresql.conf"
  start postgres "${as_user[@]}" "$postgres_bin/postgres" -D "$directory/data"
  wait_for postgres "$postgres_bin/pg_isready" -q -h 127.0.0.1 -p "$postgres_port" -U sttp
  "$postgres_bin/createdb" -h 127.0.0.1 -p "$postgres_port" -U sttp sttp
}

start_server() {
  : >"$directory/server$1.log"
  start "server$1" "$bin/sttpd" -c "$directory/sttpd.yaml" -p "$2"
  wait_for "server$1" grep -q ' ready$' "$directory/server$1.log"
}

echo "Starting PostgreSQL, Redis, two sttpd and a sttp-proxy ..."
start_postgres
(cd "$directory" && exec redis-server redis.conf) >"$directory/redis.log" 2>&1 </dev/null &
process[redis]=$!
wait_for redis redis-cli -p "$redis_port" ping
start_server 1 "$port1"
start_server 2 "$port2"
start proxy "$bin/sttp-proxy" -c "$directory/sttp-proxy.yaml"
wait_for proxy grep -q ' ready$' "$directory/proxy.log"
echo "Servers on ports $port1 and $port2, the proxy on port $proxy_port; logs in $directory"

# ---- tour ----

# show PORT ARGUMENT...: prints a command of sttp-cli as it would be typed, and runs it.
show() {
  local word typed="" port=$1
  shift
  for word in "$@"; do
    case "$word" in
    *" "*) typed+=" \"$word\"" ;;
    *) typed+=" $word" ;;
    esac
  done
  printf '\n$ sttp-cli -p %s%s\n' "$port" "$typed"
  "$bin/sttp-cli" -p "$port" "$@"
}

# ask_until PORT PATH TEXT: until that text is shown; says how long that was.
ask_until() {
  local begin=${EPOCHREALTIME/./} shown=""
  until [ "$shown" = "$3" ]; do
    [ $((${EPOCHREALTIME/./} - begin)) -lt 10000000 ] || fail "port $1 does not show the change"
    shown=$("$bin/sttp-cli" -p "$1" show "$2")
  done
  echo "(port $1 showed it after $(((${EPOCHREALTIME/./} - begin) / 1000)) ms)"
}

printf '\n-- What is changed through one server is there on the other:\n'
show "$port1" create /notes/reminder.txt "Buy milk"
show "$port2" show /notes/reminder.txt
show "$port1" update /notes/reminder.txt "Buy milk and bread"
ask_until "$port2" /notes/reminder.txt "Buy milk and bread"
show "$port2" show /notes/reminder.txt

has_answers() {
  [ "$(redis-cli -p "$redis_port" dbsize)" -gt 0 ]
}
wait_for redis has_answers
echo "(Redis has answers for both servers: $(redis-cli -p "$redis_port" dbsize))"

printf '\n-- Clients know the proxy alone:\n'
show "$proxy_port" create /notes/call.txt "Call home"
show "$proxy_port" list /notes/

printf '\n-- The first server is killed; the proxy goes on with the other one:\n'
printf '\n$ kill -9 %s\n' "${process[server1]}"
end server1 KILL
show "$proxy_port" update /notes/call.txt "Call home now"
show "$proxy_port" show /notes/call.txt
answered=0
for _ in {1..50}; do
  [ "$("$bin/sttp-cli" -p "$proxy_port" show /notes/call.txt)" = "Call home now" ] && answered=$((answered + 1))
done
echo "($answered of 50 more requests were answered)"
[ "$answered" = 50 ] || fail "requests failed"

printf '\n-- It is started again, and has what was changed meanwhile:\n'
start_server 1 "$port1"
show "$port1" show /notes/call.txt
show "$proxy_port" delete /notes/call.txt
show "$proxy_port" delete /notes/reminder.txt
show "$proxy_port" delete /notes/

if ! $once; then
  printf '\nServing on 127.0.0.1:%s until Ctrl-C.\n' "$proxy_port"
  wait "${process[proxy]}"
fi
printf '\nStopping.\n'
