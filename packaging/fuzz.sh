#!/bin/sh
# Runs the fuzz targets of the build in $BUILD, one after the other, on inputs that they make themselves.
#
#   BUILD=build/fuzz packaging/fuzz.sh SECONDS RUNS SEED [json] [safetensors] [graph]
#
# Each ends after RUNS inputs unless that is empty, else after SECONDS.  A SEED makes the same inputs in every run that begins with the
# same corpus; empty, it is another one each time.  What was found is kept below $BUILD/corpus for the next run; an input that breaks
# something below $BUILD/found.
set -u
build=${BUILD:-build/fuzz} seconds=$1 runs=$2 seed=$3
shift 3
[ $# -gt 0 ] || set -- json safetensors graph
passed=0 failed=0
if [ "$runs" ]; then end="-runs=$runs"; else end="-max_total_time=$seconds"; fi
mkdir -p "$build/found"

for name; do
  target=$build/test/fuzz_$name corpus=$build/corpus/$name seeds=$build/seeds/$name
  echo "== fuzz_$name"
  rm -rf "$seeds"
  mkdir -p "$corpus" "$seeds"
  # No input is slow or large; the artifact's name tells whose it is.
  if "$target" --seeds="$seeds" &&
    "$target" "$end" ${seed:+"-seed=$seed"} -max_len=1024 -len_control=0 -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
      -artifact_prefix="$build/found/$name-" "$corpus" "$seeds"; then
    passed=$((passed + 1))
  else
    echo "FAIL fuzz_$name"
    failed=$((failed + 1))
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
