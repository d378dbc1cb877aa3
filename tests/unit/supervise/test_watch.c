/* worker/supervise/watch.h: ranks as a model with jitter, faults of every kind, and how soon and
 * whom the watch names. Time moves by a fifth of a millisecond.
 */
#include "tests/lib/tt.h"

#include <string.h>

#include "worker/supervise/watch.h"

enum { N = 4, MS = 1000000, TICK = 200000, LOOK = 100 };

enum phase { IDLE, DATA, COMPUTE, BARRIER, REDUCE, COMMIT, EVALUATE, HOOK };

/* What every rank goes through; the lead alone commits while the others are idle. */
static const enum phase script[] = {DATA, COMPUTE, BARRIER, REDUCE, BARRIER, COMMIT, BARRIER};

enum { SCRIPT = sizeof script / sizeof *script };

struct rank {
  struct sw_watch_rank page;
  int at;
  int64_t left_ns;
  int64_t passed; /* barriers, as the model counts them */
  double slow;
  bool frozen, loops;
};

struct model {
  struct sw_watch watch;
  struct sw_verdict verdict;
  struct rank ranks[N];
  uint64_t random;
  int n;
  int64_t now_ns, looked_ns, step_ns, jitter_percent, hook_ns, hook_every;
  int64_t clock_ns; /* what the watch is told: jumps are added to it */
  int64_t n_verdicts;
};

static int64_t draw(struct model *m, int64_t lo, int64_t hi) {
  m->random = m->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return lo + (int64_t)((m->random >> 33) % (uint64_t)(hi - lo + 1));
}

static void enter(struct model *m, struct rank *r, enum phase phase, double part) {
  static const char *const texts[] = {"idle",   "data",   "forward/backward", "barrier",
                                      "reduce", "commit", "evaluate",         "hook"};
  int64_t ns = (int64_t)((double)m->step_ns * part * (phase == COMPUTE ? r->slow : 1.0));
  int64_t jitter = ns * m->jitter_percent / 100;
  bool waits = phase == IDLE || phase == BARRIER;
  r->page.phase = phase;
  r->page.phase_text = texts[phase];
  r->page.kind = waits               ? SW_WATCH_WAIT
                 : phase == EVALUATE ? SW_WATCH_OTHER
                 : phase == DATA     ? SW_WATCH_READ
                 : phase == HOOK     ? SW_WATCH_HOOK
                                     : SW_WATCH_WORK;
  r->page.beat_ns = m->now_ns + 1;
  r->left_ns = waits ? 0 : ns + (jitter ? draw(m, -jitter, jitter) : 0);
}

static void advance(struct model *m, int i) {
  static const double part[] = {0, 0.05, 0.7, 0, 0.2, 0.05};
  struct rank *r = &m->ranks[i];
  if (script[r->at] == BARRIER) {
    r->page.sequence++;
    r->passed++;
  }
  r->at = (r->at + 1) % SCRIPT;
  if (r->at == 0) {
    r->page.step++;
  }
  enum phase next = script[r->at];
  if (next == COMMIT && i != 0) {
    r->at++;
    next = BARRIER;
  }
  enter(m, r, next, part[next]);
  if (next == COMMIT && m->hook_ns && r->page.step % m->hook_every == m->hook_every - 1) {
    enter(m, r, HOOK, (double)m->hook_ns / (double)m->step_ns);
  }
}

static bool passes(const struct model *m, const struct rank *r) {
  for (int i = 0; i < m->n; i++) {
    if (m->ranks[i].passed != r->passed || script[m->ranks[i].at] != BARRIER) {
      return false;
    }
  }
  return true;
}

static void tick(struct model *m) {
  m->now_ns += TICK;
  m->clock_ns += TICK;
  bool go[N];
  for (int i = 0; i < m->n; i++) {
    struct rank *r = &m->ranks[i];
    bool waits = script[r->at] == BARRIER;
    bool runs = !r->frozen;
    r->left_ns -= runs && !r->loops ? TICK : 0;
    r->page.busy_ns += runs && !waits ? TICK : 0;
    r->page.cpu_ns += runs && !waits ? TICK : 0;
    r->page.state = r->frozen ? 'T' : waits ? 'S' : 'R';
    go[i] = runs && !r->loops && (waits ? passes(m, r) : r->left_ns <= 0);
  }
  for (int i = 0; i < m->n; i++) {
    if (go[i]) {
      advance(m, i);
    }
  }
}

static void look(struct model *m) {
  struct sw_watch_rank pages[N];
  for (int i = 0; i < m->n; i++) {
    pages[i] = m->ranks[i].page;
  }
  m->looked_ns = m->now_ns;
  sw_watch_look(&m->watch, m->clock_ns, pages, m->n, &m->verdict);
}

/* Runs for so long, or until a verdict. */
static void run(struct model *m, int64_t ns) {
  m->verdict.kind = SW_VERDICT_NONE;
  for (int64_t end = m->now_ns + ns; m->now_ns < end && m->verdict.kind == SW_VERDICT_NONE;) {
    tick(m);
    if (m->now_ns - m->looked_ns >= (int64_t)LOOK * MS) {
      look(m);
    }
  }
}

static void begin(struct model *m, int n, int64_t step_ns) {
  struct sw_watch_config config = {0};
  memset(m, 0, sizeof *m);
  m->n = n;
  m->step_ns = step_ns;
  m->jitter_percent = 10;
  m->random = 42;
  m->clock_ns = INT64_C(1) << 50;
  sw_watch_init(&m->watch, &config);
  sw_watch_open(&m->watch, n);
  for (int i = 0; i < n; i++) {
    m->ranks[i].slow = 1.0;
    m->ranks[i].page.is_there = true;
  }
  look(m); /* pages are empty at first */
  for (int i = 0; i < n; i++) {
    m->ranks[i].page.n_lanes = 1;
    m->ranks[i].page.step = 1000;
    enter(m, &m->ranks[i], DATA, 0.05);
  }
}

static const int64_t step_lengths[] = {5 * MS, 40 * MS, 100 * MS, 400 * MS};

enum { LENGTHS = sizeof step_lengths / sizeof *step_lengths };

/* Until the rank is in that phase. */
static void run_to(struct model *m, int r, enum phase phase) {
  for (int i = 0; script[m->ranks[r].at] == phase; i++) { /* not in the middle of it */
    run(m, TICK);
  }
  while (m->ranks[r].page.phase != phase) {
    run(m, TICK);
  }
}

static void is_named_in_time(struct model *m, int64_t from_ns, sw_verdict_kind kind, int rank,
                             const char *text) {
  int64_t limit = 5 * m->step_ns > INT64_C(1000) * MS ? 5 * m->step_ns : INT64_C(1000) * MS;
  run(m, 60 * INT64_C(1000) * MS);
  assert_int_equal(m->verdict.kind, kind);
  assert_int_equal(m->verdict.rank, rank);
  if (!strstr(m->verdict.text, text)) {
    assert_string_equal(m->verdict.text, text);
  }
  assert_in_range(m->now_ns - from_ns, 0, limit + limit / 20); /* jitter of the median */
}

static void test_watch_undisturbed_ranks_are_never_named(void **state) {
  (void)state;
  static struct model m;
  for (int n = 1; n <= N; n++) {
    for (int i = 0; i < LENGTHS; i++) {
      begin(&m, n, step_lengths[i]);
      run(&m, 120 * INT64_C(1000) * MS);
      assert_int_equal(m.verdict.kind, SW_VERDICT_NONE);
      assert_true(sw_watch_step_ns(&m.watch) > step_lengths[i] * 8 / 10);
      assert_true(sw_watch_step_ns(&m.watch) < step_lengths[i] * 13 / 10);
    }
  }
}

static void test_watch_stopped_rank_is_named(void **state) {
  (void)state;
  static struct model m;
  for (int i = 0; i < LENGTHS; i++) {
    for (enum phase phase = DATA; phase <= REDUCE; phase++) {
      begin(&m, 3, step_lengths[i]);
      run(&m, 5 * INT64_C(1000) * MS);
      run_to(&m, 2, phase);
      m.ranks[2].frozen = true;
      is_named_in_time(&m, m.now_ns, SW_VERDICT_STOPPED, 2, "was stopped by a signal for");
    }
  }
}

static void test_watch_endless_loop_is_named(void **state) {
  (void)state;
  static struct model m;
  for (int i = 0; i < LENGTHS; i++) {
    for (int n = 1; n <= N; n++) {
      begin(&m, n, step_lengths[i]);
      run(&m, 10 * INT64_C(1000) * MS);
      run_to(&m, n - 1, COMPUTE);
      m.ranks[n - 1].loops = true;
      is_named_in_time(&m, m.now_ns, SW_VERDICT_HANG, n - 1, "in forward/backward at step ");
      assert_non_null(strstr(m.verdict.text, "it keeps the CPU busy (a step takes "));
    }
  }
}

/* All wait for each other, and one of them is elsewhere. */
static void test_watch_rank_out_of_step_is_named(void **state) {
  (void)state;
  static struct model m;
  static const struct {
    int n, sequence, step;
    enum phase phase;
    int named;
  } cases[] = {
      {2, -1, 0, BARRIER, 1}, {3, -1, 0, BARRIER, 1}, {4, -2, 0, BARRIER, 1}, {3, 1, 0, BARRIER, 1},
      {4, 1, 0, BARRIER, 1},  {2, 0, 1, BARRIER, 1},  {3, 0, 1, IDLE, 1},     {3, 0, 0, IDLE, 1},
      {4, 0, 0, IDLE, 1},     {3, 0, 0, BARRIER, 0}, /* nothing tells them apart: the lead */
  };
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    for (int i = 0; i < LENGTHS; i++) {
      begin(&m, cases[c].n, step_lengths[i]);
      run(&m, 10 * INT64_C(1000) * MS);
      run_to(&m, 0, REDUCE);
      run_to(&m, 0, BARRIER);
      run_to(&m, 1, BARRIER);
      for (int r = 0; r < m.n; r++) { /* never all there again */
        m.ranks[r].passed = r;
        m.ranks[r].at = 2;
        m.ranks[r].page = m.ranks[0].page;
        enter(&m, &m.ranks[r], BARRIER, 0);
      }
      enter(&m, &m.ranks[1], cases[c].phase, 0);
      m.ranks[1].page.sequence += (uint64_t)(int64_t)cases[c].sequence;
      m.ranks[1].page.step += cases[c].step;
      is_named_in_time(&m, m.now_ns, SW_VERDICT_HANG, cases[c].named,
                       cases[c].named ? "it skipped one" : "as all ranks do");
    }
  }
}

static void test_watch_first_step_may_take_long(void **state) {
  (void)state;
  static struct model m;
  begin(&m, 2, 50 * MS);
  run_to(&m, 1, COMPUTE);
  m.ranks[1].loops = true;
  run(&m, 300 * INT64_C(1000) * MS); /* nothing is known of this job yet */
  assert_int_equal(m.verdict.kind, SW_VERDICT_NONE);
  run(&m, 400 * INT64_C(1000) * MS);
  assert_int_equal(m.verdict.kind, SW_VERDICT_HANG);
  begin(&m, 2, 50 * MS);
  run(&m, 10 * INT64_C(1000) * MS);
  sw_watch_open(&m.watch, 2); /* after a recovery, what a step takes is known */
  struct rank running[N];
  memcpy(running, m.ranks, sizeof running);
  for (int i = 0; i < 2; i++) { /* and pages begin empty */
    m.ranks[i].page.beat_ns = m.ranks[i].page.step = 0;
  }
  look(&m);
  memcpy(m.ranks, running, sizeof running);
  run_to(&m, 1, COMPUTE);
  m.ranks[1].loops = true;
  run(&m, 8 * INT64_C(1000) * MS);
  assert_int_equal(m.verdict.kind, SW_VERDICT_NONE);
  run(&m, 4 * INT64_C(1000) * MS);
  assert_int_equal(m.verdict.kind, SW_VERDICT_HANG);
  assert_int_equal(m.verdict.rank, 1);
}

/* Named in time, the first time; never taken for hanging. */
static void test_watch_long_hook_now_and_then_is_no_hang(void **state) {
  (void)state;
  static struct model m;
  for (int every = 10; every <= 1000; every *= 10) {
    begin(&m, 3, 20 * MS);
    m.hook_every = every;
    m.hook_ns = MS;
    run(&m, 5 * INT64_C(1000) * MS);
    assert_int_equal(m.verdict.kind, SW_VERDICT_NONE);
    m.hook_ns = 30 * INT64_C(1000) * MS;
    run(&m, 60 * INT64_C(1000) * MS);
    assert_int_equal(m.verdict.kind, SW_VERDICT_LATE);
    assert_int_equal(m.verdict.rank, 0);
    assert_non_null(strstr(m.verdict.text, "in hook at step "));
    assert_non_null(strstr(m.verdict.text, "is given 1m00s before it is taken for hanging"));
    run(&m, 300 * INT64_C(1000) * MS);
    assert_int_equal(m.verdict.kind, SW_VERDICT_NONE);
    m.hook_ns *= 4; /* longer than a minute by now, and than ever */
    run(&m, 100 * INT64_C(1000) * MS);
    assert_int_equal(m.verdict.kind, SW_VERDICT_LATE);
    run(&m, 400 * INT64_C(1000) * MS);
    assert_int_equal(m.verdict.kind, SW_VERDICT_NONE);
  }
}

/* An endless loop in what the user wrote: named as soon as any other, and given up later each time.
 */
static void test_watch_loop_in_users_code_is_named_and_given_up(void **state) {
  (void)state;
  static struct model m;
  for (int i = 0; i < LENGTHS; i++) {
    enum phase phase = i % 2 ? HOOK : DATA;
    begin(&m, 2, step_lengths[i]);
    m.hook_ns = MS;
    m.hook_every = 1;
    run(&m, 10 * INT64_C(1000) * MS);
    for (int64_t given = 60; given <= 540; given *= 3) {
      while (m.ranks[0].page.phase != (uint32_t)phase) {
        run(&m, TICK);
      }
      m.ranks[0].loops = true;
      int64_t from = m.now_ns;
      is_named_in_time(&m, from, SW_VERDICT_LATE, 0, phase == HOOK ? "in hook at" : "in data at");
      run(&m, 2 * given * INT64_C(1000) * MS);
      assert_int_equal(m.verdict.kind, SW_VERDICT_HANG);
      assert_int_equal(m.verdict.rank, 0);
      assert_in_range((m.now_ns - from) / MS, given * 1000, given * 1000 + 300);
      m.ranks[0].loops = false; /* another one takes its place; what was learned stays */
      sw_watch_open(&m.watch, 2);
      for (int r = 0; r < 2; r++) {
        m.ranks[r].page.beat_ns = m.now_ns;
      }
      look(&m);
      run(&m, 5 * INT64_C(1000) * MS);
      assert_int_equal(m.verdict.kind, SW_VERDICT_NONE);
    }
  }
}

static void test_watch_clock_jumps_and_pauses_accuse_nobody(void **state) {
  (void)state;
  static struct model m;
  begin(&m, 2, 100 * MS);
  for (int i = 0; i < 20; i++) {
    run(&m, 2 * INT64_C(1000) * MS);
    assert_int_equal(m.verdict.kind, SW_VERDICT_NONE);
    m.clock_ns += 3600 * INT64_C(1000) * MS; /* asleep */
    look(&m);
    assert_int_equal(m.verdict.kind, SW_VERDICT_NONE);
  }
}

static void test_watch_starved_rank_gets_more_time(void **state) {
  (void)state;
  static struct model m;
  begin(&m, 2, 100 * MS);
  run(&m, 10 * INT64_C(1000) * MS);
  run_to(&m, 1, COMPUTE);
  m.ranks[1].frozen = true; /* runnable, but the CPU is elsewhere */
  for (int i = 0; i < 20; i++) {
    tick(&m);
    m.ranks[1].page.state = 'R';
  }
  int64_t from = m.now_ns;
  while (m.verdict.kind == SW_VERDICT_NONE && m.now_ns - from < 10 * INT64_C(1000) * MS) {
    tick(&m);
    m.ranks[1].page.state = 'R';
    if (m.now_ns - m.looked_ns >= (int64_t)LOOK * MS) {
      look(&m);
    }
  }
  assert_int_equal(m.verdict.kind, SW_VERDICT_HANG);
  assert_in_range((m.now_ns - from) / MS, 2500, 4500);
}

static void test_watch_slow_rank_is_named_within_20_steps(void **state) {
  (void)state;
  static struct model m;
  for (int i = 1; i < LENGTHS; i++) {
    for (int n = 2; n <= N; n++) {
      begin(&m, n, step_lengths[i]);
      run(&m, 10 * INT64_C(1000) * MS);
      int64_t step = m.ranks[0].page.step;
      m.ranks[1].slow = 2.0;
      run(&m, 60 * INT64_C(1000) * MS);
      assert_int_equal(m.verdict.kind, SW_VERDICT_STRAGGLER);
      assert_int_equal(m.verdict.rank, 1);
      assert_in_range(m.ranks[0].page.step - step, 1, 20);
      run(&m, 60 * INT64_C(1000) * MS); /* once */
      assert_int_equal(m.verdict.kind, SW_VERDICT_NONE);
      m.ranks[1].slow = 1.0;
      run(&m, 20 * INT64_C(1000) * MS);
      m.ranks[1].slow = 3.0;
      run(&m, 60 * INT64_C(1000) * MS); /* and again */
      assert_int_equal(m.verdict.kind, SW_VERDICT_STRAGGLER);
      assert_true(m.verdict.factor > 1.4);
    }
  }
}

static void test_watch_rank_with_more_lanes_is_no_straggler(void **state) {
  (void)state;
  static struct model m;
  begin(&m, 2, 100 * MS);
  m.ranks[0].slow = 2.0;
  m.ranks[0].page.n_lanes = 2;
  run(&m, 60 * INT64_C(1000) * MS);
  assert_int_equal(m.verdict.kind, SW_VERDICT_NONE);
}

static void test_watch_without_a_generation_only_stops_are_seen(void **state) {
  (void)state;
  static struct model m;
  begin(&m, 2, 100 * MS);
  run(&m, 10 * INT64_C(1000) * MS);
  sw_watch_open(&m.watch, 0);
  m.ranks[0].loops = true;
  run(&m, 30 * INT64_C(1000) * MS);
  assert_int_equal(m.verdict.kind, SW_VERDICT_NONE);
  m.ranks[1].frozen = true;
  run(&m, 1000 * INT64_C(1) * MS);
  assert_int_equal(m.verdict.kind, SW_VERDICT_STOPPED);
  assert_int_equal(m.verdict.rank, 1);
}

static void test_watch_life_goes_by_what_moves(void **state) {
  (void)state;
  struct sw_life l = {0};
  const int64_t s = INT64_C(1000) * MS;
  int64_t now = 77 * s, bytes = 1 << 20;
  int late = 0;
  assert_int_equal(sw_watch_life(&l, 5, now, bytes, false), SW_LIFE_GROWS);
  for (int i = 0; i < 300; i++) {
    bytes += i % 50 == 0 ? 1 << 20 : i % 2 ? 4096 : -4096; /* pages come and go */
    sw_life_verdict v = sw_watch_life(&l, 5, now += s, bytes, false);
    assert_int_equal(v, i % 50 == 0 ? SW_LIFE_GROWS : SW_LIFE_STILL);
  }
  for (int i = 0; i < 300; i++) {
    sw_life_verdict v = sw_watch_life(&l, 5, now += s, bytes, false);
    late += v == SW_LIFE_LATE;
    assert_true(v == SW_LIFE_STILL || (v == SW_LIFE_LATE && i >= 9 && i <= 13));
  }
  assert_int_equal(late, 1);
  assert_int_equal(sw_watch_life(&l, 6, now += s, bytes, false), SW_LIFE_GROWS); /* another one */
  assert_int_equal(sw_watch_life(&l, 6, now += 3600 * s, bytes, false), SW_LIFE_STILL); /* slept */
}

static void test_watch_life_stopped_twice_in_a_row_is_named(void **state) {
  (void)state;
  struct sw_life l = {0};
  const int64_t s = INT64_C(1000) * MS;
  for (int i = 1; i < 9; i++) {
    assert_int_not_equal(sw_watch_life(&l, 5, i * s, 0, i % 2), SW_LIFE_STOPPED);
  }
  assert_int_not_equal(sw_watch_life(&l, 5, 10 * s, 0, true), SW_LIFE_STOPPED);
  assert_int_not_equal(sw_watch_life(&l, 6, 11 * s, 0, true), SW_LIFE_STOPPED);
  assert_int_equal(sw_watch_life(&l, 6, 12 * s, 0, true), SW_LIFE_STOPPED);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_watch_undisturbed_ranks_are_never_named),
      tt_test(test_watch_stopped_rank_is_named),
      tt_test(test_watch_endless_loop_is_named),
      tt_test(test_watch_rank_out_of_step_is_named),
      tt_test(test_watch_first_step_may_take_long),
      tt_test(test_watch_long_hook_now_and_then_is_no_hang),
      tt_test(test_watch_loop_in_users_code_is_named_and_given_up),
      tt_test(test_watch_clock_jumps_and_pauses_accuse_nobody),
      tt_test(test_watch_starved_rank_gets_more_time),
      tt_test(test_watch_slow_rank_is_named_within_20_steps),
      tt_test(test_watch_rank_with_more_lanes_is_no_straggler),
      tt_test(test_watch_without_a_generation_only_stops_are_seen),
      tt_test(test_watch_life_goes_by_what_moves),
      tt_test(test_watch_life_stopped_twice_in_a_row_is_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
