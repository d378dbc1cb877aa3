#!/usr/bin/env bash
# A disk that fills up while checkpoints are written: the failure is shown, training goes on to its
# end, no torn checkpoint is left, the older ones stay, and from the newest the job ends as if the
# disk had had room. On a small tmpfs, which takes root.
. "$(dirname "$0")/lib.sh"
mkdir small
mount -t tmpfs -o size=5m none small 2>/dev/null ||
  { echo "skip: no small disk (not root)"; exit 77; }
trap 'umount small; rm -rf "$work"' EXIT
status=0

cat >job.yaml <<'JOB'
seed_everything: 1
model: {class: mlp, hidden: "100"}
data: {kind: synthetic, num_samples: 640, num_val_samples: 64, batch_size: 64}
trainer:
  max_epochs: 1 # 10 steps; a checkpoint has about a megabyte
  logger: [csv]
  log_every_n_steps: 1
  callbacks: [{model_checkpoint: {every_n_train_steps: 1, save_top_k: -1}}]
JOB
state() { "$stoker" ckpt show "$1" | sed -n 's/^state //p'; }

"$stoker" fit job.yaml --trainer.default_root_dir whole >whole.log 2>&1 ||
  fail "whole: $(tail -n 1 whole.log)"

"$stoker" fit job.yaml --trainer.default_root_dir small >small.log 2>&1 || status=$?
[ $status = 10 ] || fail "a full disk: exit $status, not 10: $(tail -n 1 small.log)"
grep -qE 'checkpoint.*(free|space|large)' small.log ||
  fail "the failure is not shown: $(tail -n 5 small.log)"
grep -q 'last checkpoint could not be written' small.log ||
  fail "the end does not say it: $(tail -n 2 small.log)"
grep -q '^Epoch 0  step 10  val_loss' small.log ||
  fail "training did not go on: $(tail -n 5 small.log)"
grep -q '^  stoker fit job.yaml --ckpt_path small/' small.log || fail "it does not say how to go on"
"$stoker" ckpt ls small >ls.txt
[ "$(wc -l <ls.txt)" -ge 2 ] && ! grep -qv 'valid$' ls.txt || fail "what stays: $(cat ls.txt)"
! compgen -G 'small/*/*/checkpoints/tmp-*' >/dev/null || fail "a torn checkpoint stays"
"$stoker" ckpt verify small >verify.log 2>&1 || fail "the newest: $(tail -n 1 verify.log)"

cp -r small roomy
"$stoker" fit job.yaml --trainer.default_root_dir roomy --ckpt_path last >roomy.log 2>&1 ||
  fail "going on: $(tail -n 1 roomy.log)"
[ "$(state roomy)" = "$(state whole)" ] || fail "another state after going on"
cmp -s {whole,roomy}/lightning_logs/version_0/metrics.csv ||
  fail "another metrics.csv after going on"
finish
