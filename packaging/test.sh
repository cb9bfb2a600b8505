#!/bin/sh
# Runs the C tests and the specs of the build in $BUILD and sums them up.
#
#   BUILD=build packaging/test.sh [c] [lua | spec files and busted options]
#
# Every C test program ends with "N passed, N failed"; one that does not has died.
set -u
build=${BUILD:-build}
passed=0 failed=0
run_c=1 run_lua=1
case ${1:-} in
c) run_lua=; shift ;;
lua) run_c=; shift ;;
?*) run_c= ;;
esac

# Speed must not hang on what the shell exports for OpenBLAS.
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
# A size that no machine has is an error for malloc too, not the end.
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_stack_use_after_return=0:allocator_may_return_null=1}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"
export LSAN_OPTIONS="${LSAN_OPTIONS:-print_suppressions=0}"
export TSAN_OPTIONS="${TSAN_OPTIONS:-suppressions=$PWD/packaging/check/tsan.supp ignore_noninstrumented_modules=1}"
export LURN="$build/bin/lurn"
log=$build/test/log
mkdir -p "$build/test"

# The thread sanitizer of gcc 12 does not bear the address layout of newer kernels.
plain=
if grep -qs 'fsanitize=thread' "$build/flags" && setarch -R true 2>/dev/null; then plain='setarch -R'; fi

if [ "$run_c" ]; then
  for source in spec/c/test_*.c spec/c/lua/test_*.c; do
    [ -e "$source" ] || continue
    name=$(basename "$source" .c)
    echo "== $name"
    $plain "$build/test/$name" >"$log" 2>&1
    status=$?
    # Passing tests are many; what failed, and anything unexpected, is shown.
    if [ "$status" -eq 0 ] && [ -z "${V:-}" ]; then grep -v '^ok ' "$log"; else cat "$log"; fi
    totals=$(sed -n 's/^\([0-9][0-9]*\) passed, \([0-9][0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1)
    if [ -z "$totals" ] || { [ "$status" -ne 0 ] && [ "${totals#* }" -eq 0 ]; }; then
      echo "FAIL $name: ended with status $status"
      totals="$(grep -c '^ok ' "$log") 1"
    fi
    passed=$((passed + ${totals% *})) failed=$((failed + ${totals#* }))
  done
fi

if [ "$run_lua" ]; then
  echo "== specs"
  # tee hides the status, which busted's own counts tell as well.
  $plain "$LURN" packaging/busted.lua "$@" 2>&1 | tee "$log"
  totals=$(sed -n 's|^\([0-9]*\) success[a-z]* / \([0-9]*\) failure[a-z]* / \([0-9]*\) error[a-z]* / .*|\1 \2 \3|p' \
    "$log" | tail -n 1)
  if [ -z "$totals" ]; then
    echo 'FAIL specs: busted died'
    totals='0 0 1'
  elif grep -q 'Sanitizer: ' "$log"; then
    echo 'FAIL specs: a sanitizer complained'
    totals="$totals+1"
  fi
  # shellcheck disable=SC2086  # three numbers
  set -- $totals
  passed=$((passed + $1)) failed=$((failed + $2 + $3))
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
