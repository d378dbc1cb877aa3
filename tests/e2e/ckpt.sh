#!/usr/bin/env bash
# `stoker ckpt` takes a checkpoint, a run's directory or a directory of runs, and means the newest
# checkpoint where one is wanted; `ls` lists them all, newest first.
# quick
. "$(dirname "$0")/lib.sh"

cat >job.yaml <<'JOB'
model: {class: mlp, hidden: "8"}
data: {kind: synthetic, num_samples: 64, num_val_samples: 16, batch_size: 16}
trainer:
  max_epochs: 2
  default_root_dir: root
  callbacks:
    - model_checkpoint: {monitor: val_loss, save_top_k: 2}
JOB
for seed in 1 2; do
  "$stoker" fit job.yaml --seed_everything $seed >fit.log 2>&1 || fail "fit: $(tail -n 1 fit.log)"
done
runs=root/lightning_logs
for what in hash show verify; do
  "$stoker" ckpt $what $runs/version_1/checkpoints/step-8 >want.txt || fail "ckpt $what step-8"
  for path in $runs/version_1/checkpoints $runs/version_1 $runs root root/; do
    "$stoker" ckpt $what $path >got.txt 2>&1 || fail "ckpt $what $path: $(tail -n 1 got.txt)"
    [ $what = verify ] || cmp -s want.txt got.txt || fail "ckpt $what $path: $(head -n 1 got.txt)"
  done
done
[ "$("$stoker" ckpt hash $runs/version_0)" != "$("$stoker" ckpt hash $runs)" ] ||
  fail "both runs have one hash"

names() { "$stoker" ckpt ls "$1" | cut -d' ' -f1 | tr '\n' ' '; }
[ "$(names $runs/version_0)" = "checkpoints/step-8 checkpoints/step-4 " ] ||
  fail "ls version_0: $(names $runs/version_0)"
[ "$(names $runs/version_0/checkpoints)" = "step-8 step-4 " ] ||
  fail "ls checkpoints: $(names $runs/version_0/checkpoints)"
want=
for step in 1/checkpoints/step-{8,4} 0/checkpoints/step-{8,4}; do
  want+="lightning_logs/version_$step "
done
[ "$(names root)" = "$want" ] || fail "ls root: $(names root)"
[ "$("$stoker" ckpt ls root -o json | grep -c '"valid":true')" = 4 ] || fail "ls root -o json"

# --ckpt_path takes the same paths.
"$stoker" validate job.yaml --ckpt_path $runs/version_0 >val.log 2>&1 ||
  fail "validate a run's directory: $(tail -n 1 val.log)"
finish
