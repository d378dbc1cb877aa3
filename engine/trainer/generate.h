/* Sampling text from a trained model: token by token, each from the logits of the ones before.
 *
 * The model's predict step must give (batch, t, vocab) logits for integer samples (t), as gpt does;
 * the window is the t of the session's samples. Shorter contexts are padded behind, which a causal
 * model cannot see. The arithmetic is docs/numerics.md, "Sampling text": a text is a function of
 * the weights, the prompt and the four numbers below, whatever the kernels and threads. One thread.
 */
#ifndef STK_TRAINER_GENERATE_H
#define STK_TRAINER_GENERATE_H

#include "engine/trainer/session.h"

struct stk_sampling {
  double temperature; /* 0: always the likeliest; else logits are divided by it */
  int64_t top_k;      /* the k likeliest only; 0: all */
  uint64_t seed;
};

struct stk_generate_config {
  struct stk_sampling sampling;
  const int32_t *prompt; /* at least one token */
  int64_t n_prompt, n_tokens;
  /* Called with every sampled token; true ends the text there. */
  bool (*token)(void *ctx, int32_t id);
  void *ctx;
};

/* Tokens that the model of a session knows. SP_EUNSUPPORTED: it gives no logits per position. */
SP_NODISCARD sp_status stk_generate_vocab(stk_session *s, int64_t *out_n, struct sp_err *err);

/* SP_EINVAL: a token of the prompt is not below the vocabulary's size. */
SP_NODISCARD sp_status stk_generate(stk_session *s, const struct stk_generate_config *c,
                                    struct sp_err *err);

/* Token number `index` of the text from n logits (real_bits wide); -1 where one of them is no
 * number. `weight` is scratch of 2 n doubles. */
int32_t stk_choose_token(const struct stk_sampling *c, uint64_t index, const void *logits,
                         int32_t real_bits, int64_t n, double *weight);

#endif
