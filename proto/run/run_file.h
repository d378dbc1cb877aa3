/* RUN/run.json: what a run is and where its memory lies, for the next supervisor and for people.
 *
 * Written by the run's supervisor alone, as a whole and durably (sp_file_replace), before the
 * generation that it names starts any process. One JSON object with a checksum: a file that was
 * edited or half lost is refused, since acting on a wrong one could join the wrong memory.
 */
#ifndef SP_RUN_RUN_FILE_H
#define SP_RUN_RUN_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/arena.h"
#include "proto/base/clock.h"
#include "proto/base/status.h"

#define SP_RUN_FILE "run.json"

enum { SP_RUN_FORMAT = 1, SP_RUN_MAX_BYTES = 1 << 20 };

typedef enum sp_run_state {
  SP_RUN_RUNNING, /* or its supervisor died: then nobody answers on control.sock */
  SP_RUN_FINISHED,
  SP_RUN_STOPPED, /* asked to, with a checkpoint */
  SP_RUN_FAILED,
  SP_RUN_N_STATES,
} sp_run_state;

/* Strings are never NULL when read; NULL is written as "". */
struct sp_run_file {
  int64_t format; /* SP_RUN_FORMAT; set by the writer */
  sp_run_state state;
  const char *nonce;     /* 8 to 32 lower-case hexadecimal digits: names of shared memory */
  const char *boot_id;   /* /proc/sys/kernel/random/boot_id when the memory was made */
  const char *slots_dir; /* absolute: the directory of the run's regions; "": there is none */
  int64_t generation;    /* newest */
  int64_t ranks;         /* of that generation */
  int64_t lanes;         /* 0: not known yet */
  int64_t pid;           /* of the supervisor */
  struct sp_wall started;
  const char *model;
  const char *ckpt_dir; /* "": none */
  const char *job_file; /* as given, from cwd */
  const char *cwd;      /* absolute */
  size_t n_args;        /* what followed the job file on the command line */
  const char *const *args;
};

/* "running", "finished", "stopped", "failed". */
const char *sp_run_state_name(sp_run_state state);

/* Replaces run_dir/run.json durably. */
SP_NODISCARD sp_status sp_run_file_write(const char *run_dir, const struct sp_run_file *f,
                                         struct sp_err *err);

/* Reads it; strings live in the arena. SP_ENOENT: there is none. SP_EMISMATCH: of another format.
 */
SP_NODISCARD sp_status sp_run_file_read(const char *run_dir, struct sp_run_file *out_f,
                                        struct sp_arena *arena, struct sp_err *err);

/* The same from memory. */
SP_NODISCARD sp_status sp_run_file_parse(const char *text, size_t n, struct sp_run_file *out_f,
                                         struct sp_arena *arena, struct sp_err *err);

/* The run that a path means: itself when it holds run.json, else the one below it (four levels)
 * that was started last. *out_dir is released with sp_free. SP_ENOENT: there is none. */
SP_NODISCARD sp_status sp_run_find(const char *path, char **out_dir, struct sp_err *err);

#endif
