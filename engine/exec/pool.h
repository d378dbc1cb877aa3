/* Thread pool: one parallel loop at a time over independent units.
 *
 * stk_pool_run cuts units 0 .. n_units-1 into contiguous chunks, a few for each thread: thread i
 * begins with the i-th share of them, and goes on with chunks of other shares that nobody has
 * begun; the caller is thread 0 and takes part. It returns when every unit is done, and everything
 * the units wrote is visible to the caller. Which thread does which unit is not determined, so no
 * result may depend on it; but loops whose units stand for the same rows mostly find them in the
 * caches of their thread.
 *
 * Waiting threads spin briefly, then sleep on a futex; with more threads than CPUs they do not
 * spin. One unit, or one thread, runs in the caller without touching the pool's shared state. Every
 * thread, the caller included, computes under the engine's floating-point environment (fpenv.h).
 *
 * A pool belongs to the thread that made it: run and free are called there only, and not from
 * inside a unit. Threads do not survive fork: start them afterwards.
 */
#ifndef STK_EXEC_POOL_H
#define STK_EXEC_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/status.h"

enum { STK_POOL_MAX_THREADS = 1024 };

typedef struct stk_pool stk_pool;

/* Does units lo .. hi-1; thread is 0 .. n_threads-1 and is the calling thread's for the whole call.
 * */
typedef void (*stk_pool_fn)(void *ctx, int64_t lo, int64_t hi, int thread);

/* Starts n_threads - 1 threads (n_threads 0: stk_cpu_count()). pin: bind thread i, the caller
 * included, to the i-th CPU of the caller's affinity mask; ignored unless there are as many CPUs
 * as threads. SP_EINVAL outside 0 .. STK_POOL_MAX_THREADS, SP_ENOMEM, SP_EIO if a thread cannot
 * start. Free it with stk_pool_free. */
SP_NODISCARD sp_status stk_pool_new(int n_threads, bool pin, stk_pool **out_pool,
                                    struct sp_err *err);

/* A pool of up to n_threads that has started none: runs happen in the caller until stk_pool_start.
 * What a process makes before it forks. */
SP_NODISCARD sp_status stk_pool_make(int n_threads, bool pin, stk_pool **out_pool,
                                     struct sp_err *err);

/* Starts n_threads - 1 threads, at most what the pool was made for, and pins them to the CPUs that
 * the caller may use now, if they are as many; threads from before are ended first. */
SP_NODISCARD sp_status stk_pool_start(stk_pool *pool, int n_threads, struct sp_err *err);

/* The next runs are shared by at most n of the threads that were started, the caller included; the
 * others sleep. n < 1 counts as 1; stk_pool_start ends the limit. */
void stk_pool_limit(stk_pool *pool, int n);

/* Ends and joins the threads; runs happen in the caller again. */
void stk_pool_stop(stk_pool *pool);

/* Stops and releases. Accepts NULL. */
void stk_pool_free(stk_pool *pool);

/* What it was made for: thread numbers are below this. */
int stk_pool_n_threads(const stk_pool *pool);

/* Runs fn over units 0 .. n_units-1 (none if n_units <= 0) and waits for all of them. */
void stk_pool_run(stk_pool *pool, stk_pool_fn fn, void *ctx, int64_t n_units);

#endif
