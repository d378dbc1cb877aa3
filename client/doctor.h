/* What `stoker doctor` can say without the engine: this machine as a job would find it. */
#ifndef SC_DOCTOR_H
#define SC_DOCTOR_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"

typedef enum sc_finding_level { SC_FINE, SC_WARNING, SC_BROKEN } sc_finding_level;

struct sc_finding {
  sc_finding_level level;
  char name[32];
  char text[512];
};

enum { SC_FINDINGS = 16 };

/* Looks at worker, CPUs, memory, shared memory and limits; at most SC_FINDINGS. */
size_t sc_doctor_look(struct sc_finding out_findings[SC_FINDINGS]);

/* The pure parts. */

/* CPUs that a cgroup's cpu.max text ("max 100000", "150000 100000") allows; 0: no limit. */
double sc_doctor_cpu_quota(const char *cpu_max);

/* Bytes that memory.max ("max", "1073741824") allows; 0: no limit. */
uint64_t sc_doctor_memory_limit(const char *memory_max);

/* One line each: "ok    name   text". */
void sc_doctor_put(struct sp_buf *b, const struct sc_finding *findings, size_t n);
/* A JSON array of {"level", "name", "text"}. */
void sc_doctor_put_json(struct sp_buf *b, const struct sc_finding *findings, size_t n);

#endif
