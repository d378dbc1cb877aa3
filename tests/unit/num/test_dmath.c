/* engine/num/dmath.h: rounded true values (by mpmath), identities, edges. The errors are measured
 * by tests/offline/check_dmath.c. */
#include "tests/lib/tt.h"

#include <math.h>
#include <string.h>

#include "engine/num/dmath.h"

static double distance(double got, double want) { /* in ulps of want */
  return fabs(got - want) / ldexp(1, ilogb(want) - 52);
}

static void test_functions_are_within_their_bounds(void **state) {
  (void)state;
  const struct {
    double (*f)(double);
    double x, y, ulps;
  } rows[] = {{stk_exp_d, -0x1.5e40000000000p+9, 0x1.4ff475c68ca02p-1011, 1},
              {stk_exp_d, -0x1.12e0be826d695p-30, 0x1.fffffff768fa1p-1, 1},
              {stk_exp_d, 0x1.3333333333333p-2, 0x1.599058c8c1a96p+0, 1},
              {stk_exp_d, 0x1.0000000000000p+0, 0x1.5bf0a8b145769p+1, 1},
              {stk_exp_d, 0x1.5e20000000000p+9, 0x1.2fd8e4cbfa413p+1010, 1},
              {stk_exp_d, 0x1.62ccccccccccdp+6, 0x1.f4705bbffae5cp+127, 1},
              {stk_log_d, 0x1.56e1fc2f8f359p-997, -0x1.5963447f87fb5p+9, 1},
              {stk_log_d, 0x1.6666666666666p-1, -0x1.6d3c324e13f50p-2, 1},
              {stk_log_d, 0x1.6a0902de00d1bp+0, 0x1.62e1ac5b1d181p-2, 1},
              {stk_log_d, 0x1.8000000000000p+1, 0x1.193ea7aad030bp+0, 1},
              {stk_log_d, 0x1.7e43c8800759cp+996, 0x1.5963447f87fb5p+9, 1},
              {stk_log_d, 0x1.fff2e48e8a71ep-1, -0x1.a3738d2cf1cc2p-14, 1},
              {stk_tanh_d, 0x1.19799812dea11p-40, 0x1.19799812dea11p-40, 3},
              {stk_tanh_d, 0x1.47ae147ae147bp-7, 0x1.47ab48ae4595ep-7, 3},
              {stk_tanh_d, 0x1.3333333333333p-2, 0x1.2a4dda7d914fap-2, 3},
              {stk_tanh_d, 0x1.b333333333333p+0, 0x1.deedf00d3e7f5p-1, 3},
              {stk_tanh_d, -0x1.1000000000000p+3, -0x1.fffffd38c39f0p-1, 3},
              {stk_sigmoid_d, -0x1.2c00000000000p+9, 0x1.4dd4d0d12c071p-866, 3},
              {stk_sigmoid_d, -0x1.4f8b588e368f1p-17, 0x1.ffff583a53b8fp-2, 3},
              {stk_sigmoid_d, 0x1.999999999999ap-3, 0x1.1983d7795f414p-1, 3},
              {stk_sigmoid_d, 0x1.8000000000000p+1, 0x1.e7b7cbc36fabcp-1, 3},
              {stk_sigmoid_d, 0x1.4000000000000p+4, 0x1.ffffffee4b79bp-1, 3},
              {stk_erf_d, 0x1.12e0be826d695p-30, 0x1.362a9ffc610ddp-30, 2},
              {stk_erf_d, 0x1.0000000000000p-1, 0x1.0a7ef5c18edd2p-1, 2},
              {stk_erf_d, 0x1.ae147ae147ae1p-1, 0x1.87c0c914f1a58p-1, 2},
              {stk_erf_d, 0x1.b333333333333p-1, 0x1.8a9500eeffdb1p-1, 2},
              {stk_erf_d, 0x1.4000000000000p+1, 0x1.ffcaa8f4c9beap-1, 2},
              {stk_erf_d, -0x1.6000000000000p+2, -0x1.fffffffffffbep-1, 2},
              {stk_softplus_d, -0x1.2c00000000000p+9, 0x1.4dd4d0d12c071p-866, 3},
              {stk_softplus_d, -0x1.0000000000000p+0, 0x1.40c7abfbec124p-2, 3},
              {stk_softplus_d, 0x1.0624dd2f1a9fcp-10, 0x1.6325bd58ad4aep-1, 3},
              {stk_softplus_d, 0x1.999999999999ap-2, 0x1.d376bc339d2ccp-1, 3},
              {stk_softplus_d, 0x1.e000000000000p+4, 0x1.e00000000001ap+4, 3},
              {stk_sinpi_d, 0x1.b7cdfd9d7bdbbp-34, 0x1.596bf8ce7631ep-32, 1.5},
              {stk_sinpi_d, 0x1.0000000000000p-2, 0x1.6a09e667f3bcdp-1, 1.5},
              {stk_sinpi_d, 0x1.3333333333333p-2, 0x1.9e3779b97f4a8p-1, 1.5},
              {stk_sinpi_d, 0x1.8000000000000p-1, 0x1.6a09e667f3bcdp-1, 1.5},
              {stk_sinpi_d, 0x1.e848040000000p+19, 0x1.87de2a6aea963p-2, 1.5},
              {stk_sinpi_d, -0x1.f99999999999ap+2, 0x1.3c6ef372fe93cp-2, 1.5},
              {stk_cospi_d, 0x1.b7cdfd9d7bdbbp-34, 0x1.0000000000000p+0, 1.5},
              {stk_cospi_d, 0x1.999999999999ap-3, 0x1.9e3779b97f4a8p-1, 1.5},
              {stk_cospi_d, 0x1.3333333333333p-2, 0x1.2cf2304755a5ep-1, 1.5},
              {stk_cospi_d, 0x1.999999999999ap-1, -0x1.9e3779b97f4a8p-1, 1.5},
              {stk_cospi_d, 0x1.e848040000000p+19, 0x1.d906bcf328d46p-1, 1.5},
              {stk_cospi_d, -0x1.f99999999999ap+2, 0x1.e6f0e13445502p-1, 1.5},
              {stk_sin_d, 0x1.b7cdfd9d7bdbbp-34, 0x1.b7cdfd9d7bdbbp-34, 1},
              {stk_sin_d, 0x1.6666666666666p-1, 0x1.49d6e694619b8p-1, 1},
              {stk_sin_d, 0x1.0000000000000p+0, 0x1.aed548f090ceep-1, 1},
              {stk_sin_d, 0x1.921f9f01b866ep+1, 0x1.6428a6aa44cd0p-19, 1},
              {stk_sin_d, 0x1.9000000000000p+6, -0x1.03425b78c4db8p-1, 1},
              {stk_sin_d, 0x1.e848000000000p+19, -0x1.6664b2568d867p-2, 1},
              {stk_cos_d, 0x1.b7cdfd9d7bdbbp-34, 0x1.0000000000000p+0, 1},
              {stk_cos_d, 0x1.6666666666666p-1, 0x1.87996529f9d93p-1, 1},
              {stk_cos_d, 0x1.0000000000000p+0, 0x1.14a280fb5068cp-1, 1},
              {stk_cos_d, 0x1.921ff2e48e8a7p+0, -0x1.ed025dc757f0cp-19, 1},
              {stk_cos_d, 0x1.9000000000000p+6, 0x1.b981dbf665fdfp-1, 1},
              {stk_cos_d, 0x1.e848000000000p+19, 0x1.df9df9906d32cp-1, 1}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    assert_true(distance(rows[i].f(rows[i].x), rows[i].y) <= rows[i].ulps);
  }
}

static void test_exp_edges(void **state) {
  (void)state;
  assert_true(stk_exp_d(0) == 1);
  assert_true(stk_exp_d(-0.0) == 1);
  assert_true(stk_exp_d(INFINITY) == INFINITY);
  assert_true(stk_exp_d(710) == INFINITY);
  assert_true(stk_exp_d(-INFINITY) == 0 && stk_exp_d(-709) == 0);
  assert_true(isnan(stk_exp_d(NAN)));
}

static void test_log_edges(void **state) {
  (void)state;
  assert_true(stk_log_d(1) == 0);
  assert_true(stk_log_d(0) == -INFINITY && stk_log_d(-0.0) == -INFINITY);
  assert_true(stk_log_d(0x1p-1030) == -INFINITY); /* a denormal counts as zero */
  assert_true(stk_log_d(INFINITY) == INFINITY);
  assert_true(isnan(stk_log_d(-1)) && isnan(stk_log_d(NAN)));
}

static void test_odd_functions_keep_the_sign_of_zero(void **state) {
  (void)state;
  double (*const odd[])(double) = {stk_tanh_d, stk_erf_d};
  for (int i = 0; i < 2; i++) {
    assert_true(odd[i](-0.0) == 0 && signbit(odd[i](-0.0)));
    assert_true(odd[i](INFINITY) == 1 && odd[i](-INFINITY) == -1);
    assert_true(odd[i](-0.7) == -odd[i](0.7));
    assert_true(isnan(odd[i](NAN)));
  }
}

static void test_sigmoid_and_softplus_edges(void **state) {
  (void)state;
  assert_true(stk_sigmoid_d(0) == 0.5);
  assert_true(stk_sigmoid_d(INFINITY) == 1 && stk_sigmoid_d(-INFINITY) == 0);
  assert_true(stk_softplus_d(INFINITY) == INFINITY && stk_softplus_d(-INFINITY) == 0);
  assert_true(stk_softplus_d(50) == 50);
  assert_true(isnan(stk_sigmoid_d(NAN)) && isnan(stk_softplus_d(NAN)));
}

static void test_pi_multiples_are_exact(void **state) {
  (void)state;
  for (int i = -8; i <= 8; i++) {
    assert_true(stk_sinpi_d(i) == 0);
    assert_true(stk_cospi_d(i) == (i % 2 == 0 ? 1 : -1));
    assert_true(stk_cospi_d(i + 0.5) == 0);
    assert_true(stk_sinpi_d(i + 0.5) == (i % 2 == 0 ? 1 : -1));
  }
  assert_true(stk_cospi_d(0x1p60) == 1 && stk_sinpi_d(0x1p60) == 0);
  assert_true(isnan(stk_cospi_d(INFINITY)) && isnan(stk_sinpi_d(NAN)));
}

static void test_sin_out_of_range_is_nan(void **state) {
  (void)state;
  assert_true(isnan(stk_sin_d(0x1p21)) && isnan(stk_cos_d(-INFINITY)) && isnan(stk_sin_d(NAN)));
}

static void test_pow_edges(void **state) {
  (void)state;
  assert_true(stk_pow_int_d(NAN, 0) == 1);
  assert_true(stk_pow_int_d(-2, 3) == -8 && stk_pow_int_d(-2, -2) == 0.25);
  assert_true(stk_pow_int_d(10, 22) == 1e22);
  assert_true(stk_pow_int_d(2, 1024) == INFINITY && stk_pow_int_d(2, -1100) == 0);
  assert_true(stk_pow_int_d(0.5, -1100) == INFINITY);
  assert_true(stk_pow_int_d(0, 5) == 0 && stk_pow_int_d(0, -5) == INFINITY);
  assert_true(stk_pow_d(0, 0.5) == 0 && stk_pow_d(0, -0.5) == INFINITY);
  assert_true(stk_pow_d(4, 0.5) == 2);
  assert_true(isnan(stk_pow_d(-1, 0.5)) && isnan(stk_pow_d(NAN, 0.5)));
  assert_true(stk_pow_d(INFINITY, 0.5) == INFINITY && stk_pow_d(INFINITY, -0.5) == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_functions_are_within_their_bounds),
                                     cmocka_unit_test(test_exp_edges),
                                     cmocka_unit_test(test_log_edges),
                                     cmocka_unit_test(test_odd_functions_keep_the_sign_of_zero),
                                     cmocka_unit_test(test_sigmoid_and_softplus_edges),
                                     cmocka_unit_test(test_pi_multiples_are_exact),
                                     cmocka_unit_test(test_sin_out_of_range_is_nan),
                                     cmocka_unit_test(test_pow_edges)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
