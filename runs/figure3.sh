#!/bin/sh
# Figure 3: accuracy on STL-10 against the number of surrogate classes, with the small network.
#
# The paper, in percent: 1,000 classes 64.1, 2,000 65.1, 4,000 66.7, 8,000 67.1; from there flat or lower.
# The ten experiments figure3-classes-1 to figure3-classes-10 have 50 to 32,000 classes, in this order.
# Together eight times the work of runs/table1_small.sh, a day and a half on the paper's Titan GPU. Not run by us.
# `make figures` draws them beside the paper's curve.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
set -- -S model=64c5-64c5-128f -S unlabeled=stl10 -S 'datasets=[stl10]' \
  -S 'methods=[exemplar,random]' -S 'finetune.methods=[]' -S surrogate.samples=150 -S train.epochs=160 \
  -S train.recipe=release -S train.batch_size=128 -S train.learning_rate=0.01 -S train.momentum=0.9 -S train.weight_decay=0.004 -S train.negatives=null "$@"
dvc exp run --queue -n figure3-classes -S seeds.count=50,100,250,500,1000,2000,4000,8000,16000,32000 "$@"
dvc queue start
