#!/bin/sh
# A million classes from end to end: twenty seeds of each of CIFAR-10's training images, each seen once, the small network under the paper's
# softmax. Before it runs the same with 8,000 classes and as many samples. At the end one table tells what each stage took in both: time,
# memory, disk. The medium network, under names of its own:
#   NAME=million-medium runs/million.sh -S model=64c5-128c5-256c5-512f
# Windows take 28 GB. DVC copies them once more, unless `dvc config --local cache.type hardlink,symlink,copy` was said before.
#
# The paper, in percent: 70.3 +- 0.4 on `cifar10_400` (Table 3), from 8,000 classes; it has no such number of classes.
# Ours, run by us on one core of an AMD EPYC, random seed 0: 52.1 +- 0.3 with a million classes, each seen once, in half an hour; 55.8 +- 0.4 with
# 8,000 and as many samples; random filters have 54.5 and 54.4 (random seeds 1 and 2). So a million samples teach a million classes nothing under this recipe (docs/log.md).
# Two cores were not timed.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
name=${NAME:-million}
measured() {
  option=$1 experiment=$2 count=$3 samples=$4
  shift 4
  python -m benchmarks.stages "$option" ".checkpoints/$name-8000.json" \
    dvc exp run -n "$experiment" -S model=64c5-64c5-128f -S unlabeled=cifar10 -S sources.cifar10.options.unlabeled_side=96 \
    -S 'datasets=[cifar10_400]' -S 'methods=[exemplar]' -S 'finetune.methods=[]' -S 'invariance.methods=[exemplar]' \
    -S seeds.count="$count" -S seeds.most_overlap=null -S surrogate.samples="$samples" -S train.recipe=release -S train.epochs=1 \
    -S train.batch_size=64 -S train.learning_rate=0.03 -S train.momentum=0.9 -S train.weight_decay=0.004 -S train.negatives=8192 \
    -S compute.precision=bfloat16 "$@"
}
measured --save "$name-8000" 8000 125 "$@"
measured --beside "$name" 1000000 1 "$@"
