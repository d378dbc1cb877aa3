#!/usr/bin/env bash
# A checkpoint that N ranks saved is resumed by M, N and M in 1, 2, 3 and 8 of eight lanes, inside
# an epoch: the weights and the rows of the log are those of a run that nobody cut.
. "$(dirname "$0")/lib.sh"

cat >job.yaml <<'JOB'
seed_everything: 5
model: {class: mlp, hidden: "24", dropout: 0.1}
data: {kind: synthetic, shape: [9], num_samples: 800, num_val_samples: 40, batch_size: 4}
optimizer: {class: adamw, lr: 0.01}
trainer:
  max_steps: 12
  lanes: 8
  threads: 1
  gradient_clip_val: 0.5
  logger: [csv]
  log_every_n_steps: 1
  callbacks: [{model_checkpoint: {every_n_train_steps: 5, save_top_k: -1}}]
JOB
weights() { "$stoker" ckpt hash "$1" | grep -oE '[0-9a-f]{64}'; }
"$stoker" fit job.yaml --trainer.default_root_dir whole >whole.log 2>&1 ||
  fail "whole: $(tail -n 1 whole.log)"
for n in 1 2 3 8; do
  "$stoker" fit job.yaml --ranks $n --trainer.max_steps 5 --trainer.default_root_dir from-$n \
    >from-$n.log 2>&1 || fail "$n ranks: $(tail -n 1 from-$n.log)"
  for m in 1 2 3 8; do
    cp -r from-$n to-$n-$m
    "$stoker" fit job.yaml --ranks $m --ckpt_path last --trainer.default_root_dir to-$n-$m \
      >to.log 2>&1 || fail "$n to $m ranks: $(tail -n 1 to.log)"
    [ "$(weights to-$n-$m)" = "$(weights whole)" ] || fail "$n to $m ranks: other weights"
    cmp -s {to-$n-$m,whole}/lightning_logs/version_0/metrics.csv ||
      fail "$n to $m ranks: other rows in metrics.csv"
  done
done
finish
