#!/usr/bin/env bash
# A zygote that somebody stops is found and replaced while the ranks train on; the new one forks.
. "$(dirname "$0")/lib.sh"

cat >job.yaml <<'JOB'
seed_everything: 1
model: {class: mlp, hidden: "24"}
data: {kind: synthetic, num_samples: 64000, num_val_samples: 32, batch_size: 16}
trainer: {max_steps: -1, max_epochs: -1, lanes: 2, ranks: 2, threads: 1, default_root_dir: root}
JOB
run=root/lightning_logs/version_0
"$stoker" fit job.yaml >fit.log 2>&1 &
pid=$!

# wait_for PATTERN: until it is in the chronicle.
wait_for() {
  for _ in $(seq 150); do
    sleep 0.1
    "$stoker" events $run >events.txt 2>/dev/null || continue
    ! grep -q "$1" events.txt || return 0
  done
  fail "no '$1' in: $(cat events.txt)"
}
# zygote: its pid.
zygote() { pgrep -x -P "$(pgrep -P $pid | head -n 1)" stoker-zygote; }

wait_for ' generation  2 ranks'
first=$(zygote)
kill -STOP "$first"
wait_for ' death .*stopped by a signal'
grep -q ' stall .*the zygote was stopped by a signal' events.txt ||
  fail "the zygote is not named: $(cat events.txt)"
[ "$(grep -c ' generation ' events.txt)" = 1 ] || fail "the ranks did not train on"
for _ in $(seq 100); do
  second=$(zygote || true)
  [ -z "$second" ] || [ "$second" = "$first" ] || break
  sleep 0.1
done
[ "$second" != "$first" ] || fail "no new zygote"
kill -9 "$(pgrep -P "$(pgrep -P $pid | head -n 1)" -x stoker-rank-1)"
wait_for ' recovery '
kill -INT $pid
wait $pid || [ $? = 11 ] || fail "the run ends with $?: $(tail -n 3 fit.log)"
finish
