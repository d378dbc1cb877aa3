#!/usr/bin/env bash
# Who is no rank is replaced while the ranks train on: a zygote and a spare that somebody stops, a
# spare that is killed. The spare takes the place of a rank that dies, also while there is no
# zygote; without a spare the new zygote forks.
. "$(dirname "$0")/lib.sh"

cat >job.yaml <<'JOB'
seed_everything: 1
model: {class: mlp, hidden: "24"}
data: {kind: synthetic, num_samples: 64000, num_val_samples: 32, batch_size: 16}
trainer: {max_steps: -1, max_epochs: -1, lanes: 2, ranks: 2, threads: 1}
JOB

# begin NAME OPTION...: an endless run in a directory of that name, until it trains.
begin() {
  run=$1/lightning_logs/version_0
  "$stoker" fit job.yaml --trainer.default_root_dir "$@" >fit.log 2>&1 &
  pid=$!
  wait_for 1 ' generation  2 ranks'
  supervisor=$(pgrep -P $pid | head -n 1)
}
# wait_for N PATTERN: until the chronicle has so many of it.
wait_for() {
  for _ in $(seq 300); do
    "$stoker" events "$run" >events.txt 2>/dev/null || true
    [ "$(grep -c "$2" events.txt)" -lt "$1" ] || return 0
    sleep 0.05
  done
  fail "not $1 of '$2' in: $(cat events.txt)"
}
# who NAME: the pid of the supervisor's child of that name; waits for it.
who() {
  for _ in $(seq 200); do
    ! pgrep -x -P "$supervisor" "$1" || return 0
    sleep 0.05
  done
}
# another NAME PID: waits for the one that follows it.
another() {
  for _ in $(seq 200); do
    now=$(pgrep -x -P "$supervisor" "$1" || true)
    [ -z "$now" ] || [ "$now" = "$2" ] || return 0
    sleep 0.05
  done
  fail "no other $1 than $2"
}
trained_on() { [ "$(grep -c ' generation ' events.txt)" = "$1" ] || fail "$2: not trained on"; }
end() {
  kill -INT $pid
  wait $pid || [ $? = 11 ] || fail "the run ends with $?: $(tail -n 3 fit.log)"
}

begin without --trainer.spare_rank false
first=$(who stoker-zygote)
kill -STOP "$first"
wait_for 1 ' death .*stopped by a signal'
grep -q ' stall .*the zygote was stopped by a signal' events.txt ||
  fail "the zygote is not named: $(cat events.txt)"
trained_on 1 "a stopped zygote"
another stoker-zygote "$first"
kill -9 "$(who stoker-rank-1)"
wait_for 1 ' recovery '
! pgrep -x -P "$supervisor" stoker-spare || fail "a spare that nobody asked for"
end

begin with
first=$(who stoker-spare)
kill -STOP "$first"
wait_for 1 ' stall .*the spare rank was stopped by a signal'
another stoker-spare "$first"
second=$(who stoker-spare)
kill -9 "$second"
another stoker-spare "$second"
wait_for 2 ' death '
trained_on 1 "a spare that died"
for rank in 1 0; do
  spare=$(who stoker-spare)
  [ "$(cat "/proc/$spare/oom_score_adj")" = 1000 ] || fail "the spare is not the first to go"
  zygote=$(who stoker-zygote)
  kill -9 "$zygote" "$(who stoker-rank-$rank)"
  wait_for $((2 - rank)) ' recovery '
  [ "$(who stoker-rank-$rank)" = "$spare" ] || fail "rank $rank is not the spare of before"
  [ "$(cat "/proc/$spare/oom_score_adj")" = "$(cat "/proc/$supervisor/oom_score_adj")" ] ||
    fail "rank $rank is still the first to go"
  another stoker-zygote "$zygote"
done
grep -q 'spare rank was killed by signal 9' fit.log || fail "not told: $(cat fit.log)"
! grep -q ' times in a row' fit.log || fail "no spare is kept any more: $(cat fit.log)"
end
finish
