#!/usr/bin/env bash
# A disk that fails while a run saves (fault points): the failure is shown with its reason, training
# goes on to its end, older checkpoints stay whole, nothing torn is left, and on a good disk the run
# goes on to the state of a run that never had a bad one. What fails once only is tried again. Needs
# the commands with fault points.
. "$(dirname "$0")/lib.sh"
[ -x "${STOKER_FAULT_BIN:-}/stoker" ] || { echo "skip: no commands with fault points"; exit 77; }
stoker=$STOKER_FAULT_BIN/stoker

cat >job.yaml <<'JOB'
seed_everything: 1
model: {class: mlp, hidden: "16"}
data: {kind: synthetic, num_samples: 96, num_val_samples: 32, batch_size: 32}
trainer:
  max_epochs: 2 # 6 steps
  logger: [csv]
  log_every_n_steps: 1
  callbacks: [{model_checkpoint: {every_n_train_steps: 1, save_top_k: -1, save_last: true}}]
JOB
state() { "$stoker" ckpt show "$1" | sed -n 's/^state //p'; }
# fit DIR [OPTION...]: into DIR.log; prints the exit status.
fit() {
  local dir=$1 status=0
  shift
  "$stoker" fit job.yaml --trainer.default_root_dir "$dir" "$@" >"$dir.log" 2>&1 || status=$?
  echo $status
}
# sound DIR AT_LEAST WHAT: so many checkpoints, all whole; nothing torn, no name that leads nowhere.
sound() {
  local ckpt
  for ckpt in "$1"/*/*/checkpoints/*; do
    case $ckpt in
      *.json) ;;
      */tmp-* | */trash-*) fail "$3: $ckpt is left" ;;
      *) "$stoker" ckpt verify "$ckpt" >verify.log 2>&1 || fail "$3: $(tail -n 1 verify.log)" ;;
    esac
  done
  [ "$("$stoker" ckpt ls "$1" | grep -c 'valid$')" -ge "$2" ] || fail "$3: too few checkpoints"
}

[ "$(fit whole)" = 0 ] || fail "whole: $(tail -n 1 whole.log)"
[ "$(fit half --trainer.max_epochs 1)" = 0 ] || fail "half: $(tail -n 1 half.log)"
whole=$(state whole)

# always POINT ERROR REASON: no save of the second epoch succeeds.
always() {
  local dir=always-${1//./-} status
  cp -r half "$dir"
  status=$(STOKER_FAULT=$1:*:0:errno=$2 fit "$dir" --ckpt_path last)
  [ "$status" = 10 ] || fail "$1: exit $status: $(tail -n 1 "$dir.log")"
  grep -q "$3" "$dir.log" || fail "$1: '$3' is not shown: $(tail -n 3 "$dir.log")"
  cmp -s {whole,"$dir"}/lightning_logs/version_0/metrics.csv || fail "$1: another metrics.csv"
  sound "$dir" 3 "$1"
  status=$(fit "$dir" --ckpt_path last)
  [ "$status" = 0 ] || fail "$1: going on: exit $status: $(tail -n 1 "$dir.log")"
  [ "$(state "$dir")" = "$whole" ] || fail "$1: another state after going on"
}
always checkpoint.mkdir ENOSPC 'No space left'
always checkpoint.open EIO 'Input/output error'
always checkpoint.allocate ENOSPC 'No space left'
always checkpoint.write EIO 'Input/output error'
always checkpoint.sync EIO 'Input/output error'
always checkpoint.close EIO 'Input/output error'
always checkpoint.manifest ENOSPC 'No space left'
always checkpoint.publish EIO 'Input/output error'

# once POINT: the third passage of whoever publishes fails; it is tried again.
once() {
  local dir=once-${1//./-} status
  status=$(STOKER_FAULT=$1:*:3:errno=EIO fit "$dir")
  [ "$status" = 0 ] || fail "$1: exit $status: $(tail -n 1 "$dir.log")"
  grep -q 'Input/output error' "$dir.log" || fail "$1: the failure is not shown"
  [ "$(state "$dir")" = "$whole" ] || fail "$1: another state at the end"
  sound "$dir" 6 "$1"
}
once checkpoint.publish
once checkpoint.parent
once checkpoint.link

# dead POINT: a persister is killed there, once; another saves the same, and what was left is gone.
dead() {
  local dir=dead-${1//./-} status
  status=$(STOKER_FAULT=$1:persister:1:kill9 STOKER_FAULT_TRACE=$work/$dir.trace fit "$dir")
  [ "$status" = 0 ] || fail "$1: exit $status: $(tail -n 1 "$dir.log")"
  grep -q "^$1 persister kill9" "$dir.trace" || fail "$1: nobody was killed"
  [ "$(state "$dir")" = "$whole" ] || fail "$1: another state at the end"
  sound "$dir" 6 "$1"
}
dead checkpoint.write
dead checkpoint.sync
dead checkpoint.manifest
finish
