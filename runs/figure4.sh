#!/bin/sh
# Figure 4: accuracy on STL-10 against the samples of each class, with the small network.
#
# The paper, in percent:    1     2     4     8    16    32    64   100   150   300 samples
#   1,000 classes        46.3  50.8  55.3  59.2  61.6  63.4  63.5  64.1  64.1  64.3
#   2,000 classes        49.1  52.7  59.6  63.0  63.8  64.5  64.9  65.1  65.2  65.0
#   4,000 classes        47.5  56.1  59.4  64.1  65.6  65.7  66.2  66.6  66.7  66.5
# Filters that were not trained: 49.9. In each line below, -1, -2 and -3 behind the name are 1,000, 2,000 and
# 4,000 classes. Every class is seen 24,000 times, as in runs/figure3.sh, however many samples it has.
# Thirty trainings, together nine times the work of runs/table1_small.sh, a day and a half on the paper's
# Titan GPU. Not run by us. `make figures` draws them beside the paper's curves.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
set -- -S model=64c5-64c5-128f -S unlabeled=stl10 -S 'datasets=[stl10]' \
  -S 'methods=[exemplar,random]' -S 'finetune.methods=[]' -S seeds.count=1000,2000,4000 \
  -S train.recipe=release -S train.batch_size=128 -S train.learning_rate=0.01 -S train.momentum=0.9 -S train.weight_decay=0.004 -S train.negatives=null "$@"
dvc exp run --queue -n figure4-samples-1 -S surrogate.samples=1 -S train.epochs=24000 "$@"
dvc exp run --queue -n figure4-samples-2 -S surrogate.samples=2 -S train.epochs=12000 "$@"
dvc exp run --queue -n figure4-samples-4 -S surrogate.samples=4 -S train.epochs=6000 "$@"
dvc exp run --queue -n figure4-samples-8 -S surrogate.samples=8 -S train.epochs=3000 "$@"
dvc exp run --queue -n figure4-samples-16 -S surrogate.samples=16 -S train.epochs=1500 "$@"
dvc exp run --queue -n figure4-samples-32 -S surrogate.samples=32 -S train.epochs=750 "$@"
dvc exp run --queue -n figure4-samples-64 -S surrogate.samples=64 -S train.epochs=375 "$@"
dvc exp run --queue -n figure4-samples-100 -S surrogate.samples=100 -S train.epochs=240 "$@"
dvc exp run --queue -n figure4-samples-150 -S surrogate.samples=150 -S train.epochs=160 "$@"
dvc exp run --queue -n figure4-samples-300 -S surrogate.samples=300 -S train.epochs=80 "$@"
dvc queue start
