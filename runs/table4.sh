#!/bin/sh
# Table 4: architectures, with seeds from STL-10.
#
# The paper, in percent, on stl10 / cifar10_400 / cifar10 / caltech101 (spreads between 0.2 and 0.7):
#   32c5-32c5-64f              8,000 classes  63.8 / 66.1 / 71.3 / 78.2
#   64c5-64c5-128f             8,000 classes  67.1 / 69.7 / 75.7 / 79.8
#   64c7-64c5-128f             8,000 classes  66.3 / 69.5 / 75.0 / 79.4
#   64c5-64c5-64c5-128f        8,000 classes  68.5 / 70.9 / 77.0 / 82.2
#   64c5-64c5-64c5-64c5-128f   8,000 classes  64.7 / 67.5 / 75.2 / 75.7
#   128c5-64c5-128f            8,000 classes  67.2 / 69.9 / 76.1 / 80.1
#   64c5-256c5-128f            8,000 classes  69.2 / 71.7 / 77.9 / 81.6
#   64c5-64c5-512f             8,000 classes  69.0 / 71.7 / 79.3 / 82.9
#   128c5-256c5-512f           8,000 classes  71.2 / 73.9 / 81.5 / 84.3
#   128c5-256c5-512f          16,000 classes  71.9 / 74.3 / 81.4 / 84.6
#   64c5-128c5-256c5-512f     16,000 classes  72.8 / 75.3 / 82.0 / 85.5
#   92c5-256c5-512c5-1024f    16,000 classes  73.9 / 76.0 / 83.6 / 86.9
# How many classes the third to the eighth network had is not known to us; 8,000 is a guess.
# Twelve trainings: between a day and a half and nine days each on the paper's Titan GPU. Not run by us.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
set -- -S probe.caltech101.validation=release_halves \
  -S unlabeled=stl10 -S 'datasets=[stl10,cifar10_400,cifar10,caltech101]' \
  -S 'methods=[exemplar]' -S 'finetune.methods=[]' -S 'invariance.methods=[exemplar]' \
  -S train.recipe=release -S train.batch_size=128 -S train.learning_rate=0.01 -S train.momentum=0.9 -S train.weight_decay=0.004 -S train.negatives=null "$@"
small='-S seeds.count=8000 -S surrogate.samples=150 -S train.epochs=160'
large='-S seeds.count=16000 -S surrogate.samples=100 -S train.epochs=125'
dvc exp run --queue -n table4-32c5-32c5-64f -S model=32c5-32c5-64f $small "$@"
dvc exp run --queue -n table4-64c5-64c5-128f -S model=64c5-64c5-128f $small "$@"
dvc exp run --queue -n table4-64c7-64c5-128f -S model=64c7-64c5-128f $small "$@"
dvc exp run --queue -n table4-64c5-64c5-64c5-128f -S model=64c5-64c5-64c5-128f $small "$@"
dvc exp run --queue -n table4-64c5-64c5-64c5-64c5-128f -S model=64c5-64c5-64c5-64c5-128f $small "$@"
dvc exp run --queue -n table4-128c5-64c5-128f -S model=128c5-64c5-128f $small "$@"
dvc exp run --queue -n table4-64c5-256c5-128f -S model=64c5-256c5-128f $small "$@"
dvc exp run --queue -n table4-64c5-64c5-512f -S model=64c5-64c5-512f $small "$@"
dvc exp run --queue -n table4-128c5-256c5-512f-8000-classes -S model=128c5-256c5-512f $small "$@"
dvc exp run --queue -n table4-128c5-256c5-512f-16000-classes -S model=128c5-256c5-512f $large "$@"
dvc exp run --queue -n table4-64c5-128c5-256c5-512f -S model=64c5-128c5-256c5-512f $large "$@"
dvc exp run --queue -n table4-92c5-256c5-512c5-1024f -S model=92c5-256c5-512c5-1024f $large "$@"
dvc queue start
