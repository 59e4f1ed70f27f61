#!/usr/bin/env bash
# The studies of docs/findings, one after the other: docs/findings/run.sh SET OUT [CIFAR10]
#   SET      digits or cifar10: the small studies of these images; paper: Table 4's plain DC and pool
#            at the paper's size, on CIFAR-10, for IPC 1 (a replicate of two sets takes five hours of
#            a core with AVX512, ten with AVX2)
#   OUT      folder for the searches and for the store that they share
#   CIFAR10  for cifar10 and paper: folder of the JPEG copy, train/<class>/ and test/<class>/
# The same command again goes on where it was stopped; two sets may run side by side in one OUT.
# A study of which rows are stored beside this script goes on from them.
# A plan has replicate after replicate, so that what is there at any time is whole but for the last.
set -euo pipefail

set=$1 out=$2 images=() here=$(dirname "$0")
# Huge pages for large tensors: the same bits, sooner (docs/performance.md).
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}
if [ "$set" != digits ]; then
    images=(--set dataset.name=imagefolder --set "dataset.root=$3" --set dataset.normalise_as=cifar10)
fi

mkdir -p "$out"

study() { # study NAME SPACE TRIALS [more options]: bring a search to so many trials
    local to=$out/$1-$set stored=$here/rows/$1-$set/search.tar.xz done
    if [ ! -e "$to" ] && [ -e "$stored" ]; then tar -xf "$stored" -C "$out"; fi
    done=$({ grep -lEs '"status": ?"(ok|diverged)"' "$to"/trials/*/trial.json || true; } | wc -l)
    if [ "$done" -ge "$3" ]; then return; fi
    echo "$(date -u +%FT%TZ) $1-$set: $done of $3"
    "${HARNESS:-harness}" search "$2" --out "$to" --store "$out/store" --limit $(($3 - done)) \
        --address inline --device cpu "${images[@]}" "${@:4}" || echo "$1-$set: status $?"
}

# Digits cannot tell pools apart, so that what is asked of pools is asked of CIFAR-10: three replicates
# of what distils, since fewer settle nothing, then five.
if [ "$set" = digits ]; then
    study probability findings_probability 60
    study kd findings_kd 80
    study pool-and-kd findings_pool_and_kd 30
    exit
fi
if [ "$set" = paper ]; then
    study table4 table4 10 --set ipc=1 --set iterations=1000 --set kd.variant=off \
        --set pool.others=similar --set pool.warmup=0 --set compile=true --set evaluation.student_seeds=3
    exit
fi
study probability findings_cifar10 40
study schedule findings_schedule 35
study diverse findings_diverse 12
study similarity findings_similarity 27
study ipc10 findings_ipc10 12
study depth findings_depth 15
study pool-and-kd findings_pool_and_kd 30
study variants findings_variants 36
study balanced findings_balanced 9
study ipc10-pools findings_ipc10_pools 15
study diverse findings_diverse 20
study similarity findings_similarity 45
study ipc10 findings_ipc10 20
study depth findings_depth 25
study variants findings_variants 60
study balanced findings_balanced 15
study ipc10-pools findings_ipc10_pools 25
study kd findings_kd 80
