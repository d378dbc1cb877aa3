/* The control socket under friends and enemies. One thread: the loop turns until what is waited for
 * has happened. Every test ends with a closed loop. */
#include "tests/lib/tt.h"

#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "proto/base/sock.h"
#include "proto/net/control_server.h"
#include "proto/wire/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_SEEN = 64 };

struct fixture {
  uv_loop_t loop;
  const char *dir;
  sp_control_server *server;
  bool silent;      /* requests are kept, not answered */
  size_t long_text; /* bytes of each answer's text */
  int n_seen;
  uint64_t tickets[MAX_SEEN];
  struct sp_control seen[MAX_SEEN];
  bool closed;
};

static void answer(struct fixture *f, uint64_t ticket) {
  static char text[SP_EVENT_MAX_STRING + 1];
  memset(text, 'x', f->long_text);
  text[f->long_text] = '\0';
  struct sp_control m = {.kind = SP_CONTROL_DONE, .u.done = {f->long_text ? text : "done"}};
  sp_control_server_answer(f->server, ticket, &m);
}

static void on_request(void *ctx, uint64_t ticket, const struct sp_control *m) {
  struct fixture *f = ctx;
  f->tickets[f->n_seen % MAX_SEEN] = ticket;
  f->seen[f->n_seen % MAX_SEEN] = *m;
  f->n_seen++;
  if (!f->silent) {
    answer(f, ticket);
  }
}

static void on_closed(void *ctx) {
  struct fixture *f = ctx;
  f->closed = true;
}

static void begin(struct fixture *f, const char *name, struct sp_control_server_options o) {
  *f = (struct fixture){.dir = tt_tmpfile(name)};
  assert_int_equal(sp_mkdir_p(f->dir, 0755, NULL), SP_OK);
  assert_int_equal(uv_loop_init(&f->loop), 0);
  o.ctx = f;
  o.on_request = on_request;
  assert_int_equal(sp_control_server_open(&f->loop, f->dir, &o, &f->server, NULL), SP_OK);
}

static void end(struct fixture *f) {
  struct stat info;
  char *path = sp_path_join(f->dir, SP_CONTROL_SOCKET);
  sp_control_server_close(f->server, on_closed, f);
  while (!f->closed) {
    uv_run(&f->loop, UV_RUN_ONCE);
  }
  assert_int_equal(uv_run(&f->loop, UV_RUN_NOWAIT), 0);
  assert_int_equal(uv_loop_close(&f->loop), 0);
  assert_int_not_equal(stat(path, &info), 0);
  sp_free(path);
}

static int dial(struct fixture *f) {
  int fd = -1;
  assert_int_equal(sp_sock_connect(f->dir, SP_CONTROL_SOCKET, &fd, NULL), SP_OK);
  return fd;
}

static void turn(struct fixture *f) {
  uv_run(&f->loop, UV_RUN_NOWAIT);
  usleep(200);
}

static void say(int fd, const void *bytes, size_t n) {
  assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
}

static void ask(int fd, int64_t id, int64_t ranks) {
  uint8_t *frame;
  size_t n;
  struct sp_control m = {.kind = SP_CONTROL_SCALE, .id = id, .u.scale = {ranks}};
  assert_int_equal(sp_control_pack(&m, &frame, &n, NULL), SP_OK);
  say(fd, frame, n);
  sp_free(frame);
}

/* Turns the loop until the server has hung up on fd, dropping what it says. */
static void await_end(struct fixture *f, int fd) {
  char bytes[4096];
  for (;;) {
    ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno == ECONNRESET)) {
      close(fd);
      return;
    }
    assert_true(n > 0 || errno == EAGAIN);
    turn(f);
  }
}

/* The next answer on fd; NULL when the server hung up. */
static const struct sp_control *await_answer(struct fixture *f, sp_event_reader *r, int fd) {
  for (bool eof = false;;) {
    const struct sp_control *m;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(sp_control_next(r, &m, NULL), SP_OK);
    if (m || eof) {
      return m;
    }
    if (poll(&p, 1, 0) > 0) {
      assert_int_equal(sp_event_reader_fill(r, fd, &eof, NULL), SP_OK);
    }
    turn(f);
  }
}

static void await_seen(struct fixture *f, int n) {
  while (f->n_seen < n) {
    turn(f);
  }
}

static void test_request_is_answered_with_its_id(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, "answered", (struct sp_control_server_options){0});
  sp_event_reader *r = sp_event_reader_new();
  int fd = dial(&f);
  for (int64_t id = 5; id < 8; id++) {
    ask(fd, id, 2);
    const struct sp_control *m = await_answer(&f, r, fd);
    assert_int_equal(m->kind, SP_CONTROL_DONE);
    assert_int_equal(m->id, id);
  }
  assert_int_equal(f.n_seen, 3);
  assert_int_equal(f.seen[0].u.scale.ranks, 2);
  close(fd);
  sp_event_reader_free(r);
  end(&f);
}

static void test_answers_may_come_later_and_in_any_order(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, "later", (struct sp_control_server_options){0});
  f.silent = true;
  sp_event_reader *a = sp_event_reader_new(), *b = sp_event_reader_new();
  int first = dial(&f), second = dial(&f);
  ask(first, 1, 1);
  ask(first, 2, 1);
  await_seen(&f, 2);
  ask(second, 1, 1);
  await_seen(&f, 3);
  answer(&f, f.tickets[2]);
  assert_int_equal(await_answer(&f, b, second)->id, 1);
  answer(&f, f.tickets[1]);
  assert_int_equal(await_answer(&f, a, first)->id, 2);
  answer(&f, f.tickets[0]);
  assert_int_equal(await_answer(&f, a, first)->id, 1);
  close(first);
  close(second);
  sp_event_reader_free(a);
  sp_event_reader_free(b);
  end(&f);
}

static void test_frames_may_come_byte_by_byte(void **state) {
  (void)state;
  struct fixture f;
  uint8_t *frame;
  size_t n;
  struct sp_control m = {.kind = SP_CONTROL_STOP, .id = 9, .u.stop = {true}};
  begin(&f, "bytes", (struct sp_control_server_options){0});
  assert_int_equal(sp_control_pack(&m, &frame, &n, NULL), SP_OK);
  int fd = dial(&f);
  for (size_t i = 0; i < n; i++) {
    assert_int_equal(f.n_seen, 0);
    say(fd, frame + i, 1);
    turn(&f);
  }
  await_seen(&f, 1);
  assert_true(f.seen[0].u.stop.now);
  sp_free(frame);
  close(fd);
  end(&f);
}

static void test_enemies_are_hung_up_on(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t n;
  } said[] = {
      {"GET / HTTP/1.1\r\n\r\n", 18},                   /* another protocol */
      {"\x00\x00\x00\x80\x80\x00\x01\x00", 8},          /* 2 GiB */
      {"\x02\x00\x00\x00\x80\x00\x02\x00\x08\x01", 10}, /* another version */
      {"\x00\x00\x00\x00\x02\x00\x01\x00", 8},          /* an event */
      {"\x00\x00\x00\x00\x83\x00\x01\x00", 8},          /* an answer */
      {"\x00\x00\x00\x00\xff\xff\x01\x00", 8},          /* no tag at all */
      {"\x01\x00\x00\x00\x80\x00\x01\x00\x08", 9},      /* a message cut short */
      {"\x02\x00\x00\x00\x81\x00\x01\x00\x10\x00", 10}, /* no ranks */
  };
  struct fixture f;
  begin(&f, "enemies", (struct sp_control_server_options){0});
  for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
    int fd = dial(&f);
    say(fd, said[i].bytes, said[i].n);
    await_end(&f, fd);
  }
  assert_int_equal(f.n_seen, 0);
  int fd = dial(&f);
  ask(fd, 1, 1);
  await_seen(&f, 1); /* and it goes on */
  close(fd);
  end(&f);
}

static void test_a_frame_that_grows_too_large_is_hung_up_on(void **state) {
  (void)state;
  static char zeros[4096];
  struct fixture f;
  begin(&f, "large", (struct sp_control_server_options){.frame_ms = 3600000});
  int fd = dial(&f);
  say(fd, "\x00\x00\x0f\x00\x80\x00\x01\x00", 8); /* just under the frame's own limit */
  for (int i = 0; i < 5; i++) {
    say(fd, zeros, sizeof zeros);
  }
  await_end(&f, fd);
  end(&f);
}

static void test_half_a_frame_is_not_waited_for_long(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, "half", (struct sp_control_server_options){.frame_ms = 20});
  int fd = dial(&f);
  say(fd, "\x02\x00\x00", 3);
  await_end(&f, fd);
  /* Nor by sending the rest in crumbs: the time counts from the first byte. */
  fd = dial(&f);
  say(fd, "\xff\x00\x00\x00\x80\x00\x01\x00", 8);
  int n_crumbs = 0;
  for (; n_crumbs < 255 && send(fd, "\x00", 1, MSG_NOSIGNAL) == 1; n_crumbs++) {
    usleep(1000);
    turn(&f);
  }
  assert_true(n_crumbs < 255);
  await_end(&f, fd);
  assert_int_equal(f.n_seen, 0);
  end(&f);
}

static void test_idle_connections_end_but_not_those_that_wait(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, "idle", (struct sp_control_server_options){.idle_ms = 20});
  f.silent = true;
  sp_event_reader *r = sp_event_reader_new();
  int waiting = dial(&f);
  ask(waiting, 1, 1);
  await_seen(&f, 1);
  await_end(&f, dial(&f));
  await_end(&f, dial(&f));
  answer(&f, f.tickets[0]);
  assert_non_null(await_answer(&f, r, waiting));
  await_end(&f, waiting);
  sp_event_reader_free(r);
  end(&f);
}

static void test_one_who_does_not_read_is_hung_up_on(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, "slow", (struct sp_control_server_options){.max_unsent = 64 * 1024});
  f.long_text = SP_EVENT_MAX_STRING;
  int fd = dial(&f);
  struct sp_control m = {.kind = SP_CONTROL_STATUS_REQUEST, .id = 1};
  uint8_t *frame;
  size_t n;
  assert_int_equal(sp_control_pack(&m, &frame, &n, NULL), SP_OK);
  for (int i = 0; i < 100000; i++) {
    ssize_t sent = send(fd, frame, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) {
      break;
    }
    uv_run(&f.loop, UV_RUN_NOWAIT);
  }
  sp_free(frame);
  assert_true(f.n_seen < 1000);
  await_end(&f, fd);
  end(&f);
}

static void test_too_many_questions_at_a_time_are_hung_up_on(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, "questions", (struct sp_control_server_options){.max_waiting = 4});
  f.silent = true;
  int fd = dial(&f);
  for (int i = 0; i < 5; i++) {
    ask(fd, i, 1);
  }
  await_end(&f, fd);
  assert_int_equal(f.n_seen, 4);
  answer(&f, f.tickets[0]); /* nobody is there any more */
  end(&f);
}

static void test_too_many_connections_are_told_so(void **state) {
  (void)state;
  struct fixture f;
  int fds[3];
  begin(&f, "many", (struct sp_control_server_options){.max_connections = 2});
  for (int i = 0; i < 2; i++) {
    fds[i] = dial(&f);
    ask(fds[i], 1, 1);
    await_seen(&f, i + 1);
  }
  fds[2] = dial(&f);
  sp_event_reader *r = sp_event_reader_new();
  const struct sp_control *m = await_answer(&f, r, fds[2]);
  assert_int_equal(m->kind, SP_CONTROL_REFUSED);
  assert_non_null(strstr(m->u.refused.text, "too many"));
  sp_event_reader_free(r);
  await_end(&f, fds[2]);
  close(fds[0]);
  close(fds[1]);
  end(&f);
}

static void test_disconnects_at_any_moment_leave_nothing(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, "gone", (struct sp_control_server_options){0});
  f.silent = true;
  for (int i = 0; i < 20; i++) {
    int fd = dial(&f);
    if (i % 2) {
      ask(fd, i, 1);
    } else {
      say(fd, "\x02\x00\x00\x00\x80", (size_t)(i % 5) + 1);
    }
    for (int k = 0; k < i % 4; k++) {
      turn(&f);
    }
    close(fd);
  }
  for (int i = 0; i < 20; i++) {
    turn(&f);
  }
  for (int i = 0; i < f.n_seen; i++) {
    answer(&f, f.tickets[i]);
  }
  end(&f);
}

static void test_close_with_connections_open_leaves_nothing(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, "open", (struct sp_control_server_options){0});
  f.silent = true;
  int asking = dial(&f), quiet = dial(&f);
  ask(asking, 1, 1);
  await_seen(&f, 1);
  end(&f);
  close(asking);
  close(quiet);
}

static void test_close_leaves_another_ones_socket_alone(void **state) {
  (void)state;
  struct fixture f;
  int other = -1, fd = -1;
  begin(&f, "another", (struct sp_control_server_options){0});
  assert_int_equal(sp_sock_listen(f.dir, SP_CONTROL_SOCKET, &other, NULL), SP_OK);
  sp_control_server_close(f.server, on_closed, &f);
  uv_run(&f.loop, UV_RUN_DEFAULT);
  assert_true(f.closed);
  assert_int_equal(uv_loop_close(&f.loop), 0);
  assert_int_equal(sp_sock_connect(f.dir, SP_CONTROL_SOCKET, &fd, NULL), SP_OK);
  close(fd);
  close(other);
}

static void test_open_where_no_socket_can_be_is_an_error(void **state) {
  (void)state;
  uv_loop_t loop;
  sp_control_server *s = NULL;
  struct sp_control_server_options o = {.on_request = on_request};
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(sp_control_server_open(&loop, tt_tmpfile("no/such"), &o, &s, NULL), SP_ENOENT);
  assert_null(s);
  assert_int_equal(uv_loop_close(&loop), 0);
}

/* Another user who got past the file's mode; only root can play one. */
static void test_another_user_is_refused(void **state) {
  (void)state;
  struct fixture f;
  if (geteuid() != 0) {
    skip();
  }
  begin(&f, "stranger", (struct sp_control_server_options){0});
  char *path = sp_path_join(f.dir, SP_CONTROL_SOCKET);
  assert_int_equal(chmod(path, 0666), 0);
  pid_t child = fork();
  if (child == 0) {
    char bytes[256];
    int fd = -1;
    bool ok = chdir(f.dir) == 0 && setuid(65534) == 0 &&
              sp_sock_connect(".", SP_CONTROL_SOCKET, &fd, NULL) == SP_OK &&
              recv(fd, bytes, sizeof bytes, 0) > 0 && recv(fd, bytes, sizeof bytes, 0) <= 0;
    _exit(!ok);
  }
  int status = -1;
  while (waitpid(child, &status, WNOHANG) == 0) {
    turn(&f);
  }
  assert_int_equal(status, 0);
  assert_int_equal(f.n_seen, 0);
  sp_free(path);
  end(&f);
}

static void test_without_memory_others_are_served_later(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, "memory", (struct sp_control_server_options){0});
  for (long n = 1; n <= 8; n++) {
    int fd = dial(&f);
    ask(fd, n, 1);
    tt_fail_alloc(n);
    for (int i = 0; i < 10; i++) {
      turn(&f);
    }
    tt_fail_alloc(0);
    close(fd);
  }
  int before = f.n_seen, fd = dial(&f);
  ask(fd, 9, 1);
  await_seen(&f, before + 1);
  close(fd);
  end(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_request_is_answered_with_its_id),
      tt_test(test_answers_may_come_later_and_in_any_order),
      tt_test(test_frames_may_come_byte_by_byte),
      tt_test(test_enemies_are_hung_up_on),
      tt_test(test_a_frame_that_grows_too_large_is_hung_up_on),
      tt_test(test_half_a_frame_is_not_waited_for_long),
      tt_test(test_idle_connections_end_but_not_those_that_wait),
      tt_test(test_one_who_does_not_read_is_hung_up_on),
      tt_test(test_too_many_questions_at_a_time_are_hung_up_on),
      tt_test(test_too_many_connections_are_told_so),
      tt_test(test_disconnects_at_any_moment_leave_nothing),
      tt_test(test_close_with_connections_open_leaves_nothing),
      tt_test(test_close_leaves_another_ones_socket_alone),
      tt_test(test_open_where_no_socket_can_be_is_an_error),
      tt_test(test_another_user_is_refused),
      tt_test(test_without_memory_others_are_served_later),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
