#!/usr/bin/env bash
# Scores the sets that arXiv 2402.13007's authors published, with the whole loss, with half of it, and with
# a teacher:
#   docs/findings/published.sh SETS OUT CIFAR10
#   SETS     folder of res_DC_CIFAR10_ConvNet_1ipc_3000.pt and modelpool_res_...
#   OUT      results go to OUT/published; what is there, or stored beside this script, is left as it is
#   CIFAR10  folder of the images, train/<class>/ and test/<class>/
# Each student has a folder of its own, those that cost least first, so that a run may be stopped at
# any time. STUDENTS chooses those of entry 0, and leaves out what has a teacher; SEEDS is how many
# networks of each. Random real images are the same for all sets: they are scored beside the first, but
# by AlexNet and ResNet18, which cost most.
set -euo pipefail
sets=$1 out=$2/published images=$3 here=$(dirname "$0")
students=${STUDENTS:-mlp lenet main vgg11 alexnet resnet18}
# (1 - alpha) * CE without a teacher: what a temperature of 0 was in the reference code.
half=(--set kd.variant=control --set kd.alpha=0.5)
kd=(--set kd.temperature=1.5 --set kd.alpha=0.5) # fixed in advance

score() { # score SET ENTRY LOSS STUDENT[+STUDENT...] [options]
    local to=$out/$1-$2-$3-$4 beside=--no-random
    if [ -e "$to" ] || [ -e "$here/rows/published/$1-$2-$3-$4" ]; then return; fi
    case $1-$2-$3-$4 in
        *-alexnet | *-resnet18) ;;
        res_DC_CIFAR10_ConvNet_1ipc_3000-0-whole-*) beside=--no-ranking ;;
    esac
    echo "$(date -u +%FT%TZ) $1, entry $2, $3 loss, $4"
    rm -rf "$to.part"
    "${HARNESS:-harness}" evaluate "$sets/$1.pt" --entry "$2" --pixels normalised $beside \
        --out "$to.part" --device "${DEVICE:-cpu}" --set dataset.name=imagefolder \
        --set "dataset.root=$images" --set dataset.normalise_as=cifar10 \
        --set "evaluation.students=[\"${4//+/\",\"}\"]" --set "evaluation.student_seeds=${SEEDS:-5}" "${@:5}"
    mv "$to.part" "$to"
}

mkdir -p "$out"
# Entry 0 is the set of 1000 iterations, which the paper's tables are about.
for student in $students; do
    for set in res_DC_CIFAR10_ConvNet_1ipc_3000 modelpool_res_DC_CIFAR10_ConvNet_1ipc_3000; do
        score $set 0 whole "$student"
        score $set 0 half "$student" "${half[@]}"
    done
done
for student in mlp lenet main; do
    for set in res_DC_CIFAR10_ConvNet_1ipc_3000 modelpool_res_DC_CIFAR10_ConvNet_1ipc_3000; do
        for entry in 1 2; do score $set $entry whole "$student"; done
    done
done
# With a teacher: five teachers cost as much as five main models, so that students share them. The
# code's own loss is asked of one set, and first of ResNet18, whose published gain is the largest.
if [ -n "${STUDENTS:-}" ]; then exit; fi
for students in mlp+lenet+vgg11 alexnet+resnet18; do
    for set in res_DC_CIFAR10_ConvNet_1ipc_3000 modelpool_res_DC_CIFAR10_ConvNet_1ipc_3000; do
        score $set 0 softened $students "${kd[@]}" --set kd.variant=softened
    done
done
for students in resnet18 mlp+lenet+vgg11 alexnet; do
    score modelpool_res_DC_CIFAR10_ConvNet_1ipc_3000 0 legacy $students "${kd[@]}" --set kd.variant=legacy
done
