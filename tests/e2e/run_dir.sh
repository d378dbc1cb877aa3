#!/usr/bin/env bash
# What a run stands on goes away while it trains: its directory is moved, made read-only,
# descriptors are few, shared memory is full at the start or later. Training goes on to the same
# weights, or is refused in a sentence that says what to do; nothing is left in the shared memory.
. "$(dirname "$0")/lib.sh"
mkdir shm
export STOKER_SLOTS_DIR=$work/shm
job=$here/tests/fault/kills.yaml
calm=$(hash "$job" --trainer.max_steps 300)

# begin DIR PREFIX...: a run of 300 steps in the background ($pid), which has saved once.
begin() {
  local dir=$1 deadline=$((SECONDS + 60))
  shift
  "$@" "$stoker" fit "$job" --ranks 2 --trainer.max_steps 300 --trainer.default_root_dir "$dir" \
    >"$dir.log" 2>&1 &
  pid=$!
  until grep -qs '"checkpoint","ok":1' "$dir"/*/*/chronicle.jsonl; do
    if [ $SECONDS -ge $deadline ] || ! kill -0 $pid 2>/dev/null; then
      fail "$dir: no checkpoint: $(tail -n 2 "$dir.log")"
      finish
    fi
    sleep 0.01
  done
}
# end DIR STATUS: waits for it; the weights are the undisturbed run's where there is a checkpoint.
end() {
  local status=0
  wait $pid || status=$?
  [ $status = "$2" ] || fail "$1: exit $status, not $2: $(tail -n 3 "$1.log")"
  [ -z "$(ls shm)" ] || fail "$1: left in the shared memory: $(ls shm)"
}
weights() { "$stoker" ckpt hash "$1" | grep -oE '[0-9a-f]{64}'; }
run=lightning_logs/version_0

# Moved away: what follows goes into a new one under the old name.
begin moved
mv moved/$run away
end moved 0
[ "$(weights moved)" = "$calm" ] || fail "moved: other weights"
"$stoker" ckpt verify away >verify.log 2>&1 || fail "moved: $(tail -n 1 verify.log)"
"$stoker" events moved 2>&1 | grep -q 'end  *step 300' || fail "moved: no end in the new chronicle"

# Read-only for everybody but root, who is nobody here.
user=()
if [ "$(id -u)" = 0 ]; then
  chmod 777 . shm
  user=(setpriv --reuid 65534 --regid 65534 --clear-groups)
fi
if "${user[@]}" test -x "$stoker" 2>/dev/null && "${user[@]}" test -r "$job"; then
  begin locked "${user[@]}"
  chmod 555 locked/$run locked/$run/checkpoints
  newest=$(ls locked/$run/checkpoints)
  end locked 10
  chmod 755 locked/$run locked/$run/checkpoints
  grep -q 'checkpoint.*Permission denied' locked.log || fail "locked: the failure is not shown"
  grep -q 'last checkpoint could not be written' locked.log || fail "locked: the end is silent"
  grep -q '^  stoker fit .* --ckpt_path ' locked.log || fail "locked: it does not say how to go on"
  [ "$(ls locked/$run/checkpoints)" = "$newest" ] || fail "locked: checkpoints have changed"
  "${user[@]}" "$stoker" fit "$job" --trainer.max_steps 300 --trainer.default_root_dir locked \
    --ckpt_path last >locked.log 2>&1 || fail "locked: going on: $(tail -n 1 locked.log)"
  [ "$(weights locked)" = "$calm" ] || fail "locked: other weights after going on"
else
  echo "not tried: a read-only directory (nobody can not read the programs)"
fi

# Few descriptors: it trains, or says so; it does not hang, and leaves nothing.
# The shell's own 4 and 5 are not the worker's to count.
for n in 8 12 13 14 15 16 20 24 28 64; do
  status=0
  (exec 4</dev/null 5</dev/null && ulimit -n $n &&
    timeout -k 5 60 "$stoker" fit "$job" --ranks 3 --trainer.max_steps 40 \
      --trainer.default_root_dir few-$n) >few.log 2>&1 || status=$?
  [ $status = 0 ] || grep -q 'Too many open files' few.log ||
    fail "$n descriptors: exit $status: $(tail -n 2 few.log)"
  [ $n != 64 ] || [ $status = 0 ] || fail "64 descriptors: exit $status: $(tail -n 2 few.log)"
  [ -z "$(ls shm)" ] || fail "$n descriptors: left in the shared memory: $(ls shm)"
done

# Shared memory that is full.
if mount -t tmpfs -o size=1m none shm 2>/dev/null; then
  trap 'kill $pid 2>/dev/null || true; umount -l shm; rm -rf "$work"' EXIT
  "$stoker" fit "$job" --ranks 2 --trainer.default_root_dir full >full.log 2>&1 &&
    fail "a full shared memory: accepted"
  grep -q '^error: .*no room.*STOKER_SLOTS_DIR' full.log || fail "full: $(tail -n 2 full.log)"
  [ -z "$(ls shm)" ] || fail "full: left in the shared memory: $(ls shm)"
  [ ! -e full ] || fail "full: a run directory was made"
  mount -o remount,size=8m shm
  begin later
  dd if=/dev/zero of=shm/fill bs=16k 2>/dev/null || true
  kill -9 "$(pgrep -n -P "$(sed -n 's/^"pid": \([0-9]*\),$/\1/p' later/$run/run.json)" stoker-rank)"
  until grep -q 'from the slots' later.log || ! kill -0 $pid; do sleep 0.01; done
  "$stoker" scale later --ranks 4 >scale.log 2>&1 || fail "later: scale: $(cat scale.log)"
  wait $pid || fail "later: exit $?: $(tail -n 2 later.log)"
  grep -q 'back to 2 ranks: .*no room' later.log || fail "later: more ranks than there is room for"
  grep -q 'rank . died .*from the slots' later.log || fail "later: no recovery is shown"
  [ "$(weights later)" = "$calm" ] || fail "later: other weights"
  [ "$(ls shm)" = fill ] || fail "later: left in the shared memory: $(ls shm)"
else
  echo "not tried: a full shared memory (not root)"
fi
finish
