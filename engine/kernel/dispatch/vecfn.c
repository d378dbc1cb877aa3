/* The variants of vecfn.c by name. */
#include "engine/kernel/vecfn.h"

#include <string.h>

#define STK_VARIANT_LIST(X)                                                                \
  X(ref_f32, 1)                                                                            \
  X(reffma_f32, __builtin_cpu_supports("fma"))                                             \
  X(ref_f64, 1)                                                                            \
  X(reffma_f64, __builtin_cpu_supports("fma"))                                             \
  X(avx2_f32, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))             \
  X(avx512_f32, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && \
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))

#define STK_DECLARE(name, runs) extern const struct stk_vecfn_table stk_k_vecfn_##name;
STK_VARIANT_LIST(STK_DECLARE)

const struct stk_vecfn_table *stk_vecfn_get(const char *variant) {
#define STK_FIND(name, runs)         \
  if (strcmp(variant, #name) == 0) { \
    return &stk_k_vecfn_##name;      \
  }
  STK_VARIANT_LIST(STK_FIND)
  return NULL;
}

int stk_vecfn_runs_here(const char *variant) {
  __builtin_cpu_init();
#define STK_RUNS(name, runs)         \
  if (strcmp(variant, #name) == 0) { \
    return (runs) ? 1 : 0;           \
  }
  STK_VARIANT_LIST(STK_RUNS)
  return 0;
}
