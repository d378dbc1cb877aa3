#!/usr/bin/env bash
# max_steps that ends a run between validations, inside an epoch: the last step is saved all the
# same, and a run with another limit goes on from it inside the epoch, with the state and the log of
# a run that was never cut. `best` is what the monitor says.
. "$(dirname "$0")/lib.sh"

cat >job.yaml <<'JOB'
seed_everything: 3
model: {class: mlp, hidden: "24", dropout: 0.2}
data: {kind: synthetic, num_samples: 500, num_val_samples: 90, batch_size: 32}
trainer:
  max_epochs: 2 # 16 steps each
  val_check_interval: 0.5
  log_every_n_steps: 1
  logger: [csv]
JOB
sed 's/val_check_interval: 0.5/val_check_interval: 1.0/' job.yaml >whole-epochs.yaml
# with OPTIONS: the job with a ModelCheckpoint of these options.
with() {
  cat job.yaml
  echo "  callbacks: [{model_checkpoint: {$1}}]"
}
with 'monitor: val_loss, save_last: true, save_top_k: 2' >monitored.yaml
with 'monitor: train_loss, save_on_train_epoch_end: true' >epoch-end.yaml

state() { "$stoker" ckpt show "$1" | sed -n 's/^state //p'; }

for job in job whole-epochs monitored epoch-end; do
  whole=whole-$job/lightning_logs/version_0
  "$stoker" fit $job.yaml --trainer.default_root_dir whole-$job >fit.log 2>&1 ||
    fail "$job: $(tail -n 1 fit.log)"
  for cut in 5 11 21; do
    root=cut-$job-$cut logs=cut-$job-$cut/lightning_logs/version_0
    "$stoker" fit $job.yaml --trainer.default_root_dir $root --trainer.max_steps $cut >fit.log \
      2>&1 ||
      fail "$job cut at $cut: $(tail -n 1 fit.log)"
    [ -f $logs/checkpoints/step-$cut/MANIFEST ] ||
      { fail "$job: max_steps $cut leaves no checkpoint of step $cut"; continue; }
    [ $job != monitored ] ||
      [ "$(readlink $logs/checkpoints/last)" = step-$cut ] ||
      fail "$job: max_steps $cut: last is not of step $cut"
    "$stoker" fit $job.yaml --ckpt_path last --trainer.default_root_dir $root >fit.log 2>&1 ||
      fail "$job resumed at $cut: $(tail -n 1 fit.log)"
    [ "$(state $root)" = "$(state whole-$job)" ] ||
      fail "$job cut at $cut: another state at the end"
    cmp -s $whole/metrics.csv $logs/metrics.csv ||
      fail "$job cut at $cut: another metrics.csv"
  done
done

# The checkpoint that best.json names is the one with the smallest val_loss.
least=$(cut -d, -f1-9 whole-monitored/lightning_logs/version_0/metrics.csv |
  awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
           $at["val_loss"] == "" || (best && $at["val_loss"] >= best) { next }
           { best = $at["val_loss"]; step = $at["step"] + 1 }
           END { print step }')
"$stoker" validate monitored.yaml --trainer.default_root_dir whole-monitored --ckpt_path best \
  >val.log 2>&1 ||
  fail "--ckpt_path best: $(tail -n 1 val.log)"
best=whole-monitored/lightning_logs/version_0/checkpoints/best.json
grep -q "\"step-$least\"" $best || fail "best is $(cat $best), not step $least"
finish
