#!/usr/bin/env bash
# A run that is cut and resumed ends with the weights and the optimizer state of the whole run: cut
# inside an epoch, between a step and its validation, and at its end; with accumulation 3, a ragged
# last batch, dropout, clipping, validation inside the epoch and a schedule. One lane, then three.
. "$(dirname "$0")/lib.sh"

cat >job.yaml <<'JOB'
seed_everything: 3
model: {class: mlp, hidden: "24", dropout: 0.2}
data: {kind: synthetic, num_samples: 500, num_val_samples: 90, batch_size: 32}
optimizer: {class: adamw, lr: 0.01}
lr_scheduler: {class: step, interval: step, step_size: 4, gamma: 0.5}
trainer:
  max_epochs: 3 # 16 batches, the last of 20 samples: 6 steps, the last of one batch
  accumulate_grad_batches: 3
  gradient_clip_val: 0.5
  val_check_interval: 0.5
  log_every_n_steps: 1
  callbacks:
    - model_checkpoint: {every_n_train_steps: 1}
JOB

# state CHECKPOINT: the manifest's hash of parameters, optimizer, running statistics, loop state.
state() { "$stoker" ckpt show "$1" | sed -n 's/^state //p'; }

for lanes in 1 3; do
  whole=$(state "$(train job.yaml --trainer.lanes $lanes)")
  echo "$whole lanes $lanes whole"
  [ -n "$whole" ] || fail "lanes $lanes: no state hash"
  for cut in 1 2 4 6 7 11; do
    [ $lanes = 1 ] || [ $cut -lt 5 ] || continue
    part=$(train job.yaml --trainer.lanes $lanes --trainer.max_steps $cut)
    [ -f "$part/MANIFEST" ] || { fail "lanes $lanes cut $cut: no checkpoint"; continue; }
    got=$(state "$(train job.yaml --trainer.lanes $lanes --ckpt_path "$part" \
      --trainer.threads $((1 + cut % 2)))")
    echo "$got lanes $lanes cut at step $cut"
    [ "$got" = "$whole" ] || fail "lanes $lanes cut at step $cut: $got, not $whole"
  done
done

# Negative control: the same cut with another seed of the job's random numbers ends elsewhere.
part=$(train job.yaml --trainer.max_steps 4)
other=$(state "$(train job.yaml --ckpt_path "$part" --seed_everything 4)") || other=refused
[ "$other" != "$(state "$(train job.yaml)")" ] || fail "another seed after the cut: the same state"

# How it is computed may change at the cut.
whole=$(state "$(train job.yaml)")
part=$(train job.yaml --trainer.max_steps 4 --trainer.passes '[-fuse]')
path=$(train job.yaml --ckpt_path "$part" --trainer.kernels ref --trainer.passes '[-in_place]') ||
  path=none
got=$(state "$path") || got=refused
[ "$got" = "$whole" ] || fail "other passes and kernels after the cut: $got, not $whole"

# refused PATTERN OPTION...: a fit that ends with 6 (conflict) and a line that matches.
refused() {
  local pattern=$1 status=0
  shift
  "$stoker" fit job.yaml "$@" >other.log 2>&1 || status=$?
  [ $status = 6 ] && grep -qE "$pattern" other.log ||
    fail "fit $*: exit $status, no '$pattern' in: $(tail -n 1 other.log)"
}

# A checkpoint of another job is refused, and the refusal names what differs.
refused 'model\.hidden is 25 in the job and 24 in the checkpoint' \
  --model.hidden 25 --ckpt_path "$part"
refused 'model\.dropout is 0\.25 in the job and 0\.2[0-9]* in' \
  --model.dropout 0.25 --ckpt_path "$part"
refused 'graph' --data.batch_size 30 --ckpt_path "$part"
refused '1 lanes, the job 2' --trainer.lanes 2 --ckpt_path "$part"
refused 'of model mlp, the job.s is autoencoder' --model.class autoencoder --model.dropout null \
  --ckpt_path "$part"
# Its weights alone may start a run with other hyper-parameters.
"$stoker" fit job.yaml --model.dropout 0.25 --weights.path "$part" >tune.log 2>&1 ||
  fail "weights with another hyper-parameter: $(tail -n 1 tune.log)"
finish
