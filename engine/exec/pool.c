/* The thread pool: see pool.h.
 *
 * One 32-bit word, the ticket, holds the protocol: generation (16 bits), whether the loop is open,
 * and how many workers are inside. The caller writes the loop, then opens a new generation. A
 * worker that sees an open generation it has not been in joins by compare-and-swap, takes chunks
 * until none is left, and leaves. The caller closes the ticket when it finds no chunk itself and
 * waits for the workers inside to leave: one that never woke up is not waited for. Since nobody can
 * join a closed ticket, the loop's fields change only while no worker reads them.
 *
 * Sleepers wait on the ticket, the caller on its own word. Both sides announce themselves before
 * looking once more (sequentially consistent), so no wake-up is lost. A worker that slept through
 * exactly 65,536 generations takes the next for the one it knows and misses it: that costs help,
 * not correctness.
 */
#include "engine/exec/pool.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#include "engine/exec/cpu.h"
#include "engine/exec/fpenv.h"
#include "proto/base/mem.h"

enum {
  LINE = 64,
  CHUNKS_PER_THREAD = 8,
  SPIN_CYCLES = 60000, /* of the time-stamp counter: about 20 us */
  INSIDE = 0x7fff,     /* ticket: workers inside */
  OPEN = 0x8000,
  GENERATION_SHIFT = 16,
  STACK_BYTES = 1 << 20
};

struct worker {
  stk_pool *pool;
  pthread_t thread;
  int index;
};

/* How many chunks of a thread's share are taken. On a line of its own: mostly its thread's. */
struct share {
  _Alignas(LINE) atomic_llong taken;
};

struct stk_pool {
  _Alignas(LINE) atomic_uint ticket;
  atomic_uint waiting; /* 1 while the caller sleeps */
  atomic_int sleepers; /* workers asleep or about to be */
  atomic_uint limit;   /* threads that take part; the others sleep on this word */
  atomic_bool stop;
  stk_pool_fn fn;
  void *ctx;
  int64_t n_units, n_chunks;
  int n_shares; /* threads that there are, the caller included */
  struct share *shares;
  _Alignas(LINE) int n_threads; /* the caller included */
  int n_started;
  int64_t spin_cycles;
  bool pin; /* asked for */
  bool pinned;
  cpu_set_t affinity; /* the caller's, put back by stk_pool_free */
  struct worker workers[];
};

static void futex_wait(atomic_uint *word, unsigned value) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(atomic_uint *word, int n) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

static unsigned ticket_generation(unsigned ticket) {
  return ticket >> GENERATION_SHIFT;
}

/* The first chunk of a thread's share. */
static int64_t share_begin(const stk_pool *pool, int thread) {
  return pool->n_chunks * thread / pool->n_shares;
}

static void take_share(stk_pool *pool, int owner, int thread) {
  const int64_t begin = share_begin(pool, owner), end = share_begin(pool, owner + 1);
  for (;;) {
    const int64_t chunk =
        begin + atomic_fetch_add_explicit(&pool->shares[owner].taken, 1, memory_order_relaxed);
    if (chunk >= end) {
      return;
    }
    pool->fn(pool->ctx, pool->n_units * chunk / pool->n_chunks,
             pool->n_units * (chunk + 1) / pool->n_chunks, thread);
  }
}

/* A thread's own share first: loops over the same rows find them in the caches of the thread that
 * wrote them. Then what others have not begun. */
static void take_chunks(stk_pool *pool, int thread) {
  for (int i = 0; i < pool->n_shares; i++) {
    take_share(pool, (thread + i) % pool->n_shares, thread);
  }
}

/* Waits for an open generation other than *seen and joins it. False: the pool ends. Who has just
 * been left out by a limit may join once more: it takes chunks as anybody. */
static bool worker_join(stk_pool *pool, unsigned index, unsigned *seen) {
  uint64_t begin = __rdtsc();
  for (;;) {
    unsigned ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
    if (atomic_load_explicit(&pool->stop, memory_order_relaxed)) {
      return false;
    }
    const unsigned limit = atomic_load_explicit(&pool->limit, memory_order_relaxed);
    if (index >= limit) {
      futex_wait(&pool->limit, limit);
      begin = __rdtsc();
      continue;
    }
    if ((ticket & OPEN) && ticket_generation(ticket) != *seen) {
      if (atomic_compare_exchange_weak(&pool->ticket, &ticket, ticket + 1)) {
        *seen = ticket_generation(ticket);
        return true;
      }
      continue;
    }
    if ((int64_t)(__rdtsc() - begin) < pool->spin_cycles) {
      _mm_pause();
      continue;
    }
    atomic_fetch_add(&pool->sleepers, 1);
    ticket = atomic_load(&pool->ticket);
    if ((!(ticket & OPEN) || ticket_generation(ticket) == *seen) && !atomic_load(&pool->stop)) {
      futex_wait(&pool->ticket, ticket);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    begin = __rdtsc();
  }
}

static void *worker_main(void *arg) {
  const struct worker *self = arg;
  stk_pool *pool = self->pool;
  unsigned seen = 0;
  while (worker_join(pool, (unsigned)self->index, &seen)) {
    stk_fp_enter();
    take_chunks(pool, self->index);
    const unsigned left = atomic_fetch_sub(&pool->ticket, 1) - 1;
    if (!(left & (OPEN | INSIDE)) && atomic_exchange(&pool->waiting, 0)) {
      futex_wake(&pool->waiting, 1);
    }
  }
  return NULL;
}

/* Closes the loop and waits until no worker is inside. */
static void caller_wait(stk_pool *pool) {
  unsigned ticket = atomic_fetch_and(&pool->ticket, ~(unsigned)OPEN) & ~(unsigned)OPEN;
  const uint64_t begin = __rdtsc();
  while (ticket & INSIDE) {
    if ((int64_t)(__rdtsc() - begin) < pool->spin_cycles) {
      _mm_pause();
    } else {
      atomic_store(&pool->waiting, 1);
      if (atomic_load(&pool->ticket) & INSIDE) {
        futex_wait(&pool->waiting, 1);
      }
      atomic_store(&pool->waiting, 0);
    }
    ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
  }
}

void stk_pool_run(stk_pool *pool, stk_pool_fn fn, void *ctx, int64_t n_units) {
  if (n_units <= 0) {
    return;
  }
  const uint32_t previous = stk_fp_enter();
  const int limit = (int)atomic_load_explicit(&pool->limit, memory_order_relaxed);
  pool->n_shares = pool->n_started < limit ? pool->n_started + 1 : limit;
  if (n_units == 1 || pool->n_shares == 1) {
    fn(ctx, 0, n_units, 0);
    stk_fp_leave(previous);
    return;
  }
  const int64_t most = (int64_t)pool->n_shares * CHUNKS_PER_THREAD;
  pool->fn = fn;
  pool->ctx = ctx;
  pool->n_units = n_units;
  pool->n_chunks = n_units < most ? n_units : most;
  for (int i = 0; i < pool->n_shares; i++) {
    atomic_store_explicit(&pool->shares[i].taken, 0, memory_order_relaxed);
  }
  const unsigned ticket = atomic_load_explicit(&pool->ticket, memory_order_relaxed);
  const unsigned generation = (ticket_generation(ticket) + 1) & 0xffff;
  atomic_store(&pool->ticket, generation << GENERATION_SHIFT | OPEN);
  if (atomic_load(&pool->sleepers) > 0) {
    futex_wake(&pool->ticket, (int)(n_units < pool->n_shares ? n_units - 1 : INT_MAX));
  }
  take_chunks(pool, 0);
  caller_wait(pool);
  stk_fp_leave(previous);
}

/* The i-th CPU of a mask that has more than i. */
static void pin_thread(pthread_t thread, const cpu_set_t *mask, int i) {
  cpu_set_t one;
  CPU_ZERO(&one);
  for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (CPU_ISSET(cpu, mask) && i-- == 0) {
      CPU_SET(cpu, &one);
      pthread_setaffinity_np(thread, sizeof one, &one);
      return;
    }
  }
}

/* One CPU for each thread, where there are exactly as many: fewer threads than CPUs are better
 * moved around by the kernel than crowded, with everybody else's, on the first ones. */
static void pool_pin(stk_pool *pool) {
  if (pthread_getaffinity_np(pthread_self(), sizeof pool->affinity, &pool->affinity) != 0 ||
      CPU_COUNT(&pool->affinity) != pool->n_started + 1) {
    return;
  }
  pin_thread(pthread_self(), &pool->affinity, 0);
  for (int i = 0; i < pool->n_started; i++) {
    pin_thread(pool->workers[i].thread, &pool->affinity, i + 1);
  }
  pool->pinned = true;
}

/* Workers take no signals: those are the program's main thread's. */
static int start_threads(stk_pool *pool, int n_threads) {
  sigset_t all, old;
  sigfillset(&all);
  pthread_attr_t attr;
  int rc = pthread_attr_init(&attr);
  if (rc != 0) {
    return rc;
  }
  pthread_attr_setstacksize(&attr, STACK_BYTES);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  for (int i = 0; i < n_threads - 1 && rc == 0; i++) {
    struct worker *w = &pool->workers[i];
    w->pool = pool;
    w->index = i + 1;
    rc = pthread_create(&w->thread, &attr, worker_main, w);
    if (rc == 0) {
      pthread_setname_np(w->thread, "stk-pool");
      pool->n_started++;
    }
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  pthread_attr_destroy(&attr);
  return rc;
}

sp_status stk_pool_make(int n_threads, bool pin, stk_pool **out_pool, struct sp_err *err) {
  if (n_threads < 0 || n_threads > STK_POOL_MAX_THREADS) {
    return sp_fail(err, SP_EINVAL, "thread pool: %d threads: must be 0 (all CPUs) .. %d", n_threads,
                   STK_POOL_MAX_THREADS);
  }
  const int n_cpus = stk_cpu_count();
  if (n_threads == 0) {
    n_threads = n_cpus < STK_POOL_MAX_THREADS ? n_cpus : STK_POOL_MAX_THREADS;
  }
  const size_t workers = sizeof(stk_pool) + (size_t)n_threads * sizeof(struct worker);
  const size_t shares = (workers + LINE - 1) / LINE * LINE;
  stk_pool *pool = sp_alloc_aligned(LINE, shares + (size_t)n_threads * sizeof(struct share));
  if (!pool) {
    return sp_fail(err, SP_ENOMEM, "thread pool: out of memory");
  }
  pool->n_threads = n_threads;
  pool->shares = (struct share *)(void *)((uint8_t *)pool + shares);
  pool->pin = pin;
  atomic_store(&pool->limit, (unsigned)n_threads);
  *out_pool = pool;
  return SP_OK;
}

sp_status stk_pool_start(stk_pool *pool, int n_threads, struct sp_err *err) {
  if (n_threads < 1 || n_threads > pool->n_threads) {
    return sp_fail(err, SP_EINVAL, "thread pool: %d threads in a pool made for %d", n_threads,
                   pool->n_threads);
  }
  stk_pool_stop(pool);
  pool->spin_cycles = n_threads <= stk_cpu_count() ? SPIN_CYCLES : 0;
  const int rc = start_threads(pool, n_threads);
  if (rc != 0) {
    const int started = pool->n_started;
    stk_pool_stop(pool);
    return sp_fail(err, SP_EIO,
                   "thread pool: starting thread %d of %d: %s; lower the number of "
                   "threads or raise the limit (ulimit -u)",
                   started + 2, n_threads, strerror(rc));
  }
  if (pool->pin) {
    pool_pin(pool);
  }
  return SP_OK;
}

sp_status stk_pool_new(int n_threads, bool pin, stk_pool **out_pool, struct sp_err *err) {
  stk_pool *pool = NULL;
  sp_status st = stk_pool_make(n_threads, pin, &pool, err);
  st = st ? st : stk_pool_start(pool, pool->n_threads, err);
  if (st) {
    stk_pool_free(pool);
    return st;
  }
  *out_pool = pool;
  return SP_OK;
}

void stk_pool_limit(stk_pool *pool, int n) {
  const unsigned limit = n < 1 ? 1 : (unsigned)n;
  if (limit != atomic_load_explicit(&pool->limit, memory_order_relaxed)) {
    atomic_store(&pool->limit, limit);
    futex_wake(&pool->limit, INT_MAX);
  }
}

void stk_pool_stop(stk_pool *pool) {
  atomic_store(&pool->stop, true);
  stk_pool_limit(pool, INT_MAX);
  atomic_fetch_add(&pool->ticket, 1u << GENERATION_SHIFT); /* a sleeper's value is stale now */
  futex_wake(&pool->ticket, INT_MAX);
  for (int i = 0; i < pool->n_started; i++) {
    pthread_join(pool->workers[i].thread, NULL);
  }
  if (pool->pinned) {
    pthread_setaffinity_np(pthread_self(), sizeof pool->affinity, &pool->affinity);
  }
  pool->n_started = 0;
  pool->pinned = false;
  atomic_store(&pool->ticket, 0);
  atomic_store(&pool->limit, (unsigned)pool->n_threads);
  atomic_store(&pool->stop, false);
}

void stk_pool_free(stk_pool *pool) {
  if (pool) {
    stk_pool_stop(pool);
    sp_free_aligned(pool);
  }
}

int stk_pool_n_threads(const stk_pool *pool) {
  return pool->n_threads;
}
