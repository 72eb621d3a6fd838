#!/bin/sh
# Table 1, the medium network: 64c5-128c5-256c5-512f, 16,000 classes of 100 samples, seeds from STL-10.
#
# The paper, in percent: stl10 72.8 +- 0.4, cifar10_400 75.4 +- 0.2, cifar10 82.2,
#   caltech101 86.1 +- 0.5, caltech256 51.2 +- 0.2.
# Trained for four days on the paper's Titan GPU; 125 epochs are about as many steps as in the release.
# Not run by us.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
dvc exp run -n table1-medium -S model=64c5-128c5-256c5-512f -S unlabeled=stl10 \
  -S probe.caltech101.validation=release_halves -S probe.caltech256.validation=release_halves \
  -S 'datasets=[stl10,cifar10_400,cifar10,caltech101,caltech256]' -S 'methods=[exemplar,random]' \
  -S 'finetune.methods=[]' -S seeds.count=16000 -S surrogate.samples=100 -S train.epochs=125 -S train.recipe=release -S train.batch_size=128 \
  -S train.learning_rate=0.01 -S train.momentum=0.9 -S train.weight_decay=0.004 -S train.negatives=null "$@"
