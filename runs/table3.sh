#!/bin/sh
# Table 3: seeds from one set, tested on three, with the small network.
#
# The paper, in percent:   tested on  stl10        cifar10_400  caltech101
#   seeds from stl10                  67.1 +- 0.3  69.7 +- 0.3  79.8 +- 0.5
#   seeds from cifar10                64.5 +- 0.4  70.3 +- 0.4  77.8 +- 0.6
#   seeds from caltech101             66.2 +- 0.4  69.5 +- 0.2  80.0 +- 0.5
# The rows `supervised` and `exemplar, fine-tuned`, with the numbers of params.yaml, are ours: the paper has none.
# Three trainings, each of a day and a half on the paper's Titan GPU. Not run by us.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
set -- -S probe.caltech101.validation=release_halves \
  -S model=64c5-64c5-128f -S 'datasets=[stl10,cifar10_400,caltech101]' \
  -S 'methods=[exemplar,random]' -S 'finetune.methods=[random,exemplar]' -S seeds.count=8000 -S surrogate.samples=150 \
  -S train.epochs=160 -S train.recipe=release -S train.batch_size=128 -S train.learning_rate=0.01 -S train.momentum=0.9 \
  -S train.weight_decay=0.004 -S train.negatives=null "$@"
dvc exp run --queue -n table3-seeds-from-stl10 -S unlabeled=stl10 "$@"
dvc exp run --queue -n table3-seeds-from-cifar10 -S unlabeled=cifar10 "$@"
dvc exp run --queue -n table3-seeds-from-caltech101 -S unlabeled=caltech101 "$@"
dvc queue start
