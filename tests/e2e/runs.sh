#!/usr/bin/env bash
# A run seen and steered from outside while it trains: show, events, scale, stop. A rank is killed
# on the way. The checkpoint that it stops with has the bits of an undisturbed run of as many steps.
# quick
. "$(dirname "$0")/lib.sh"

cat >job.yaml <<'JOB'
model: {class: mlp, hidden: "64"}
data: {kind: synthetic, num_samples: 4096, num_val_samples: 16, batch_size: 16}
trainer:
  max_epochs: 100000
  lanes: 4
  threads: 1
  limit_val_batches: 0
  callbacks: [{model_checkpoint: {every_n_train_steps: 1000000}}]
JOB

"$stoker" fit job.yaml --ranks 2 --trainer.default_root_dir root >fit.log 2>&1 &
fit=$!
trap 'kill $fit 2>/dev/null && wait $fit; rm -rf "$work"' EXIT

# await WHAT COMMAND...: until the command succeeds, 30 s at most.
await() {
  local what=$1 deadline=$((SECONDS + 30))
  shift
  until "$@"; do
    if [ $SECONDS -ge $deadline ] || ! kill -0 $fit 2>/dev/null; then
      fail "$what never came: $(tail -n 2 fit.log) $("$stoker" events root 2>&1 | tail -n 3)"
      finish
    fi
    sleep 0.05
  done
}
value() {
  "$stoker" show root -o json 2>/dev/null | grep -oE "\"$1\":(\"[^\"]*\"|[^,}]*)" |
    cut -d: -f2-
}
has_step() { local n; n=$(value step) && [ "${n:-0}" -ge "$1" ]; }
has_event() { "$stoker" events root 2>/dev/null | grep -E "$1" >/dev/null; }
newest_rank() { pgrep -P "$(value pid)" stoker-rank | tail -n 1; }

await "step 20" has_step 20
[ "$(value state)" = '"running"' ] || fail "state: $(value state)"
[ "$(value ranks)" = 2 ] || fail "ranks: $(value ranks)"

"$stoker" scale root --ranks 4 >scale.log || fail "scale: $(cat scale.log)"
await "4 ranks" has_event '  generation  4 ranks'
[ "$(value generation)" = 2 ] || fail "generation after scale: $(value generation)"
"$stoker" scale root --ranks 5 2>scale.log && fail "5 ranks on 4 lanes were accepted"
grep -q "^error: .*4" scale.log || fail "scale --ranks 5: $(cat scale.log)"

kill -9 "$(newest_rank)" || fail "no rank to kill"
await "a recovery" has_event \
  '  recovery    step [0-9]+ finished after .* from the slots, [01] steps? recomputed'
has_event '  death       rank [0-3] at step [0-9]+: killed by signal 9' ||
  fail "death: $("$stoker" events root | grep death)"
[ "$(value recoveries)" = 1 ] || fail "recoveries: $(value recoveries)"

"$stoker" events root -f >events.log &
follower=$!
"$stoker" stop root >stop.log || fail "stop: $(cat stop.log)"
code=0
wait $fit || code=$?
[ $code = 11 ] || fail "fit ended with $code: $(tail -n 2 fit.log)"
wait $follower || fail "events -f ended with $?"
tail -n 1 events.log | grep -q '  end  ' || fail "events -f: $(tail -n 1 events.log)"
[ "$(value state)" = '"stopped"' ] || fail "state at the end: $(value state)"
[ "$("$stoker" events root -o json | wc -l)" = "$(wc -l <events.log)" ] || fail "events differ"
"$stoker" stop root 2>stop.log && fail "a stopped run was stopped again"
grep -q "not running" stop.log || fail "stop again: $(cat stop.log)"

steps=$(value step)
got=$("$stoker" ckpt hash root | grep -oE '[0-9a-f]{64}')
grep -v callbacks job.yaml >plain.yaml # keeps the last step
want=$(hash plain.yaml --trainer.max_steps "$steps")
[ -n "$want" ] && [ "$got" = "$want" ] || fail "$steps steps: $got, undisturbed $want"
finish
