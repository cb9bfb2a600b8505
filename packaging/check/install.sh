#!/bin/sh
# Installs into a scratch prefix and uses it as README tells: the C program, the training loop with the program and with stock
# lua5.4, and a model trained in Lua that a C program runs.
set -eu
make=${MAKE:-make} lua=${LUA:-lua5.4}
root=$PWD/build/check-install
rm -rf "$root"
mkdir -p "$root/work"
cp examples/sensor.lua examples/sensor.c "$root/work"
$make install PREFIX="$root/usr" >/dev/null

# The first block of README in a language.
block() { awk -v fence="\`\`\`$1" '$0 == fence { inside = 1; next } /^```/ { if (inside) exit } inside' README.md; }

block c >"$root/work/host.c"
block lua >"$root/work/train.lua"
awk 'BEGIN { for (i = 0; i < 4000; i++) printf "the quick brown fox %d jumps over the lazy dog\n", i % 97 }' >"$root/work/input.txt"

export PKG_CONFIG_PATH="$root/usr/lib/pkgconfig" LD_LIBRARY_PATH="$root/usr/lib"
cd "$root/work"
${CC:-cc} -Wall -Wextra -Werror host.c $(pkg-config --cflags --libs lurn) -o host
result=$(./host)
[ "$result" = 0.462117 ] || { echo "the C program of README prints '$result', not tanh(0.5)"; exit 1; }

"$root/usr/bin/lurn" train.lua
[ -s model.safetensors ] || { echo "the training loop of README saved nothing"; exit 1; }
rm model.safetensors
LUA_PATH="$root/usr/share/lua/5.4/?.lua;$root/usr/share/lua/5.4/?/init.lua;;" \
  LUA_CPATH="$root/usr/lib/lua/5.4/?.so;;" "$lua" train.lua
[ -s model.safetensors ] || { echo "stock $lua saved nothing"; exit 1; }
"$root/usr/bin/lurn" info model.safetensors | grep -q rnn.weight_ih_l0

"$root/usr/bin/lurn" sensor.lua >/dev/null
${CC:-cc} -std=c11 -Wall -Wextra -Werror sensor.c $(pkg-config --cflags --libs lurn) -lm -o sensor
"$root/usr/bin/lurn" sensor.lua --watch <sensor.txt >by_lua
./sensor sensor.safetensors <sensor.txt >by_c
grep -q '^500 readings, 3 unusual$' by_c || { echo "examples/sensor.c found other faults than there are:"; cat by_c; exit 1; }
cmp by_lua by_c
