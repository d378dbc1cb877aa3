/* Layers of the job file to text. See layers.h. */
#include "proto/job/layers.h"

#include "proto/base/buf.h"
#include "proto/job/bind.h"

enum { TEXT_MAX = 1 << 20 };

static void print_layer(const struct sp_layer_opts *l, struct sp_buf *out) {
  const struct sp_opt_class *class = &sp_layer_classes.classes[l->kind];
  char buf[SP_OPT_PRINT];
  sp_buf_printf(out, "%s(", class->name);
  for (size_t i = 0; i < class->n_opts; i++) {
    const char *item;
    sp_buf_printf(out, "%s%s=", i ? ", " : "", class->opts[i].key);
    if (!sp_opt_is_list(&class->opts[i])) {
      sp_buf_puts(out, sp_opt_print(&class->opts[i], l, 0, buf));
      continue;
    }
    for (size_t k = 0; (item = sp_opt_print(&class->opts[i], l, k, buf)) != NULL; k++) {
      sp_buf_printf(out, "%s%s", k ? " " : "", item);
    }
  }
  sp_buf_putc(out, ')');
}

sp_status sp_layers_text(struct sp_job *job, const struct sp_node *list, const char **out,
                         struct sp_err *err) {
  void *items;
  size_t n;
  struct sp_buf text;
  sp_status status = sp_bind_classes(&sp_layer_classes, list, &items, &n, &job->arena, err);
  if (status != SP_OK) {
    return status;
  }
  if (n == 0 || n > SP_LAYERS_MAX) {
    return sp_fail_at(err, SP_EINVAL, &list->where, "model.layers: 1 to %d layers, not %zu",
                      SP_LAYERS_MAX, n);
  }
  sp_buf_init(&text, TEXT_MAX);
  for (size_t i = 0; i < n; i++) {
    sp_buf_puts(&text, i ? ", " : "");
    print_layer((const struct sp_layer_opts *)items + i, &text);
  }
  status = sp_buf_check(&text, "model.layers", err);
  if (status == SP_OK) {
    *out = sp_arena_strdup(&job->arena, sp_buf_text(&text));
    status = *out ? SP_OK : sp_fail(err, SP_ENOMEM, "out of memory");
  }
  sp_buf_free(&text);
  return status;
}
