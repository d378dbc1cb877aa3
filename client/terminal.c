/* Questions to the terminal and the environment. */
#include "client/terminal.h"

#include "proto/base/strutil.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

bool sc_terminal_can_redraw(int fd) {
  const char *term = getenv("TERM");
  return isatty(fd) && term && *term && strcmp(term, "dumb") != 0;
}

size_t sc_terminal_width(int fd) {
  struct winsize size;
  if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    return size.ws_col;
  }
  const char *columns = getenv("COLUMNS");
  int64_t n = 0;
  bool said = columns && sp_parse_i64(columns, &n) == SP_OK && n > 0 && n < 10000;
  return said ? (size_t)n : 80;
}

bool sc_terminal_colour(int fd) {
  const char *no = getenv("NO_COLOR");
  return sc_terminal_can_redraw(fd) && !(no && *no);
}

bool sc_terminal_same(int a, int b) {
  struct stat sa, sb;
  return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
         sa.st_ino == sb.st_ino;
}
