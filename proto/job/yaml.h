/* YAML text to node tree, through libyaml's events, and back.
 *
 * The subset that configuration needs: one document of maps, sequences and scalars. Anchors and
 * aliases (they make small files explode), tags (types come from the option tables) and repeated
 * keys are refused. Caps: SP_YAML_MAX bytes, and those of node.h. This is the only file pair that
 * sees yaml.h.
 */
#ifndef SP_JOB_YAML_H
#define SP_JOB_YAML_H

#include "proto/job/node.h"

enum { SP_YAML_MAX = 1 << 20, SP_YAML_KEY_MAX = 200 };

/* Parses n bytes. `source` is copied into the arena and named in errors. An empty document gives an
 * empty map. */
SP_NODISCARD sp_status sp_yaml_parse(const char *source, const char *text, size_t n,
                                     struct sp_arena *arena, struct sp_node **out,
                                     struct sp_err *err);

/* As sp_yaml_parse for the value of an option of the command line: every node is at {source, 0, 0}.
 */
SP_NODISCARD sp_status sp_yaml_parse_value(const char *option, const char *text,
                                           struct sp_arena *arena, struct sp_node **out,
                                           struct sp_err *err);

/* Whether a text is UTF-8; only such texts can be printed. */
bool sp_yaml_is_text(const char *text);

/* Appends a scalar, quoted where YAML would read it as something else. */
void sp_yaml_print_text(const char *text, bool force_quotes, struct sp_buf *out);

/* Appends a tree in block style, each line indented by `indent` spaces, with no key of its own. */
void sp_yaml_print(const struct sp_node *node, int indent, struct sp_buf *out);

#endif
