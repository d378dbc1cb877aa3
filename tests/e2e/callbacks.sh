#!/usr/bin/env bash
# model_summary and lr_monitor: what they show and log, by their options.
# quick
. "$(dirname "$0")/lib.sh"

cat >job.yaml <<'JOB'
model: {class: mlp, hidden: "8"}
data: {kind: synthetic, num_samples: 40, batch_size: 10}
optimizer:
  {class: adamw, lr: 0.01, weight_decay: 0.1, groups: [{match: "*.bias", weight_decay: 0.0}]}
trainer: {max_steps: 2, log_every_n_steps: 1, logger: csv}
JOB

# run CALLBACKS: sets $log and $csv.
run() {
  rm -rf run
  log=$("$stoker" fit job.yaml --trainer.callbacks "$1" --trainer.default_root_dir run 2>&1) ||
    fail "callbacks $1: $log"
  csv=$(head -n 1 run/lightning_logs/version_0/metrics.csv)
}

run '[]'
grep -qE '^  net +Sequential +6,370$' <<<"$log" || fail "the summary's first level: $log"
! grep -q 'net\.0' <<<"$log" || fail "the summary goes deeper than 1 unasked"
! grep -q 'lr-' <<<"$csv" || fail "rates without lr_monitor: $csv"
run '[{model_summary: {max_depth: -1}}]'
grep -qE '^  net\.0 +Linear +6,280$' <<<"$log" || fail "the summary's second level: $log"
run '[{model_summary: {max_depth: 0}}]'
! grep -q 'Sequential' <<<"$log" || fail "max_depth 0 shows layers"
grep -q '6,370 parameters' <<<"$log" || fail "max_depth 0 shows no totals"

run '[{lr_monitor: {log_momentum: true, log_weight_decay: true, log_key_prefix: opt/}}]'
for name in lr-AdamW/pg1 lr-AdamW/pg2 lr-AdamW/pg1-momentum lr-AdamW/pg2-weight_decay; do
  grep -q "opt/$name" <<<"$csv" || fail "no opt/$name in: $csv"
done
run '[{lr_monitor: {}}]'
grep -q ',lr-AdamW/pg2,' <<<"$csv" || fail "no lr-AdamW/pg2 in: $csv"
! grep -qE 'momentum|weight_decay' <<<"$csv" || fail "momentum or decay unasked: $csv"
finish
