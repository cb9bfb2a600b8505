#!/bin/sh
# Runs C tests and specs of the build in $BUILD under valgrind, those named or the ones below: no error, and nothing definitely
# lost.  It knows no AVX-512, and shows AVX2 as the best there is.
#
#   BUILD=build packaging/valgrind.sh [test_x... spec/x_spec.lua...]
set -u
build=${BUILD:-build}
passed=0 failed=0
log=$build/test/valgrind.log
export LURN_ISA=avx2 LURN_NUM_THREADS=2 LURN_ENDURANCE=500 LURN_LONGEST=5000
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
export LURN="$build/bin/lurn"

# Each a part of the engine; what takes minutes there (kernels over all sizes, threads) the sanitizers look at.
[ $# -gt 0 ] || set -- test_core_context test_core_pool test_core_rng test_core_shape test_core_tensor test_autograd \
  test_inplace test_custom test_memory test_product test_clip test_json test_save test_safetensors \
  test_fuzzed test_endurance spec/bindings/create_spec.lua spec/bindings/index_spec.lua spec/bindings/autograd_spec.lua

for what; do
  case $what in
  test_*) set -- "$build/test/$what" ;;
  *) set -- "$LURN" packaging/busted.lua "$what" ;;
  esac
  if valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
    --num-callers=30 "$@" >"$log" 2>&1; then
    echo "ok   $what"
    passed=$((passed + 1))
  else
    tail -n 60 "$log"
    echo "FAIL $what"
    failed=$((failed + 1))
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
