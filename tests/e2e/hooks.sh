#!/usr/bin/env bash
# A module whose hooks and reader take long, or never return: a long one is told and waited for, an
# endless one is named as soon as other hangs are.
. "$(dirname "$0")/lib.sh"

cat >hooks.c <<'SOURCE'
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <stoker/stoker.h>

typedef struct { stk_layer *net; const char *where; int64_t from; double seconds; } hooks;

static const stk_hparam hparams[] = {
    {.name = "where", .type = STK_HP_STRING, .offset = offsetof(hooks, where),
     .default_value = "none"},
    {.name = "from", .type = STK_HP_INT, .offset = offsetof(hooks, from), .default_value = "200",
     .max = 1 << 30},
    {.name = "seconds", .type = STK_HP_FLOAT, .offset = offsetof(hooks, seconds),
     .default_value = "0", .max = 100},
    {.name = NULL}};
static volatile int never;

static void forever(void) {
  while (!never) {
  }
}

static void rest(double seconds) {
  struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
  nanosleep(&t, NULL);
}

static stk_status setup(stk_module *m, void *self) {
  ((hooks *)self)->net = stk_nn_add(m, "net", stk_nn_linear(m, 4, 1, true));
  return 0;
}

static stk_t loss_of(const void *self, const stk_batch *b) {
  return stk_mean(stk_square(stk_apply(((const hooks *)self)->net, b->x)), STK_ALL, false);
}

static void on_train_batch_end(stk_run *r, const void *self) {
  const hooks *s = self;
  rest(0.002);
  if (strcmp(s->where, "batch") == 0 && stk_run_global_step(r) >= s->from) {
    forever();
  }
}

static void on_validation_end(stk_run *r, const void *self) {
  const hooks *s = self;
  if (strcmp(s->where, "validation") == 0 && stk_run_global_step(r) >= s->from) {
    rest(s->seconds);
  }
}

static const stk_run_hooks run_hooks = {.size = sizeof run_hooks,
                                        .on_train_batch_end = on_train_batch_end,
                                        .on_validation_end = on_validation_end};

typedef struct { int64_t reads, from; } source;

static stk_status source_open(const stk_reader_args *a, void **out_self, stk_reader_info *out,
                              stk_reader_why *why) {
  source *s = calloc(1, sizeof *s);
  (void)why;
  s->from = 1 << 30;
  for (int32_t i = 0; i < a->n_options; i++) {
    s->from = strcmp(a->keys[i], "from") == 0 ? strtoll(a->values[i], NULL, 10) : s->from;
  }
  *out_self = s;
  *out = (stk_reader_info){.n_samples = 4096, .x = {.dtype = STK_F32, .rank = 1, .dims = {4}}};
  return 0;
}

static stk_status source_read(void *self, const stk_reader_request *q, void *x, void *y,
                              stk_reader_why *why) {
  source *s = self;
  (void)y;
  (void)why;
  if (++s->reads >= s->from) {
    forever();
  }
  memset(x, 0, sizeof(float) * 4 * (size_t)q->n);
  return 0;
}

static const stk_reader_ops reader = {.abi = STK_READER_ABI, .size = sizeof reader, .name = "zeros",
                                      .open = source_open, .read = source_read, .close = free};
static const stk_module_def def = {.abi = STK_ABI, .size = sizeof(stk_module_def), .name = "hooks",
                                   .hparams = hparams, .self_size = sizeof(hooks), .setup = setup,
                                   .training_step = loss_of, .validation_step = loss_of,
                                   .hooks = &run_hooks, .reader = &reader};
STK_MODULE(def)
SOURCE
"${CC:-cc}" -std=c17 -O2 -I "$here/engine/include" -fPIC -shared -o hooks.so hooks.c

cat >job.yaml <<'JOB'
model: {module: ./hooks.so}
data: {kind: module, batch_size: 16, val_fraction: 0.25}
optimizer: {class: sgd, lr: 0.01}
trainer:
  max_steps: 100000
  max_epochs: -1
  val_check_interval: 50
  limit_val_batches: 2
  lanes: 2
  threads: 1
JOB

# A hook that takes longer than five steps and a second: told, waited for, and nobody died.
for ranks in 1 2; do
  "$stoker" fit job.yaml --model.where validation --model.seconds 3 --trainer.max_steps 300 \
    --trainer.ranks "$ranks" --trainer.default_root_dir "long-$ranks" >long.log 2>&1 ||
    fail "long hook, $ranks ranks: $(tail -n 1 long.log)"
  run=long-$ranks/lightning_logs/version_0
  "$stoker" events "$run" >events.txt
  grep -q 'late  *rank 0.* in hook at step 2' events.txt ||
    fail "a hook of 3 s is not told, $ranks ranks: $(cat events.txt)"
  ! grep -Eq ' (death|stall) ' events.txt ||
    fail "a hook of 3 s is taken for hanging, $ranks ranks: $(cat events.txt)"
done

# names WHERE OPTION...: the loop is named soon, and the run can be ended then.
names() {
  local where=$1 dir=$2
  shift 2
  "$stoker" fit job.yaml "$@" --trainer.default_root_dir "$dir" >"$dir.log" 2>&1 &
  local pid=$! run=$dir/lightning_logs/version_0 found=
  for _ in $(seq 200); do
    sleep 0.1
    "$stoker" events "$run" >"$dir.txt" 2>/dev/null || true
    if grep -q " late .* in $where at step " "$dir.txt"; then
      found=1
      break
    fi
  done
  [ -n "$found" ] || fail "a loop in $where is not named: $(cat "$dir.txt")"
  ! grep -Eq ' (death|stall) ' "$dir.txt" || fail "$where: $(cat "$dir.txt")"
  "$stoker" stop "$run" --now >/dev/null || fail "a run that loops in $where cannot be stopped"
  wait "$pid" || true
}
names hook batch --model.where batch
names data reader --data.options.from 600
finish
