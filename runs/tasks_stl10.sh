#!/bin/sh
# Every pretext task on STL-10, the medium network, 19.2 million encoder passes each. For a GPU.
#
# The paper, in percent: 72.8 +- 0.4 for exemplar (Table 1), after some 200 million samples. Nobody has published the other
# tasks with networks of this size.
# A pass is 0.7 GFLOP, forward and backward, so that a task is 1.3e16: one to four minutes at 60 to 300 TFLOP/s, beside
# rendering and ten probes. Not run by us.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
tasks=exemplar,rotation,jigsaw,relative_location,colorization,split_brain,denoising,context_encoder,counting,multi_task
dvc exp run -n tasks-stl10 -S model=64c5-128c5-256c5-512f -S unlabeled=stl10 -S 'datasets=[stl10]' \
  -S "methods=[$tasks,random]" -S 'finetune.methods=[]' -S seeds.count=16000 -S surrogate.samples=100 \
  -S train.recipe=fast -S train.epochs=12 -S train.batch_size=128 -S train.learning_rate=0.1 -S train.momentum=0.9 \
  -S train.weight_decay=0.0005 -S train.negatives=null -S compute.precision=bfloat16 "$@"
