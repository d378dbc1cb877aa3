/* Power loss while the chronicle is appended to: what was fsynced is there; of what was not, each
 * entry is whole or left out; and the next supervisor goes on behind it. */
#include "tests/lib/tt.h"

#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "tests/crash/crash.h"
#include "worker/supervise/chronicle.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { N_ENTRIES = 7 };

/* What is appended; a mark says how many of them a success was told for. */
static const sp_chronicle_kind kinds[N_ENTRIES] = {
    SP_CHRONICLE_START,      SP_CHRONICLE_GENERATION, SP_CHRONICLE_DEATH, SP_CHRONICLE_CHECKPOINT,
    SP_CHRONICLE_GENERATION, SP_CHRONICLE_RECOVERY,   SP_CHRONICLE_END};

static const char *text_of(int i) {
  static char text[600];
  memset(text, 'a' + i, sizeof text - 1); /* longer than a sector */
  text[sizeof text - 1] = 0;
  return text;
}

static void ignore(void *ctx, const char *text) {
  (void)ctx;
  (void)text;
}

static void append(struct sw_chronicle *c, int i, int64_t step) {
  struct sp_chronicle_entry e = sp_chronicle_entry(i < N_ENTRIES ? kinds[i] : SP_CHRONICLE_START);
  e.step = step;
  e.text = i < N_ENTRIES ? text_of(i) : "after the power loss";
  sw_chronicle_append(c, &e);
}

/* Whether e is what was written under its number; `before` is the number of the one before it. */
static bool is_right(const struct sp_chronicle_entry *e, int64_t before) {
  const int i = (int)e->seq - 1;
  if (e->seq <= before) {
    return false;
  }
  if (e->step == N_ENTRIES) { /* what check added */
    return e->kind == SP_CHRONICLE_START && e->seq == before + 1;
  }
  return i < N_ENTRIES && e->kind == kinds[i] && e->step == i && strcmp(e->text, text_of(i)) == 0;
}

/* What the file holds. A line that does not check is left out, as readers do. */
struct found {
  int64_t n_certain; /* so many from the first one on, without a gap */
  int64_t last;
  bool right, added;
};

static struct found look(const char *bytes, size_t size) {
  struct sp_chronicle_reader r = {0};
  struct found f = {.right = true};
  assert_int_equal(sp_chronicle_feed(&r, bytes, size, NULL), SP_OK);
  for (bool have = true; f.right;) {
    struct sp_chronicle_entry e;
    sp_status status = sp_chronicle_next(&r, &e, &have, NULL);
    if (!have) {
      break;
    }
    if (status == SP_OK) {
      f.right = !f.added && is_right(&e, f.last);
      f.added = e.step == N_ENTRIES;
      f.n_certain += !f.added && e.seq == f.n_certain + 1;
      f.last = e.seq;
    }
  }
  sp_chronicle_reader_fini(&r);
  return f;
}

/* A later supervisor opens it and adds an entry. */
static bool check(void *ctx, const char *root, int mark, char why[512]) {
  char path[4096];
  struct sp_manual_clock clock;
  struct sw_chronicle c;
  char *bytes;
  size_t size;
  (void)ctx;
  sp_manual_clock_init(&clock);
  sw_chronicle_open(&c, root, &clock.clock, ignore, NULL);
  append(&c, N_ENTRIES, N_ENTRIES);
  sw_chronicle_close(&c);
  snprintf(path, sizeof path, "%.4000s/" SP_CHRONICLE_FILE, root);
  if (sp_file_read(path, 1 << 20, &bytes, &size, NULL) != SP_OK) {
    snprintf(why, 512, "there is no chronicle");
    return false;
  }
  const struct found f = look(bytes, size);
  snprintf(why, 512, "%d entries of at least %d, the last one %s, then %s", (int)f.n_certain, mark,
           f.right ? "right" : "wrong", f.added ? "the new one" : "nothing");
  sp_free(bytes);
  return f.right && f.added && f.n_certain >= mark;
}

static bool of_file(const struct cr_note *n) {
  return strstr(n->to, SP_CHRONICLE_FILE) != NULL;
}

static bool of_directory(const struct cr_note *n) {
  return strcmp(n->to, "/") == 0;
}

static struct cr_replay replay(bool (*forget)(const struct cr_note *)) {
  static int turn;
  struct cr_record r;
  struct sp_manual_clock clock;
  struct sw_chronicle c;
  char name[32];
  snprintf(name, sizeof name, "chronicle%d", turn++);
  const char *root = tt_tmpfile(name);
  assert_int_equal(mkdir(root, 0755), 0);
  sp_manual_clock_init(&clock);
  cr_start(&r, root);
  sw_chronicle_open(&c, root, &clock.clock, ignore, NULL);
  for (int i = 0; i < N_ENTRIES; i++) {
    append(&c, i, i);
    if (kinds[i] == SP_CHRONICLE_START || kinds[i] == SP_CHRONICLE_GENERATION ||
        kinds[i] == SP_CHRONICLE_END) {
      cr_mark(&r, i + 1);
    }
  }
  sw_chronicle_close(&c);
  cr_stop();
  struct cr_replay p = {.check = check, .forget = forget, .seed = 11, .max_bits = 12};
  cr_replay(&r, &p);
  cr_free(&r);
  return p;
}

static void test_what_was_synced_is_there_and_the_rest_cut(void **state) {
  (void)state;
  struct cr_replay p = replay(NULL);
  cr_assert_right(&p);
  assert_true(p.n_trees >= 50);
}

static void test_without_a_sync_it_is_noticed(void **state) {
  (void)state;
  assert_true(replay(of_file).n_wrong > 0);
  assert_true(replay(of_directory).n_wrong > 0);
}

int main(void) {
  cr_use_memory();
  const struct CMUnitTest tests[] = {
      tt_test(test_what_was_synced_is_there_and_the_rest_cut),
      tt_test(test_without_a_sync_it_is_noticed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
