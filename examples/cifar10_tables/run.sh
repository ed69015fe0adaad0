#!/bin/sh
# Trains the rows of three tables on a tenth of CIFAR-10, all rows of a seed before the next seed.
#
#     sh run.sh FOLDER OUT
#
# FOLDER holds train/<class>/*.jpg, the first 1,000 pictures of each class by file name, and
# test/<class>/*.jpg, all 10,000 test pictures. Every training that ends is a line of
# OUT/results.jsonl; started again, it goes on from there. README.md says what came out.
set -e
laid="--set input.size=32 --set small=2 --set wide=0.25 --set deep=\$(1/3)"
recipe="--epochs 4 --set train.batch=64 --set train.lr=2e-3 --set train.crop=1"
kernels="r50_k3,r50_k5,r50_k7,r50_k9,r50_k11"
for seeds in 1 2 3; do
  common="--train $1 --folder $2 --seeds $seeds $laid $recipe --markdown"
  flopwise table convnext_table10 $common -o "$2/convnext_table10.md"
  flopwise table t2t_table6 $common -o "$2/t2t_table6.md"
  flopwise table convnext_kernels $common --rows $kernels -o "$2/convnext_kernels.md"
done
