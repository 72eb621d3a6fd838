#!/bin/sh
# Table 1, the small network: 64c5-64c5-128f, 8,000 classes of 150 samples, seeds from STL-10.
#
# The paper, in percent: stl10 67.1 +- 0.2, cifar10_400 69.7 +- 0.3, cifar10 76.5,
#   caltech101 79.8 +- 0.5, caltech256 42.4 +- 0.3.
# Filters that were not trained: stl10 49.9 (Figure 4).
# Trained for a day and a half on the paper's Titan GPU; 160 epochs are about as many steps as in the release.
# Not run by us.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
dvc exp run -n table1-small -S model=64c5-64c5-128f -S unlabeled=stl10 \
  -S probe.caltech101.validation=release_halves -S probe.caltech256.validation=release_halves \
  -S 'datasets=[stl10,cifar10_400,cifar10,caltech101,caltech256]' -S 'methods=[exemplar,random]' \
  -S 'finetune.methods=[]' -S seeds.count=8000 -S surrogate.samples=150 -S train.epochs=160 -S train.recipe=release -S train.batch_size=128 \
  -S train.learning_rate=0.01 -S train.momentum=0.9 -S train.weight_decay=0.004 -S train.negatives=null "$@"
