/* Prompts in, text out: stk_generate between the job's options and the command. See generate.h. */
#include "worker/generate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/trainer/generate.h"
#include "proto/base/mem.h"
#include "worker/verbs.h"

enum { BYTES = 256, PROMPT_MAX = 1 << 20 };

struct writer {
  struct sw_emit *e;
  int64_t n, n_tokens;
  bool numbers;          /* not bytes */
  const int32_t *prompt; /* still to be shown, before the first token */
  int64_t n_prompt;
};

static void put(struct writer *w, int32_t id) {
  struct sp_buf b;
  sp_buf_init(&b, 64);
  if (w->numbers) {
    sp_buf_printf(&b, "%s%d", w->n ? " " : "", (int)id);
  } else {
    sp_buf_putc(&b, (char)id);
  }
  sw_emit_output(w->e, &b);
  sp_buf_free(&b);
  w->n++;
}

static bool on_token(void *ctx, int32_t id) {
  struct writer *w = ctx;
  for (; w->n_prompt > 0; w->n_prompt--) {
    put(w, *w->prompt++);
  }
  put(w, id);
  w->n_tokens++;
  return w->e->gone || sw_stop_asked();
}

/* Bytes of a text, or the numbers in it; "\n" or 0 where there is none. */
static sp_status read_prompt(const char *text, bool numbers, int32_t **out, int64_t *out_n,
                             struct sp_err *err) {
  const char *p = text && *text ? text : numbers ? "0" : "\n";
  size_t most = strlen(p), n = 0;
  int32_t *ids = most <= PROMPT_MAX ? sp_alloc_array(most, sizeof *ids) : NULL;
  if (!ids) {
    return sp_fail(err, most > PROMPT_MAX ? SP_EINVAL : SP_ENOMEM,
                   "predict.prompt: at most %d bytes", PROMPT_MAX);
  }
  while (*p) {
    char *end = (char *)(uintptr_t)p + 1;
    long id = numbers ? strtol(p, &end, 10) : (unsigned char)*p;
    p = numbers ? end + strspn(end, " ,\n") : end;
    if (numbers && p == end && *p) {
      sp_free(ids);
      return sp_fail(err, SP_EINVAL,
                     "predict.prompt: this model has more than 256 tokens; give their numbers, "
                     "split by blanks, not '%.40s'",
                     text);
    }
    ids[n++] = id < 0 || id > INT32_MAX ? -1 : (int32_t)id;
  }
  *out = ids;
  *out_n = (int64_t)n;
  return SP_OK;
}

static double seconds(void) {
  return (double)sp_mono_now(sp_clock_system()).ns / (double)SP_NS_PER_S;
}

sp_status sw_generate(struct sw_emit *e, struct sw_setup *s, struct sp_err *err) {
  const struct sp_predict_opts *o = &s->job->predict;
  struct writer w = {.e = e};
  int64_t vocab = 0, n = 0;
  int32_t *prompt = NULL;
  sp_status st = stk_generate_vocab(s->session, &vocab, err);
  w.numbers = !st && vocab > BYTES;
  st = st ? st : read_prompt(o->prompt, w.numbers, &prompt, &n, err);
  if (st) {
    return st;
  }
  struct stk_generate_config c = {
      .sampling = {o->temperature, o->top_k,
                   (uint64_t)(o->seed == SP_INT_NONE ? s->job->root.seed_everything : o->seed)},
      .prompt = prompt,
      .n_prompt = n,
      .n_tokens = o->generate,
      .token = on_token,
      .ctx = &w};
  w.prompt = prompt;
  w.n_prompt = o->prompt ? n : 0;
  double start = seconds();
  st = stk_generate(s->session, &c, err);
  double took = seconds() - start;
  if (!st) {
    struct sp_buf end;
    sp_buf_init(&end, 8);
    sp_buf_putc(&end, '\n');
    sw_emit_output(e, &end);
    sp_buf_free(&end);
    sw_emit_text(e, SP_TEXT_INFO, "%lld tokens in %.2f s, %.1f tokens/s\n", (long long)w.n_tokens,
                 took, took > 0.0 ? (double)w.n_tokens / took : 0.0);
  }
  sp_free(prompt);
  return st;
}
