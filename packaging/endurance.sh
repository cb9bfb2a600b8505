#!/bin/sh
# Runs what takes many minutes, of the build in $BUILD: every spec/endurance/*.lua, a million training steps, the allocations of Lua
# that fail, each of them, Ctrl-C at two hundred moments, and two hundred calls of every function with anything.  The last line is
# "N passed, N failed".
set -u
build=${BUILD:-build}
passed=0 failed=0
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
export LURN="$build/bin/lurn"
log=$build/test/endurance.log
mkdir -p "$build/test"

# Runs a command that ends with its own "N passed, N failed"; one that does not has died.
count() {
  echo "== $1"
  shift
  "$@" 2>&1 | tee "$log"
  totals=$(sed -n 's/^\([0-9][0-9]*\) passed, \([0-9][0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1)
  totals=${totals:-0 1}
  passed=$((passed + ${totals% *})) failed=$((failed + ${totals#* }))
}

for script in spec/endurance/*.lua; do
  [ -e "$script" ] && count "$script" "$LURN" "$script"
done
count 'a million training steps' env LURN_ENDURANCE=1000000 "$build/test/test_endurance"
count 'allocations of Lua' env LURN_EXHAUSTIVE=1 "$build/test/test_lua_memory"
count 'Ctrl-C, the robot' env LURN_INTERRUPTS=200 LURN_ROBOT=200 BUILD="$build" packaging/test.sh \
  spec/bindings/interrupt_spec.lua spec/bindings/tampering_spec.lua

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
