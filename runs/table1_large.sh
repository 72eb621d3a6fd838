#!/bin/sh
# Table 1, the large network: 92c5-256c5-512c5-1024f, 16,000 classes of 100 samples, seeds from STL-10.
#
# The paper, in percent: stl10 74.2 +- 0.4, cifar10_400 76.6 +- 0.2, cifar10 84.3,
#   caltech101 87.1 +- 0.7, caltech256 53.6 +- 0.2.
# Trained for nine days on the paper's Titan GPU; 125 epochs are about as many steps as in the release.
# Not run by us.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
dvc exp run -n table1-large -S model=92c5-256c5-512c5-1024f -S unlabeled=stl10 \
  -S probe.caltech101.validation=release_halves -S probe.caltech256.validation=release_halves \
  -S 'datasets=[stl10,cifar10_400,cifar10,caltech101,caltech256]' -S 'methods=[exemplar,random]' \
  -S 'finetune.methods=[]' -S seeds.count=16000 -S surrogate.samples=100 -S train.epochs=125 -S train.recipe=release -S train.batch_size=128 \
  -S train.learning_rate=0.01 -S train.momentum=0.9 -S train.weight_decay=0.004 -S train.negatives=null "$@"
