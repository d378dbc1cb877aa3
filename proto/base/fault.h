/* Fault points: named places where a test can make a program die, fail, stop or wait.
 *
 * Code marks a place with `int e = SP_FAULT("checkpoint.fsync");` and treats a non-zero e as that
 * errno. The name is a string literal. The environment decides: STOKER_FAULT is a comma-separated
 * list of name:who:hit:action, or name:hit:action for whoever comes by. who is the number of a
 * rank, the word that sp_fault_set_role was given, or * for all; hit counts the passages of that
 * name in this process since it has its role, from 1 (0: every one); action is kill9 SIGKILL to
 * this process abort             SIGABRT, whatever handles it stop              SIGSTOP to this
 * process; after SIGCONT it goes on errno=ENOSPC      the place fails with that error sleep=250ms
 * wait, then go on (durations as in strutil.h) STOKER_FAULT_TRACE names a file to which every
 * passage of every place adds a line "name who", and the action after it when there is one ("who"
 * is - without a role). While it is set, an entry that kills, aborts or stops does so once, for all
 * processes that share the file, so that whoever replaces the victim lives.
 *
 * In builds without STOKER_FAULTS a fault point is the constant 0. Any thread.
 */
#ifndef SP_BASE_FAULT_H
#define SP_BASE_FAULT_H

#include "proto/base/status.h"

/* For main: refuses a malformed STOKER_FAULT, and any at all in a build without fault points. */
SP_NODISCARD sp_status sp_fault_check(struct sp_err *err);

enum { SP_FAULT_ROLE = 16 };

/* Says what this process is: a rank's number, or for -1 a word ("supervisor", "zygote",
 * "persister"), cut at SP_FAULT_ROLE - 1 bytes. Passages count from here. Before there are threads;
 * nothing in a build without fault points. */
void sp_fault_set_role(int rank, const char *word);

/* The names of the places that a program or library contains: strings one after the other, each
 * with its zero, some zeros between them; a name comes once for each place. Empty without fault
 * points.
 */
struct sp_fault_names {
  const char *first, *end;
};

/* Of the object that holds proto/base: libstoker.so in programs that use it. */
struct sp_fault_names sp_fault_names_base(void);

#ifdef STOKER_FAULTS

int sp_fault_hit(const char *name);

/* The linker gives every object that has places these two. */
extern const char sp_fault_section[] __asm__("__start_sp_faults")
    __attribute__((weak, visibility("hidden")));
extern const char sp_fault_section_end[] __asm__("__stop_sp_faults")
    __attribute__((weak, visibility("hidden")));

/* Of the object that this is compiled into. */
#define SP_FAULT_NAMES_HERE() ((struct sp_fault_names){sp_fault_section, sp_fault_section_end})

#define SP_FAULT(name)                                                                        \
  __extension__({                                                                             \
    static const char sp_fault_place[] __attribute__((section("sp_faults"), used)) = "" name; \
    sp_fault_hit(sp_fault_place);                                                             \
  })

#else

#define SP_FAULT_NAMES_HERE() ((struct sp_fault_names){"", ""})
#define SP_FAULT(name) ((int)(0 * sizeof("" name)))

#endif

#endif
