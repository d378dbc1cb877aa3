/* `stoker`: finds the verb and runs it.
 *
 * The command itself computes nothing: what needs the engine runs in stoker-worker, whose events it
 * draws and whose end it reports. Exit codes are proto/wire/event.h's enum sp_exit.
 */
#include "client/verb.h"
#include "proto/wire/event.h"

#include <string.h>

static bool is_help(const char *arg) {
  return strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0;
}

/* --help anywhere among a verb's arguments, up to "--". */
static bool asks_for_help(char *const *args) {
  for (; *args; args++) {
    if (is_help(*args)) {
      return true;
    }
    if (strcmp(*args, "--") == 0) {
      return false;
    }
  }
  return false;
}

int main(int argc, char **argv) {
  static char *const none[] = {NULL};
  const char *name = argc > 1 ? argv[1] : "help";
  char *const *args = argc > 1 ? argv + 2 : none;
  if (is_help(name)) {
    name = "help";
  } else if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
    name = "version";
  }
  const struct sc_verb *verb = sc_verb_find(name);
  if (!verb) {
    const char *near = sc_verb_suggest(name);
    return sc_usage_error("there is no verb \"%s\"%s%s%s; stoker help lists them", name,
                          near ? "; did you mean \"" : "", near ? near : "", near ? "\"" : "");
  }
  if (asks_for_help(args)) {
    struct sp_buf b;
    sp_buf_init(&b, 1 << 20);
    sc_verb_put_help(&b, verb);
    return sc_print(&b);
  }
  return verb->run(verb, args);
}
