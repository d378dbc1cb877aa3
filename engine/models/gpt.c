/* gpt: a decoder-only transformer in GPT-2's layout and with its names.
 *
 * wte, wpe, h.N.{ln_1, attn.c_attn, attn.c_proj, ln_2, mlp.c_fc, mlp.c_proj}, ln_f; the head is wte
 * itself. Layer norm before each part, biases everywhere, GELU in its tanh form. Linear weights are
 * (out, in), as nn.Linear keeps them (OpenAI's files have them transposed). First values: N(0,
 * 0.02), the two projections onto the residual stream scaled by 1 / sqrt(2 n_layer), biases zero
 * (Radford et al. 2019). x and y are ids (batch, t), y shifted by one; predict gives the logits of
 * every position.
 */
#include <math.h>
#include <stdio.h>

#include "engine/models/builtin.h"

enum { MAX_LAYERS = 256, MAX_WIDTH = 1 << 20, MAX_VOCAB = 1 << 24 };

struct block {
  stk_layer *ln_1, *c_attn, *attn_proj, *ln_2, *c_fc, *mlp_proj;
};

struct gpt {
  int64_t n_layer, n_head, n_embd, block_size, vocab_size;
  double dropout;
  stk_layer *wte, *wpe, *ln_f;
  struct block h[MAX_LAYERS];
};

static const stk_hparam hparams[] = {
    {"n_layer", STK_HP_INT, offsetof(struct gpt, n_layer), "4", 1, MAX_LAYERS, NULL,
     "Number of blocks."},
    {"n_head", STK_HP_INT, offsetof(struct gpt, n_head), "4", 1, MAX_WIDTH, NULL,
     "Attention heads of a block; they divide n_embd."},
    {"n_embd", STK_HP_INT, offsetof(struct gpt, n_embd), "128", 1, MAX_WIDTH, NULL,
     "Width of the residual stream."},
    {"block_size", STK_HP_INT, offsetof(struct gpt, block_size), "0", 0, MAX_VOCAB, NULL,
     "Longest sequence, in tokens; 0 takes the data's."},
    {"vocab_size", STK_HP_INT, offsetof(struct gpt, vocab_size), "256", 1, MAX_VOCAB, NULL,
     "Number of tokens; 256 for bytes."},
    {"dropout", STK_HP_FLOAT, offsetof(struct gpt, dropout), "0", 0, 0.99, NULL,
     "Dropout of embeddings, attention and the residual stream, in training."},
    {NULL, STK_HP_BOOL, 0, NULL, 0, 0, NULL, NULL},
};

static stk_layer *linear(stk_module *m, int32_t layer, const char *name, int64_t in, int64_t out,
                         double std) {
  char full[64];
  snprintf(full, sizeof full, "h.%d.%s", (int)layer, name);
  stk_layer *l = stk_nn_linear(m, in, out, true);
  stk_nn_init_weight(l, (stk_init){STK_INIT_NORMAL, 0.0, std});
  stk_nn_init_bias(l, (stk_init){STK_INIT_ZEROS, 0.0, 0.0});
  return stk_nn_add(m, full, l);
}

static stk_layer *layer_norm(stk_module *m, int32_t layer, const char *name, int64_t n) {
  char full[64];
  snprintf(full, sizeof full, "h.%d.%s", (int)layer, name);
  return stk_nn_add(m, full, stk_nn_layer_norm(m, n, 1e-5, true));
}

static stk_layer *embedding(stk_module *m, const char *name, int64_t n, int64_t dim) {
  stk_layer *l = stk_nn_embedding(m, n, dim);
  return stk_nn_add(m, name, stk_nn_init_weight(l, (stk_init){STK_INIT_NORMAL, 0.0, 0.02}));
}

static stk_status setup(stk_module *m, void *self) {
  struct gpt *s = self;
  int64_t c = s->n_embd;
  double onto_stream = 0.02 / sqrt(2.0 * (double)s->n_layer);
  if (c % s->n_head != 0) {
    return stk_setup_fail(m, "model.n_head: %lld heads do not divide model.n_embd %lld",
                          (long long)s->n_head, (long long)c);
  }
  if (s->block_size == 0 && stk_setup_x_rank(m) != 1) {
    return stk_setup_fail(m, "the data does not say how long a sequence is; give model.block_size");
  }
  s->block_size = s->block_size ? s->block_size : stk_setup_x_dim(m, 0);
  s->wte = embedding(m, "wte", s->vocab_size, c);
  s->wpe = embedding(m, "wpe", s->block_size, c);
  for (int32_t i = 0; i < s->n_layer; i++) {
    struct block *h = &s->h[i];
    h->ln_1 = layer_norm(m, i, "ln_1", c);
    h->c_attn = linear(m, i, "attn.c_attn", c, 3 * c, 0.02);
    h->attn_proj = linear(m, i, "attn.c_proj", c, c, onto_stream);
    h->ln_2 = layer_norm(m, i, "ln_2", c);
    h->c_fc = linear(m, i, "mlp.c_fc", c, 4 * c, 0.02);
    h->mlp_proj = linear(m, i, "mlp.c_proj", 4 * c, c, onto_stream);
  }
  s->ln_f = stk_nn_add(m, "ln_f", stk_nn_layer_norm(m, c, 1e-5, true));
  return 0;
}

static stk_t apply_block(const struct gpt *s, const struct block *h, stk_t x) {
  const stk_attention_options causal = {.causal = true, .dropout = s->dropout};
  stk_t a = stk_apply(h->c_attn, stk_apply(h->ln_1, x));
  a = stk_apply(h->attn_proj, stk_attention_qkv(a, s->n_head, &causal));
  x = stk_add(x, stk_dropout(a, s->dropout));
  stk_t f = stk_gelu_tanh(stk_apply(h->c_fc, stk_apply(h->ln_2, x)));
  return stk_add(x, stk_dropout(stk_apply(h->mlp_proj, f), s->dropout));
}

static stk_t predict_step(const void *self, const stk_batch *b) {
  const struct gpt *s = self;
  int64_t t = stk_dim(b->x, 1);
  if (stk_rank(b->x) != 2 || t > s->block_size) {
    return stk_trace_fail(b->x.g, "gpt takes ids (batch, t), t at most block_size %lld, not %lld",
                          (long long)s->block_size, (long long)t);
  }
  stk_t wte = stk_param_value(stk_nn_weight(s->wte), b->x.g);
  stk_t wpe = stk_param_value(stk_nn_weight(s->wpe), b->x.g);
  /* A call a statement: C leaves open which argument of a call is recorded first. */
  stk_t position = stk_slice(wpe, 0, 0, t);
  stk_t x = stk_add(stk_apply(s->wte, b->x), position);
  x = stk_dropout(x, s->dropout);
  for (int32_t i = 0; i < s->n_layer; i++) {
    x = apply_block(s, &s->h[i], x);
  }
  return stk_linear(stk_apply(s->ln_f, x), wte, stk_none());
}

static stk_t step(const void *self, const stk_batch *b) {
  stk_t loss = stk_model_log_loss(stk_cross_entropy(predict_step(self, b), b->y));
  if (stk_stage_of(loss) == STK_VALIDATE) {
    stk_log_perplexity("val_perplexity", loss, STK_ON_EPOCH);
  } else if (stk_stage_of(loss) == STK_TEST) {
    stk_log_perplexity("test_perplexity", loss, STK_ON_EPOCH);
  }
  return loss;
}

static void configure_optimizers(stk_optim *o, const void *self) {
  (void)self;
  stk_optim_adamw(o, 1e-3, 0.01);
}

const stk_module_def stk_model_gpt = {
    .abi = STK_ABI,
    .size = sizeof(stk_module_def),
    .name = "gpt",
    .hparams = hparams,
    .self_size = sizeof(struct gpt),
    .setup = setup,
    STK_MODEL_STEPS(step, predict_step),
    .configure_optimizers = configure_optimizers,
};
