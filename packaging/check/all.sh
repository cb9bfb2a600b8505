#!/bin/sh
# Every check, or those named; each prints one line, `ok  name` or `FAIL name` after what is wrong.  The last line sums up.
#
#   packaging/check/all.sh [format gcc clang tidy layers forbidden globals symbols header size luacheck install docs]
set -u
lua=${LUA:-lua5.4}
make=${MAKE:-make}
here=packaging/check
log=build/check.log
mkdir -p build
passed=0 failed=0

strict='-Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror'
engine() { find engine -name '*.[ch]' -o -name '*.inc' -o -name '*.def' | sort; }
c_files() { find engine bindings examples spec/c spec/bench spec/fuzz -name '*.[ch]' 2>/dev/null | sort; }
lua_files() { find scripts examples spec packaging -name '*.lua' 2>/dev/null | sort; }
variant() { name=$1; shift; $make BUILD="build/check-$name" CC="$name" "$@"; }

check_format() { clang-format --dry-run -Werror $(c_files); }
# With assertions in one build and without in the other: both must be clean.
check_gcc() { variant gcc WARN="$strict" objects; }
check_clang() { variant clang WARN="$strict -UNDEBUG" objects; }
check_tidy() { variant clang WARN="$strict -UNDEBUG" tidy; }
check_layers() { $lua $here/layers.lua $(engine) $(find bindings -name '*.[ch]'); }
check_forbidden() { $lua $here/forbidden.lua $(engine); }
check_luacheck() { luacheck --quiet --no-color $(lua_files); }

# Decision 1: the engine has no mutable globals.  Constant tables of pointers lie in .data.rel.ro.
check_globals() {
  variant gcc WARN="$strict" build/check-gcc/lib/liblurn.a >/dev/null || return 1
  ! nm --format=sysv --defined-only build/check-gcc/lib/liblurn.a |
    awk -F '|' 'NF < 3 && /\[.*\]/ { file = $0; gsub(/.*\[|\].*/, "", file) }
      NF >= 7 { name = $1; section = $7; gsub(/[ \t]/, "", name); gsub(/[ \t]/, "", section)
        if (section ~ /^(\.data|\.bss|\.tdata|\.tbss|COMMON|\*COM\*)/ && section !~ /^\.data\.rel\.ro/)
          print file ": mutable global " name }' | grep .
}

# The libraries give out what they promise and no more.
check_symbols() {
  $make all >/dev/null || return 1
  exported() { nm --dynamic --defined-only "$1" | awk '{ print $NF }'; }
  [ "$(exported build/lib/lua/5.4/lurn/core.so)" = luaopen_lurn_core ] ||
    { echo 'core.so does not export just luaopen_lurn_core'; return 1; }
  # lurn__x is internal.
  ! exported build/lib/liblurn.so | grep -v '^lurn_[a-z0-9]' | sed 's/$/: liblurn.so should not export it/' | grep .
}

# The installed header alone, as C and as C++.
check_header() {
  $make build/include/lurn.h >/dev/null || return 1
  flags='-Wall -Wextra -Wshadow -Werror -fsyntax-only'
  for compiler in gcc clang; do
    $compiler -x c -std=c11 -pedantic -Wstrict-prototypes $flags build/include/lurn.h || return 1
  done
  clang++ -x c++ -std=c++11 -pedantic $flags build/include/lurn.h
}

# What README tells a user to write and run.
check_install() { MAKE=$make LUA=$lua $here/install.sh; }

# The reference is made from the sources and kept with them.
check_docs() {
  $make all >/dev/null || return 1
  build/bin/lurn packaging/docs.lua reference build/lua-reference.md
  cmp build/lua-reference.md docs/lua-reference.md || { echo 'docs/lua-reference.md is stale: run `make docs`'; return 1; }
}

check_size() {
  { c_files; lua_files; engine; find packaging -type f; echo Makefile; } | sort -u | xargs wc -l |
    awk '$2 != "total" && $1 > 800 { print $2 ": " $1 " lines, more than 800"; bad = 1 } END { exit bad }'
}

# Says whether a tool is there, naming the package group that brings it.
need() {
  for tool; do
    command -v "$tool" >/dev/null || { echo "$tool is missing, run \`make deps\`"; return 1; }
  done
}
tools() {
  case $1 in
  format) need clang-format ;;
  gcc) need gcc ;;
  globals | symbols) need gcc nm ;;
  clang) need clang ;;
  tidy) need clang clang-tidy ;;
  header) need gcc clang clang++ ;;
  install) need pkg-config "$lua" ;;
  luacheck) need luacheck ;;
  layers | forbidden) need "$lua" ;;
  esac
}

[ $# -gt 0 ] || set -- format size layers forbidden luacheck header docs install gcc globals symbols clang tidy
for check; do
  if { tools "$check" && "check_$check"; } >"$log" 2>&1; then
    echo "ok   $check"
    passed=$((passed + 1))
  else
    # Of a build's output only what went wrong is of interest.
    grep -v -E '^  (CC|AR|LD|LN|GEN|TIDY) ' "$log"
    echo "FAIL $check"
    failed=$((failed + 1))
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
