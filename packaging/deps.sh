#!/bin/sh
# Installs the Debian packages that the named groups of work need, and says which and why.
#
#   packaging/deps.sh build edit scripts test demo check fuzz
#
# On other systems it lists what is needed and goes on: the build itself tells what it misses.
set -u

describe() {
  case $1 in
  build) why='to build: a C compiler, Lua 5.4 and a BLAS library'
    packages='gcc make pkg-config libc6-dev lua5.4 liblua5.4-dev libopenblas-dev' ;;
  edit) why='for line editing in the interactive program'
    packages='libedit-dev' ;;
  scripts) why='for command lines in the Lua scripts'
    packages='lua-argparse' ;;
  test) why='to run the specs'
    packages='lua-busted' ;;
  demo) why='a text to learn from'
    packages='bible-kjv' ;;
  check) why='to check style and find mistakes'
    packages='clang clang-format clang-tidy lua-check valgrind' ;;
  fuzz) why='to fuzz the readers of files and the ops'
    packages='clang libclang-rt-dev' ;;
  *) echo "deps: there is no group '$1'" >&2; exit 2 ;;
  esac
}

installed() {
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# pkg-config may be served by pkgconf; any Debian puts one of them there.
present() {
  installed "$1" || { [ "$1" = pkg-config ] && installed pkgconf; }
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo 'lurn needs (Debian names; this system has no apt-get, please install them in its way):'
  for group; do describe "$group"; echo "  $packages  ($why)"; done
  exit 0
fi

missing=
for group; do
  describe "$group"
  wanted=
  for p in $packages; do present "$p" || wanted="$wanted $p"; done
  [ -n "$wanted" ] && echo "lurn needs:$wanted  ($why)"
  missing="$missing$wanted"
done
[ -z "$missing" ] && exit 0

sudo=
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "Please run as root: apt-get install --no-install-recommends$missing" >&2
    exit 1
  fi
  sudo=sudo
fi

# A fresh image has no package lists at all; old ones may name versions that are gone.
apt() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get "$@"; }
# shellcheck disable=SC2086  # the list is words
install() { apt install -y --no-install-recommends $missing; }
lists() { find /var/lib/apt/lists -name '*_Packages*' 2>/dev/null | grep -q .; }

lists || apt update || exit 1
install || { apt update && install; }
