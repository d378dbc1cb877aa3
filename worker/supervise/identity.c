/* Whose the regions are: see identity.h. */
#include "worker/supervise/identity.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/sha256.h"

enum { SHOWN = 80, BEFORE = 30 }; /* bytes of a value, and in front of what differs */

/* The region. n_bytes is stored last: without it, its writer died. */
struct identity {
  char magic[8];
  _Atomic uint64_t n_bytes; /* of the whole text */
  uint8_t digest[SP_SHA256_BYTES];
  char text[]; /* the first of them, and a zero */
};

static const char magic[8] = "stkident";

static size_t kept_of(size_t n) {
  return n < SW_IDENTITY_TEXT ? n : SW_IDENTITY_TEXT;
}

/* ---- what differs */

struct place {
  const char *line;  /* where the line begins that differs */
  const char *shown; /* part of it */
  bool is_cut;       /* in front */
  int n;
};

static struct place place_of(const char *text, size_t at) {
  struct place p = {.line = text + at};
  while (p.line > text && p.line[-1] != '\n') {
    p.line--;
  }
  const char *value = p.line + strcspn(p.line, " \n");
  value += *value == ' ';
  p.is_cut = text + at > value + BEFORE;
  p.shown = p.is_cut ? text + at - BEFORE : value;
  p.n = (int)strcspn(p.shown, "\n");
  p.n = p.n < SHOWN ? p.n : SHOWN;
  return p;
}

/* "hidden is "32" there and "64" here" */
static sp_status say(const struct sw_regions *r, const char *there, const char *here,
                     struct sp_err *err) {
  size_t at = 0;
  while (there[at] && there[at] == here[at]) {
    at++;
  }
  if (at >= SW_IDENTITY_TEXT || (!there[at] && !here[at])) {
    return sp_fail(err, SP_EMISMATCH,
                   "the state in %s is of another job: the two differ behind the first %d bytes of "
                   "what they depend on; start a new run, or go on with the job as it was",
                   r->dir, SW_IDENTITY_TEXT);
  }
  struct place t = place_of(there, at), h = place_of(here, at);
  const char *line = *h.line ? h.line : t.line;
  return sp_fail(err, SP_EMISMATCH,
                 "the state in %s is of another job: %.*s is \"%s%.*s\" there and \"%s%.*s\" here; "
                 "start a new run, or go on with the job as it was",
                 r->dir, (int)strcspn(line, " \n"), line, t.is_cut ? "..." : "", t.n, t.shown,
                 h.is_cut ? "..." : "", h.n, h.shown);
}

/* ---- */

static sp_status keep(struct sw_regions *r, const char *text, size_t n,
                      const uint8_t digest[SP_SHA256_BYTES], struct sp_err *err) {
  const struct stk_memory memory = sw_regions_memory(r);
  void *p = NULL;
  sp_status st =
      memory.get(memory.ctx, "identity", sizeof(struct identity) + kept_of(n) + 1, &p, err);
  if (!st) {
    struct identity *id = p;
    memcpy(id->magic, magic, sizeof magic);
    memcpy(id->digest, digest, SP_SHA256_BYTES);
    memcpy(id->text, text, kept_of(n));
    id->text[kept_of(n)] = '\0';
    atomic_store_explicit(&id->n_bytes, n, memory_order_release);
  }
  return st;
}

sp_status sw_identity_check(struct sw_regions *r, const char *text, struct sp_err *err) {
  struct sw_region *region = NULL;
  uint8_t digest[SP_SHA256_BYTES];
  const size_t n = strlen(text);
  struct sp_err none = {0};
  sp_sha256_of(text, n, digest);
  sp_status st = sw_regions_map(r, "identity", &region, &none);
  if (st && st != SP_ENOENT) {
    return sp_fail(err, st, "%s", none.text);
  }
  const struct identity *id = region ? region->p : NULL;
  const bool is_made = region && region->bytes > sizeof *id;
  const uint64_t there = is_made ? atomic_load_explicit(&id->n_bytes, memory_order_acquire) : 0;
  if (there == 0) {
    return keep(r, text, n, digest, err);
  }
  if (memcmp(id->magic, magic, sizeof magic) != 0 ||
      region->bytes < sizeof *id + kept_of((size_t)there) + 1 ||
      id->text[kept_of((size_t)there)] != '\0') {
    return sp_fail(err, SP_EMISMATCH,
                   "the state in %s does not say whose it is: another build made it, go on with "
                   "that one, or start a new run",
                   r->dir);
  }
  bool same = there == n && memcmp(id->digest, digest, SP_SHA256_BYTES) == 0;
  return same ? SP_OK : say(r, id->text, text, err);
}
