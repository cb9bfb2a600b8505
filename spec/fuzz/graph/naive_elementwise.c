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
static long double gelu(long double x) { return x / 2 * erfcl(-x / sqrtl(2)); }
static long double softplus(long double x) { return x > 0 ? x + log1pl(expl(-x)) : log1pl(expl(x)); }
static long double silu(long double x) { return x / (1 + expl(-x)); }
static long double even(long double x) { return rintl(x); }
static long double not(long double x) { return x == 0; }
static long double is_nan(long double x) { return isnan(x) != 0; }
static long double is_finite(long double x) { return isfinite(x) != 0; }

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
                                {"gelu", gelu, TO_FLOAT, true, true, 8},
                                {"softplus", softplus, TO_FLOAT, true, true, 8},
                                {"silu", silu, TO_FLOAT, true, true, 8},
                                {"sin", sinl, TO_FLOAT, true, true, 4},
                                {"cos", cosl, TO_FLOAT, true, true, 4},
                                {"floor", floorl, SAME, false, true, 1},
                                {"ceil", ceill, SAME, false, true, 1},
                                {"round", even, SAME, false, true, 1},
                                {"logical_not", not, TO_BOOL, true, true, 1},
                                {"isnan", is_nan, TO_BOOL, true, true, 1},
                                {"isfinite", is_finite, TO_BOOL, true, true, 1},
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

/* x as an integer of its dtype would be wrapped. */
static long double wrap(lurn_dtype dtype, uint64_t bits) {
  return naive_convert((long double)(int64_t)bits, LURN_INT64, dtype);
}

static long double whole_unary(const unary *u, lurn_dtype dtype, long double x) {
  uint64_t bits = (uint64_t)(int64_t)x;
  if (u->of == neg) return wrap(dtype, 0 - bits);
  if (u->of == square) return wrap(dtype, bits * bits);
  if (u->of == fabsl) return wrap(dtype, x < 0 ? 0 - bits : bits);
  return u->of(x);
}

static bool in_place_fits(const naive_call *call, lurn_dtype dtype, const naive *shape) {
  return !call->inplace || (dtype == call->in[0]->dtype && naive_same_shape(shape, call->in[0]));
}

static naive_verdict run_unary(naive_call *call) {
  const unary *u = find_unary(call->op->name);
  const naive *x = call->in[0];
  lurn_dtype dtype = unary_dtype(u, x->dtype);
  bool optional = u->of == softplus && (call->real[1] != 1 || call->real[2] != 20);
  if (optional || (u->of == gelu && call->number[1] != 0)) return NAIVE_UNKNOWN; /* other formulas than here */
  if (x->dtype == LURN_BOOL && !u->bools) return NAIVE_REFUSED;
  if (!in_place_fits(call, dtype, x)) return NAIVE_REFUSED;
  if (!naive_out(call, 0, dtype, x->ndim, x->size)) return NAIVE_UNKNOWN;
  call->ulps = u->ulps;
  for (int64_t i = 0; i < x->n; i++) {
    long double v = x->value[i];
    if (dtype == LURN_BOOL) call->out[0].value[i] = u->of(v);
    else if (naive_is_float(dtype)) call->out[0].value[i] = u->of(naive_convert(v, x->dtype, dtype));
    else call->out[0].value[i] = whole_unary(u, dtype, v);
    if (u->of == gelu) call->out[0].margin[i] = fabsl(v); /* the tail 1 + erf cancels */
  }
  return NAIVE_GIVEN;
}

/* ---- Two inputs -------------------------------------------------------------------------------------------- */

enum { ADD, SUB, MUL, DIV, POW, MAXIMUM, MINIMUM, REMAINDER, FLOOR_DIVIDE, EQ, NE, LT, LE, GT, GE, AND, OR };
static const char *const binaries[] = {"add",     "sub",       "mul",          "div",         "pow",        "maximum",
                                       "minimum", "remainder", "floor_divide", "eq",          "ne",         "lt",
                                       "le",      "gt",        "ge",           "logical_and", "logical_or", NULL};

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
    case ADD: return wrap(dtype, ua + ub);
    case SUB: return wrap(dtype, ua - ub);
    case MUL: return wrap(dtype, ua * ub);
    case POW: return wrap(dtype, (uint64_t)whole_pow(a, b));
    case MAXIMUM: return a > b ? a : b;
    case MINIMUM: return a < b ? a : b;
    case REMAINDER: return wrap(dtype, (uint64_t)floor_rest(a, b));
    default: return wrap(dtype, (uint64_t)floor_quotient(a, b));
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
    default: return a != 0 || b != 0;
  }
}

/* The dtype two operands meet in, and that of the result; false when the op does not take it. */
static bool binary_dtype(const naive_call *call, int op, lurn_dtype *common, lurn_dtype *result) {
  const naive *a = call->in[0], *b = call->in[1];
  lurn_dtype dtype = naive_promote(a, b);
  if (op >= EQ) {
    *common = dtype;
    *result = LURN_BOOL;
    return true;
  }
  if (op == SUB && (a->dtype == LURN_BOOL || b->dtype == LURN_BOOL)) return false;
  if (call->inplace && naive_is_float(dtype) == naive_is_float(a->dtype) && a->dtype != LURN_BOOL) dtype = a->dtype;
  if (op == DIV && !naive_is_float(dtype)) dtype = LURN_FLOAT32;
  *common = *result = dtype;
  return dtype != LURN_BOOL || op == ADD || op == MUL || op == MAXIMUM || op == MINIMUM;
}

/* A plain number that the other's integers cannot hold is compared as it is. */
static long double operand(const naive *t, int64_t at, int op, lurn_dtype common) {
  if (op == AND || op == OR || (op >= EQ && t->weak && !naive_is_float(common))) return t->value[at];
  return naive_convert(t->value[at], t->dtype, common);
}

static long double binary_value(int op, lurn_dtype dtype, long double a, long double b, long double *margin) {
  if (op >= EQ) return compare(op, a, b);
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
  if (!in_place_fits(call, result, &shape)) return NAIVE_REFUSED;
  if (!naive_out(call, 0, result, shape.ndim, shape.size)) return NAIVE_UNKNOWN;
  call->ulps = op == POW ? 4 : 1;
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

static naive_verdict run_clamp(naive_call *call) {
  const naive *x = call->in[0];
  long double low = call->real[1], high = call->real[2];
  if (x->dtype == LURN_BOOL || isnan(low) || isnan(high)) return NAIVE_REFUSED;
  if (!naive_out(call, 0, x->dtype, x->ndim, x->size)) return NAIVE_UNKNOWN;
  low = naive_convert(low, LURN_FLOAT64, x->dtype);
  high = naive_convert(high, LURN_FLOAT64, x->dtype);
  for (int64_t i = 0; i < x->n; i++) {
    long double v = x->value[i] < low ? low : x->value[i];
    call->out[0].value[i] = v > high ? high : v;
  }
  return NAIVE_GIVEN;
}

static naive_verdict run_hardtanh(naive_call *call) {
  const naive *x = call->in[0];
  long double low = call->real[1], high = call->real[2];
  if (!naive_is_float(x->dtype)) return NAIVE_REFUSED;
  if (!(low <= high) || !naive_out(call, 0, x->dtype, x->ndim, x->size)) return NAIVE_UNKNOWN;
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

static naive_verdict choose(naive_call *call, const naive *condition, const naive *a, const naive *b,
                            lurn_dtype dtype) {
  naive both, shape;
  if (!naive_broadcast(a, b, &both) || !naive_broadcast(condition, &both, &shape)) return NAIVE_REFUSED;
  if (!in_place_fits(call, dtype, &shape)) return NAIVE_REFUSED;
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
  long double v = call->real[2];
  naive value = {.dtype = LURN_FLOAT64, .n = 1, .weak = true, .value = &v};
  return choose(call, call->in[1], &value, call->in[0], call->in[0]->dtype);
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

static naive_verdict run_dropout(naive_call *call) {
  const naive *x = call->in[0];
  double p = call->real[1];
  if (!naive_is_float(x->dtype) || !(p >= 0 && p <= 1)) return NAIVE_REFUSED;
  if (call->number[2] && p > 0) return NAIVE_UNKNOWN;
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
                                      {"gelu", run_unary},
                                      {"softplus", run_unary},
                                      {"silu", run_unary},
                                      {"sin", run_unary},
                                      {"cos", run_unary},
                                      {"floor", run_unary},
                                      {"ceil", run_unary},
                                      {"round", run_unary},
                                      {"logical_not", run_unary},
                                      {"isnan", run_unary},
                                      {"isfinite", run_unary},
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
                                      {"clamp", run_clamp},
                                      {"hardtanh", run_hardtanh},
                                      {"elu", run_slope},
                                      {"leaky_relu", run_slope},
                                      {"where", run_where},
                                      {"masked_fill", run_masked_fill},
                                      {"copy", run_copy},
                                      {"fill", run_fill},
                                      {"to", run_to},
                                      {"dropout", run_dropout},
                                      {NULL, NULL}};
