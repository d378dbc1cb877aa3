/* Polynomial coefficients of the engine's functions, in ascending order of power.
 *
 * Written by tests/offline/gen_coefficients.py; do not edit. Includers use some of the tables.
 */
#ifndef STK_NUM_COEFFICIENTS_H
#define STK_NUM_COEFFICIENTS_H

#define STK_LN2_HI 0x1.62e42fefa39efp-1
#define STK_LN2_LO 0x1.abc9e3b39803fp-56
#define STK_LN2_SHORT 0x1.62e42fefa3800p-1
#define STK_LN2_REST 0x1.ef35793c76730p-45
#define STK_INV_LN2 0x1.71547652b82fep+0
#define STK_HALF_PI_1 0x1.921fb54442d18p+0
#define STK_HALF_PI_2 0x1.1a62633145c07p-54
#define STK_HALF_PI_3 -0x1.f1976b7ed8fbcp-110
#define STK_TWO_OVER_PI 0x1.45f306dc9c883p-1
#define STK_PI_HI 0x1.921fb54442d18p+1
#define STK_PI_LO 0x1.1a62633145c07p-53

/* exp(r) = 1 + r + r^2 (c0 + c1 r + ...), |r| <= ln(2)/2; error 2^-56 */
static const double __attribute__((unused)) stk_c_exp[10] = {
    0x1.0000000000001p-1,  0x1.5555555555556p-3,  0x1.5555555553d63p-5,  0x1.11111111109b3p-7,
    0x1.6c16c1788bd90p-10, 0x1.a01a01a7c41d5p-13, 0x1.a019b90d2ae7ap-16, 0x1.71de0dae63bb3p-19,
    0x1.289185613a3d6p-22, 0x1.af38a9b0ec855p-26};

/* 2 atanh(s) = 2 s + s^3 (c0 + c1 s^2 + ...), |s| <= 0.1716; error 2^-59 */
static const double __attribute__((unused)) stk_c_log[7] = {
    0x1.5555555555558p-1, 0x1.99999999952ccp-2, 0x1.2492492df3ba9p-2, 0x1.c71c62e26208bp-3,
    0x1.7462b58e46ebep-3, 0x1.39fe42e9740a7p-3, 0x1.2b59b713616c9p-3};

/* the same for |s| <= 1/3; error 2^-58 */
static const double __attribute__((unused)) stk_c_log1p[10] = {
    0x1.5555555555555p-1, 0x1.999999999a3ddp-2, 0x1.24924923d44c6p-2, 0x1.c71c727143318p-3,
    0x1.745cf0b0e03bdp-3, 0x1.3b18b294bebf9p-3, 0x1.10ac75dc602b1p-3, 0x1.eb905e8575054p-4,
    0x1.687a6e7c95176p-4, 0x1.4b0a26c5f2aefp-3};

/* sin(r) = r + r^3 (c0 + c1 r^2 + ...), |r| <= pi/4; error 2^-56 */
static const double __attribute__((unused))
stk_c_sin[6] = {-0x1.5555555555555p-3, 0x1.1111111110bb2p-7,   -0x1.a01a019e83816p-13,
                0x1.71de379654304p-19, -0x1.ae600aca92c64p-26, 0x1.5e0b05bff20f2p-33};

/* cos(r) = 1 - r^2/2 + r^4 (c0 + c1 r^2 + ...), |r| <= pi/4; error 2^-60 */
static const double __attribute__((unused))
stk_c_cos[6] = {0x1.5555555555555p-5,   -0x1.6c16c16c16967p-10, 0x1.a01a019f4e9b4p-16,
                -0x1.27e4fa17bf139p-22, 0x1.1eeb68cd22f56p-29,  -0x1.907d8f29fe831p-37};

/* erf(a) = a (c0 + c1 a^2 + ...), a <= 0.85; error 2^-56 */
static const double __attribute__((unused)) stk_c_erf[11] = {
    0x1.20dd750429b6dp+0,  -0x1.812746b03799ep-2,  0x1.ce2f21a03ec76p-4,  -0x1.b82ce311319dfp-6,
    0x1.565bccd2da297p-8,  -0x1.c02da7eaddd24p-11, 0x1.f9a19ee06394ap-14, -0x1.f4b254bbbfecbp-17,
    0x1.b835eabda2807p-20, -0x1.5117ce32e8c5ep-23, 0x1.6ed065198882dp-27};

/* erfc(a) = exp(-a^2) (c0 + c1 t + ...), t = (a - 2) / (a + 2), 0.84 <= a <= 6; error 2^-62 */
static const double __attribute__((unused)) stk_c_erfcx[19] = {
    0x1.058671b52c776p-2,   -0x1.b57034efd3f72p-2,  0x1.eeea7dc8a78b8p-3,   -0x1.437f0b68c0bedp-4,
    0x1.e947159795817p-9,   0x1.ca95ed533371dp-8,   -0x1.bc25a475b2fb6p-11, -0x1.016b5ce1b9106p-10,
    0x1.6d5ef27455897p-15,  0x1.6da9740542258p-13,  0x1.cdcca9d3fcfdbp-16,  -0x1.ceb7ac4289cdfp-16,
    -0x1.d4a54bb6fc88ap-17, 0x1.75da6f6895838p-20,  0x1.fb6b5f5db333ep-19,  0x1.3f1537795c8eep-20,
    -0x1.14dbaed7fde47p-21, -0x1.f3a2354798ceap-22, 0x1.bc5423c413f62p-26};

/* erf(a) = a (c0 + c1 w + ...), w = a^2 - 2, a < 2; error 2^-54 */
static const double __attribute__((unused)) stk_c_erf_low[17] = {
    0x1.5990d95f8c2b3p-1,  -0x1.0b60e85d3088dp-3,  0x1.e962f50e23148p-6,  -0x1.8ea53db5a7ebdp-8,
    0x1.18a17bf151381p-10, -0x1.5712a48375469p-13, 0x1.705616d96c70ep-16, -0x1.5f6c6865c644bp-19,
    0x1.2d27bef9b890fp-22, -0x1.d3f5851b9b8cbp-26, 0x1.4c4be2cbc9a6fp-29, -0x1.b25a4decaf571p-33,
    0x1.06d6db3d4522ep-36, -0x1.279e590fb22bbp-40, 0x1.3788f949a2241p-44, -0x1.45d781d7d6d56p-48,
    0x1.2e0d4bc0fd152p-52};

/* erf(a) = c0 + c1 u + ..., u = a - 3, 2 <= a <= 4; error 2^-56 */
static const double __attribute__((unused)) stk_c_erf_high[22] = {
    0x1.fffd1ac4135fap-1,   0x1.2408e9ba331c1p-13,  -0x1.b60d5e97514abp-12, 0x1.9db74b1d209bap-11,
    -0x1.11c85b1e629b7p-10, 0x1.0a7b55467cf95p-10,  -0x1.82f235b5ca335p-11, 0x1.998b47d40887cp-12,
    -0x1.1aa5e18a5f6fcp-13, 0x1.d2a32edd80f62p-17,  0x1.05ff1f7bf83f1p-16,  -0x1.6a2c3a227e412p-17,
    0x1.96c8ab38393c0p-19,  0x1.08c985e2a4b95p-23,  -0x1.e60644058efa6p-22, 0x1.6442ff95848b9p-23,
    -0x1.3d4a638daf581p-27, -0x1.04a3c1d23d9bdp-26, 0x1.953449ff111c7p-28,  -0x1.139869b4f3722p-32,
    -0x1.d8c3812dcdf77p-32, 0x1.bae51628b68d7p-34};

#endif
