#!/usr/bin/env bash
# A run that is cut and resumed goes on in its own log directory, rewound to the resumed step: its
# metrics.csv is the whole run's, and its event file has the whole run's length. A run whose
# directory is gone, or whose job now logs elsewhere, opens a new version.
# quick
. "$(dirname "$0")/lib.sh"

cat >job.yaml <<'JOB'
seed_everything: 3
model: {class: mlp, hidden: "24", dropout: 0.2}
data: {kind: synthetic, num_samples: 500, num_val_samples: 90, batch_size: 32}
trainer:
  max_epochs: 3 # 16 batches: 6 steps
  accumulate_grad_batches: 3
  val_check_interval: 0.5
  log_every_n_steps: 1
  logger: [tensorboard, csv]
  callbacks:
    - model_checkpoint: {every_n_train_steps: 1, save_top_k: -1}
    - lr_monitor: {}
JOB

# fit ROOT [OPTION...]
fit() {
  local root=$1
  shift
  "$stoker" fit job.yaml --trainer.default_root_dir "$root" "$@" >"$root.log" 2>&1 ||
    fail "fit $root $*: $(tail -n 1 "$root.log")"
}

# event_bytes VERSION_DIR: of its one event file.
event_bytes() { cat "$1"/events.out.tfevents.* | wc -c; }

fit whole
for cut in 1 4 6 11; do
  root=cut-$cut
  fit $root --trainer.max_steps $cut
  fit $root --ckpt_path last
  versions=$(ls "$root/lightning_logs")
  [ "$versions" = version_0 ] || fail "cut at $cut: the resumed run logs in ${versions//$'\n'/ }"
  cmp -s {whole,$root}/lightning_logs/version_0/metrics.csv ||
    fail "cut at $cut: metrics.csv: $(diff {whole,$root}/lightning_logs/version_0/metrics.csv)"
  bytes=$(event_bytes "$root/lightning_logs/version_0")
  [ "$bytes" = "$(event_bytes whole/lightning_logs/version_0)" ] ||
    fail "cut at $cut: another length of the event file"
done

# An older checkpoint of a run that went further: what was logged after it goes.
fit cut-4 --ckpt_path cut-4/lightning_logs/version_0/checkpoints/step-2
cmp -s {whole,cut-4}/lightning_logs/version_0/metrics.csv ||
  fail "resumed at step 2: another metrics.csv"

cp -r cut-6/lightning_logs/version_0/checkpoints/step-6 kept
rm -r cut-6/lightning_logs/version_0
fit cut-6 --ckpt_path kept
[ -f cut-6/lightning_logs/version_0/metrics.csv ] || fail "no new version for a run that is gone"
fit other --ckpt_path cut-11/lightning_logs/version_0/checkpoints/step-11
[ -f other/lightning_logs/version_0/metrics.csv ] || fail "another root: no version there"
cmp -s {whole,cut-11}/lightning_logs/version_0/metrics.csv ||
  fail "another root: the old log changed"

status=0
"$stoker" fit job.yaml --trainer.logger '[csv, csv]' >two.log 2>&1 || status=$?
[ $status = 2 ] && grep -q 'two csv loggers' two.log || fail "two csv loggers: $(tail -n 1 two.log)"
finish
