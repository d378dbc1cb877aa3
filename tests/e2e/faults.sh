#!/usr/bin/env bash
# quick
# Fault points: the list comes from the binary and holds what the sources have; a build without them
# refuses to list them, and to run with STOKER_FAULT set; in a build with them a kill is traced.
. "$(dirname "$0")/lib.sh"

cat >job.yaml <<'JOB'
model: {class: mlp, hidden: "8"}
data: {kind: synthetic, num_samples: 64, num_val_samples: 16, batch_size: 16}
trainer: {max_epochs: 1, default_root_dir: root}
JOB

if "$bin/stoker-worker" faults >out.txt 2>err.txt; then
  fail "a release lists fault points: $(head -3 out.txt)"
fi
[ ! -s out.txt ] || fail "a release prints names"
grep -q "faults: this build has no fault points" err.txt ||
  fail "not refused by name: $(cat err.txt)"
if STOKER_FAULT='file.fsync:1:kill9' "$stoker" fit job.yaml >out.txt 2>&1; then
  fail "a release ignores STOKER_FAULT"
fi
grep -q 'STOKER_FAULT is set' out.txt || fail "STOKER_FAULT is not named: $(cat out.txt)"

if [ -z "${STOKER_FAULT_BIN:-}" ] || ! "$STOKER_FAULT_BIN/stoker-worker" faults >names.txt; then
  [ -z "${STOKER_FAULT_BIN:-}" ] || fail "the build with fault points lists none"
  finish
  exit 0
fi
LC_ALL=C sort -u names.txt | cmp -s - names.txt || fail "names are not sorted, or not unique"
# What the engine, the checkpoints and the worker have in SP_FAULT("...").
grep -rhoE 'SP_FAULT\("[^"]+"\)' "$here/proto/base" "$here/engine" --include='*.c' |
  sed 's/.*"\(.*\)".*/\1/' | sort -u >wanted.txt
missing=$(comm -13 names.txt wanted.txt)
[ -z "$missing" ] || fail "not in the binary's list: $missing"

if STOKER_FAULT='file.fsync:1:explode' "$STOKER_FAULT_BIN/stoker" fit job.yaml >out.txt 2>&1; then
  fail "a malformed STOKER_FAULT is accepted"
fi
grep -q "entry 1, 'file.fsync:1:explode'" out.txt || fail "the entry is not named: $(cat out.txt)"
STOKER_FAULT='checkpoint.manifest:1:kill9' STOKER_FAULT_TRACE=$work/trace \
  "$STOKER_FAULT_BIN/stoker" fit job.yaml >out.txt 2>&1 ||
  fail "the death of a persister ended the run: $(tail -n 1 out.txt)"
grep -q '^checkpoint.manifest .* kill9$' trace || fail "the kill is not in the trace: $(cat trace)"
finish
