#!/usr/bin/env bash
# Audit logs: the same bytes whatever ranks, kernels, deaths and resumes there were; an audit that
# agrees, by other ranks and kernels and from a checkpoint, and ones that do not; bisect names the
# step; changed bytes are named.
# quick
. "$(dirname "$0")/lib.sh"

cat >job.yaml <<'JOB'
seed_everything: 3
model: {class: cnn, conv1: 4, conv2: 6, batch_norm: true}
data: {kind: synthetic, shape: [1, 12, 12], num_samples: 512, num_val_samples: 64, batch_size: 16}
optimizer: {class: adamw, lr: 1.0e-2}
trainer:
  max_epochs: 2 # 8 steps each
  lanes: 4
  threads: 1
  log_every_n_steps: 3
  gradient_clip_val: 1.0
  logger: [csv]
  audit: true
  callbacks: [{model_checkpoint: {every_n_train_steps: 5, save_top_k: -1}}]
JOB

# fit ROOT [OPTION...]: a run in ROOT.
fit() {
  local root=$1
  shift
  "$stoker" fit job.yaml --trainer.default_root_dir "$root" "$@" >"$root.log" 2>&1
}
log() { echo "$1/lightning_logs/version_0/audit.log"; }
same_log() { cmp "$(log whole)" "$(log "$1")" || fail "$2: another audit log"; }

fit whole || fail "fit: $(tail -n 2 whole.log)"
[ "$(wc -lc <"$(log whole)" | tr -s ' ')" = " 17 3264" ] || fail "size: $(wc "$(log whole)")"
fit ranks --ranks 3 --trainer.kernels ref --trainer.threads 2 ||
  fail "3 ranks: $(tail -n 2 ranks.log)"
same_log ranks "3 ranks on ref"
"$stoker" fit job.yaml --trainer.default_root_dir off --trainer.audit false >off.log 2>&1
[ ! -e "$(log off)" ] || fail "a log without trainer.audit"
"$stoker" audit off >out.txt 2>&1 && fail "audited without a log"
grep -q -- '--trainer.audit true' out.txt || fail "no log: $(cat out.txt)"

# Cut and resumed, twice; the second time from a checkpoint before the end of the log.
fit cut --trainer.max_steps 11
fit cut --ckpt_path last || fail "resume: $(tail -n 2 cut.log)"
same_log cut "cut at 11"
fit cut --ckpt_path cut/lightning_logs/version_0/checkpoints/step-5 ||
  fail "back: $(tail -n 2 cut.log)"
same_log cut "back to 5"

# ---- audit

# verdict CODE TEXT ARGS...: `stoker audit ARGS` ends with CODE and says TEXT (a pattern).
verdict() {
  local want=$1 text=$2 code=0
  shift 2
  "$stoker" audit "$@" >out.txt 2>&1 || code=$?
  [ $code = "$want" ] || fail "audit $*: exit $code, not $want: $(cat out.txt)"
  grep -Eq -- "$text" out.txt || fail "audit $*: no '$text': $(cat out.txt)"
}
verdict 0 'ok: 16 steps, 0:16' whole
verdict 0 'from the beginning by 1 rank' whole
verdict 0 'checkpoints/step-5 by 4 ranks with ref kernels' whole --steps 6:14 --ranks 4 \
  --trainer.kernels ref --trainer.threads 3
verdict 0 'ok: 8 steps, 6:14' whole --steps 6:14 --ranks 2
verdict 0 '"compared":6,"ranks":3,.*"equal":true,"first":null' whole --steps 10: --ranks 3 -o json
verdict 2 'steps 0:16' whole --steps 3:17
verdict 2 'A:B' whole --steps 3
verdict 10 'step 0 is the first that differs' whole --seed_everything 4
verdict 10 'step 10 is the first that differs' whole --steps 12: \
  --optimizer.class adamw --optimizer.lr 0.02
grep -q 'differ: parameters; alike: optimizer state' out.txt || fail "parts: $(cat out.txt)"
verdict 10 '"equal":false,"first":\{"step":10,' whole --steps 10: \
  --trainer.gradient_clip_val 0.01 -o json

# ---- bisect

bisected() {
  local want=$1 text=$2 code=0
  shift 2
  "$stoker" bisect "$@" >out.txt 2>&1 || code=$?
  [ $code = "$want" ] || fail "bisect $*: exit $code, not $want: $(cat out.txt)"
  grep -Eq -- "$text" out.txt || fail "bisect $*: no '$text': $(cat out.txt)"
}
bisected 0 'all 16 steps .* are alike' whole ranks
fit seed --seed_everything 4
bisected 10 'step 0 is the first' whole seed
cp -r whole branch # another rate from step 10 on
fit branch --ckpt_path branch/lightning_logs/version_0/checkpoints/step-10 --optimizer.class adamw \
  --optimizer.lr 0.03
bisected 10 'step 10 is the first' whole branch
bisected 10 '"equal":false,"first":\{"step":10,"a":"[0-9a-f]{64}",' whole branch -o json
fit short --trainer.max_steps 7
bisected 0 'short ends there, whole has 9 more' short whole

# One sample of the data, which step 13 takes, is another one.
cat "$here/README.md" "$here/ARCHITECTURE.md" >a.txt
cat >text.yaml <<'JOB'
model: {class: gpt, n_layer: 1, n_head: 2, n_embd: 16, block_size: 16, vocab_size: 256}
data: {kind: bytes, batch_size: 16}
trainer: {max_steps: 20, audit: true, limit_val_batches: 0, logger: [csv]}
JOB
text() {
  "$stoker" fit text.yaml --data.path "$1" --trainer.default_root_dir "$2" >text.log 2>&1
}
sample=$("$stoker" order text.yaml --data.path a.txt --steps 13:14 | awk '{ print $NF }')
cp a.txt b.txt
printf '\001' | dd of=b.txt bs=1 seek=$((sample * 16 + 8)) conv=notrunc status=none
text a.txt text-a && text b.txt text-b || fail "text: $(tail -n 2 text.log)"
bisected 10 "step 13 is the first" text-a text-b

# ---- changed files

for at in 2000 500 3200; do # in the step, the digest and the link of some record
  cp -r whole changed
  printf 'z' | dd of="$(log changed)" bs=1 seek=$at conv=notrunc status=none
  verdict 10 "the record of step $((at / 192 - 1)) was changed" changed
  bisected 10 "the record of step $((at / 192 - 1)) was changed" whole changed
  rm -r changed
done
cp -r whole changed
truncate -s $((192 * 9 + 100)) "$(log changed)" # torn: what is whole counts
verdict 0 'ok: 8 steps' changed
bisected 0 'changed ends there, whole has 8 more' whole changed

# ---- killed while it trains: ranks, then the supervisor, which --resume follows

sed 's/max_epochs: 2/max_epochs: 300/; s/_steps: 5,/_steps: 1000,/' job.yaml >long.yaml
"$stoker" fit long.yaml --trainer.default_root_dir long >long.log 2>&1 ||
  fail "long: $(tail -n 2 long.log)"
run=killed/lightning_logs/version_0
supervisor() { grep -oE '"pid": ?[0-9]+' $run/run.json 2>/dev/null | grep -oE '[0-9]+' || true; }
# strike WHOM BYTES: kills once the log is so long; false when the run is over before that.
strike() {
  while kill -0 $pid 2>/dev/null; do
    local victim
    victim=$(supervisor)
    [ -z "$victim" ] || [ "$1" = supervisor ] ||
      victim=$(pgrep -P "$victim" stoker-rank | tail -n 1 || true)
    if [ -n "$victim" ] && [ "$(stat -c %s "$(log killed)" 2>/dev/null || echo 0)" -gt "$2" ] &&
      kill -9 "$victim" 2>/dev/null; then
      return 0
    fi
    sleep 0.02
  done
  return 1
}
"$stoker" fit long.yaml --trainer.default_root_dir killed --ranks 2 >killed.log 2>&1 &
pid=$!
strike rank 40000 || fail "no rank was killed"
strike rank 80000 || fail "no second rank was killed"
strike supervisor 120000 || fail "the supervisor was not killed"
wait $pid && fail "a run without its supervisor ended well"
"$stoker" fit long.yaml --trainer.default_root_dir killed --ranks 3 --resume killed \
  >killed.log 2>&1 || fail "resume: $(tail -n 2 killed.log)"
cmp "$(log long)" "$(log killed)" || fail "killed three times: another audit log"
verdict 0 'ok: 400 steps' killed --steps 1900:2300 --ranks 2
finish
