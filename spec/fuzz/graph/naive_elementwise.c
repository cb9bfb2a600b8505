/* Ops that treat every element alike. */
#include <math.h>
#include <string.h>

#include "naive.h"

/* ---- One input --------------------------------------------------------------------------------------------- */

typedef struct unary {
  const char *name;
  long double (*of)(long double x);
  enum { TO_FLOAT, SAME, TO_BOOL } result; /* for integers: float32, the same dtype, or bool */
  bool bools, integers;
  double ulps;
} unary;

static long double neg(long double x) { return -x; }
static long double sign(long double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }
static long double square(long double x) { return x * x; }
static long double rsqrt(long double x) { return 1 / sqrtl(x); }
static long double reciprocal(long double x) { return 1 / x; }
static long double sigmoid(long double x) { return 1 / (1 + expl(-x)); }
static long double relu(long double x) { return x > 0 || isnan(x) ? x : 0; }
static long double silu(long double x) { return x / (1 + expl(-x)); }
static long double even(long double x) { return rintl(x); }
static long double not(long double x) { return x == 0; }
static long double is_nan(long double x) { return isnan(x) != 0; }
static long double is_finite(long double x) { return isfinite(x) != 0; }
static long double is_inf(long double x) { return isinf(x) != 0; }
static long double fraction(long double x) { return x - truncl(x); }

/* Units in the last place: 1 where one rounding is made, a few for the vector functions. */
static const unary unaries[] = {{"neg", neg, SAME, false, true, 1},
                                {"abs", fabsl, SAME, false, true, 1},
                                {"sign", sign, SAME, false, true, 1},
                                {"square", square, SAME, false, true, 1},
                                {"sqrt", sqrtl, TO_FLOAT, true, true, 1},
                                {"rsqrt", rsqrt, TO_FLOAT, true, true, 3},
                                {"reciprocal", reciprocal, TO_FLOAT, true, true, 1},
                                {"exp", expl, TO_FLOAT, true, true, 4},
                                {"expm1", expm1l, TO_FLOAT, true, true, 4},
                                {"log", logl, TO_FLOAT, true, true, 4},
                                {"log1p", log1pl, TO_FLOAT, true, true, 4},
                                {"tanh", tanhl, TO_FLOAT, true, true, 6},
                                {"sigmoid", sigmoid, TO_FLOAT, true, true, 6},
                                {"relu", relu, SAME, false, true, 1},
                                {"silu", silu, TO_FLOAT, true, true, 8},
                                {"sin", sinl, TO_FLOAT, true, true, 4},
                                {"cos", cosl, TO_FLOAT, true, true, 4},
                                {"floor", floorl, SAME, false, true, 1},
                                {"ceil", ceill, SAME, false, true, 1},
                                {"round", even, SAME, false, true, 1},
                                {"logical_not", not, TO_BOOL, true, true, 1},
                                {"isnan", is_nan, TO_BOOL, true, true, 1},
                                {"isfinite", is_finite, TO_BOOL, true, true, 1},
                                {"isinf", is_inf, TO_BOOL, true, true, 1},
                                {"tan", tanl, TO_FLOAT, true, true, 4},
                                {"asin", asinl, TO_FLOAT, true, true, 4},
                                {"acos", acosl, TO_FLOAT, true, true, 4},
                                {"atan", atanl, TO_FLOAT, true, true, 4},
                                {"sinh", sinhl, TO_FLOAT, true, true, 4},
                                {"cosh", coshl, TO_FLOAT, true, true, 4},
                                {"erf", erfl, TO_FLOAT, true, true, 4},
                                {"exp2", exp2l, TO_FLOAT, true, true, 4},
                                {"log2", log2l, TO_FLOAT, true, true, 4},
                                {"log10", log10l, TO_FLOAT, true, true, 4},
                                {"trunc", truncl, SAME, false, true, 1},
                                {"frac", fraction, SAME, false, false, 1},
                                {0}};

static const unary *find_unary(const char *name) {
  const unary *u = unaries;
  while (u->name != NULL && strcmp(u->name, name) != 0) u++;
  return u;
}

static lurn_dtype unary_dtype(const unary *u, lurn_dtype x) {
  if (u->result == TO_BOOL) return LURN_BOOL;
  return naive_is_float(x) || u->result == SAME ? x : LURN_FLOAT32;
}

static long double whole_unary(const unary *u, lurn_dtype dtype, long double x) {
  uint64_t bits = (uint64_t)(int64_t)x;
  if (u->of == neg) return naive_wrap(dtype, 0 - bits);
  if (u->of == square) return naive_wrap(dtype, bits * bits);
  if (u->of == fabsl) return naive_wrap(dtype, x < 0 ? 0 - bits : bits);
  return u->of(x);
}

static naive_verdict run_unary(naive_call *call) {
  const unary *u = find_unary(call->op->name);
  const naive *x = call->in[0];
  lurn_dtype dtype = unary_dtype(u, x->dtype);
  if ((x->dtype == LURN_BOOL && !u->bools) || (!naive_is_float(x->dtype) && !u->integers)) return NAIVE_REFUSED;
  if (!naive_out(call, 0, dtype, x->ndim, x->size)) return NAIVE_UNKNOWN;
  call->ulps = u->ulps;
  for (int64_t i = 0; i < x->n; i++) {
    long double v = x->value[i];
    if (dtype == LURN_BOOL) call->out[0].value[i] = u->of(v);
    else if (naive_is_float(dtype)) call->out[0].value[i] = u->of(naive_convert(v, x->dtype, dtype));
    else call->out[0].value[i] = whole_unary(u, dtype, v);
  }
  return NAIVE_GIVEN;
}

/* ---- Two inputs -------------------------------------------------------------------------------------------- */

enum {
  ADD,
  SUB,
  MUL,
  DIV,
  POW,
  MAXIMUM,
  MINIMUM,
  REMAINDER,
  FLOOR_DIVIDE,
  EQ,
  NE,
  LT,
  LE,
  GT,
  GE,
  AND,
  OR,
  XOR,
  ATAN2
};
static const char *const binaries[] = {
    "add", "sub", "mul", "div", "pow", "maximum",     "minimum",    "remainder",   "floor_divide", "eq",
    "ne",  "lt",  "le",  "gt",  "ge",  "logical_and", "logical_or", "logical_xor", "atan2",        NULL};

static int64_t whole_pow(int64_t base, int64_t e) {
  if (e < 0) return base == 1 ? 1 : base == -1 ? (e % 2 == 0 ? 1 : -1) : 0;
  uint64_t p = 1, f = (uint64_t)base;
  for (uint64_t k = (uint64_t)e; k != 0; k >>= 1) {
    if (k & 1) p *= f;
    f *= f;
  }
  return (int64_t)p;
}

static int64_t floor_quotient(int64_t a, int64_t b) {
  if (b == 0) return 0;
  if (b == -1) return (int64_t)(0 - (uint64_t)a);
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static int64_t floor_rest(int64_t a, int64_t b) {
  if (b == 0 || b == -1) return 0;
  int64_t r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static long double whole_binary(int op, lurn_dtype dtype, long double x, long double y) {
  int64_t a = (int64_t)x, b = (int64_t)y;
  uint64_t ua = (uint64_t)a, ub = (uint64_t)b;
  switch (op) {
    case ADD: return naive_wrap(dtype, ua + ub);
    case SUB: return naive_wrap(dtype, ua - ub);
    case MUL: return naive_wrap(dtype, ua * ub);
    case POW: return naive_wrap(dtype, (uint64_t)whole_pow(a, b));
    case MAXIMUM: return a > b ? a : b;
    case MINIMUM: return a < b ? a : b;
    case REMAINDER: return naive_wrap(dtype, (uint64_t)floor_rest(a, b));
    default: return naive_wrap(dtype, (uint64_t)floor_quotient(a, b));
  }
}

/* A quotient that rounding may have moved over an integer. */
static bool near_whole(long double q, lurn_dtype dtype) {
  long double eps = dtype == LURN_FLOAT32 ? 0x1p-22L : 0x1p-51L;
  return fabsl(q - rintl(q)) <= fabsl(q) * eps && q != 0;
}

static long double real_binary(int op, lurn_dtype dtype, long double a, long double b, long double *margin) {
  switch (op) {
    case ADD: return a + b;
    case SUB: return a - b;
    case MUL: return a * b;
    case DIV: return a / b;
    case POW: return powl(a, b);
    case MAXIMUM: return isnan(a) || isnan(b) ? NAN : a > b ? a : b;
    case MINIMUM: return isnan(a) || isnan(b) ? NAN : a < b ? a : b;
    case ATAN2: return atan2l(a, b);
    default: break;
  }
  if (!isfinite(a) || !isfinite(b) || b == 0 || near_whole(a / b, dtype)) *margin = INFINITY;
  if (op == FLOOR_DIVIDE) return floorl(a / b);
  long double r = fmodl(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static bool compare(int op, long double a, long double b) {
  switch (op) {
    case EQ: return a == b;
    case NE: return a != b;
    case LT: return a < b;
    case LE: return a <= b;
    case GT: return a > b;
    case GE: return a >= b;
    case AND: return a != 0 && b != 0;
    case XOR: return (a != 0) != (b != 0);
    default: return a != 0 || b != 0;
  }
}

/* The dtype two operands meet in, and that of the result; false when the op does not take it. */
static bool binary_dtype(const naive_call *call, int op, lurn_dtype *common, lurn_dtype *result) {
  const naive *a = call->in[0], *b = call->in[1];
  lurn_dtype dtype = naive_promote(a, b);
  if (op >= EQ && op != ATAN2) {
    *common = dtype;
    *result = LURN_BOOL;
    return true;
  }
  if (op == SUB && (a->dtype == LURN_BOOL || b->dtype == LURN_BOOL)) return false;
  if (op == ATAN2 && (!naive_is_float(dtype) || (a->weak && b->weak))) dtype = LURN_FLOAT32;
  if (call->inplace && naive_is_float(dtype) == naive_is_float(a->dtype) && a->dtype != LURN_BOOL) dtype = a->dtype;
  if (op == DIV && !naive_is_float(dtype)) dtype = LURN_FLOAT32;
  *common = *result = dtype;
  return dtype != LURN_BOOL || op == ADD || op == MUL || op == MAXIMUM || op == MINIMUM;
}

/* A plain number that the other's integers cannot hold is compared as it is. */
static long double operand(const naive *t, int64_t at, int op, lurn_dtype common) {
  if (op == AND || op == OR || op == XOR || (op >= EQ && t->weak && !naive_is_float(common))) return t->value[at];
  return naive_convert(t->value[at], t->dtype, common);
}

static long double binary_value(int op, lurn_dtype dtype, long double a, long double b, long double *margin) {
  if (op >= EQ && op != ATAN2) return compare(op, a, b);
  if (naive_is_float(dtype)) return real_binary(op, dtype, a, b, margin);
  if (dtype == LURN_BOOL) return op == ADD || op == MAXIMUM ? a != 0 || b != 0 : a != 0 && b != 0;
  return whole_binary(op, dtype, a, b);
}

static naive_verdict run_binary(naive_call *call) {
  int op = 0;
  while (strcmp(binaries[op], call->op->name) != 0) op++;
  const naive *a = call->in[0], *b = call->in[1];
  naive shape;
  lurn_dtype common, result;
  if (!naive_broadcast(a, b, &shape) || !binary_dtype(call, op, &common, &result)) return NAIVE_REFUSED;
  if (!naive_out(call, 0, result, shape.ndim, shape.size)) return NAIVE_UNKNOWN;
  call->ulps = op == POW || op == ATAN2 ? 4 : 1;
  naive *out = &call->out[0];
  for (int64_t i = 0; i < out->n; i++) {
    int64_t index[LURN_MAX_DIMS];
    naive_position(out, i, index);
    out->value[i] = binary_value(op, common, operand(a, naive_under(a, out->ndim, index), op, common),
                                 operand(b, naive_under(b, out->ndim, index), op, common), &out->margin[i]);
  }
  return NAIVE_GIVEN;
}

/* ---- With parameters --------------------------------------------------------------------------------------- */

static bool has_fraction(long double v) { return isfinite(v) && v != truncl(v); }

/* Limits with a fraction make floats of integers. */
static naive_verdict run_clamp(naive_call *call) {
  const naive *x = call->in[0];
  long double low = call->real[1], high = call->real[2];
  if (x->dtype == LURN_BOOL || isnan(low) || isnan(high)) return NAIVE_REFUSED;
  bool floats = !naive_is_float(x->dtype) && (has_fraction(low) || has_fraction(high));
  lurn_dtype dtype = floats ? LURN_FLOAT32 : x->dtype;
  if (!naive_out(call, 0, dtype, x->ndim, x->size)) return NAIVE_UNKNOWN;
  low = naive_convert(low, LURN_FLOAT64, dtype);
  high = naive_convert(high, LURN_FLOAT64, dtype);
  for (int64_t i = 0; i < x->n; i++) {
    long double v = naive_convert(x->value[i], x->dtype, dtype);
    if (v < low) v = low;
    call->out[0].value[i] = v > high ? high : v;
  }
  return NAIVE_GIVEN;
}

static naive_verdict run_hardtanh(naive_call *call) {
  const naive *x = call->in[0];
  long double low = call->real[1], high = call->real[2];
  if (!naive_is_float(x->dtype) || !(low <= high)) return NAIVE_REFUSED;
  if (!naive_out(call, 0, x->dtype, x->ndim, x->size)) return NAIVE_UNKNOWN;
  low = naive_convert(low, LURN_FLOAT64, x->dtype);
  high = naive_convert(high, LURN_FLOAT64, x->dtype);
  for (int64_t i = 0; i < x->n; i++)
    call->out[0].value[i] = x->value[i] < low ? low : x->value[i] > high ? high : x->value[i];
  return NAIVE_GIVEN;
}

static naive_verdict run_slope(naive_call *call) {
  const naive *x = call->in[0];
  if (!naive_is_float(x->dtype)) return NAIVE_REFUSED;
  if (!isfinite(call->real[1]) || !naive_out(call, 0, x->dtype, x->ndim, x->size)) return NAIVE_UNKNOWN;
  bool elu = strcmp(call->op->name, "elu") == 0;
  call->ulps = 6;
  for (int64_t i = 0; i < x->n; i++) {
    long double v = x->value[i];
    call->out[0].value[i] = v > 0 || isnan(v) ? v : call->real[1] * (elu ? expm1l(v) : v);
  }
  return NAIVE_GIVEN;
}

static long double gelu(long double x, bool by_tanh) {
  if (by_tanh) return x / 2 * (1 + tanhl(sqrtl(2 / acosl(-1)) * (x + 0.044715L * x * x * x)));
  return x / 2 * erfcl(-x / sqrtl(2));
}

static long double softplus(long double z) { return z > 0 ? z + log1pl(expl(-z)) : log1pl(expl(z)); }

static naive_verdict run_curve(naive_call *call) {
  const naive *x = call->in[0];
  bool plus = call->op->name[0] == 's';
  long double beta = call->real[1], threshold = call->real[2];
  lurn_dtype dtype = naive_is_float(x->dtype) ? x->dtype : LURN_FLOAT32;
  if (plus ? !(beta > 0) : call->number[1] < 0 || call->number[1] > 1) return NAIVE_REFUSED;
  if ((plus && isinf(beta)) || !naive_out(call, 0, dtype, x->ndim, x->size)) return NAIVE_UNKNOWN;
  call->ulps = 8;
  bool preset = beta == 1 && threshold == 20; /* the curve all along, which threshold is to spare others */
  for (int64_t i = 0; i < x->n; i++) {
    long double v = naive_convert(x->value[i], x->dtype, dtype), y;
    if (!plus) y = gelu(v, call->number[1] == 1);
    else y = beta * v > threshold && !preset ? v : softplus(beta * v) / beta;
    /* the tail 1 + erf cancels; beta v is rounded, and jumps where it meets the threshold */
    call->out[0].margin[i] = plus ? fabsl(y) * (1 + fabsl(beta * v)) : fabsl(v);
    if (plus && !preset && fabsl(beta * v - threshold) <= 1e-6L * fabsl(threshold)) call->out[0].margin[i] = INFINITY;
    call->out[0].value[i] = isinf(v) ? (v > 0 ? v : 0) : y;
  }
  return NAIVE_GIVEN;
}

/* a + w (b - a) */
static naive_verdict run_lerp(naive_call *call) {
  const naive *a = call->in[0], *b = call->in[1], *w = call->in[2];
  naive way, step, all;
  if (!naive_is_float(a->dtype) || b->dtype == LURN_BOOL || w->dtype == LURN_BOOL) return NAIVE_REFUSED;
  if (!naive_meet(b, a, &way) || !naive_meet(&way, w, &step) || !naive_meet(a, &step, &all)) return NAIVE_REFUSED;
  if (!naive_out(call, 0, all.dtype, all.ndim, all.size)) return NAIVE_UNKNOWN;
  bool mixed = way.dtype != all.dtype || step.dtype != all.dtype; /* rounded to float32 on the way */
  call->ulps = naive_is_tame(call) && !mixed ? 4 : INFINITY;
  for (int64_t i = 0; i < call->out[0].n; i++) {
    int64_t at[LURN_MAX_DIMS];
    naive_position(&call->out[0], i, at);
    long double x = naive_convert(a->value[naive_under(a, all.ndim, at)], a->dtype, all.dtype);
    long double y = naive_convert(b->value[naive_under(b, all.ndim, at)], b->dtype, all.dtype);
    long double share = naive_convert(w->value[naive_under(w, all.ndim, at)], w->dtype, all.dtype);
    call->out[0].value[i] = x + share * (y - x);
    call->out[0].margin[i] = fabsl(x) + fabsl(share) * (fabsl(x) + fabsl(y));
  }
  return NAIVE_GIVEN;
}

static naive_verdict choose(naive_call *call, const naive *condition, const naive *a, const naive *b,
                            lurn_dtype dtype) {
  naive both, shape;
  if (!naive_broadcast(a, b, &both) || !naive_broadcast(condition, &both, &shape)) return NAIVE_REFUSED;
  if (!naive_out(call, 0, dtype, shape.ndim, shape.size)) return NAIVE_UNKNOWN;
  naive *out = &call->out[0];
  for (int64_t i = 0; i < out->n; i++) {
    int64_t index[LURN_MAX_DIMS];
    naive_position(out, i, index);
    const naive *from = condition->value[naive_under(condition, out->ndim, index)] != 0 ? a : b;
    out->value[i] = naive_convert(from->value[naive_under(from, out->ndim, index)], from->dtype, dtype);
  }
  return NAIVE_GIVEN;
}

static naive_verdict run_where(naive_call *call) {
  lurn_dtype dtype = naive_promote(call->in[1], call->in[2]);
  if (call->in[1]->weak && call->in[2]->weak && naive_is_float(dtype)) dtype = LURN_FLOAT32;
  return choose(call, call->in[0], call->in[1], call->in[2], dtype);
}

static naive_verdict run_masked_fill(naive_call *call) {
  if (call->in[2]->ndim > 0) return NAIVE_REFUSED;
  return choose(call, call->in[1], call->in[2], call->in[0], call->in[0]->dtype);
}

static naive_verdict fill_with(naive_call *call, const naive *source, lurn_dtype dtype) {
  const naive *x = call->in[0];
  naive shape;
  if (!naive_broadcast(x, source, &shape) || !naive_same_shape(&shape, x)) return NAIVE_REFUSED;
  if (!naive_out(call, 0, dtype, x->ndim, x->size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < x->n; i++) {
    int64_t index[LURN_MAX_DIMS];
    naive_position(x, i, index);
    call->out[0].value[i] = naive_convert(source->value[naive_under(source, x->ndim, index)], source->dtype, dtype);
  }
  return NAIVE_GIVEN;
}

static naive_verdict run_copy(naive_call *call) { return fill_with(call, call->in[1], call->in[0]->dtype); }

static naive_verdict run_fill(naive_call *call) {
  long double v = call->real[1];
  naive value = {.dtype = LURN_FLOAT64, .n = 1, .value = &v};
  return fill_with(call, &value, call->in[0]->dtype);
}

static naive_verdict run_to(naive_call *call) {
  int64_t dtype = call->number[1];
  if (dtype < 0 || dtype >= LURN_DTYPE_COUNT) return NAIVE_REFUSED;
  return fill_with(call, call->in[0], (lurn_dtype)dtype);
}

/* 0 or x / (1 - p). */
static const char *judge_dropout(const naive_call *call, const long double *have) {
  const naive *x = call->in[0];
  long double p = call->real[1], eps = x->dtype == LURN_FLOAT32 ? 0x1p-21L : 0x1p-50L;
  for (int64_t i = 0; i < x->n; i++) {
    long double whole = x->value[i] / (1 - p), most = x->dtype == LURN_FLOAT32 ? 0x1p127L : 0x1p1023L;
    if (have[i] == 0 || !isfinite(whole) || fabsl(whole) > most) continue;
    if (p == 1 || fabsl(have[i] - whole) > eps * fabsl(whole) + 0x1p-149L)
      return "an element is neither 0 nor x / (1 - p)";
  }
  return NULL;
}

static naive_verdict run_dropout(naive_call *call) {
  const naive *x = call->in[0];
  double p = call->real[1];
  if (!naive_is_float(x->dtype) || !(p >= 0 && p <= 1)) return NAIVE_REFUSED;
  if (call->number[2] && p > 0) {
    if (!naive_out(call, 0, x->dtype, x->ndim, x->size)) return NAIVE_UNKNOWN;
    for (int64_t i = 0; i < x->n; i++) call->out[0].margin[i] = INFINITY;
    call->judge = judge_dropout;
    return NAIVE_GIVEN;
  }
  call->source = naive_alloc(x->n, sizeof *call->source);
  for (int64_t i = 0; call->source != NULL && i < x->n; i++) call->source[i] = i;
  return fill_with(call, x, x->dtype);
}

const naive_op naive_elementwise[] = {{"neg", run_unary},
                                      {"abs", run_unary},
                                      {"sign", run_unary},
                                      {"square", run_unary},
                                      {"sqrt", run_unary},
                                      {"rsqrt", run_unary},
                                      {"reciprocal", run_unary},
                                      {"exp", run_unary},
                                      {"expm1", run_unary},
                                      {"log", run_unary},
                                      {"log1p", run_unary},
                                      {"tanh", run_unary},
                                      {"sigmoid", run_unary},
                                      {"relu", run_unary},
                                      {"silu", run_unary},
                                      {"sin", run_unary},
                                      {"cos", run_unary},
                                      {"floor", run_unary},
                                      {"ceil", run_unary},
                                      {"round", run_unary},
                                      {"logical_not", run_unary},
                                      {"isnan", run_unary},
                                      {"isfinite", run_unary},
                                      {"isinf", run_unary},
                                      {"tan", run_unary},
                                      {"asin", run_unary},
                                      {"acos", run_unary},
                                      {"atan", run_unary},
                                      {"sinh", run_unary},
                                      {"cosh", run_unary},
                                      {"erf", run_unary},
                                      {"exp2", run_unary},
                                      {"log2", run_unary},
                                      {"log10", run_unary},
                                      {"trunc", run_unary},
                                      {"frac", run_unary},
                                      {"gelu", run_curve},
                                      {"softplus", run_curve},
                                      {"add", run_binary},
                                      {"sub", run_binary},
                                      {"mul", run_binary},
                                      {"div", run_binary},
                                      {"pow", run_binary},
                                      {"maximum", run_binary},
                                      {"minimum", run_binary},
                                      {"remainder", run_binary},
                                      {"floor_divide", run_binary},
                                      {"eq", run_binary},
                                      {"ne", run_binary},
                                      {"lt", run_binary},
                                      {"le", run_binary},
                                      {"gt", run_binary},
                                      {"ge", run_binary},
                                      {"logical_and", run_binary},
                                      {"logical_or", run_binary},
                                      {"logical_xor", run_binary},
                                      {"atan2", run_binary},
                                      {"clamp", run_clamp},
                                      {"hardtanh", run_hardtanh},
                                      {"elu", run_slope},
                                      {"leaky_relu", run_slope},
                                      {"lerp", run_lerp},
                                      {"where", run_where},
                                      {"masked_fill", run_masked_fill},
                                      {"copy", run_copy},
                                      {"fill", run_fill},
                                      {"to", run_to},
                                      {"dropout", run_dropout},
                                      {NULL, NULL}};
