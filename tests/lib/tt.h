/* What every test includes, first: cmocka with the headers it wants in the order it wants them, and
 * the tests' own helpers.
 *
 * tt_tmpdir gives each test program one private directory, removed with everything in it at exit.
 * The counting allocator replaces proto/base/mem.h's: a test that runs between tt_leak_setup and
 * tt_leak_teardown (cmocka fixtures) fails when blocks are outstanding at its end; tt_fail_alloc
 * makes a later allocation fail. Not for tests whose blocks outlive them. Thread-safe.
 */
#ifndef TT_H
#define TT_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>

/* A private empty directory of this program, made on the first call; never NULL. */
const char *tt_tmpdir(void);

/* "<tt_tmpdir()>/<name>" in one of 16 static buffers that are used in turn. */
const char *tt_tmpfile(const char *name);

/* The path of an optional shared data file (under $STOKER_SHARED, else ../shared next to the source
 * tree), in one of 16 static buffers, or NULL when it is not there: the test then calls skip(). */
const char *tt_shared(const char *path);

/* "<source tree>/<path>", in one of 16 static buffers. */
const char *tt_source(const char *path);

/* Writes a whole file, or fails the test. */
void tt_write_file(const char *path, const void *bytes, size_t n);

/* Writes a text as a file of the tree `root`, with its directories. */
void tt_put_file(const char *root, const char *path, const char *text);

/* Reads a whole file into memory that the caller releases with sp_free; fails the test on error.
 * A terminating zero follows the bytes. */
char *tt_read_file(const char *path, size_t *out_n);

/* cmocka fixtures: install the counting allocator, and check that nothing is left. */
int tt_leak_setup(void **state);
int tt_leak_teardown(void **state);

/* Blocks outstanding since tt_leak_setup. */
long tt_live_blocks(void);

/* The n-th allocation from now (1 is the next) and no other returns NULL; 0 switches it off. */
void tt_fail_alloc(long n);

/* True once the failure asked for by tt_fail_alloc has happened. Loop `for n = 1; ...` until it
 * stays false to visit every allocation of a call. */
bool tt_alloc_failed(void);

#define tt_test(f) cmocka_unit_test_setup_teardown(f, tt_leak_setup, tt_leak_teardown)

#endif
