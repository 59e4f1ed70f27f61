#!/usr/bin/env bash
# The paper's tables and the questions at its sizes, on a GPU, from a plain checkout:
#
#   docs/findings/gpu.sh OUT CIFAR10 [WHEELS]
#
#   OUT      folder for the searches and for the store that they share
#   CIFAR10  folder of the images, train/<class>/ and test/<class>/
#   WHEELS   folder of wheels of what the machine's Python lacks beside torch and torchvision
#            (pydantic, safetensors, ...): they are unpacked below OUT, nothing is installed
#
# Runs for LIMIT_S seconds (default: without a limit), what is worth most first: IPC 1 before IPC 10.
# Stopped there or killed, the same command goes on. PYTHON names the interpreter (default: python3).
# MORE holds further options of harness search, for example MORE="--set search.replicates=3".
# DEVICE=cpu runs it without a GPU, at 8 s an iteration of IPC 1 on one core (an Intel Xeon), and 7 s
# with compile=true: two hours for a set of 1000 iterations. run.sh paper has the first of them.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "docs/findings/gpu.sh: got $# arguments, expected: docs/findings/gpu.sh OUT CIFAR10 [WHEELS]" >&2
    exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd) images=$(cd "$2" && pwd) wheels=${3:+$(cd "$3" && pwd)}
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}

if [ -n "$wheels" ]; then
    mkdir -p "$out/packages"
    for wheel in "$wheels"/*.whl; do "$python" -m zipfile -e "$wheel" "$out/packages"; done
    export PYTHONPATH="$out/packages${PYTHONPATH:+:$PYTHONPATH}"
fi

study() { # study NAME SPACE [options]: one search, until it is done or time is up
    local name=$1 space=$2 left=$((${LIMIT_S:-31536000} - SECONDS))
    shift 2
    if [ "$left" -lt 30 ]; then echo "$name: no time left"; return; fi
    echo "$name: at most $left s"
    # A terminated search saves its state and ends by itself.
    # shellcheck disable=SC2086
    timeout --kill-after=60 "$left" "$python" -m harness search "$space" --out "$out/$name" \
        --store "$out/store" --address inline --device "${DEVICE:-cuda}" \
        --set dataset.name=imagefolder --set "dataset.root=$images" \
        --set dataset.normalise_as=cifar10 "$@" ${MORE:-} || echo "$name: status $?"
}

for ipc in 1 10; do
    study "table4-ipc$ipc" table4 --set "ipc=$ipc"
    study "probability-ipc$ipc" main_model_probability --set "ipc=$ipc"
    study "kd-ipc$ipc" kd --set "ipc=$ipc"
    study "table5-ipc$ipc" table5 --set "ipc=$ipc"
    study "schedule-ipc$ipc" pool_schedule --set "ipc=$ipc"
    study "depth-ipc$ipc" depth --set "ipc=$ipc"
    study "similarity-ipc$ipc" pool_similarity --set "ipc=$ipc"
done
