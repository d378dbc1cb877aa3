/* Unix sockets at short and long paths. */
#include "tests/lib/tt.h"

#include "proto/base/file.h"
#include "proto/base/sock.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void exchange(const char *dir) {
  int listener = -1, client = -1;
  uint32_t uid = 77;
  char byte = 0;
  assert_int_equal(sp_sock_listen(dir, "s", &listener, NULL), SP_OK);
  assert_int_equal(sp_sock_connect(dir, "s", &client, NULL), SP_OK);
  int accepted = accept(listener, NULL, NULL);
  assert_true(accepted >= 0);
  assert_int_equal(write(client, "x", 1), 1);
  assert_int_equal(read(accepted, &byte, 1), 1);
  assert_int_equal(byte, 'x');
  assert_int_equal(sp_sock_peer(accepted, &uid, NULL), SP_OK);
  assert_int_equal(uid, geteuid());
  assert_int_equal(fcntl(listener, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  assert_int_equal(fcntl(client, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  close(accepted);
  close(client);
  close(listener);
}

/* A directory whose path alone is longer than an address. */
static const char *deep(void) {
  static char path[1024];
  char name[101];
  memset(name, 'd', sizeof name - 1);
  name[sizeof name - 1] = '\0';
  snprintf(path, sizeof path, "%s/%s/%s", tt_tmpdir(), name, name);
  assert_int_equal(sp_mkdir_p(path, 0755, NULL), SP_OK);
  return path;
}

static void test_listen_connect_short_path(void **state) {
  (void)state;
  exchange(tt_tmpdir());
}

static void test_listen_connect_path_longer_than_an_address(void **state) {
  (void)state;
  exchange(deep());
}

static void test_listen_is_for_the_owner_alone(void **state) {
  (void)state;
  struct stat info;
  int fd = -1;
  mode_t mask = umask(0);
  assert_int_equal(sp_sock_listen(tt_tmpdir(), "mode", &fd, NULL), SP_OK);
  umask(mask);
  assert_int_equal(stat(tt_tmpfile("mode"), &info), 0);
  assert_int_equal(info.st_mode & 07777, 0600);
  close(fd);
}

static void test_listen_replaces_what_a_dead_process_left(void **state) {
  (void)state;
  int first = -1, second = -1, client = -1;
  assert_int_equal(sp_sock_listen(tt_tmpdir(), "left", &first, NULL), SP_OK);
  close(first);
  assert_int_equal(sp_sock_connect(tt_tmpdir(), "left", &client, NULL), SP_ENOENT);
  assert_int_equal(sp_sock_listen(tt_tmpdir(), "left", &second, NULL), SP_OK);
  assert_int_equal(sp_sock_connect(tt_tmpdir(), "left", &client, NULL), SP_OK);
  close(client);
  close(second);
}

static int n_descriptors(void) {
  int n = 0;
  for (int fd = 0; fd < 256; fd++) {
    n += fcntl(fd, F_GETFD) >= 0;
  }
  return n;
}

static void test_failures_leave_no_descriptor(void **state) {
  (void)state;
  int fd = -1, before = n_descriptors();
  struct sp_err err;
  assert_int_equal(sp_sock_connect(tt_tmpdir(), "nothing", &fd, &err), SP_ENOENT);
  assert_non_null(strstr(err.text, "nothing"));
  assert_int_equal(sp_sock_connect(deep(), "nothing", &fd, NULL), SP_ENOENT);
  assert_int_equal(sp_sock_listen(tt_tmpfile("no/such"), "s", &fd, NULL), SP_ENOENT);
  assert_int_equal(sp_mkdir_p(tt_tmpfile("taken/inner"), 0755, NULL), SP_OK);
  assert_int_not_equal(sp_sock_listen(tt_tmpdir(), "taken", &fd, NULL), SP_OK);
  char name[200];
  memset(name, 'n', sizeof name - 1);
  name[sizeof name - 1] = '\0';
  assert_int_equal(sp_sock_listen(tt_tmpdir(), name, &fd, NULL), SP_EINVAL);
  assert_int_equal(fd, -1);
  assert_int_equal(n_descriptors(), before);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_listen_connect_short_path),
      tt_test(test_listen_connect_path_longer_than_an_address),
      tt_test(test_listen_is_for_the_owner_alone),
      tt_test(test_listen_replaces_what_a_dead_process_left),
      tt_test(test_failures_leave_no_descriptor),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
