#!/bin/sh
# Puts PyTorch, ONNX Runtime and NumPy into the virtual environment $BENCH_VENV, for `make bench` alone: lurn needs none of them.
set -eu
venv=${BENCH_VENV:-$HOME/.cache/lurn-bench/venv}
python=${BENCH_BASE_PYTHON:-/usr/bin/python3}
index=https://download.pytorch.org/whl/cpu

echo "This downloads torch (about 200 MB from $index; where that cannot be reached,"
echo "from PyPI, several GB), onnxruntime and numpy into $venv"
if [ ! -x "$venv/bin/pip" ]; then
  "$python" -m venv "$venv" || {
    echo "the virtual environment could not be made (Debian: apt-get install python3-venv)" >&2
    exit 1
  }
fi
"$venv/bin/pip" install --retries 1 --timeout 20 --index-url "$index" torch ||
  "$venv/bin/pip" install torch
"$venv/bin/pip" install numpy onnxruntime
"$venv/bin/python" -c 'import torch, onnxruntime; print("PyTorch", torch.__version__, "ONNX Runtime", onnxruntime.__version__)'
