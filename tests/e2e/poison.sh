#!/usr/bin/env bash
# A module that fails at one step whatever is done about it: by a fault, by ending early (with 0
# too), and once only. The same step failing three times ends the job with step, rank and last
# words; a death that does not come again costs nothing. What ranks print is kept in their files.
. "$(dirname "$0")/lib.sh"
command -v "${CC:-cc}" >/dev/null || { echo "skip: no C compiler here"; exit 77; }

"$stoker" init bad >/dev/null
sed 's/^static const stk_module_def def = {/#include "hook.c"\n&\n  .hooks = \&hooks,/' bad.c \
  >module.c
cat >hook.c <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void at_step(stk_run *r, const void *self) {
  const char *how = getenv("BAD");
  (void)self;
  if (!how || stk_run_global_step(r) != 17) {
    return;
  }
  fprintf(stderr, "bad: counter overflow\n");
  if (strcmp(how, "fault") == 0) {
    abort();
  }
  if (strncmp(how, "exit", 4) == 0) {
    exit(atoi(how + 4));
  }
  if (access("once", F_OK) != 0) {
    fclose(fopen("once", "w"));
    abort();
  }
}

static const stk_run_hooks hooks = {.size = sizeof hooks, .on_train_batch_end = at_step};
C
"${CC:-cc}" -std=c17 -O2 -ffp-contract=off -fPIC -shared -I"$here/engine/include" \
  -o bad.so module.c || fail "the module does not compile"

# doomed HOW WORDS: ends with 10 and says them.
doomed() {
  local status=0
  BAD=$1 "$stoker" fit bad.yaml --trainer.default_root_dir "$1" >"$1.log" 2>&1 || status=$?
  [ $status = 10 ] || fail "$1: exit $status, not 10: $(tail -n 2 "$1.log")"
  grep -q "poisoned: the step after step 16 failed 3 times.*rank 0 $2.*counter overflow" \
    "$1.log" || fail "$1: it does not say why: $(grep error "$1.log")"
  [ "$(grep -c '"kind":"death"' "$1"/lightning_logs/version_0/chronicle.jsonl)" = 3 ] ||
    fail "$1: not three deaths"
  [ "$(grep -c overflow "$1"/lightning_logs/version_0/ranks/rank-0.log)" = 3 ] ||
    fail "$1: the rank's log does not hold its words"
}
doomed fault 'was killed by signal 6 (SIGABRT)'
doomed exit0 'ended by itself with exit status 0'
doomed exit3 'ended by itself with exit status 3'

"$stoker" fit bad.yaml --trainer.default_root_dir whole >whole.log 2>&1 ||
  fail "whole: $(tail -n 1 whole.log)"
BAD=once "$stoker" fit bad.yaml --trainer.default_root_dir once-run >once.log 2>&1 ||
  fail "once: $(tail -n 1 once.log)"
grep -q 'rank 0 died at step 16 .*later (generation 2, from the slots' once.log ||
  fail "once: no recovery is told: $(grep died once.log)"
[ "$("$stoker" ckpt hash whole)" = "$("$stoker" ckpt hash once-run)" ] ||
  fail "once: another result than undisturbed"

# More rows in one validation than the ring between rank and supervisor holds (1 MiB).
sed 's/stk_log("val_loss", loss, STK_PROG_BAR)/stk_log("val_loss", loss, STK_ON_STEP)/' module.c \
  >rows.c
"${CC:-cc}" -std=c17 -O2 -ffp-contract=off -fPIC -shared -I"$here/engine/include" -o rows.so rows.c
many='batch_size: 1\n  num_samples: 4\n  num_val_samples: 20000'
sed "s/bad.so/rows.so/; s/batch_size: 64/$many/" bad.yaml >rows.yaml
timeout -k 5 120 "$stoker" fit rows.yaml --trainer.max_epochs 1 --trainer.logger '[csv]' \
  --trainer.default_root_dir rows >rows.log 2>&1 || fail "rows: $(tail -n 1 rows.log)"
n=$(cut -d, -f1-9 rows/lightning_logs/version_0/metrics.csv | wc -l)
[ "$n" -ge 20001 ] || fail "rows: $n lines for 20000 batches"
finish
