# Sourced by the scripts beside it: a private directory, the programs under test, and checks that
# say what differed. Not executable, so tests/run does not take it for a test.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=${STOKER_BIN:-$here/build/release/bin}
stoker=$bin/stoker
if [ ! -x "$stoker" ] || [ ! -x "$bin/stoker-worker" ]; then
  echo "skip: $bin has no built programs"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failures=0
n_runs=0

fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

# train JOB [OPTION...]: one run in a directory of its own; prints the checkpoint it ends with.
train() {
  n_runs=$((n_runs + 1))
  local log=run-$BASHPID-$n_runs.log
  if ! "$stoker" fit "$@" --trainer.default_root_dir "runs-$BASHPID-$n_runs" >"$log" 2>&1; then
    echo "stoker fit $* failed:" >&2
    tail -n 5 "$log" >&2
    return 1
  fi
  sed -n 's/^checkpoint: //p' "$log"
}

# hash JOB [OPTION...]: SHA-256 of the weights that a run ends with.
hash() {
  local path
  path=$(train "$@") && "$stoker" ckpt hash "$path" | grep -oE '[0-9a-f]{64}'
}

finish() {
  [ "$failures" = 0 ] || { echo "$failures failed"; exit 1; }
  echo "ok"
}
