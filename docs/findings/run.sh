#!/usr/bin/env bash
# The small studies of docs/findings, one after the other: docs/findings/run.sh SET OUT [CIFAR10]
#   SET      digits or cifar10: which images
#   OUT      folder for the searches and for the store that they share
#   CIFAR10  for cifar10: folder of the JPEG copy, train/<class>/ and test/<class>/
# The same command again goes on where it was stopped; two sets may run side by side in one OUT.
set -euo pipefail

set=$1 out=$2 images=()
if [ "$set" = cifar10 ]; then
    images=(--set dataset.name=imagefolder --set "dataset.root=$3" --set dataset.normalise_as=cifar10)
fi

study() { # study NAME SPACE [more options]
    echo "$(date -u +%FT%TZ) $1-$set"
    "${HARNESS:-harness}" search "$2" --out "$out/$1-$set" --store "$out/store" \
        --address inline --device cpu "${images[@]}" "${@:3}" || echo "$1-$set: status $?"
}

study probability findings_probability
study kd findings_kd
study pool-and-kd findings_pool_and_kd
study schedule findings_schedule
study depth findings_depth
study similarity findings_similarity
study ipc10 findings_ipc10
study diverse findings_probability --set pool.others=diverse --set search.replicates=5
