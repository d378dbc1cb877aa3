/* Inflating gz: members, truncation at every byte, damage, bounds, the engine on top. */
#include "tests/lib/tt.h"

#include "worker/inflate.h"

#include "engine/data/dataset.h"
#include "proto/base/mem.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { N = 700000 };

static uint8_t plain[N];

static void fill_plain(void) {
  for (size_t i = 0; i < N; i++) {
    plain[i] = (uint8_t)(i * i >> 7);
  }
}

static const char *write_gz(const char *name, const void *data, unsigned n) {
  const char *path = tt_tmpfile(name);
  gzFile f = gzopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(gzwrite(f, data, n), n);
  assert_int_equal(gzclose(f), Z_OK);
  return path;
}

static void assert_descriptor_holds(int fd, const void *data, size_t n) {
  static uint8_t got[2 * N];
  struct stat st;
  assert_int_equal(fstat(fd, &st), 0);
  assert_int_equal(st.st_size, n);
  assert_int_equal(pread(fd, got, n, 0), n);
  assert_memory_equal(got, data, n);
  close(fd);
}

static void test_inflate_gz_gives_its_contents_in_an_unnamed_file(void **state) {
  (void)state;
  int fd;
  fill_plain();
  const struct sw_inflate in = {.tmp_dir = tt_tmpfile("tmp")};
  assert_int_equal(mkdir(in.tmp_dir, 0700), 0);
  assert_int_equal(sw_inflate_open(&in, write_gz("a.gz", plain, N), &fd, NULL), SP_OK);
  assert_int_equal(rmdir(in.tmp_dir), 0);
  assert_descriptor_holds(fd, plain, N);
}

static void test_inflate_plain_file_is_opened_as_it_is(void **state) {
  (void)state;
  int fd;
  const struct sw_inflate in = {.tmp_dir = "/nonexistent"};
  tt_write_file(tt_tmpfile("plain.gz"), "hello", 5);
  assert_int_equal(sw_inflate_open(&in, tt_tmpfile("plain.gz"), &fd, NULL), SP_OK);
  assert_descriptor_holds(fd, "hello", 5);
}

static void test_inflate_members_are_joined(void **state) {
  (void)state;
  int fd;
  size_t n;
  const struct sw_inflate in = {.tmp_dir = tt_tmpdir()};
  char *one = tt_read_file(write_gz("one.gz", "hello ", 6), &n);
  char two[256] = {0};
  memcpy(two, one, n);
  memcpy(two + n, one, n);
  tt_write_file(tt_tmpfile("two.gz"), two, sizeof two);
  assert_int_equal(sw_inflate_open(&in, tt_tmpfile("two.gz"), &fd, NULL), SP_OK);
  assert_descriptor_holds(fd, "hello hello ", 12);
  sp_free(one);
}

static void test_inflate_truncated_anywhere_is_refused(void **state) {
  (void)state;
  size_t n;
  const struct sw_inflate in = {.tmp_dir = tt_tmpdir()};
  char *whole = tt_read_file(write_gz("whole.gz", "some text, some text", 20), &n);
  for (size_t cut = 2; cut < n; cut++) {
    int fd;
    struct sp_err err = {0};
    tt_write_file(tt_tmpfile("cut.gz"), whole, cut);
    assert_int_equal(sw_inflate_open(&in, tt_tmpfile("cut.gz"), &fd, &err), SP_ECORRUPT);
    assert_non_null(strstr(err.text, "cut.gz"));
    assert_non_null(strstr(err.text, "truncated"));
  }
  sp_free(whole);
}

static void test_inflate_damage_is_refused(void **state) {
  (void)state;
  size_t n;
  int fd;
  const struct sw_inflate in = {.tmp_dir = tt_tmpdir()};
  fill_plain();
  char *whole = tt_read_file(write_gz("good.gz", plain, N), &n);
  whole[n / 2] ^= 0x10;
  tt_write_file(tt_tmpfile("bad.gz"), whole, n);
  assert_int_equal(sw_inflate_open(&in, tt_tmpfile("bad.gz"), &fd, NULL), SP_ECORRUPT);
  sp_free(whole);
}

static void test_inflate_size_is_bounded(void **state) {
  (void)state;
  int fd;
  struct sp_err err = {0};
  const struct sw_inflate in = {.tmp_dir = tt_tmpdir(), .max_bytes = 1000};
  static const uint8_t zeros[100000];
  assert_int_equal(sw_inflate_open(&in, write_gz("bomb.gz", zeros, sizeof zeros), &fd, &err),
                   SP_ERANGE);
  assert_non_null(strstr(err.text, "1000 bytes"));
}

static void test_inflate_missing_file_and_directory_are_named(void **state) {
  (void)state;
  int fd;
  struct sp_err err = {0};
  const struct sw_inflate in = {.tmp_dir = "/nonexistent"};
  assert_int_equal(sw_inflate_open(&in, tt_tmpfile("absent"), &fd, &err), SP_ENOENT);
  assert_non_null(strstr(err.text, "absent"));
  assert_int_not_equal(sw_inflate_open(&in, write_gz("x.gz", "x", 1), &fd, &err), SP_OK);
  assert_non_null(strstr(err.text, "/nonexistent"));
}

static void test_inflate_opener_feeds_the_engine(void **state) {
  (void)state;
  struct sw_inflate in = {.tmp_dir = tt_tmpdir()};
  struct stk_data_opener opener = sw_inflate_opener(&in);
  const uint8_t idx[] = {0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 255};
  write_gz("d-images-idx3-ubyte.gz", idx, sizeof idx);
  struct stk_data_spec spec = {.path = tt_tmpdir(), .kind = SP_DATA_IDX, .opener = &opener};
  struct stk_dataset *ds;
  float x[2];
  assert_int_equal(stk_dataset_open(&spec, &ds, NULL), SP_OK);
  stk_reader_request one = {.ids = (int64_t[]){0}, .n = 1};
  assert_int_equal(stk_dataset_read(ds, &one, false, x, NULL, NULL), SP_OK);
  assert_true(x[0] == 0.0f && x[1] == 1.0f);
  stk_dataset_close(ds);
}

static void test_inflate_shared_digits_open_with_labels(void **state) {
  (void)state;
  if (!tt_shared("data/mnist-t10k-images-idx3-ubyte.gz")) {
    skip();
  }
  struct sw_inflate in = {.tmp_dir = tt_tmpdir()};
  struct stk_data_opener opener = sw_inflate_opener(&in);
  struct stk_data_spec spec = {.path = tt_shared("data"), .opener = &opener};
  struct stk_dataset *ds;
  float x[784];
  int32_t y;
  assert_int_equal(stk_dataset_open(&spec, &ds, NULL), SP_OK);
  assert_int_equal(stk_dataset_info(ds)->n_samples, 10000);
  stk_reader_request one = {.ids = (int64_t[]){0}, .n = 1};
  assert_int_equal(stk_dataset_read(ds, &one, false, x, &y, NULL), SP_OK);
  assert_int_equal(y, 7);
  stk_dataset_close(ds);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_inflate_gz_gives_its_contents_in_an_unnamed_file),
      tt_test(test_inflate_plain_file_is_opened_as_it_is),
      tt_test(test_inflate_members_are_joined),
      tt_test(test_inflate_truncated_anywhere_is_refused),
      tt_test(test_inflate_damage_is_refused),
      tt_test(test_inflate_size_is_bounded),
      tt_test(test_inflate_missing_file_and_directory_are_named),
      tt_test(test_inflate_opener_feeds_the_engine),
      tt_test(test_inflate_shared_digits_open_with_labels),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
