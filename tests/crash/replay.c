/* The replayer. A crash point's open decisions are numbered once: one per entry call that no sync
 * of its directory follows, one per sector of each write and one per change of size that no sync of
 * the file follows. A state is a choice for each, applied in the order of the calls to the tree as
 * it was, and written out for the check.
 */
#include "tests/lib/tt.h"

#include "tests/crash/crash.h"

#include "proto/base/crc32c.h"
#include "proto/base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DECISIONS = 4096, DEFAULT_BITS = 10, DEFAULT_RANDOM = 100, FILE_ROOM = 1 << 17 };
enum choice { DROPPED, KEPT, JUNK };

/* A node in a state. */
struct item {
  uint8_t *data; /* of a file, FILE_ROOM bytes */
  size_t n;
  struct cr_entry entries[CR_MAX_ENTRIES];
  int n_entries;
};

struct replay {
  const struct cr_record *r;
  struct cr_replay *p;
  int point;                        /* calls before this one were made */
  int first_decision[CR_MAX_NOTES]; /* of a note that is open, -1: it is certain */
  int n_decisions;
  uint8_t choice[MAX_DECISIONS];
  struct item items[CR_MAX_NODES];
  uint64_t *seen; /* hashes of trees with their marks, open addressing */
  size_t seen_room;
  uint64_t random;
  char scratch[4096]; /* where states are written */
};

static uint64_t next_random(struct replay *s) {
  s->random += 0x9e3779b97f4a7c15u;
  uint64_t z = s->random;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

/* ---- what is open */

static bool is_certain(const struct replay *s, int i) {
  const struct cr_note *n = &s->r->notes[i];
  int node = n->call == CR_WRITE || n->call == CR_SIZE ? n->node : n->dir;
  for (int k = i + 1; k < s->point; k++) {
    const struct cr_note *sync = &s->r->notes[k];
    if (sync->call == CR_SYNC && sync->node == node && !(s->p->forget && s->p->forget(sync))) {
      return true;
    }
  }
  return false;
}

static int sectors(const struct cr_note *n) {
  uint64_t first = n->offset / CR_SECTOR;
  uint64_t last = (n->offset + n->n - 1) / CR_SECTOR;
  return (int)(last - first + 1);
}

/* A write takes one decision for its size and one per sector; the rest one each. */
static void number_decisions(struct replay *s) {
  s->n_decisions = 0;
  for (int i = 0; i < s->point; i++) {
    const struct cr_note *n = &s->r->notes[i];
    s->first_decision[i] = -1;
    if (n->call == CR_SYNC || n->call == CR_MARK || is_certain(s, i)) {
      continue;
    }
    s->first_decision[i] = s->n_decisions;
    s->n_decisions += n->call == CR_WRITE ? 1 + sectors(n) : 1;
    assert_true(s->n_decisions <= MAX_DECISIONS);
  }
}

/* ---- a state */

static void remove_name(struct item *dir, const char *name) {
  for (int i = 0; i < dir->n_entries; i++) {
    if (strcmp(dir->entries[i].name, name) == 0) {
      dir->entries[i] = dir->entries[--dir->n_entries];
      return;
    }
  }
}

static void put_name(struct item *dir, const char *name, int node) {
  remove_name(dir, name);
  assert_true(dir->n_entries < CR_MAX_ENTRIES);
  struct cr_entry *e = &dir->entries[dir->n_entries++];
  snprintf(e->name, sizeof e->name, "%s", name);
  e->node = node;
}

static bool has_name_of(const struct item *dir, const char *name, int node) {
  for (int i = 0; i < dir->n_entries; i++) {
    if (strcmp(dir->entries[i].name, name) == 0) {
      return dir->entries[i].node == node;
    }
  }
  return false;
}

static void set_size(struct item *f, uint64_t n) {
  assert_true(n <= FILE_ROOM);
  if (n > f->n) {
    memset(f->data + f->n, 0, (size_t)n - f->n);
  }
  f->n = (size_t)n;
}

static void apply_write(struct replay *s, const struct cr_note *n, int decision) {
  struct item *f = &s->items[n->node];
  uint64_t end = n->offset + n->n;
  if (end > f->n && (decision < 0 || s->choice[decision] != DROPPED)) {
    set_size(f, end);
  }
  uint64_t at = n->offset;
  for (int k = 0; at < end; k++) {
    uint64_t stop = (at / CR_SECTOR + 1) * CR_SECTOR;
    stop = stop < end ? stop : end;
    uint64_t seen = stop < f->n ? stop : f->n; /* what is beyond the size is not seen */
    int choice = decision < 0 ? KEPT : s->choice[decision + 1 + k];
    if (at < seen && choice == KEPT) {
      memcpy(f->data + at, n->data + (at - n->offset), (size_t)(seen - at));
    } else if (at < seen && choice == JUNK) {
      memset(f->data + at, 0xa5, (size_t)(seen - at));
    }
    at = stop;
  }
}

static void apply(struct replay *s, int i) {
  const struct cr_note *n = &s->r->notes[i];
  int decision = s->first_decision[i];
  struct item *dir = n->dir >= 0 ? &s->items[n->dir] : NULL;
  if (n->call == CR_WRITE) {
    apply_write(s, n, decision);
    return;
  }
  if (n->call == CR_SYNC || n->call == CR_MARK ||
      (decision >= 0 && s->choice[decision] == DROPPED)) {
    return;
  }
  if (n->call == CR_SIZE) {
    set_size(&s->items[n->node], n->offset);
  } else if (n->call == CR_ENTER) {
    put_name(dir, n->name, n->node);
  } else if (n->call == CR_LEAVE) {
    if (has_name_of(dir, n->name, n->node)) {
      remove_name(dir, n->name);
    }
  } else {
    if (has_name_of(dir, n->name, n->node)) {
      remove_name(dir, n->name);
    }
    put_name(dir, n->to, n->node);
  }
}

static void build(struct replay *s) {
  for (int i = 0; i < s->r->n_nodes; i++) {
    const struct cr_node *n = &s->r->nodes[i];
    struct item *x = &s->items[i];
    x->n_entries = n->n_entries;
    memcpy(x->entries, n->entries, (size_t)n->n_entries * sizeof *n->entries);
    x->n = n->before && n->kind == CR_FILE ? n->n : 0;
    if (x->n > 0) {
      assert_true(x->n <= FILE_ROOM);
      memcpy(x->data, n->data, x->n);
    }
  }
  for (int i = 0; i < s->point; i++) {
    apply(s, i);
  }
}

/* ---- trees */

/* Independent of the order of entries. */
static uint64_t hash_tree(const struct replay *s, int node) {
  const struct cr_node *n = &s->r->nodes[node];
  const struct item *x = &s->items[node];
  uint64_t sum = 0;
  if (n->kind != CR_DIR) {
    const uint8_t *data = n->kind == CR_LINK ? n->data : x->data;
    size_t bytes = n->kind == CR_LINK ? n->n : x->n;
    return (uint64_t)sp_crc32c(1, data, bytes) << 32 | sp_crc32c((uint32_t)bytes, data, bytes);
  }
  for (int i = 0; i < x->n_entries; i++) {
    uint64_t h = hash_tree(s, x->entries[i].node) + (uint64_t)s->r->nodes[x->entries[i].node].kind;
    h ^= (uint64_t)sp_crc32c(0, x->entries[i].name, strlen(x->entries[i].name)) *
         0x9e3779b97f4a7c15u;
    h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9u;
    sum += h ^ h >> 32;
  }
  return sum * 0x94d049bb133111ebu + 1;
}

static bool is_new(struct replay *s, uint64_t hash) {
  size_t at = (size_t)(hash % s->seen_room);
  while (s->seen[at] && s->seen[at] != hash) {
    at = (at + 1) % s->seen_room;
  }
  if (s->seen[at]) {
    return false;
  }
  s->seen[at] = hash;
  assert_true(s->p->n_trees * 2 < (int64_t)s->seen_room);
  return true;
}

static void write_tree(const struct replay *s, int node, const char *path) {
  const struct cr_node *n = &s->r->nodes[node];
  const struct item *x = &s->items[node];
  if (n->kind == CR_FILE) {
    tt_write_file(path, x->data, x->n);
  } else if (n->kind == CR_LINK) {
    char target[4096];
    snprintf(target, sizeof target, "%.*s", (int)n->n, (const char *)n->data);
    assert_int_equal(symlink(target, path), 0);
  } else {
    assert_int_equal(mkdir(path, 0755), 0);
    for (int i = 0; i < x->n_entries; i++) {
      char inner[4096];
      snprintf(inner, sizeof inner, "%.3800s/%.255s", path, x->entries[i].name);
      write_tree(s, x->entries[i].node, inner);
    }
  }
}

/* ---- checking */

static const char *call_name(enum cr_call call) {
  static const char *const names[] = {"enter", "leave", "rename", "write", "size", "sync", "mark"};
  return names[call];
}

static void describe(struct replay *s, const char *why) {
  struct cr_replay *p = s->p;
  size_t n = (size_t)snprintf(p->first_wrong, sizeof p->first_wrong,
                              "after call %d of %d, seed %" PRIu64 ": %.400s; lost:", s->point,
                              s->r->n_notes, p->seed, why);
  for (int i = 0; i < s->point && n + 80 < sizeof p->first_wrong; i++) {
    const struct cr_note *note = &s->r->notes[i];
    int d = s->first_decision[i];
    bool lost = false;
    for (int k = 0; d >= 0 && k < (note->call == CR_WRITE ? 1 + sectors(note) : 1); k++) {
      lost = lost || s->choice[d + k] != KEPT;
    }
    if (lost) {
      n += (size_t)snprintf(p->first_wrong + n, sizeof p->first_wrong - n, " %d:%s(%.40s)", i,
                            call_name(note->call), note->name);
    }
  }
}

static int mark_at(const struct replay *s) {
  int mark = 0;
  for (int i = 0; i < s->point; i++) {
    mark = s->r->notes[i].call == CR_MARK ? s->r->notes[i].mark : mark;
  }
  return mark;
}

static void try_state(struct replay *s) {
  char why[512] = "";
  struct cr_replay *p = s->p;
  p->n_states++;
  build(s);
  int mark = mark_at(s);
  if (!is_new(s, hash_tree(s, 0) + (uint64_t)mark * 0x632be59bd9b4e019u)) {
    return;
  }
  p->n_trees++;
  write_tree(s, 0, s->scratch);
  if (!p->check(p->ctx, s->scratch, mark, why)) {
    if (p->n_wrong++ == 0) {
      describe(s, why);
    }
  }
  cr_remove_tree(s->scratch);
}

static void choose_all(struct replay *s, enum choice c) {
  memset(s->choice, (int)c, (size_t)s->n_decisions);
}

static void try_point(struct replay *s, int max_bits, int n_random) {
  number_decisions(s);
  int n = s->n_decisions;
  for (uint64_t bits = 0; n <= max_bits && bits < (uint64_t)1 << n; bits++) {
    for (int i = 0; i < n; i++) {
      s->choice[i] = bits >> i & 1 ? KEPT : DROPPED;
    }
    try_state(s);
  }
  for (int c = DROPPED; c <= JUNK; c++) {
    choose_all(s, (enum choice)c);
    try_state(s);
  }
  for (int i = 0; n > max_bits && i < n; i++) {
    choose_all(s, DROPPED);
    s->choice[i] = KEPT;
    try_state(s);
    choose_all(s, KEPT);
    s->choice[i] = DROPPED;
    try_state(s);
  }
  for (int k = 0; n > 0 && k < (n > max_bits ? n_random : n_random / 10); k++) {
    uint64_t keep = next_random(s) % 256; /* how likely, in 256ths, changes from state to state */
    for (int i = 0; i < n; i++) {
      uint64_t x = next_random(s);
      s->choice[i] = (uint8_t)((x & 255) < keep ? KEPT : x >> 8 & 1 ? DROPPED : JUNK);
    }
    try_state(s);
  }
}

void cr_replay(const struct cr_record *r, struct cr_replay *p) {
  struct replay *s = sp_alloc(sizeof *s);
  int max_bits = p->max_bits ? p->max_bits : DEFAULT_BITS;
  int n_random = p->n_random ? p->n_random : DEFAULT_RANDOM;
  const char *env = getenv("STOKER_CRASH");
  if (env && sscanf(env, "%d,%d", &max_bits, &n_random) != 2) {
    fail_msg("STOKER_CRASH=%s: want BITS,RANDOM", env);
  }
  assert_non_null(s);
  s->r = r;
  s->p = p;
  s->random = p->seed;
  s->seen_room = (size_t)1 << 22;
  s->seen = sp_alloc_array(s->seen_room, sizeof *s->seen);
  assert_non_null(s->seen);
  snprintf(s->scratch, sizeof s->scratch, "%.4000s-state", r->root);
  for (int i = 0; i < r->n_nodes; i++) {
    if (r->nodes[i].kind == CR_FILE) {
      s->items[i].data = sp_alloc(FILE_ROOM);
      assert_non_null(s->items[i].data);
    }
  }
  for (s->point = 0; s->point <= r->n_notes; s->point++) {
    try_point(s, max_bits, n_random);
  }
  for (int i = 0; i < r->n_nodes; i++) {
    sp_free(s->items[i].data);
  }
  sp_free(s->seen);
  sp_free(s);
}

void cr_assert_right(const struct cr_replay *p) {
  print_message("seed %" PRIu64 ", %" PRId64 " states, %" PRId64 " trees\n", p->seed, p->n_states,
                p->n_trees);
  if (p->n_wrong) {
    fail_msg("%" PRId64 " wrong; %s", p->n_wrong, p->first_wrong);
  }
}
