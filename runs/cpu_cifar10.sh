#!/bin/sh
# Without a GPU: seeds from CIFAR-10's training images, the small network, tested on CIFAR-10 with 400 labels a class.
#
# The paper, in percent: 70.3 +- 0.4 (Table 3), after about a hundred times as many samples.
# Two cores without a GPU train 1,200 to 2,100 of its samples a second (docs/log.md), so it takes about half an hour.
# These numbers were not run by us.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
dvc exp run -n cpu-cifar10 -S model=64c5-64c5-128f -S unlabeled=cifar10 -S 'datasets=[cifar10_400]' \
  -S 'methods=[exemplar,random]' -S seeds.count=2000 -S surrogate.samples=100 -S train.epochs=10 \
  -S train.batch_size=64 -S train.learning_rate=0.03 -S train.momentum=0.9 -S train.weight_decay=0.004 "$@"
