#!/usr/bin/env bash
# Signals to `stoker fit`: the first stops at a step with a checkpoint and says how to go on, exit
# 11; going on from there ends with the whole run's state. A second one ends it at once; what was
# published stays whole.
. "$(dirname "$0")/lib.sh"

cat >job.yaml <<'JOB'
seed_everything: 3
model: {class: mlp, hidden: "64", dropout: 0.2}
data: {kind: synthetic, num_samples: 6400, num_val_samples: 90, batch_size: 32}
trainer:
  max_epochs: 3
  log_every_n_steps: 1
  callbacks: [{model_checkpoint: {every_n_train_steps: 20}}]
JOB
# Steps that take long: a stop is asked for in the middle of one.
sed 's/hidden: "64"/hidden: "1024,1024"/; s/batch_size: 32/batch_size: 800/
  s/every_n_train_steps: 20/every_n_train_steps: 1/' job.yaml >slow.yaml

state() { "$stoker" ckpt show "$1" | sed -n 's/^state //p'; }

# start JOB ROOT: fits in the background (pid) until its first checkpoint is there.
start() {
  "$stoker" fit "$1.yaml" --trainer.default_root_dir "$2" >"$2.log" 2>&1 &
  pid=$!
  until compgen -G "$2/lightning_logs/version_0/checkpoints/step-*/MANIFEST" >/dev/null; do
    kill -0 $pid 2>/dev/null || { fail "$2 ended by itself: $(tail -n 1 "$2.log")"; return; }
  done
}

# ended WANT NAME: waits for it and compares its exit code.
ended() {
  local status=0
  wait $pid || status=$?
  [ $status = "$1" ] || fail "$2: exit $status, not $1: $(tail -n 2 "$2.log")"
}

"$stoker" fit job.yaml --trainer.default_root_dir whole >whole.log 2>&1 ||
  fail "whole: $(tail -n 1 whole.log)"
for signal in INT TERM; do
  start job $signal
  kill -$signal $pid
  ended 11 $signal
  next=$(grep -o 'stoker fit job.yaml --ckpt_path [^ ]*' $signal.log | tail -n 1)
  [ -n "$next" ] ||
    { fail "$signal: it does not say how to go on: $(tail -n 3 $signal.log)"; continue; }
  "$stoker" ${next#stoker } --trainer.default_root_dir $signal >$signal-on.log 2>&1 ||
    fail "$next: $(tail -n 1 $signal-on.log)"
  [ "$(state $signal)" = "$(state whole)" ] || fail "$signal: another state after going on"
  [ "$(ls $signal/lightning_logs)" = version_0 ] ||
    fail "$signal: another log directory after going on"
done

start slow twice
kill -INT $pid
kill -TERM $pid
ended 11 twice
grep -q 'stopped at once; steps after' twice.log || fail "two signals: $(tail -n 3 twice.log)"
"$stoker" ckpt verify twice >verify.log 2>&1 || fail "after two signals: $(tail -n 1 verify.log)"
finish
