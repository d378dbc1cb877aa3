#!/usr/bin/env bash
# Damaged checkpoints: `--ckpt_path last` passes over the newest, says which and why, and goes on
# from an older one to the state of the uninterrupted run; one that is named is refused; with none
# whole nothing starts.
# quick
. "$(dirname "$0")/lib.sh"

cat >job.yaml <<'JOB'
seed_everything: 1
model: {class: mlp, hidden: "24"}
data: {kind: synthetic, num_samples: 320, num_val_samples: 64, batch_size: 32}
trainer:
  max_epochs: 1 # 10 steps
  default_root_dir: root
  callbacks: [{model_checkpoint: {every_n_train_steps: 2, save_top_k: -1}}]
JOB
state() { "$stoker" ckpt show "$1" | sed -n 's/^state //p'; }
# damage FILE: changes its last byte but 8.
damage() {
  local at=$(($(stat -c %s "$1") - 8))
  printf '%b' "\\x$(printf %02x $((0x$(od -An -tx1 -j $at -N 1 "$1" | tr -d ' ') ^ 4)))" |
    dd of="$1" bs=1 seek=$at conv=notrunc status=none
}

"$stoker" fit job.yaml >whole.log 2>&1 || fail "whole: $(tail -n 1 whole.log)"
ckpts=root/lightning_logs/version_0/checkpoints
whole=$(state $ckpts/step-10)
cp -r root before
for step in 10 8; do damage $ckpts/step-$step/optim.safetensors; done
truncate -s -1 $ckpts/step-6/model.safetensors

"$stoker" fit job.yaml --ckpt_path last >again.log 2>&1 || fail "again: $(tail -n 1 again.log)"
for step in 10 8 6; do
  grep -q "step-$step is damaged and passed over: " again.log || fail "step-$step is not told"
done
[ "$(grep -c 'exp_avg.*CRC32C' again.log)" = 2 ] || fail "no reason: $(head -n 3 again.log)"
grep -q 'going on from the older checkpoint .*/step-4 (step 4)' again.log || fail "step-4 not told"
"$stoker" events root/lightning_logs/version_0 >events.txt
for step in 10 8 6; do
  [ "$(grep -c " rejected  *root/.*/step-$step: ." events.txt)" = 1 ] ||
    fail "step-$step is not in the chronicle: $(cat events.txt)"
done
[ "$(state $ckpts/step-10-v1)" = "$whole" ] || fail "another state: $(ls $ckpts)"

"$stoker" validate job.yaml --ckpt_path before >val.log 2>&1 || fail "val: $(tail -n 1 val.log)"
! grep -q damaged val.log || fail "damage where there is none"
damage before/lightning_logs/version_0/checkpoints/step-10/model.safetensors
"$stoker" validate job.yaml --ckpt_path before >val.log 2>&1 || fail "val: $(tail -n 1 val.log)"
grep -q 'step-10 is damaged and passed over' val.log || fail "validate does not say it"

status=0
"$stoker" fit job.yaml --ckpt_path $ckpts/step-8 >named.log 2>&1 || status=$?
[ $status != 0 ] && grep -q 'step-8.*damaged' named.log ||
  fail "named: $status, $(tail -n 1 named.log)"
rm -rf $ckpts/step-2 $ckpts/step-4 $ckpts/step-*-v1 # what is left is damaged
status=0
"$stoker" fit job.yaml --ckpt_path last >none.log 2>&1 || status=$?
[ $status != 0 ] && grep -q 'none of the 3 in .* is whole' none.log ||
  fail "none: $status, $(tail -n 1 none.log)"
finish
