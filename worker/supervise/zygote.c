/* The zygote's life. See zygote.h. */
#include "worker/supervise/zygote.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/nn/module.h"
#include "proto/base/fault.h"
#include "proto/base/mem.h"
#include "proto/base/strutil.h"
#include "worker/ckpt.h"
#include "worker/ckpt_fits.h"
#include "worker/logs.h"
#include "worker/monitors.h"
#include "worker/summary.h"
#include "worker/supervise/identity.h"

enum { STREAM_FD = 3, ARG_DIR = 0, ARG_PID, ARG_FLAGS, ARG_CKPT, ARG_JOB, N_ARGS };
enum { IDENTITY_LIMIT = 16 << 20 };

void sw_zygote_fail(int stream, const struct sp_err *err) {
  struct sp_supervise m = {.kind = SP_SUPERVISE_FAILED, .u.failed = {err->status, err->text}};
  if (err->status) {
    (void)!sp_supervise_send(stream, &m, -1, NULL);
  }
}

sp_status sw_zygote_read(sp_event_reader *reader, int stream, const struct sp_supervise **out,
                         struct sp_err *err) {
  for (bool eof = false; !eof;) {
    const struct sp_event *ev;
    sp_status st = sp_supervise_next(reader, out, &ev, err);
    if (st || *out) {
      return st;
    }
    st = ev ? SP_OK : sp_supervise_fill(reader, stream, &eof, err);
    if (st) {
      return st;
    }
  }
  return sp_fail(err, SP_ECANCELED, "the supervisor is gone");
}

void sw_zygote_adopt(const struct sw_zygote *z, int64_t intermediate) {
  while (getppid() == (pid_t)intermediate) {
    sched_yield();
  }
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != (pid_t)z->supervisor) {
    _exit(SP_EXIT_JOB_LOST); /* the supervisor died first: there is nothing to do for anybody */
  }
}

/* ---- the first state */

/* Into fresh regions: from the seed, other weights, or a checkpoint; committed at its end. */
static sp_status fill_state(struct sw_zygote *z, struct sp_err *err) {
  struct stk_state *state = stk_session_state(z->s.session);
  const struct sp_job *job = z->s.job;
  struct stk_control *now = state->now;
  char text[512] = "";
  stk_state_init(state, z->s.module, (uint64_t)job->root.seed_everything, z->s.pool);
  sp_status st = SP_OK;
  if (job->weights.path) {
    st = sw_ckpt_fine_tune(&z->s, text, sizeof text, err);
  }
  if (!st && *z->checkpoint) {
    st = sw_ckpt_resume(&z->s, z->checkpoint, err);
    for (int32_t i = 0; z->forget && i < z->options.c.n_ckpt; i++) {
      stk_model_checkpoint_forget_names(&now->ckpt[i]);
    }
  }
  if (!st && *text) {
    st = sp_event_send_text(z->stream, SP_TEXT_INFO, err, "%s\n", text);
  }
  if (!st) {
    stk_fit_first_page(&z->options.c, now);
    (void)SP_FAULT("zygote.first_commit");
    stk_state_commit(state);
  }
  return st;
}

/* Threads help with the first state, so a child makes it: the zygote itself must have none. */
static sp_status first_state(struct sw_zygote *z, struct sp_err *err) {
  int status = 0;
  fflush(NULL);
  pid_t child = fork();
  if (child < 0) {
    return sp_fail_errno(err, "fork");
  }
  if (child == 0) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    sp_status st = stk_pool_start(z->s.pool, stk_pool_n_threads(z->s.pool), err);
    st = st ? st : fill_state(z, err);
    sw_zygote_fail(z->stream, err);
    _exit(st ? 1 : 0);
  }
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) { /* as if this process had died of it */
    signal(WTERMSIG(status), SIG_DFL);
    raise(WTERMSIG(status));
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    _exit(1);
  }
  return stk_state_reload(stk_session_state(z->s.session))
             ? SP_OK
             : sp_fail(err, SP_EINTERNAL, "the first state was not committed");
}

/* What the regions belong to: a run that goes on must be the same job. */
static sp_status check_identity(struct sw_zygote *z, struct sp_err *err) {
  struct sw_ckpt_identity id;
  struct sw_hparams h;
  struct sp_buf text;
  sp_status st = sw_ckpt_identify(&z->s, &id, err);
  if (st) {
    return st;
  }
  sp_buf_init(&text, IDENTITY_LIMIT);
  sw_hparams_get(z->s.module, &h);
  sp_buf_printf(&text, "model %s\n", z->s.module->def->name);
  for (size_t i = 0; i < h.n; i++) {
    sp_buf_printf(&text, "%s %s\n", h.pairs[i].key, h.pairs[i].value);
  }
  sp_buf_printf(&text, "lanes %d\nprecision %s\narithmetic %d\ngraph %s\n", (int)id.lanes,
                id.precision, (int)id.numerics, id.graph_hash);
  st = sp_buf_check(&text, "the job's hyper-parameters", err);
  st = st ? st : sw_identity_check(&z->regions, sp_buf_text(&text), err);
  sp_buf_free(&text);
  return st;
}

static sp_status check_checkpoint(struct sw_zygote *z, struct sp_err *err) {
  struct stk_ckpt ck = {0};
  sp_status st = *z->checkpoint ? stk_ckpt_open(z->checkpoint, &ck, err) : SP_OK;
  if (!st && *z->checkpoint && (st = sw_ckpt_fits(&z->s, &ck.manifest, err)) != SP_OK) {
    (void)sp_wrap(err, "%s", z->checkpoint);
  }
  stk_ckpt_close(&ck);
  return st;
}

/* ---- loading */

static sp_status map_shared(struct sw_zygote *z, struct sp_err *err) {
  struct stk_memory memory = sw_regions_memory(&z->regions);
  int32_t lanes = stk_session_config_of(z->s.session)->n_lanes;
  void *group = NULL, *rows = NULL;
  sp_status st = memory.get(memory.ctx, "group", stk_group_bytes(lanes), &group, err);
  st = st ? st : memory.get(memory.ctx, "rows", SW_ROWS_BYTES, &rows, err);
  if (st) {
    return st;
  }
  z->group = group;
  z->rows = rows;
  if (z->group->magic == 0) {
    stk_group_init(z->group, lanes);
  }
  sw_rows_init(z->rows);
  return stk_group_check(z->group, stk_group_bytes(lanes), lanes, err);
}

static sp_status load(struct sw_zygote *z, int argc, char **argv, struct sp_err *err) {
  sp_status st = sw_regions_open(argv[ARG_DIR], &z->regions, err);
  st = st ? st : sw_regions_hold(&z->regions, err);
  if (st) {
    return st;
  }
  struct stk_memory memory = sw_regions_memory(&z->regions);
  struct sw_setup_spec spec = {.file = argv[ARG_JOB],
                               .args = (const char *const *)(argv + ARG_JOB + 1),
                               .n_args = (size_t)(argc - ARG_JOB - 1),
                               .stage = STK_TRAIN,
                               .memory = &memory,
                               .n_slots = STK_SLOTS_MAX};
  st = sw_setup_prepare(&spec, &z->s, err);
  st = st ? st : sw_fit_options_read(&z->s, &z->options, err);
  st = st ? st : sw_logs_check(z->s.job, err);
  st = st ? st : sw_monitors_check(&z->s, err);
  st = st ? st : map_shared(z, err);
  st = st ? st : check_identity(z, err);
  if (st) {
    return st;
  }
  struct stk_state *state = stk_session_state(z->s.session);
  st = stk_schedule_init(&z->s.job->lr, z->options.total_steps, z->options.c.max_epochs,
                         &z->options.c.schedules, state->now->schedules, err);
  if (!st && !stk_state_reload(state)) {
    st = check_checkpoint(z, err);
    st = st ? st : first_state(z, err);
  }
  return st;
}

/* ---- what it says */

static sp_status say_ready(struct sw_zygote *z, struct sp_err *err) {
  const struct stk_module *m = z->s.module;
  const struct stk_state *state = stk_session_state(z->s.session);
  struct sp_pair pairs[SW_HPARAMS_MAX];
  struct sw_hparams h;
  struct sw_ckpt_identity id;
  int64_t n = 0, trainable = 0;
  sp_status st = sw_ckpt_identify(&z->s, &id, err);
  for (int32_t i = 0; i < m->n_params; i++) {
    int64_t k = stk_shape_numel(&m->params[i]->shape);
    n += k;
    trainable += m->param_leaves[i].trainable ? k : 0;
  }
  sw_hparams_get(m, &h);
  for (size_t i = 0; i < h.n; i++) {
    pairs[i] = (struct sp_pair){h.pairs[i].key, h.pairs[i].value};
  }
  struct sp_supervise ready = {
      .kind = SP_SUPERVISE_READY,
      .u.ready = {.model = m->def->name,
                  .kernels = z->s.kernels->isa,
                  .precision = id.precision,
                  .graph_hash = id.graph_hash,
                  .n_params = n,
                  .n_trainable = trainable,
                  .lanes = z->s.job->trainer.lanes,
                  .threads = stk_pool_n_threads(z->s.pool),
                  .state_bytes = state->layout.section_bytes * state->layout.n_sections,
                  .plan_peak_bytes = -1,
                  .n_train_batches = z->options.c.n_train_batches,
                  .n_val_batches = z->options.c.n_val_batches,
                  .total_steps = z->options.total_steps,
                  .max_epochs = z->options.c.max_epochs,
                  .n_hparams = h.n,
                  .hparams = pairs}};
  return st ? st : sp_supervise_send(z->stream, &ready, -1, err);
}

/* ---- forking */

/* Forks twice, so that the process becomes the supervisor's child. The shared word takes its pid
 * out of the one in between, which ends at once. */
static int64_t fork_twice(struct sw_zygote *z, const struct sp_fork *f, int stream,
                          _Atomic int64_t *pid, struct sp_err *err) {
  *pid = 0;
  fflush(NULL);
  pid_t between = fork();
  if (between < 0) {
    sp_fail_errno(err, "the zygote cannot fork");
    return 0;
  }
  if (between == 0) {
    int64_t self = getpid();
    pid_t child = fork();
    if (child != 0) {
      *pid = child > 0 ? child : -errno;
      _exit(0);
    }
    close(z->stream);
    sw_zygote_adopt(z, self);
    if (f->is_persister) {
      sw_persister_run(z, stream, (uint64_t)f->order_seq);
    }
    sw_rank_run(z, stream, (int32_t)f->rank);
  }
  while (waitpid(between, NULL, 0) < 0 && errno == EINTR) {
  }
  if (*pid <= 0) {
    errno = *pid < 0 ? (int)-*pid : EIO;
    sp_fail_errno(err, "the zygote cannot fork");
  }
  return *pid > 0 ? *pid : 0;
}

static sp_status on_fork(struct sw_zygote *z, const struct sp_fork *asked, _Atomic int64_t *pid,
                         struct sp_err *err) {
  struct sp_err why = {0};
  const struct sp_fork f = *asked;
  int stream = sp_supervise_take_fd(z->reader);
  if (stream < 0) {
    return sp_fail(err, SP_EINTERNAL, "a fork without a stream");
  }
  (void)SP_FAULT("zygote.fork");
  int64_t child = fork_twice(z, &f, stream, pid, &why);
  close(stream);
  struct sp_supervise m = {.kind = SP_SUPERVISE_FORKED,
                           .u.forked = {.rank = f.rank,
                                        .pid = child,
                                        .is_persister = f.is_persister,
                                        .error = child ? "" : why.text}};
  (void)SP_FAULT("zygote.forked");
  return sp_supervise_send(z->stream, &m, -1, err);
}

/* Serves until the supervisor says quit or is gone. */
static sp_status serve(struct sw_zygote *z, struct sp_err *err) {
  _Atomic int64_t *pid =
      mmap(NULL, sizeof *pid, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (pid == MAP_FAILED) {
    return sp_fail_errno(err, "the zygote's page");
  }
  for (;;) {
    const struct sp_supervise *m = NULL;
    sp_status st = sw_zygote_read(z->reader, z->stream, &m, err);
    if (st == SP_ECANCELED || (!st && m->kind == SP_SUPERVISE_QUIT)) {
      return SP_OK;
    }
    if (!st && m->kind == SP_SUPERVISE_FORK) {
      st = on_fork(z, &m->u.fork, pid, err);
    }
    if (st) {
      return st;
    }
  }
}

static bool read_args(struct sw_zygote *z, int argc, char **argv) {
  const char *dash = argc >= N_ARGS ? strrchr(argv[ARG_DIR], '-') : NULL;
  if (!dash || sp_parse_i64(argv[ARG_PID], &z->supervisor) != SP_OK) {
    return false;
  }
  z->run = strtoull(dash + 1, NULL, 16);
  z->again = strchr(argv[ARG_FLAGS], 'a') != NULL;
  z->forget = strchr(argv[ARG_FLAGS], 'f') != NULL;
  z->checkpoint = argv[ARG_CKPT];
  z->stream = STREAM_FD;
  return true;
}

int sw_zygote_main(int argc, char **argv) {
  struct sw_zygote *z = sp_alloc(sizeof *z);
  struct sp_err err = {0};
  if (!z || !read_args(z, argc, argv)) {
    return SP_EXIT_USAGE;
  }
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != (pid_t)z->supervisor) {
    return SP_EXIT_JOB_LOST;
  }
  (void)prctl(PR_SET_NAME, "stoker-zygote");
  sp_fault_set_role(-1, "zygote");
  (void)prctl(PR_SET_NAME, "stoker-zygote");
  z->reader = sp_event_reader_new();
  sp_status st = z->reader ? load(z, argc, argv, &err) : sp_fail(&err, SP_ENOMEM, "no memory");
  struct sw_emit e = {.fd = z->stream};
  if (!st && !z->again) {
    sw_summary_tell(&z->s, &e);
  }
  (void)SP_FAULT("zygote.ready");
  st = st ? st : say_ready(z, &err);
  st = st ? st : serve(z, &err);
  sw_zygote_fail(z->stream, &err);
  return st ? (int)sp_exit_of_status(st, false) : 0; /* the system takes everything back */
}
