/* run.json: its rows, and the search for a run. */
#include "proto/run/run_file.h"

#include "proto/base/buf.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "proto/run/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_NAME = 256, MAX_PATH = 4096, FIND_DEPTH = 4 /* root/name/version_N */ };

static const char *const state_words[] = {
    [SP_RUN_RUNNING] = "running",
    [SP_RUN_FINISHED] = "finished",
    [SP_RUN_STOPPED] = "stopped",
    [SP_RUN_FAILED] = "failed",
};

_Static_assert(sizeof state_words / sizeof *state_words == SP_RUN_N_STATES, "a word per state");

#define AT(member) SP_RECORD_AT(sp_run_file, member)

static const struct sp_record_row rows[] = {
    {AT(format), .type = SP_RECORD_COUNT},
    {AT(state), .type = SP_RECORD_WORD, .words = state_words, .n_words = SP_RUN_N_STATES},
    {AT(nonce), .type = SP_RECORD_STRING, .most = 32},
    {AT(boot_id), .type = SP_RECORD_STRING, .most = MAX_NAME},
    {AT(slots_dir), .type = SP_RECORD_STRING, .most = MAX_PATH},
    {AT(generation), .type = SP_RECORD_COUNT},
    {AT(ranks), .type = SP_RECORD_COUNT},
    {AT(lanes), .type = SP_RECORD_COUNT},
    {AT(pid), .type = SP_RECORD_COUNT},
    {AT(started), .type = SP_RECORD_TIME},
    {AT(model), .type = SP_RECORD_STRING, .most = MAX_NAME},
    {AT(ckpt_dir), .type = SP_RECORD_STRING, .most = MAX_PATH},
    {AT(job_file), .type = SP_RECORD_STRING, .most = MAX_PATH},
    {AT(cwd), .type = SP_RECORD_STRING, .most = MAX_PATH},
    {AT(args), .type = SP_RECORD_STRINGS, .lines = true,
     .at_n = offsetof(struct sp_run_file, n_args), .most = 64 * 1024},
};

enum { N_ROWS = sizeof rows / sizeof *rows };

const char *sp_run_state_name(sp_run_state state) {
  return state < SP_RUN_N_STATES ? state_words[state] : "?";
}

/* Digits alone: it becomes a part of file names. */
static bool is_nonce(const char *s) {
  size_t n = strspn(s, "0123456789abcdef");
  return n >= 8 && n <= 32 && s[n] == '\0';
}

static bool is_absolute_or_empty(const char *s) {
  return !s || *s == '\0' || *s == '/';
}

static sp_status check(const struct sp_run_file *f, struct sp_err *err) {
  if (!f->nonce || !is_nonce(f->nonce)) {
    return sp_fail(err, SP_ECORRUPT, "%s: the nonce is not 8 to 32 hexadecimal digits",
                   SP_RUN_FILE);
  }
  if (!is_absolute_or_empty(f->slots_dir) || !is_absolute_or_empty(f->cwd)) {
    return sp_fail(err, SP_ECORRUPT, "%s: slots_dir and cwd must be absolute", SP_RUN_FILE);
  }
  return SP_OK;
}

sp_status sp_run_file_write(const char *run_dir, const struct sp_run_file *f, struct sp_err *err) {
  struct sp_run_file out = *f;
  struct sp_buf b;
  out.format = SP_RUN_FORMAT;
  sp_status status = check(f, err);
  if (status != SP_OK) {
    return status;
  }
  char *path = sp_path_join(run_dir, SP_RUN_FILE);
  sp_buf_init(&b, SP_RUN_MAX_BYTES);
  sp_record_put(&b, rows, N_ROWS, &out, true);
  status = path ? sp_buf_check(&b, SP_RUN_FILE, err) : sp_fail(err, SP_ENOMEM, "no memory");
  if (status == SP_OK) {
    status = sp_file_replace(path, b.data, b.length, 0644, err);
  }
  sp_buf_free(&b);
  sp_free(path);
  return status;
}

/* A file of another format differs in more than its rows: say so before they are looked at. */
static sp_status check_format(const char *text, size_t n, struct sp_err *err) {
  static const char start[] = "{\"format\": ";
  int64_t format = 0;
  for (size_t i = sizeof start - 1; i < n && text[i] >= '0' && text[i] <= '9' && format < 1000;
       i++) {
    format = format * 10 + (text[i] - '0');
  }
  if (n < sizeof start || memcmp(text, start, sizeof start - 1) != 0 || format == SP_RUN_FORMAT) {
    return SP_OK;
  }
  return sp_fail(err, SP_EMISMATCH, "%s: format %" PRId64 ", this build knows %d", SP_RUN_FILE,
                 format, SP_RUN_FORMAT);
}

sp_status sp_run_file_parse(const char *text, size_t n, struct sp_run_file *out_f,
                            struct sp_arena *arena, struct sp_err *err) {
  sp_status status = check_format(text, n, err);
  if (status == SP_OK) {
    n -= n > 0 && text[n - 1] == '\n';
    status = sp_record_get(text, n, rows, N_ROWS, out_f, arena, SP_RUN_FILE, err);
  }
  if (status == SP_OK && out_f->format != SP_RUN_FORMAT) {
    status = sp_fail(err, SP_EMISMATCH, "%s: format %" PRId64 ", this build knows %d", SP_RUN_FILE,
                     out_f->format, SP_RUN_FORMAT);
  }
  return status == SP_OK ? check(out_f, err) : status;
}

sp_status sp_run_file_read(const char *run_dir, struct sp_run_file *out_f, struct sp_arena *arena,
                           struct sp_err *err) {
  char *text = NULL, *path = sp_path_join(run_dir, SP_RUN_FILE);
  size_t n = 0;
  sp_status status = path ? sp_file_read(path, SP_RUN_MAX_BYTES, &text, &n, err)
                          : sp_fail(err, SP_ENOMEM, "no memory");
  if (status == SP_OK) {
    status = sp_run_file_parse(text, n, out_f, arena, err);
    if (status != SP_OK) {
      sp_wrap(err, "%s", run_dir);
    }
  }
  sp_free(text);
  sp_free(path);
  return status;
}

/* ---- the newest run below a directory */

struct finder {
  char *best; /* the newest so far */
  int64_t started;
  sp_status failure;
};

static bool holds_run(const char *path, int64_t *out_started) {
  struct sp_arena arena = {0};
  struct sp_run_file f;
  bool holds = sp_run_file_read(path, &f, &arena, NULL) == SP_OK;
  if (holds) {
    *out_started = f.started.ns;
  }
  sp_arena_clear(&arena);
  return holds;
}

static void find_below(struct finder *f, const char *path, int depth);

/* Looks into one entry; links are not followed, so that no loop is walked. */
static void find_in(struct finder *f, int fd, const char *path, const char *name, int depth) {
  struct stat info;
  if (name[0] == '.' || fstatat(fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
      !S_ISDIR(info.st_mode)) {
    return;
  }
  char *inner = sp_path_join(path, name);
  if (!inner) {
    f->failure = SP_ENOMEM;
    return;
  }
  find_below(f, inner, depth + 1);
  sp_free(inner);
}

static void find_below(struct finder *f, const char *path, int depth) {
  int64_t started = 0;
  if (holds_run(path, &started)) {
    if (!f->best || started > f->started) {
      sp_free(f->best);
      f->best = sp_strdup(path);
      f->started = started;
      f->failure = f->best ? f->failure : SP_ENOMEM;
    }
    return;
  }
  DIR *d = depth < FIND_DEPTH ? opendir(path) : NULL;
  for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
    find_in(f, dirfd(d), path, e->d_name, depth);
  }
  if (d) {
    closedir(d);
  }
}

/* Whether the directory itself has a run.json, good or not: then no other run is meant. */
static bool has_run_file(const char *path) {
  char *file = sp_path_join(path, SP_RUN_FILE);
  bool has = file && access(file, F_OK) == 0;
  sp_free(file);
  return has;
}

sp_status sp_run_find(const char *path, char **out_dir, struct sp_err *err) {
  struct stat info;
  if (stat(path, &info) != 0) {
    return sp_fail_errno(err, "run %s", path);
  }
  struct finder f = {0};
  if (has_run_file(path)) {
    f.best = sp_strdup(path);
    f.failure = f.best ? SP_OK : SP_ENOMEM;
  } else {
    find_below(&f, path, 0);
  }
  if (f.failure != SP_OK) {
    sp_free(f.best);
    return sp_fail(err, f.failure, "run %s: no memory", path);
  }
  if (!f.best) {
    return sp_fail(err, SP_ENOENT, "no run in %s: no directory there holds %s", path, SP_RUN_FILE);
  }
  *out_dir = f.best;
  return SP_OK;
}
