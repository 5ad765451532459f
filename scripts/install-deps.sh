#!/usr/bin/env bash
# Installs the Debian packages that the project needs and this machine lacks.
#   scripts/install-deps.sh build   what building and running needs
#   scripts/install-deps.sh test    that, and what the tests need
#   scripts/install-deps.sh bench   what building needs, and what scripts/bench.sh measures with and compares with
# As root it uses apt-get; else sudo, where that asks nothing. Where neither works it says what is missing and ends with 1.
set -euo pipefail

build=(gcc libc6-dev cmake ninja-build pkg-config libxxhash-dev libevent-dev libc-ares-dev libyaml-dev
  libsqlite3-dev libpq-dev libhiredis-dev libjansson-dev)
tests=(git g++ check libsubunit-dev clang libclang-rt-14-dev clang-format clang-tidy python3 scdoc
  netcat-openbsd netcat-traditional telnet liburiparser-dev libuv1-dev strace valgrind dnsmasq-base iproute2
  postgresql redis-server sqlite3)
bench=(python3 memcached redis-server redis-tools nginx-light haproxy hyperfine netcat-openbsd strace valgrind
  postgresql sqlite3)

case "${1:-}" in
build) wanted=("${build[@]}") ;;
test) wanted=("${build[@]}" "${tests[@]}") ;;
bench) wanted=("${build[@]}" "${bench[@]}") ;;
*)
  echo "usage: scripts/install-deps.sh build|test|bench" >&2
  exit 2
  ;;
esac

missing=()
for package in "${wanted[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

install=(apt-get install -y --no-install-recommends "${missing[@]}")
if [ "$(id -u)" = 0 ]; then
  as_root=(env DEBIAN_FRONTEND=noninteractive)
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  as_root=(sudo -n env DEBIAN_FRONTEND=noninteractive)
else
  {
    echo "These Debian packages are missing, and installing them needs root:"
    echo "    ${missing[*]}"
    echo "Install them with:"
    echo "    sudo ${install[*]}"
  } >&2
  exit 1
fi
echo "Installing: ${missing[*]}" >&2
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" "${install[@]}" >/dev/null
