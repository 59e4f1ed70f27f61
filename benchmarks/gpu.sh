#!/usr/bin/env bash
# Measure everything of the engine on a GPU in one go, at most nine minutes, from a plain checkout.
#
#   benchmarks/gpu.sh OUT [WHEELS]
#
# OUT receives engine.tar: the rows as JSON, the tables, the versions. WHEELS is a folder of wheels
# of what the machine's Python lacks beside torch and torchvision (pydantic, safetensors, ...): they
# are unpacked on the way, nothing is installed. PYTHON names the interpreter (default: python3).
# Where there is no git, a file GIT_HASH in the checkout says which code this is.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# -lt 1 ]; then
    echo "benchmarks/gpu.sh: got no folder for the results, expected: benchmarks/gpu.sh OUT [WHEELS]" >&2
    exit 2
fi
out=$1
wheels=${2:-}
python=${PYTHON:-python3}
limit_s=${LIMIT_S:-540}
rows=$(mktemp -d)
trap 'rm -rf "$rows"' EXIT
mkdir -p "$out"

if [ -n "$wheels" ]; then
    for wheel in "$wheels"/*.whl; do "$python" -m zipfile -e "$wheel" "$rows/packages"; done
    export PYTHONPATH="$rows/packages${PYTHONPATH:+:$PYTHONPATH}"
fi
"$python" -c '
import sys
try:
    import torch
except ImportError:
    sys.exit(f"benchmarks/gpu.sh: {sys.executable} has no torch; name one that has: PYTHON=...")
if not torch.cuda.is_available():
    sys.exit("benchmarks/gpu.sh: torch sees no CUDA device here; run it where there is one")
print(sys.version, torch.__version__, torch.cuda.get_device_name(), sep="\n")
' | tee "$rows/versions.txt"

# The rows that the goals are about come first; each benchmark keeps what it has when time is up.
measure() {
    local name=$1 left=$((limit_s - SECONDS))
    shift
    if [ "$left" -lt 20 ]; then echo "$name: no time left" | tee -a "$rows/log.txt"; return; fi
    timeout "$left" "$python" -m benchmarks "$@" --device cuda --json "$rows/$name.json" \
        >"$rows/$name.txt" 2>>"$rows/log.txt" || echo "$name: status $?" | tee -a "$rows/log.txt"
}
measure iteration-ipc1 iteration --setting cifar-ipc1 --rounds 3
measure matching matching --setting cifar-ipc1 --setting digits-ipc1 --rounds 3
measure evaluation-ipc1 evaluation --setting cifar-ipc1 --rounds 2
measure iteration-ipc10 iteration --setting cifar-ipc10 --rounds 2
measure inner inner --rounds 3
measure evaluation-digits evaluation --setting digits-ipc1 --rounds 2

tar -cf "$out/engine.tar" -C "$rows" --exclude=packages .
cat "$rows"/*.txt
