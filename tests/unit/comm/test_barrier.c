/* Barriers between real processes over one shared page: nobody passes early, everybody sees what
 * was written before, an abort ends waits whether they spin or sleep, more ranks than CPUs, and
 * deaths while waiting. */
#include "tests/lib/tt.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/comm/group.h"
#include "proto/base/clock.h"

enum { ROUNDS = 3000, MANY = 9, SOON_MS = 5000 };

struct shared {
  int64_t value[MANY]; /* plain memory: the barrier alone orders it */
  _Atomic int32_t wrong, entered, out;
  _Alignas(4096) struct stk_group group;
};

static struct shared *shared_new(uint32_t n_ranks) {
  struct shared *s = mmap(NULL, sizeof *s + stk_group_bytes(1), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_ptr_not_equal(s, MAP_FAILED);
  stk_group_init(&s->group, 1);
  stk_group_open(&s->group, 1, n_ranks);
  return s;
}

static void shared_free(struct shared *s) {
  munmap(s, sizeof *s + stk_group_bytes(1));
}

static pid_t start(void (*body)(struct shared *s, int rank, bool spin), struct shared *s, int rank,
                   bool spin) {
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    body(s, rank, spin);
    _exit(0);
  }
  return pid;
}

static void wait_ms(int ms) {
  struct timespec t = {0, ms * 1000000L};
  nanosleep(&t, NULL);
}

/* Fails when a process is not gone soon. */
static int end_of(pid_t pid) {
  for (int i = 0; i < SOON_MS; i++) {
    int status;
    if (waitpid(pid, &status, WNOHANG) == pid) {
      return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    wait_ms(1);
  }
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  fail_msg("process %d still waits", (int)pid);
  return -1;
}

/* Every rank counts its own cell up and finds all cells alike after the barrier. */
static void count_together(struct shared *s, int rank, bool spin) {
  const int n = (int)atomic_load(&s->group.n_ranks);
  for (int64_t i = 1; i <= ROUNDS; i++) {
    s->value[rank] = i;
    if (stk_group_barrier(&s->group, 1, spin) != SP_OK) {
      atomic_fetch_add(&s->wrong, 1);
      return;
    }
    for (int r = 0; r < n; r++) {
      if (s->value[r] != i) {
        atomic_fetch_add(&s->wrong, 1);
      }
    }
    if (stk_group_barrier(&s->group, 1, spin) != SP_OK) {
      atomic_fetch_add(&s->wrong, 1);
    }
  }
}

static void check_counting(int n_ranks, bool spin) {
  struct shared *s = shared_new((uint32_t)n_ranks);
  pid_t pid[MANY];
  for (int r = 0; r < n_ranks; r++) {
    pid[r] = start(count_together, s, r, spin);
  }
  for (int r = 0; r < n_ranks; r++) {
    assert_int_equal(end_of(pid[r]), 0);
  }
  assert_int_equal(atomic_load(&s->wrong), 0);
  shared_free(s);
}

static void test_barrier_of_one_passes_at_once(void **state) {
  (void)state;
  check_counting(1, false);
}

static void test_barrier_spinning_orders_all_writes(void **state) {
  (void)state;
  check_counting(2, true);
}

static void test_barrier_sleeping_orders_all_writes(void **state) {
  (void)state;
  check_counting(2, false);
  check_counting(3, false);
}

static void test_barrier_with_more_ranks_than_cpus_goes_on(void **state) {
  (void)state;
  check_counting(MANY, false);
}

/* The count of rounds wraps into the bit that says "over", and must not set it. */
static void test_barrier_round_wraps_without_ending(void **state) {
  (void)state;
  struct shared *s = shared_new(1);
  atomic_store(&s->group.round, UINT32_C(0x7fffffff));
  assert_int_equal(stk_group_barrier(&s->group, 1, false), SP_OK);
  assert_int_equal(atomic_load(&s->group.round), 0);
  assert_int_equal(stk_group_barrier(&s->group, 1, false), SP_OK);
  shared_free(s);
}

static void wait_alone(struct shared *s, int rank, bool spin) {
  (void)rank;
  atomic_fetch_add(&s->entered, 1);
  if (stk_group_barrier(&s->group, 1, spin) == SP_ECANCELED) {
    atomic_fetch_add(&s->out, 1);
  }
}

static void check_abort(bool spin, int after_ms) {
  struct shared *s = shared_new(3);
  pid_t one = start(wait_alone, s, 0, spin), two = start(wait_alone, s, 1, spin);
  while (atomic_load(&s->entered) < 2) {
    wait_ms(1);
  }
  wait_ms(after_ms);
  assert_int_equal(atomic_load(&s->out), 0);
  int64_t begin = sp_mono_now(sp_clock_system()).ns;
  stk_group_abort(&s->group);
  assert_int_equal(end_of(one), 0);
  assert_int_equal(end_of(two), 0);
  assert_int_equal(atomic_load(&s->out), 2);
  assert_true(sp_mono_now(sp_clock_system()).ns - begin < SP_NS_PER_S);
  assert_int_equal(stk_group_barrier(&s->group, 1, spin), SP_ECANCELED);
  shared_free(s);
}

static void test_barrier_abort_ends_spinning(void **state) {
  (void)state;
  for (int i = 0; i < 20; i++) {
    check_abort(true, 0);
  }
}

static void test_barrier_abort_ends_sleeping(void **state) {
  (void)state;
  check_abort(false, 120);
  check_abort(true, 120);
}

/* A peer that dies asleep leaves its announcement behind; an abort and a new generation of the
 * survivors work as ever. */
static void test_barrier_survivors_of_a_death_meet_in_the_next_generation(void **state) {
  (void)state;
  struct shared *s = shared_new(3);
  pid_t dies = start(wait_alone, s, 0, false), stays = start(wait_alone, s, 1, false);
  while (atomic_load(&s->group.sleepers) < 2) {
    wait_ms(1);
  }
  kill(dies, SIGKILL);
  assert_int_equal(end_of(dies), -SIGKILL);
  stk_group_abort(&s->group);
  assert_int_equal(end_of(stays), 0);
  assert_int_equal(atomic_load(&s->out), 1);
  stk_group_open(&s->group, 1, 2);
  pid_t a = start(count_together, s, 0, false), b = start(count_together, s, 1, false);
  assert_int_equal(end_of(a), 0);
  assert_int_equal(end_of(b), 0);
  assert_int_equal(atomic_load(&s->wrong), 0);
  shared_free(s);
}

/* Whoever still has the number of an older generation is told to leave, and does not count. */
static void test_barrier_of_an_older_generation_is_refused(void **state) {
  (void)state;
  struct shared *s = shared_new(2);
  stk_group_open(&s->group, 2, 2);
  assert_int_equal(stk_group_barrier(&s->group, 1, false), SP_ECANCELED);
  assert_int_equal(atomic_load(&s->group.arrived), 0);
  shared_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_barrier_of_one_passes_at_once),
      tt_test(test_barrier_spinning_orders_all_writes),
      tt_test(test_barrier_sleeping_orders_all_writes),
      tt_test(test_barrier_with_more_ranks_than_cpus_goes_on),
      tt_test(test_barrier_round_wraps_without_ending),
      tt_test(test_barrier_abort_ends_spinning),
      tt_test(test_barrier_abort_ends_sleeping),
      tt_test(test_barrier_survivors_of_a_death_meet_in_the_next_generation),
      tt_test(test_barrier_of_an_older_generation_is_refused),
  };
  return cmocka_run_group_tests_name("barrier", tests, NULL, NULL);
}
