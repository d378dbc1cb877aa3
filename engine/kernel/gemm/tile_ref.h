/* Register tile in portable C: the definition. 4 rows x 2 vectors of 8; the compiler may vectorise
 * over lanes only.
 */
#ifndef STK_KERNEL_GEMM_TILE_REF_H
#define STK_KERNEL_GEMM_TILE_REF_H

enum { GEMM_MR = 4, GEMM_VL = 8, GEMM_NV = 2 };

#define GEMM_ROWS(X, p) X(1, p) X(2, p) X(3, p) X(4, p)

typedef struct tv {
  real x[GEMM_VL];
} tv;
typedef int64_t tv_mask;

#define TV_LANES(j) for (int j = 0; j < GEMM_VL; j++)

V_INLINE tv tv_zero(void) {
  return (tv){{0}};
}

V_INLINE tv tv_load(const real *p) {
  tv r;
  TV_LANES(j) {
    r.x[j] = p[j];
  }
  return r;
}

V_INLINE void tv_store(real *p, tv x) {
  TV_LANES(j) {
    p[j] = x.x[j];
  }
}

V_INLINE tv tv_all(const real *p) {
  tv r;
  TV_LANES(j) {
    r.x[j] = *p;
  }
  return r;
}

V_INLINE tv tv_add(tv x, tv y) {
  tv r;
  TV_LANES(j) {
    r.x[j] = x.x[j] + y.x[j];
  }
  return r;
}

V_INLINE tv tv_fma(tv x, tv y, tv z) {
  tv r;
  TV_LANES(j) {
    r.x[j] = r_fma(x.x[j], y.x[j], z.x[j]);
  }
  return r;
}

/* x < 0 ? 0 : x */
V_INLINE tv tv_relu(tv x) {
  tv r;
  TV_LANES(j) {
    r.x[j] = x.x[j] < 0 ? 0 : x.x[j];
  }
  return r;
}

/* The first n lanes; n may be negative or beyond 8. */
V_INLINE tv_mask tv_first(int64_t n) {
  return n;
}

V_INLINE tv tv_load_some(const real *p, tv_mask m) {
  tv r = tv_zero();
  TV_LANES(j) {
    if (j < m) {
      r.x[j] = p[j];
    }
  }
  return r;
}

V_INLINE void tv_store_some(real *p, tv_mask m, tv x) {
  TV_LANES(j) {
    if (j < m) {
      p[j] = x.x[j];
    }
  }
}

#endif
