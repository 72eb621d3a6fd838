#!/bin/sh
# Figure 5: what the accuracy loses without a group of transformations, with the small network and the same seeds.
#
# The paper, change in points, without:
#               rotation  scaling  translation  color  contrast  rot+sc+tr  col+con    all
#   stl10           -0.8     -1.0         -3.8   -3.5      -5.5      -11.1    -12.0  -17.0
#   cifar10         -0.3     -1.4         -3.3   -2.7      -4.2       -9.9    -10.3  -14.4
#   caltech101      +1.0     -0.7         -1.8   -5.5      -9.9       -9.7    -21.2  -16.7
# Nine trainings, each of a day and a half on the paper's Titan GPU. Not run by us.
# `make figures` draws them beside the paper's numbers.
set -euf
CDPATH='' cd -- "$(dirname -- "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
set -- -S probe.caltech101.validation=release_halves \
  -S model=64c5-64c5-128f -S unlabeled=stl10 -S 'datasets=[stl10,cifar10,caltech101]' \
  -S 'methods=[exemplar,random]' -S 'finetune.methods=[]' -S seeds.count=8000 -S surrogate.samples=150 \
  -S train.epochs=160 -S train.recipe=release -S train.batch_size=128 -S train.learning_rate=0.01 -S train.momentum=0.9 \
  -S train.weight_decay=0.004 -S train.negatives=null "$@"
rotation='-S transformation.angle_degrees=[0,0]'
scaling='-S transformation.scale_factor=[1,1]'
translation='-S transformation.shift_fraction=[0,0]'
color='-S transformation.hue_offset_turns=[0,0]'
contrast='-S transformation.pca_log2_spread=[0,0,0] -S transformation.stretch_fraction=0
  -S transformation.saturation_power=[1,1] -S transformation.saturation_factor=[1,1]
  -S transformation.saturation_offset=[0,0] -S transformation.value_power=[1,1]
  -S transformation.value_factor=[1,1] -S transformation.value_offset=[0,0]'
dvc exp run --queue -n figure5-everything "$@"
dvc exp run --queue -n figure5-without-rotation $rotation "$@"
dvc exp run --queue -n figure5-without-scaling $scaling "$@"
dvc exp run --queue -n figure5-without-translation $translation "$@"
dvc exp run --queue -n figure5-without-color $color "$@"
dvc exp run --queue -n figure5-without-contrast $contrast "$@"
dvc exp run --queue -n figure5-without-rotation-scaling-translation $rotation $scaling $translation "$@"
dvc exp run --queue -n figure5-without-color-contrast $color $contrast "$@"
dvc exp run --queue -n figure5-without-all $rotation $scaling $translation $color $contrast "$@"
dvc queue start
