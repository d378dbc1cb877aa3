/* Power loss, simulated: a recorder of what is done to a file system, and a replayer that makes the
 * states in which a disk may be found afterwards.
 *
 * While a recorder stands in the table of proto/base/fs.h, every call is carried out and noted. At
 * a crash point (after any number of the notes) the disk has what was synced, and of the rest what
 * it likes. The model is the weaker reading of POSIX, not one file system's:
 *  - data of a file is certain after fsync or fdatasync of that file; before, each sector of each
 *    write is there or not (then the sector is as it was, or junk), and the file may have any size
 *    that it had on the way, with zeros or junk where nothing arrived;
 *  - an entry (create, rename, unlink, mkdir, rmdir, symlink) is certain after fsync of its
 *    directory, and of nothing else; before, each is there or not, in any combination, so that a
 *    later one may have arrived without an earlier one. A rename is atomic.
 * What a journalling file system with ordered metadata can leave is among these states.
 *
 * All combinations are tried where there are few; else all, none, each alone, all but each, and
 * seeded random ones. Equal trees are checked once. One thread.
 */
#ifndef TESTS_CRASH_CRASH_H
#define TESTS_CRASH_CRASH_H

#include "proto/base/fs.h"

#include <stdbool.h>
#include <stdint.h>

enum {
  CR_NAME = 256,
  CR_SECTOR = 512, /* the smallest piece that a disk writes whole */
  CR_MAX_ENTRIES = 64,
  CR_MAX_NODES = 256,
  CR_MAX_NOTES = 512
};

enum cr_kind { CR_FILE, CR_DIR, CR_LINK };

/* A file, directory or link; its number is its index in the record. */
struct cr_node {
  enum cr_kind kind;
  uint64_t inode; /* at present; a number that is free again belongs to the newest node with it */
  bool before;    /* it was there when recording began, with this: */
  uint8_t *data;  /* of a file; a link's target as text */
  size_t n;
  struct cr_entry {
    char name[CR_NAME];
    int node;
  } entries[CR_MAX_ENTRIES];
  int n_entries;
};

enum cr_call { CR_ENTER, CR_LEAVE, CR_RENAME, CR_WRITE, CR_SIZE, CR_SYNC, CR_MARK };

/* A call: entries enter (create, mkdir, symlink) or leave (unlink, rmdir) a directory. */
struct cr_note {
  enum cr_call call;
  int node; /* what is written, synced, entered, left or renamed */
  int dir;
  char name[CR_NAME];
  char to[CR_NAME]; /* of a rename, in the same directory; of a sync, the node's path */
  uint8_t *data;
  size_t n;
  uint64_t offset; /* CR_SIZE: the size */
  int mark;
};

struct cr_record {
  struct sp_fs table;
  char root[4096];
  struct cr_node *nodes; /* nodes[0] is the root */
  int n_nodes;
  struct cr_note *notes;
  int n_notes;
};

/* Takes everything below root, which is a directory, as durable, and begins to record. */
void cr_start(struct cr_record *r, const char *root);

/* Says that the program has been told of a success: later crash states must show it. */
void cr_mark(struct cr_record *r, int mark);

/* Ends recording. The record stays until cr_free. */
void cr_stop(void);
void cr_free(struct cr_record *r);

/* Recovers the state below root and judges it; mark is the last one before the crash point, 0:
 * none. On false, why says what is wrong. */
typedef bool cr_check(void *ctx, const char *root, int mark, char why[512]);

struct cr_replay {
  cr_check *check;
  void *ctx;
  bool (*forget)(
      const struct cr_note *sync); /* a negative control: this sync did nothing; or NULL */
  uint64_t seed;
  int max_bits; /* up to so many open decisions all combinations are tried; 0: 10 */
  int n_random; /* beyond; 0: 100 */
  /* out */
  int64_t n_states; /* tried */
  int64_t n_trees;  /* different ones, checked */
  int64_t n_wrong;
  char first_wrong[1024];
};

/* Checks the states of all crash points. With STOKER_CRASH=BITS,RANDOM in the environment these
 * take the place of the limits. */
void cr_replay(const struct cr_record *r, struct cr_replay *p);

/* Says what was tried, and fails with the first state that was found wrong. */
void cr_assert_right(const struct cr_replay *p);

/* For main: temporary files in memory, where it has a place for files and TMPDIR says nothing else.
 * Thousands of trees are made and removed, and no real disk takes part. */
void cr_use_memory(void);

/* Removes a directory with all that is in it. */
void cr_remove_tree(const char *path);

#endif
