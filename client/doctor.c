/* The machine as a job would find it. Each look fills one finding. */
#include "client/doctor.h"

#include "client/spawn.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "proto/base/strutil.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>

static const uint64_t small_shm_bytes = UINT64_C(256) << 20;

double sc_doctor_cpu_quota(const char *cpu_max) {
  char quota[32];
  char period[32];
  int64_t q = 0;
  int64_t p = 0;
  if (sscanf(cpu_max, "%31s %31s", quota, period) != 2 || sp_parse_i64(quota, &q) != SP_OK ||
      sp_parse_i64(period, &p) != SP_OK || q <= 0 || p <= 0) {
    return 0;
  }
  return (double)q / (double)p;
}

uint64_t sc_doctor_memory_limit(const char *memory_max) {
  char text[32];
  int64_t n = 0;
  bool number = sscanf(memory_max, "%31s", text) == 1 && sp_parse_i64(text, &n) == SP_OK && n > 0;
  return number ? (uint64_t)n : 0;
}

/* A file of this process's own cgroup (v2), or of the root that a container shows; "" if none. */
static void read_cgroup(const char *name, char out_text[64]) {
  char own[512] = "";
  char path[1024];
  char *data = NULL;
  size_t n = 0;
  out_text[0] = '\0';
  if (sp_file_read("/proc/self/cgroup", 1 << 16, &data, &n, NULL) == SP_OK) {
    const char *v2 = strstr(data, "0::");
    if (v2) {
      snprintf(own, sizeof own, "%.*s", (int)strcspn(v2 + 3, "\n"), v2 + 3);
    }
    sp_free(data);
  }
  const char *const tries[] = {own, ""};
  for (size_t i = 0; i < 2 && !*out_text; i++) {
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/%s", tries[i], name);
    if (sp_file_read(path, 4096, &data, &n, NULL) == SP_OK) {
      snprintf(out_text, 64, "%.63s", data);
      sp_free(data);
    }
  }
}

static void look_worker(struct sc_finding *f) {
  struct sp_err err;
  char *path;
  snprintf(f->name, sizeof f->name, "worker");
  if (sc_worker_find(&path, &err) != SP_OK) {
    f->level = SC_BROKEN;
    snprintf(f->text, sizeof f->text, "%.500s", err.text);
    return;
  }
  snprintf(f->text, sizeof f->text, "%.500s", path);
  sp_free(path);
}

static void look_cpus(struct sc_finding *f) {
  cpu_set_t set;
  char text[64];
  int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  read_cgroup("cpu.max", text);
  double quota = sc_doctor_cpu_quota(text);
  snprintf(f->name, sizeof f->name, "cpus");
  if (quota > 0 && quota < n) {
    snprintf(f->text, sizeof f->text, "%d usable, the cgroup allows the time of %.2g", n, quota);
  } else {
    snprintf(f->text, sizeof f->text, "%d usable", n);
  }
}

static void look_memory(struct sc_finding *f) {
  struct sysinfo info;
  char text[64];
  char all[SP_UNIT_TEXT];
  char limit[SP_UNIT_TEXT];
  snprintf(f->name, sizeof f->name, "memory");
  if (sysinfo(&info) != 0) {
    f->level = SC_WARNING;
    snprintf(f->text, sizeof f->text, "unknown");
    return;
  }
  sp_format_bytes((uint64_t)info.totalram * info.mem_unit, all);
  read_cgroup("memory.max", text);
  uint64_t most = sc_doctor_memory_limit(text);
  if (most > 0) {
    sp_format_bytes(most, limit);
    snprintf(f->text, sizeof f->text, "%s, the cgroup allows %s", all, limit);
  } else {
    snprintf(f->text, sizeof f->text, "%s", all);
  }
}

static void look_shm(struct sc_finding *f) {
  struct statvfs st;
  char all[SP_UNIT_TEXT];
  char left[SP_UNIT_TEXT];
  snprintf(f->name, sizeof f->name, "shared memory");
  if (statvfs("/dev/shm", &st) != 0) {
    f->level = SC_WARNING;
    snprintf(f->text, sizeof f->text, "/dev/shm is not there");
    return;
  }
  uint64_t bytes_left = (uint64_t)st.f_bavail * st.f_frsize;
  sp_format_bytes((uint64_t)st.f_blocks * st.f_frsize, all);
  sp_format_bytes(bytes_left, left);
  f->level = bytes_left < small_shm_bytes ? SC_WARNING : SC_FINE;
  snprintf(f->text, sizeof f->text, "/dev/shm %s, %s free%s", all, left,
           f->level == SC_FINE ? "" : "; in a container, start it with a larger --shm-size");
}

static void look_limits(struct sc_finding *f) {
  struct rlimit files;
  snprintf(f->name, sizeof f->name, "open files");
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) {
    f->level = SC_WARNING;
    snprintf(f->text, sizeof f->text, "unknown");
    return;
  }
  f->level = files.rlim_cur < 256 ? SC_WARNING : SC_FINE;
  snprintf(f->text, sizeof f->text, "%llu%s", (unsigned long long)files.rlim_cur,
           f->level == SC_FINE ? "" : "; raise it with ulimit -n");
}

size_t sc_doctor_look(struct sc_finding out_findings[SC_FINDINGS]) {
  static void (*const looks[])(struct sc_finding *) = {look_worker, look_cpus, look_memory,
                                                       look_shm, look_limits};
  size_t n = sizeof looks / sizeof *looks;
  for (size_t i = 0; i < n; i++) {
    out_findings[i] = (struct sc_finding){.level = SC_FINE};
    looks[i](&out_findings[i]);
  }
  return n;
}

static const char *const level_words[] = {
    [SC_FINE] = "ok", [SC_WARNING] = "warn", [SC_BROKEN] = "FAIL"};

void sc_doctor_put(struct sp_buf *b, const struct sc_finding *findings, size_t n) {
  for (size_t i = 0; i < n; i++) {
    sp_buf_printf(b, "%-5s %-14s %s\n", level_words[findings[i].level], findings[i].name,
                  findings[i].text);
  }
}

static void put_json_string(struct sp_buf *b, const char *s) {
  sp_buf_putc(b, '"');
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c == '"' || c == '\\') {
      sp_buf_putc(b, '\\');
      sp_buf_putc(b, *s);
    } else if (c < 0x20) {
      sp_buf_printf(b, "\\u%04x", c);
    } else {
      sp_buf_putc(b, *s);
    }
  }
  sp_buf_putc(b, '"');
}

void sc_doctor_put_json(struct sp_buf *b, const struct sc_finding *findings, size_t n) {
  sp_buf_putc(b, '[');
  for (size_t i = 0; i < n; i++) {
    sp_buf_puts(b, i ? ", {\"level\": " : "{\"level\": ");
    put_json_string(b, level_words[findings[i].level]);
    sp_buf_puts(b, ", \"name\": ");
    put_json_string(b, findings[i].name);
    sp_buf_puts(b, ", \"text\": ");
    put_json_string(b, findings[i].text);
    sp_buf_putc(b, '}');
  }
  sp_buf_putc(b, ']');
}
