#!/usr/bin/env bash
# The command is stopped (Ctrl-S, a debugger, a full disk behind a pipe) while its run goes on: the
# training does not wait for it, what it did not read stays bounded, and it shows the end when it
# goes on.
. "$(dirname "$0")/lib.sh"

# A hook that prints, for standard output is read by the command too.
cat >talk.c <<'SOURCE'
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <time.h>

#include <stoker/stoker.h>

typedef struct { stk_layer *net; int64_t lines; } talk;

static const stk_hparam hparams[] = {
    {.name = "lines", .type = STK_HP_INT, .offset = offsetof(talk, lines), .default_value = "0",
     .max = 1 << 20, .help = "Lines per step."},
    {.name = NULL}};

static stk_status setup(stk_module *m, void *self) {
  ((talk *)self)->net = stk_nn_add(m, "net", stk_nn_linear(m, 4, 1, true));
  return 0;
}

static stk_t loss_of(const void *self, const stk_batch *b) {
  stk_t loss = stk_mean(stk_square(stk_apply(((const talk *)self)->net, b->x)), STK_ALL, false);
  stk_log("a_name_that_is_not_short_at_all_so_that_events_are_long", loss,
          STK_ON_STEP | STK_PROG_BAR);
  return loss;
}

static void on_train_batch_end(stk_run *r, const void *self) {
  struct timespec t = {0, 1000000};
  for (int64_t i = 0; i < ((const talk *)self)->lines; i++) {
    printf("step %lld line %lld of what the module has to say\n",
           (long long)stk_run_global_step(r), (long long)i);
  }
  fflush(stdout);
  nanosleep(&t, NULL);
}

static const stk_run_hooks hooks = {.size = sizeof hooks, .on_train_batch_end = on_train_batch_end};
static const stk_module_def def = {.abi = STK_ABI, .size = sizeof(stk_module_def), .name = "talk",
                                   .hparams = hparams, .self_size = sizeof(talk), .setup = setup,
                                   .training_step = loss_of, .validation_step = loss_of,
                                   .hooks = &hooks};
STK_MODULE(def)
SOURCE
"${CC:-cc}" -std=c17 -O2 -I "$here/engine/include" -fPIC -shared -o talk.so talk.c

# Short epochs: one that ends is told at once, whatever the pace of progress.
cat >job.yaml <<'JOB'
model: {module: ./talk.so}
data: {kind: synthetic, shape: [4], num_samples: 64, num_val_samples: 32, batch_size: 16}
optimizer: {class: sgd, lr: 0.01}
trainer:
  max_steps: 1600
  max_epochs: -1
  lanes: 2
  ranks: 2
  threads: 1
JOB

# state_of RUN: run.json's word.
state_of() { sed -n 's/.*"state": *"\([a-z]*\)".*/\1/p' "$1/run.json" 2>/dev/null; }

# kib PID: resident memory.
kib() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status"; }

# stopped DIR OPTION...: the run ends while its command stands still.
stopped() {
  local dir=$1 run=$1/lightning_logs/version_0 state= supervisor before after
  shift
  "$stoker" fit job.yaml "$@" --trainer.default_root_dir "$dir" >"$dir.log" 2>&1 &
  local pid=$!
  for _ in $(seq 100); do
    sleep 0.1
    [ "$(state_of "$run")" != running ] || break
  done
  supervisor=$(pgrep -P "$pid" | head -n 1)
  before=$(kib "$supervisor")
  kill -STOP "$pid"
  for _ in $(seq 400); do
    sleep 0.1
    state=$(state_of "$run")
    [ "$state" = running ] || break
    after=$(kib "$supervisor" 2>/dev/null || echo "$after")
  done
  [ "$state" = finished ] || fail "$dir: the run stands still with its command: $state"
  [ "${after:-0}" -lt $((before + 24 * 1024)) ] ||
    fail "$dir: the supervisor grew from $before to $after KiB"
  kill -CONT "$pid"
  wait "$pid" || fail "$dir: exit code $?"
  grep -q '^done: 1,600 steps' "$dir.log" ||
    fail "$dir: the end is not shown: $(tail -n 3 "$dir.log")"
}
stopped quiet
stopped loud --model.lines 100
grep -q 'of output were not shown' loud.log || fail "nothing says that output was left out"
finish
