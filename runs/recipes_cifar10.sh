#!/bin/sh
# Accuracy against samples seen, under both recipes: seeds from CIFAR-10's training images, the small network, 400 labels a class.
# `make figures` draws it (passes.png).
#
# The paper, in percent: 70.3 +- 0.4 (Table 3), after some 200 million samples.
# Ours: 48.9 under release after 64,000 samples, 60.9 after 250,000; fast 64.6 after 64,000, 66.3 after 256,000 (random seed 0), one
# core of an AMD EPYC. The million of either recipe was not run: it takes 20 to 25 minutes there; two cores were not timed.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
queue() {
  recipe=$1 classes=$2 samples=$3 epochs=$4 rate=$5 decay=$6
  shift 6
  dvc exp run --queue -n "recipes-cifar10-$recipe-$classes-$((classes * samples * epochs))" -S model=64c5-64c5-128f \
    -S unlabeled=cifar10 -S sources.cifar10.options.unlabeled_side=64 -S 'datasets=[cifar10_400]' \
    -S 'methods=[exemplar,random]' -S 'finetune.methods=[]' -S seeds.count="$classes" -S surrogate.samples="$samples" \
    -S train.recipe="$recipe" -S train.epochs="$epochs" -S train.batch_size=64 -S train.learning_rate="$rate" \
    -S train.momentum=0.9 -S train.weight_decay="$decay" -S train.negatives=null -S compute.precision=bfloat16 "$@"
}
queue release 1000 16 4 0.03 0.004 "$@"
queue release 1000 50 5 0.03 0.004 "$@"
queue release 4000 50 5 0.03 0.004 "$@"
queue fast 1000 32 2 0.1 0.0005 "$@"
queue fast 4000 32 2 0.1 0.0005 "$@"
queue fast 8000 32 4 0.1 0.0005 "$@"
dvc queue start
