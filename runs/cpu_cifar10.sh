#!/bin/sh
# Without a GPU: seeds from CIFAR-10's training images, the small network, tested on CIFAR-10 with 400 labels a class.
#
# The paper, in percent: 70.3 +- 0.4 (Table 3), after some 200 million samples.
# Ours: 67.2 +- 0.2 after 2.56 million samples (random seed 0, bfloat16), one thread of an AMD EPYC with avx512_bf16: 58 minutes of
# training at 733 samples a second and 4 of evaluation, on a JPEG copy of the images in an archive packed anew; 66.9 +- 0.4, 66.8 +- 0.3 and
# 67.3 +- 0.2 (random seeds 0, 1, 2) before samples were drawn from counters. The
# recipe release had 67.0 +- 0.3 after 5 million. Two cores were not timed. The paper's number is not reached (docs/log.md).
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
dvc exp run -n cpu-cifar10 -S model=64c5-64c5-128f -S unlabeled=cifar10 -S sources.cifar10.options.unlabeled_side=64 \
  -S 'datasets=[cifar10_400]' -S 'methods=[exemplar,random]' -S 'finetune.methods=[]' \
  -S seeds.count=8000 -S surrogate.samples=80 -S train.recipe=fast -S train.epochs=4 -S train.batch_size=64 \
  -S train.learning_rate=0.1 -S train.momentum=0.9 -S train.weight_decay=0.0005 -S train.negatives=null -S compute.precision=bfloat16 "$@"
