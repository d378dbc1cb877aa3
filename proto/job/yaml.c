/* YAML text to node tree and back. See yaml.h.
 *
 * The parser keeps an explicit stack of open containers; in a map the top also holds the key that
 * waits for its value. libyaml allocates by itself and is freed on every path; what stays is in the
 * arena. */
#include "proto/job/yaml.h"

#include <assert.h>
#include <string.h>
#include <yaml.h>

struct level {
  struct sp_node *node;
  const char *key; /* waiting for its value */
  struct sp_where key_where;
};

struct reader {
  struct sp_arena *arena;
  const char *source;
  bool is_value; /* of a command line option: no lines */
  struct level levels[SP_NODE_DEPTH];
  size_t depth;
  size_t n_nodes;
  struct sp_node *root;
  struct sp_err *err;
};

static struct sp_where where_at(const struct reader *r, yaml_mark_t mark) {
  struct sp_where w = {r->source, 0, 0};
  if (!r->is_value) {
    w.line = (uint32_t)mark.line + 1;
    w.col = (uint32_t)mark.column + 1;
  }
  return w;
}

static sp_status no_memory(const struct reader *r) {
  return sp_fail(r->err, SP_ENOMEM, "%s: out of memory", r->source);
}

/* Puts a node where the reader stands: under the waiting key, at the end of the list, or as root.
 */
static sp_status place(struct reader *r, struct sp_node *node) {
  if (++r->n_nodes > SP_NODE_MAX) {
    return sp_fail_at(r->err, SP_ERANGE, &node->where, "more than %d values", SP_NODE_MAX);
  }
  if (r->depth == 0) {
    r->root = node;
    return SP_OK;
  }
  struct level *top = &r->levels[r->depth - 1];
  if (top->node->n_children >= SP_NODE_MAX_CHILDREN) {
    return sp_fail_at(r->err, SP_ERANGE, &node->where, "more than %d entries",
                      SP_NODE_MAX_CHILDREN);
  }
  if (top->node->kind == SP_NODE_MAP) {
    node->key = top->key;
    node->key_where = top->key_where;
    top->key = NULL;
  }
  sp_node_append(top->node, node);
  return SP_OK;
}

static bool wants_key(const struct reader *r) {
  return r->depth > 0 && r->levels[r->depth - 1].node->kind == SP_NODE_MAP &&
         !r->levels[r->depth - 1].key;
}

static sp_status take_key(struct reader *r, const char *text, struct sp_where where) {
  struct level *top = &r->levels[r->depth - 1];
  const struct sp_node *old = sp_node_get(top->node, text);
  if (old) {
    return sp_fail_at(r->err, SP_EINVAL, &where, "the key %.60s is given twice (first at %u:%u)",
                      text, old->key_where.line, old->key_where.col);
  }
  if (!*text || strlen(text) > SP_YAML_KEY_MAX) {
    return sp_fail_at(r->err, SP_EINVAL, &where,
                      *text ? "this key is too long" : "a key is missing before the colon");
  }
  top->key_where = where;
  top->key = sp_arena_strdup(r->arena, text);
  return top->key ? SP_OK : no_memory(r);
}

static sp_status take_scalar(struct reader *r, const yaml_event_t *e) {
  struct sp_where where = where_at(r, e->start_mark);
  const char *text = (const char *)e->data.scalar.value;
  if (e->data.scalar.anchor || e->data.scalar.tag) {
    return sp_fail_at(r->err, SP_EUNSUPPORTED, &where, "anchors and tags are not supported");
  }
  if (strlen(text) != e->data.scalar.length) {
    return sp_fail_at(r->err, SP_EINVAL, &where, "a text must not hold a zero byte");
  }
  if (wants_key(r)) {
    return take_key(r, text, where);
  }
  struct sp_node *node = sp_node_scalar(r->arena, text, where);
  if (!node) {
    return no_memory(r);
  }
  node->is_quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
  return place(r, node);
}

static sp_status open_container(struct reader *r, const yaml_event_t *e) {
  struct sp_where where = where_at(r, e->start_mark);
  bool is_map = e->type == YAML_MAPPING_START_EVENT;
  const yaml_char_t *anchor = is_map ? e->data.mapping_start.anchor : e->data.sequence_start.anchor;
  const yaml_char_t *tag = is_map ? e->data.mapping_start.tag : e->data.sequence_start.tag;
  if (anchor || tag) {
    return sp_fail_at(r->err, SP_EUNSUPPORTED, &where, "anchors and tags are not supported");
  }
  if (wants_key(r)) {
    return sp_fail_at(r->err, SP_EINVAL, &where, "a key must be a plain text");
  }
  if (r->depth == SP_NODE_DEPTH) {
    return sp_fail_at(r->err, SP_ERANGE, &where, "nested more than %d deep", SP_NODE_DEPTH);
  }
  struct sp_node *node = sp_node_new(r->arena, is_map ? SP_NODE_MAP : SP_NODE_SEQ, where);
  if (!node) {
    return no_memory(r);
  }
  sp_status status = place(r, node);
  if (status == SP_OK) {
    r->levels[r->depth++] = (struct level){.node = node};
  }
  return status;
}

static sp_status take_event(struct reader *r, const yaml_event_t *e) {
  struct sp_where where = where_at(r, e->start_mark);
  switch (e->type) {
    case YAML_SCALAR_EVENT:
      return take_scalar(r, e);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
      return open_container(r, e);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
      r->depth--;
      return SP_OK;
    case YAML_ALIAS_EVENT:
      return sp_fail_at(r->err, SP_EUNSUPPORTED, &where, "aliases are not supported: write it out");
    case YAML_DOCUMENT_START_EVENT:
      return r->root ? sp_fail_at(r->err, SP_EINVAL, &where,
                                  "a second document begins here; one file "
                                  "describes one job")
                     : SP_OK;
    default:
      return SP_OK;
  }
}

static sp_status syntax_error(const struct reader *r, const yaml_parser_t *p) {
  if (p->error == YAML_MEMORY_ERROR) {
    return no_memory(r);
  }
  struct sp_where where = where_at(r, p->problem_mark);
  const char *problem = p->problem ? p->problem : "not YAML";
  if (p->error == YAML_READER_ERROR) {
    return sp_fail(r->err, SP_EINVAL, "%s: byte %zu: %s", r->source, p->problem_offset, problem);
  }
  return sp_fail_at(r->err, SP_EINVAL, &where, "YAML: %s%s%s", p->context ? p->context : "",
                    p->context ? ", " : "", problem);
}

static sp_status read_all(struct reader *r, yaml_parser_t *p) {
  for (bool more = true; more;) {
    yaml_event_t event;
    if (!yaml_parser_parse(p, &event)) {
      return syntax_error(r, p);
    }
    sp_status status = take_event(r, &event);
    more = event.type != YAML_STREAM_END_EVENT;
    yaml_event_delete(&event);
    if (status != SP_OK) {
      return status;
    }
  }
  return SP_OK;
}

static sp_status parse(struct reader *r, const char *text, size_t n, struct sp_node **out) {
  if (n > SP_YAML_MAX) {
    return sp_fail(r->err, SP_ERANGE, "%s: larger than %d bytes", r->source, SP_YAML_MAX);
  }
  r->source = sp_arena_strdup(r->arena, r->source);
  if (!r->source) {
    return sp_fail(r->err, SP_ENOMEM, "out of memory");
  }
  yaml_parser_t parser;
  if (!yaml_parser_initialize(&parser)) {
    return no_memory(r);
  }
  yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
  yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
  sp_status status = read_all(r, &parser);
  yaml_parser_delete(&parser);
  if (status == SP_OK && !r->root) {
    r->root = sp_node_new(r->arena, SP_NODE_MAP, (struct sp_where){r->source, 1, 1});
    status = r->root ? SP_OK : no_memory(r);
  }
  if (status == SP_OK) {
    *out = r->root;
  }
  return status;
}

sp_status sp_yaml_parse(const char *source, const char *text, size_t n, struct sp_arena *arena,
                        struct sp_node **out, struct sp_err *err) {
  struct reader r = {.arena = arena, .source = source, .err = err};
  return parse(&r, text, n, out);
}

sp_status sp_yaml_parse_value(const char *option, const char *text, struct sp_arena *arena,
                              struct sp_node **out, struct sp_err *err) {
  struct reader r = {.arena = arena, .source = option, .is_value = true, .err = err};
  return parse(&r, text, strlen(text), out);
}

/* Whether a plain scalar would be read back as this very text by any YAML reader. */
static bool is_plain(const char *text) {
  static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-";
  static const char *const words[] = {"null", "none", "true", "false", "yes", "no", "on",
                                      "off",  "auto", "y",    "n",     "nan", "inf"};
  size_t n = strlen(text);
  if (n == 0 || strspn(text, safe) != n || strchr("-.+", text[0]) ||
      strchr("0123456789", text[0])) {
    return false;
  }
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    if (strcasecmp(text, words[i]) == 0) {
      return false;
    }
  }
  return true;
}

/* Decodes one character; its length in bytes, or 0 where the text is not UTF-8. */
static size_t utf8_next(const char *text, uint32_t *out) {
  const unsigned char *p = (const unsigned char *)text;
  size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
  if (n == 0 || p[0] > 0xf4) {
    return 0;
  }
  uint32_t c = n == 1 ? p[0] : p[0] & (0x7fU >> n);
  for (size_t i = 1; i < n; i++) {
    if ((p[i] & 0xc0) != 0x80) {
      return 0;
    }
    c = c << 6 | (p[i] & 0x3f);
  }
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) {
    return 0;
  }
  *out = c;
  return n;
}

bool sp_yaml_is_text(const char *text) {
  uint32_t c;
  for (size_t n; *text; text += n) {
    n = utf8_next(text, &c);
    if (n == 0) {
      return false;
    }
  }
  return true;
}

/* One character inside double quotes: escaped if YAML forbids it, folds it, or gives it a meaning.
 */
static void print_char(const char *bytes, size_t n, uint32_t c, struct sp_buf *out) {
  if (c == '"' || c == '\\') {
    sp_buf_printf(out, "\\%c", (int)c);
  } else if (c == '\n') {
    sp_buf_puts(out, "\\n");
  } else if (c < 0x20 || (c >= 0x7f && c < 0xa0)) {
    sp_buf_printf(out, "\\x%02x", (unsigned)c);
  } else if (c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffe || c == 0xffff) {
    sp_buf_printf(out, "\\u%04x", (unsigned)c);
  } else {
    sp_buf_append(out, bytes, n);
  }
}

void sp_yaml_print_text(const char *text, bool force_quotes, struct sp_buf *out) {
  if (!force_quotes && is_plain(text)) {
    sp_buf_puts(out, text);
    return;
  }
  sp_buf_putc(out, '"');
  for (const char *p = text; *p;) {
    uint32_t c;
    size_t n = utf8_next(p, &c);
    assert(n > 0);
    print_char(p, n, c, out);
    p += n;
  }
  sp_buf_putc(out, '"');
}

/* A plain scalar of the tree stays plain if it is a number or a word; what it means does not
 * change. */
static void print_scalar(const struct sp_node *node, struct sp_buf *out) {
  static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-/";
  size_t n = strlen(node->text);
  if (!node->is_quoted && n > 0 && strspn(node->text, safe) == n &&
      (n > 1 || node->text[0] != '-') && strncmp(node->text, "--", 2) != 0) {
    sp_buf_puts(out, node->text);
  } else if (!node->is_quoted && n == 0) {
    sp_buf_puts(out, "null");
  } else {
    sp_yaml_print_text(node->text, true, out);
  }
}

static void print_indent(int indent, struct sp_buf *out) {
  for (int i = 0; i < indent; i++) {
    sp_buf_putc(out, ' ');
  }
}

static void print_empty(const struct sp_node *node, struct sp_buf *out) {
  sp_buf_puts(out, node->kind == SP_NODE_MAP ? "{}" : "[]");
}

void sp_yaml_print(const struct sp_node *node, int indent, struct sp_buf *out) {
  if (node->kind == SP_NODE_SCALAR || !node->first) {
    print_indent(indent, out);
    node->kind == SP_NODE_SCALAR ? print_scalar(node, out) : print_empty(node, out);
    sp_buf_putc(out, '\n');
    return;
  }
  for (const struct sp_node *c = node->first; c; c = c->next) {
    print_indent(indent, out);
    if (c->key) {
      sp_yaml_print_text(c->key, false, out);
      sp_buf_putc(out, ':');
    } else {
      sp_buf_putc(out, '-');
    }
    if (c->kind == SP_NODE_SCALAR || !c->first) {
      sp_buf_putc(out, ' ');
      c->kind == SP_NODE_SCALAR ? print_scalar(c, out) : print_empty(c, out);
      sp_buf_putc(out, '\n');
    } else {
      sp_buf_putc(out, '\n');
      sp_yaml_print(c, indent + 2, out);
    }
  }
}
