/* The text of a list of layers, taken apart. See layer_text.h. */
#include "engine/models/layer_text.h"

#include <string.h>

static const char *skip(const char *p) {
  return p + strspn(p, " ,");
}

bool stk_layer_text_next(const char **text, struct stk_layer_text *out, bool *out_bad) {
  const char *p = skip(*text);
  size_t n = strcspn(p, "( ,");
  *out_bad = false;
  if (!*p) {
    return false;
  }
  const char *end = p[n] == '(' ? strchr(p + n, ')') : NULL;
  if (n == 0 || n >= sizeof out->name || !end) {
    *out_bad = true;
    return false;
  }
  memcpy(out->name, p, n);
  out->name[n] = '\0';
  out->options = p + n + 1;
  out->n_options = (size_t)(end - out->options);
  *text = end + 1;
  return true;
}

bool stk_layer_text_find(const struct stk_layer_text *l, const char *key, char *out, size_t cap) {
  const char *p = l->options, *end = l->options + l->n_options;
  size_t n_key = strlen(key);
  while (p < end) {
    p += strspn(p, " ,");
    size_t n = strcspn(p, ",)");
    if (n > n_key && strncmp(p, key, n_key) == 0 && p[n_key] == '=') {
      n -= n_key + 1;
      if (n >= cap) {
        return false;
      }
      memcpy(out, p + n_key + 1, n);
      out[n] = '\0';
      return true;
    }
    p += n;
    if (*p == ')') {
      return false;
    }
  }
  return false;
}
