#!/usr/bin/env bash
# Scores the sets that arXiv 2402.13007's authors published, with the whole loss and with half of it:
#   docs/findings/published.sh SETS OUT CIFAR10
#   SETS     folder of res_DC_CIFAR10_ConvNet_1ipc_3000.pt and modelpool_res_...
#   OUT      results go to OUT/published; what is there already is left as it is
#   CIFAR10  folder of the images, train/<class>/ and test/<class>/
# STUDENTS and SEEDS choose the students of entry 0 (the set of 1000 iterations), which the paper's
# tables are about.
set -euo pipefail
sets=$1 out=$2/published images=$3
students=${STUDENTS:-'["main", "mlp", "lenet", "vgg11"]'}
# (1 - alpha) * CE without a teacher: what a temperature of 0 was in the reference code.
half=(--set kd.variant=control --set kd.alpha=0.5)

score() { # score SET ENTRY LOSS STUDENTS [options]
    local to=$out/$1-$2-$3
    if [ -e "$to" ]; then return; fi
    rm -rf "$to.part"
    "${HARNESS:-harness}" evaluate "$sets/$1.pt" --entry "$2" --pixels normalised --no-ranking \
        --out "$to.part" --device "${DEVICE:-cpu}" --set dataset.name=imagefolder \
        --set "dataset.root=$images" --set dataset.normalise_as=cifar10 \
        --set "evaluation.students=$4" --set "evaluation.student_seeds=${SEEDS:-5}" "${@:5}"
    mv "$to.part" "$to"
}

mkdir -p "$out"
for set in res_DC_CIFAR10_ConvNet_1ipc_3000 modelpool_res_DC_CIFAR10_ConvNet_1ipc_3000; do
    score $set 0 whole "$students"
    score $set 0 half "$students" "${half[@]}"
    for entry in 1 2; do
        score $set $entry whole '["main", "mlp", "lenet"]'
    done
done
