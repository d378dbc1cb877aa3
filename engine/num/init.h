/* First values of parameters: a function of (seed, the parameter's name, element), nothing else.
 *
 * The order in which parameters are declared or filled, and how they are cut into pieces, cannot be
 * seen in the values. The generator is Philox (philox.h) with key = seed, stream STK_PHILOX_INIT,
 * block = element / 4, ordinal = attempt, c2 and c3 = low and high half of the FNV-1a hash of the
 * name. Elements count in row-major order. Values are made in double; float values are those,
 * rounded once. Any thread.
 */
#ifndef STK_NUM_INIT_H
#define STK_NUM_INIT_H

#include <stdbool.h>
#include <stdint.h>

typedef enum stk_fill_kind {
  STK_FILL_CONSTANT,    /* a */
  STK_FILL_UNIFORM,     /* a + (b - a) u, u = (word + 1/2) 2^-32 */
  STK_FILL_NORMAL,      /* mean a, standard deviation b: Box-Muller over words 0, 1 and 2, 3 */
  STK_FILL_TRUNC_NORMAL /* the same, drawn again (ordinal 1, 2, ...) until within [low, high] */
} stk_fill_kind;

struct stk_fill {
  stk_fill_kind kind;
  double a, b;
  double low, high; /* TRUNC_NORMAL: finite, low < high; the 1,000th draw is clamped */
};

/* PyTorch's defaults for nn.Linear and nn.Conv2d (kaiming_uniform_ with a = sqrt(5), and the bias):
 * U(-k, k) with k = 1 / sqrt(fan_in). fan_in >= 1. */
struct stk_fill stk_fill_fan_in_uniform(int64_t fan_in);

/* xavier_uniform_: U(-k, k), k = gain sqrt(6 / (fan_in + fan_out)). */
struct stk_fill stk_fill_xavier_uniform(double gain, int64_t fan_in, int64_t fan_out);

/* kaiming_normal_: N(0, gain / sqrt(fan_in)); gain sqrt(2) for relu. */
struct stk_fill stk_fill_kaiming_normal(double gain, int64_t fan_in);

/* PyTorch's fans of a weight (out, in, k...): in = dims[1] x the rest, out = dims[0] x the rest.
 * False for fewer than two dims. */
bool stk_fill_fans(int32_t rank, const int64_t *dims, int64_t *out_fan_in, int64_t *out_fan_out);

/* FNV-1a, 64 bits, of the name's bytes. */
uint64_t stk_name_hash(const char *name);

/* Elements first..first + n - 1 of the parameter. first + n <= 2^42. */
void stk_fill_f64(const struct stk_fill *fill, uint64_t seed, const char *name, uint64_t first,
                  uint64_t n, double *out);
void stk_fill_f32(const struct stk_fill *fill, uint64_t seed, const char *name, uint64_t first,
                  uint64_t n, float *out);

#endif
