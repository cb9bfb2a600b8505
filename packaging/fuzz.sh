#!/bin/sh
# Runs the fuzz targets of the build in $BUILD, one after the other, on inputs that they make themselves.
#
#   BUILD=build/fuzz packaging/fuzz.sh SECONDS [RUNS] [json] [safetensors] [graph]
#
# Each ends after RUNS inputs if given, else after SECONDS.  What was found is kept below $BUILD/corpus for the next run; an input that
# breaks something below $BUILD/found.
set -u
build=${BUILD:-build/fuzz} seconds=$1 runs=$2
shift 2
[ $# -gt 0 ] || set -- json safetensors graph
passed=0 failed=0
if [ "$runs" ]; then end="-runs=$runs"; else end="-max_total_time=$seconds"; fi
mkdir -p "$build/found"

# The readers' targets know sound files; programs of ops begin as random bytes.
make_seeds() {
  if [ "$1" != graph ]; then
    "$2" --seeds="$3"
    return
  fi
  for i in 1 2 3 4 5 6 7 8; do head -c $((i * 60)) /dev/urandom >"$3/$i" || return 1; done
}

for name; do
  target=$build/test/fuzz_$name corpus=$build/corpus/$name seeds=$build/seeds/$name
  echo "== fuzz_$name"
  rm -rf "$seeds"
  mkdir -p "$corpus" "$seeds"
  # No input is slow or large; the artifact's name tells whose it is.
  if make_seeds "$name" "$target" "$seeds" &&
    "$target" "$end" -max_len=1024 -len_control=0 -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
      -artifact_prefix="$build/found/$name-" "$corpus" "$seeds"; then
    passed=$((passed + 1))
  else
    echo "FAIL fuzz_$name"
    failed=$((failed + 1))
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
