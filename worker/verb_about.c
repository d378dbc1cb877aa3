/* `stoker doctor` and `stoker version`, the worker's part: what this build and this machine can do.
 *
 * Findings are in the client's form: "ok    name   text", or {"level", "name", "text"}. Next to
 * what is there it says what a job file could ask for and would be refused here. The kernels' check
 * computes one softmax with every usable set and compares the bits.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/checkpoint/json_text.h"
#include "engine/exec/cpu.h"
#include "engine/exec/fpenv.h"
#include "engine/kernel/kernel.h"
#include "engine/models/models.h"
#include "engine/state/control.h"
#include "proto/base/strutil.h"
#include "worker/ckpt_fits.h"
#include "worker/inspect.h"
#include "worker/verbs.h"

static const stk_isa sets[] = {STK_ISA_KIND_REF, STK_ISA_KIND_AVX2, STK_ISA_KIND_AVX512};

enum { N_SETS = sizeof sets / sizeof *sets, OUTPUT_MAX = 1 << 16 };

static bool is_usable(const struct stk_cpu *cpu, stk_isa isa) {
  return isa == STK_ISA_KIND_REF || (isa == STK_ISA_KIND_AVX2 && cpu->avx2) ||
         (isa == STK_ISA_KIND_AVX512 && cpu->avx512);
}

/* ---- doctor */

enum level { FINE, WARNING, BROKEN };

struct report {
  struct sp_buf *b;
  bool json, any, broken;
};

static void found(struct report *r, enum level level, const char *name, const char *fmt, ...)
    SP_PRINTF(4, 5);

static void found(struct report *r, enum level level, const char *name, const char *fmt, ...) {
  static const char *const words[] = {"ok", "warn", "FAIL"};
  char text[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  r->broken = r->broken || level == BROKEN;
  if (r->json) {
    sp_buf_printf(r->b, "%s{\"level\": \"%s\", \"name\": ", r->any ? ", " : "[", words[level]);
    stk_json_put_string(r->b, name);
    sp_buf_puts(r->b, ", \"text\": ");
    stk_json_put_string(r->b, text);
    sp_buf_putc(r->b, '}');
  } else {
    sp_buf_printf(r->b, "%-5s %-14s %s\n", words[level], name, text);
  }
  r->any = true;
}

static void look_kernels(struct report *r, const struct stk_cpu *cpu) {
  char usable[64] = "", missing[64] = "";
  for (size_t i = 0; i < N_SETS; i++) {
    char *list = is_usable(cpu, sets[i]) ? usable : missing;
    size_t n = strlen(list);
    snprintf(list + n, sizeof usable - n, "%s%s", n ? ", " : "", stk_isa_name(sets[i]));
  }
  found(r, FINE, "kernels", "%s; auto takes %s on this %s%s", usable, stk_isa_name(cpu->best),
        cpu->name, cpu->fma ? "" : ", which has no FMA: slow");
  if (*missing) {
    found(r, FINE, "refused", "trainer.kernels %s: this CPU has none", missing);
  }
}

/* Rows of a softmax by one set. */
static bool softmax_by(const struct stk_cpu *cpu, stk_isa isa, const float *x, float *y,
                       int64_t rows, int64_t n) {
  const struct stk_kernels *k = stk_kernels_get(isa, 32, cpu->fma);
  if (!k || !k->softmax) {
    return false;
  }
  struct stk_softmax_args a = {.x = x, .y = y, .rows = rows, .n = n};
  k->softmax->run(&a, 0, k->softmax->units(&a, 1), NULL);
  return true;
}

static void look_bits(struct report *r, const struct stk_cpu *cpu) {
  enum { ROWS = 5, N = 67 };
  _Alignas(64) float x[ROWS * N];
  _Alignas(64) float want[ROWS * N];
  _Alignas(64) float got[ROWS * N];
  for (int i = 0; i < ROWS * N; i++) {
    x[i] = (float)(i * 37 % 101) / 16.0f - 3.0f;
  }
  stk_fp_enter();
  if (!stk_fp_is_engine()) {
    found(r, BROKEN, "arithmetic", "the CPU's rounding and denormal modes cannot be set");
    return;
  }
  bool ran = softmax_by(cpu, STK_ISA_KIND_REF, x, want, ROWS, N);
  for (size_t i = 1; i < N_SETS && ran; i++) {
    if (is_usable(cpu, sets[i]) &&
        (!softmax_by(cpu, sets[i], x, got, ROWS, N) || memcmp(want, got, sizeof want) != 0)) {
      found(r, BROKEN, "arithmetic", "kernels %s and ref differ on this machine; please report it",
            stk_isa_name(sets[i]));
      return;
    }
  }
  found(r, ran ? FINE : BROKEN, "arithmetic",
        ran ? "the kernel sets agree in every bit" : "this build has no ref kernels");
}

static void look_threads(struct report *r) {
  int quota = stk_cpu_quota("");
  if (quota > 0) {
    found(r, FINE, "threads", "trainer.threads auto is %d; the cgroup's quota allows %d",
          stk_cpu_count(), quota);
  } else {
    found(r, FINE, "threads", "trainer.threads auto is %d", stk_cpu_count());
  }
}

static void look_state(struct report *r) {
  int fd = memfd_create("stoker-doctor", MFD_CLOEXEC);
  void *p = MAP_FAILED;
  if (fd >= 0 && ftruncate(fd, 1 << 20) == 0) {
    p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  bool ok = p != MAP_FAILED;
  found(r, ok ? FINE : BROKEN, "state memory",
        ok ? "memory that outlives its maker (memfd) works"
           : "memfd_create, ftruncate or mmap is forbidden here; jobs cannot hold their state");
  if (ok) {
    munmap(p, 1 << 20);
  }
  if (fd >= 0) {
    close(fd);
  }
}

static void look_disk(struct report *r, const char *path, const char *name, const char *what) {
  struct statvfs st;
  char left[SP_UNIT_TEXT];
  if (statvfs(path, &st) != 0 || access(path, W_OK) != 0) {
    found(r, WARNING, name, "%s cannot be written: %s", path, what);
    return;
  }
  uint64_t bytes = (uint64_t)st.f_bavail * st.f_frsize;
  sp_format_bytes(bytes, left);
  found(r, bytes < (UINT64_C(64) << 20) ? WARNING : FINE, name, "%s free for %s", left, what);
}

int sw_verb_doctor(struct sw_emit *e, int argc, char **argv) {
  struct sp_err err = {0};
  struct sp_buf b;
  struct report r = {.b = &b};
  struct stk_cpu cpu;
  sp_buf_init(&b, OUTPUT_MAX);
  sp_status st = sw_json_asked(&argc, argv, &r.json, &err);
  if (!st && argc > 0) {
    st = sp_fail(&err, SP_EINVAL, "usage: stoker doctor [-o json]");
  }
  if (!st) {
    stk_cpu_detect(&cpu);
    look_kernels(&r, &cpu);
    look_bits(&r, &cpu);
    look_threads(&r);
    look_state(&r);
    look_disk(&r, ".", "here", "logs and checkpoints of runs started in this directory");
    look_disk(&r, "/var/tmp", "inflated data", "copies of gz data files (/var/tmp)");
    found(&r, FINE, "refused", "GPUs, several hosts, mixed precision");
    sp_buf_puts(&b, r.json ? "]" : "");
    sw_emit_output(e, &b);
  }
  if (r.broken) {
    st = sp_fail(&err, SP_EUNSUPPORTED, "this machine cannot run jobs; see FAIL above");
  }
  sp_buf_free(&b);
  return sw_finish(e, NULL, &err);
}

/* ---- version */

int sw_verb_version(struct sw_emit *e, int argc, char **argv) {
  struct sp_err err = {0};
  struct sp_buf b;
  struct stk_cpu cpu;
  bool json = false;
  sp_buf_init(&b, OUTPUT_MAX);
  stk_cpu_detect(&cpu);
  sp_status st = sw_json_asked(&argc, argv, &json, &err);
  if (!st && argc > 0) {
    st = sp_fail(&err, SP_EINVAL, "usage: stoker version [-o json]");
  }
  sp_buf_printf(&b,
                json ? "{\"version\":\"%s\",\"protocol\":%d,\"module_abi\":%d,\"numerics\":%d,"
                       "\"checkpoint_state\":%d,\"kernels\":["
                     : "stoker-worker %s (protocol %d, module ABI %d, numerics %d, checkpoint "
                       "state %d; kernels ",
                STOKER_VERSION, SP_EVENT_PROTOCOL, STK_ABI, SW_NUMERICS, STK_CONTROL_VERSION);
  for (size_t i = 0, n = 0; i < N_SETS; i++) {
    if (is_usable(&cpu, sets[i])) {
      const char *comma = n++ ? json ? "," : " " : "", *quote = json ? "\"" : "";
      sp_buf_printf(&b, "%s%s%s%s", comma, quote, stk_isa_name(sets[i]), quote);
    }
  }
  sp_buf_puts(&b, json ? "]}\n" : ")\n");
  if (!st) {
    sw_emit_output(e, &b);
  }
  sp_buf_free(&b);
  return sw_finish(e, NULL, &err);
}
