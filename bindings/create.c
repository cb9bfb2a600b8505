/* Making tensors: from shapes, from Lua tables and strings, at random. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "binding.h"

/* ---- Options: {dtype = , requires_grad = } ----------------------------------------------------------------- */

typedef struct creation {
  lurn_dtype dtype;
  bool dtype_given, requires_grad;
} creation;

static creation read_options(lua_State *L, int index, const char *who) {
  static const char *const names[] = {"dtype", "requires_grad", NULL};
  creation c = {.dtype = LURN_FLOAT32};
  if (lua_gettop(L) > index) bind_error(L, "%s: too many arguments", who);
  bind_check_options(L, index, who, names);
  if (!lua_istable(L, index)) return c;
  if (lua_getfield(L, index, "dtype") != LUA_TNIL) {
    c.dtype = bind_check_dtype(L, -1, who);
    c.dtype_given = true;
  }
  if (lua_getfield(L, index, "requires_grad") != LUA_TNIL)
    c.requires_grad = bind_check_flag(L, -1, who, "requires_grad");
  lua_pop(L, 2);
  return c;
}

static int finish(lua_State *L, const creation *c, lurn_tensor *t, lurn_status status) {
  if (status == LURN_OK && c->requires_grad) status = lurn_tensor_set_requires_grad(t, true);
  return status == LURN_OK ? 1 : bind_raise(L, status);
}

/* A shape as bind_check_shape reads it, checked; nothing at all is the shape of a scalar. */
static int read_shape(lua_State *L, int first, const char *who, int64_t shape[LURN_MAX_DIMS], int *next) {
  if (!lua_isnone(L, first) && !lua_istable(L, first) && lua_type(L, first) != LUA_TNUMBER)
    return bind_error(L, "%s: shape: expected whole numbers or a table of them, got %s", who, bind_typename(L, first));
  int ndim = bind_check_shape(L, first, who, shape, next);
  for (int i = 0; i < ndim; i++)
    if (shape[i] < 0) return bind_error(L, "%s: negative size %lld", who, (long long)shape[i]);
  return ndim;
}

static int64_t check_count(lua_State *L, int index, const char *who, const char *what) {
  int64_t n = bind_check_integer(L, index, who, what);
  if (n < 0) bind_error(L, "%s: %s is %lld; expected at least 0", who, what, (long long)n);
  return n;
}

/* The engine's message under the name of the function that was called. */
static lurn_status renamed(lurn_ctx *ctx, const char *who, lurn_status status) {
  char text[512];
  if (status == LURN_OK) return LURN_OK;
  snprintf(text, sizeof text, "%s", lurn_error(ctx));
  const char *rest = strncmp(text, "full: ", 6) == 0 ? text + 6 : strncmp(text, "empty: ", 7) == 0 ? text + 7 : text;
  return lurn_fail(ctx, status, "%s: %s", who, rest);
}

/* ---- Constant -------------------------------------------------------------------------------------------- */

static int filled(lua_State *L, const char *who, double value) {
  bind_state *self = bind_self(L);
  int64_t shape[LURN_MAX_DIMS];
  int next, ndim = read_shape(L, 1, who, shape, &next);
  creation c = read_options(L, next, who);
  lurn_tensor **out = bind_new_tensor(L, self);
  lurn_status status = renamed(self->ctx, who, lurn_full(self->ctx, c.dtype, ndim, shape, value, out));
  return finish(L, &c, *out, status);
}

static int zeros(lua_State *L) { return filled(L, "zeros", 0); }
static int ones(lua_State *L) { return filled(L, "ones", 1); }

static int empty(lua_State *L) {
  bind_state *self = bind_self(L);
  int64_t shape[LURN_MAX_DIMS];
  int next, ndim = read_shape(L, 1, "empty", shape, &next);
  creation c = read_options(L, next, "empty");
  lurn_tensor **out = bind_new_tensor(L, self);
  lurn_status status = renamed(self->ctx, "empty", lurn_empty(self->ctx, c.dtype, ndim, shape, out));
  return finish(L, &c, *out, status);
}

/* t = value, of which no digit is lost on the way. */
static lurn_status fill_integer(lurn_ctx *ctx, lurn_tensor *t, int64_t value) {
  lurn_tensor *number;
  lurn_status status = lurn_scalar_int(ctx, value, &number);
  if (status != LURN_OK) return status;
  status = lurn_copy_(ctx, t, number);
  lurn_release(number);
  return status;
}

/* full({2, 3}, value [, options]) */
static int full(lua_State *L) {
  bind_state *self = bind_self(L);
  int64_t shape[LURN_MAX_DIMS];
  if (!lua_istable(L, 1)) return bind_error(L, "full: shape: expected a table, got %s", bind_typename(L, 1));
  int next, ndim = read_shape(L, 1, "full", shape, &next);
  double value = lua_isboolean(L, 2) ? lua_toboolean(L, 2) : bind_check_number(L, 2, "full", "value");
  creation c = read_options(L, 3, "full");
  lurn_tensor **out = bind_new_tensor(L, self);
  lurn_status status = renamed(self->ctx, "full", lurn_full(self->ctx, c.dtype, ndim, shape, value, out));
  if (status == LURN_OK && lua_isinteger(L, 2)) status = fill_integer(self->ctx, *out, lua_tointeger(L, 2));
  return finish(L, &c, *out, status);
}

/* ---- Ranges ------------------------------------------------------------------------------------------------ */

typedef struct range {
  bool integers; /* all numbers are: then the whole ones count, exact beyond 2^53 */
  double first, last, step;
  struct {
    int64_t first, last, step;
  } whole;
} range;

static double range_count(const range *r) {
  double count = floor((r->last - r->first) / r->step * (1 + 1e-12)) + 1;
  if (!r->integers) return count > 0 ? count : 0;
  if (r->whole.step > 0 ? r->whole.first > r->whole.last : r->whole.first < r->whole.last) return 0;
  uint64_t first = (uint64_t)r->whole.first, last = (uint64_t)r->whole.last, step = (uint64_t)r->whole.step;
  uint64_t steps = r->whole.step > 0 ? (last - first) / step : (first - last) / (0 - step);
  return (double)steps + 1;
}

/* arange(last), arange(first, last [, step]): last included, as in Lua's for.  Integers unless a number is a float. */
static int arange(lua_State *L) {
  bind_state *self = bind_self(L);
  int numbers = 0;
  while (numbers < 3 && lua_type(L, numbers + 1) == LUA_TNUMBER) numbers++;
  if (numbers == 0) return bind_error(L, "arange: expected a number, got %s", bind_typename(L, 1));
  creation c = read_options(L, numbers + 1, "arange");
  range r = {.integers = true, .first = 1, .step = 1, .whole = {.first = 1, .step = 1}};
  int at_last = numbers > 1 ? 2 : 1;
  for (int i = 1; i <= numbers; i++) r.integers = r.integers && lua_isinteger(L, i);
  if (numbers > 1) r.first = lua_tonumber(L, 1), r.whole.first = lua_tointeger(L, 1);
  if (numbers > 2) r.step = lua_tonumber(L, 3), r.whole.step = lua_tointeger(L, 3);
  r.last = lua_tonumber(L, at_last), r.whole.last = lua_tointeger(L, at_last);
  if (!c.dtype_given) c.dtype = r.integers ? LURN_INT64 : LURN_FLOAT32;
  if (r.step == 0 || !isfinite(r.step) || !isfinite(r.first) || !isfinite(r.last))
    return bind_error(L, "arange: from %g to %g in steps of %g", r.first, r.last, r.step);
  double count = range_count(&r);
  if (count > 1e15) return bind_error(L, "arange: %g elements", count);
  int64_t n = (int64_t)count;
  lurn_tensor **out = bind_new_tensor(L, self);
  lurn_status status = lurn_empty(self->ctx, c.dtype, 1, &n, out);
  for (int64_t i = 0; status == LURN_OK && i < n; i++) {
    if (r.integers)
      status = lurn_tensor_set_int(*out, &i, (int64_t)((uint64_t)r.whole.first + (uint64_t)i * (uint64_t)r.whole.step));
    else status = lurn_tensor_set(*out, &i, r.first + (double)i * r.step);
  }
  return finish(L, &c, *out, status);
}

/* linspace(first, last, n) */
static int linspace(lua_State *L) {
  bind_state *self = bind_self(L);
  double first = bind_check_number(L, 1, "linspace", "first"), last = bind_check_number(L, 2, "linspace", "last");
  int64_t n = check_count(L, 3, "linspace", "n");
  creation c = read_options(L, 4, "linspace");
  lurn_tensor **out = bind_new_tensor(L, self);
  lurn_status status = lurn_empty(self->ctx, c.dtype, 1, &n, out);
  for (int64_t i = 0; status == LURN_OK && i < n; i++)
    status = lurn_tensor_set(*out, &i, i == n - 1 ? last : first + (last - first) * (double)i / (double)(n - 1));
  if (status == LURN_OK && n == 1) status = lurn_tensor_set(*out, (int64_t[]){0}, first);
  return finish(L, &c, *out, status);
}

/* eye(n [, m]) */
static int eye(lua_State *L) {
  bind_state *self = bind_self(L);
  int64_t n = check_count(L, 1, "eye", "n");
  bool has_m = lua_type(L, 2) == LUA_TNUMBER;
  int64_t m = has_m ? check_count(L, 2, "eye", "m") : n;
  creation c = read_options(L, has_m ? 3 : 2, "eye");
  lurn_tensor **out = bind_new_tensor(L, self);
  lurn_status status = lurn_zeros(self->ctx, c.dtype, 2, (int64_t[]){n, m}, out);
  for (int64_t i = 0; status == LURN_OK && i < n && i < m; i++) status = lurn_tensor_set(*out, (int64_t[]){i, i}, 1);
  return finish(L, &c, *out, status);
}

/* ---- From Lua ---------------------------------------------------------------------------------------------- */

/* The shape of nested tables, judged by the first element of each. */
static int nested_shape(lua_State *L, int index, int64_t shape[LURN_MAX_DIMS]) {
  int ndim = 0;
  lua_pushvalue(L, index);
  while (lua_istable(L, -1)) {
    if (ndim == LURN_MAX_DIMS) bind_error(L, "tensor: more than %d levels of tables", LURN_MAX_DIMS);
    shape[ndim] = luaL_len(L, -1);
    if (shape[ndim++] == 0) break;
    lua_geti(L, -1, 1);
    lua_remove(L, -2);
  }
  lua_pop(L, 1);
  return ndim;
}

typedef struct filling {
  lurn_tensor **slot; /* of the userdata: metamethods of the tables may free the tensor */
  int ndim;
  int64_t shape[LURN_MAX_DIMS], at[LURN_MAX_DIMS];
} filling;

static void where(const filling *f, int depth, char text[128]) {
  size_t used = 0;
  text[0] = '\0';
  for (int i = 0; i < depth && used < 100; i++)
    used += (size_t)snprintf(text + used, 128 - used, "[%lld]", (long long)f->at[i] + 1);
}

/* Fields of the table on top beside its n elements, such as options that got into it, would go unnoticed. */
static void check_fields(lua_State *L, int64_t n) {
  luaL_checkstack(L, 3, "tensor");
  if (lua_getmetatable(L, -1)) { /* what it shows as elements need not be fields */
    lua_pop(L, 1);
    return;
  }
  lua_pushnil(L);
  while (lua_next(L, -2) != 0) {
    lua_pop(L, 1);
    if (lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 1 && lua_tointeger(L, -1) <= n) continue;
    bind_error(L, "tensor: a table of elements has the field %s; options are given after it",
               luaL_tolstring(L, -1, NULL));
  }
}

/* Stores the nested tables on top of the stack; they must have the shape everywhere. */
static void fill_nested(lua_State *L, filling *f, int dim) {
  char text[128];
  if (dim < f->ndim) {
    where(f, dim, text);
    if (!lua_istable(L, -1))
      bind_error(L, "tensor: the tables are ragged: element %s is %s; expected a table of %lld", text,
                 bind_typename(L, -1), (long long)f->shape[dim]);
    if (luaL_len(L, -1) != f->shape[dim])
      bind_error(L, "tensor: the tables are ragged: element %s has %lld entries; expected %lld", text,
                 (long long)luaL_len(L, -1), (long long)f->shape[dim]);
    check_fields(L, f->shape[dim]);
    for (f->at[dim] = 0; f->at[dim] < f->shape[dim]; f->at[dim]++) {
      lua_geti(L, -1, f->at[dim] + 1);
      fill_nested(L, f, dim + 1);
      lua_pop(L, 1);
    }
    return;
  }
  lurn_status status = LURN_EVALUE;
  if (*f->slot == NULL) bind_error(L, "tensor: it was freed while it was filled");
  if (lua_isinteger(L, -1)) status = lurn_tensor_set_int(*f->slot, f->at, lua_tointeger(L, -1));
  else if (lua_type(L, -1) == LUA_TNUMBER) status = lurn_tensor_set(*f->slot, f->at, lua_tonumber(L, -1));
  else if (lua_isboolean(L, -1)) status = lurn_tensor_set_int(*f->slot, f->at, lua_toboolean(L, -1));
  if (status == LURN_OK) return;
  where(f, f->ndim, text);
  bind_error(L, "tensor: element %s is %s; expected a number or a boolean", text, bind_typename(L, -1));
}

/* tensor(value [, options]): a number, a boolean, or nested tables of them.  float32 unless told otherwise. */
static int from_table(lua_State *L) {
  bind_state *self = bind_self(L);
  filling f;
  int type = lua_type(L, 1);
  if (type != LUA_TTABLE && type != LUA_TNUMBER && type != LUA_TBOOLEAN)
    return bind_error(L, "tensor: expected a number or nested tables of numbers, got %s", bind_typename(L, 1));
  creation c = read_options(L, 2, "tensor");
  f.ndim = nested_shape(L, 1, f.shape);
  lurn_tensor **out = bind_new_tensor(L, self);
  lurn_status status = lurn_empty(self->ctx, c.dtype, f.ndim, f.shape, out);
  if (status != LURN_OK) return bind_raise(L, status);
  f.slot = out;
  lua_pushvalue(L, 1);
  fill_nested(L, &f, 0);
  lua_pop(L, 1);
  if (*out == NULL) return bind_error(L, "tensor: it was freed while it was filled");
  return finish(L, &c, *out, LURN_OK);
}

/* frombytes(string, dtype [, shape]): the bytes of a contiguous tensor as tobytes gives them. */
static int frombytes(lua_State *L) {
  bind_state *self = bind_self(L);
  size_t bytes;
  bind_check_string(L, 1, "frombytes", "bytes");
  const char *data = lua_tolstring(L, 1, &bytes);
  lurn_dtype dtype = bind_check_dtype(L, 2, "frombytes");
  int64_t width = (int64_t)lurn_dtype_size(dtype), shape[LURN_MAX_DIMS], count = 1;
  int ndim = 1, next;
  shape[0] = (int64_t)bytes / width;
  if (!lua_isnoneornil(L, 3)) ndim = bind_check_shape(L, 3, "frombytes", shape, &next);
  for (int i = 0; i < ndim; i++)
    if (__builtin_mul_overflow(count, shape[i], &count)) count = -1;
  if (count < 0 || count > INT64_MAX / width || count * width != (int64_t)bytes)
    return bind_error(L, "frombytes: %zu bytes do not make a %s tensor of that shape", bytes, lurn_dtype_name(dtype));
  for (size_t i = 0; dtype == LURN_BOOL && i < bytes; i++)
    if ((unsigned char)data[i] > 1)
      return bind_error(L, "frombytes: byte %zu is %d; a bool is 0 or 1", i + 1, (unsigned char)data[i]);
  lurn_tensor **out = bind_new_tensor(L, self);
  lurn_status status = lurn_from_data(self->ctx, dtype, ndim, shape, data, out);
  return status == LURN_OK ? 1 : bind_raise(L, status);
}

/* ---- Random ------------------------------------------------------------------------------------------------ */

typedef lurn_status fill_fn(lurn_ctx *ctx, lurn_tensor *t, double a, double b);

static int random_tensor(lua_State *L, const char *who, fill_fn *fill) {
  bind_state *self = bind_self(L);
  int64_t shape[LURN_MAX_DIMS];
  int next, ndim = read_shape(L, 1, who, shape, &next);
  creation c = read_options(L, next, who);
  lurn_tensor **out = bind_new_tensor(L, self);
  lurn_status status = renamed(self->ctx, who, lurn_empty(self->ctx, c.dtype, ndim, shape, out));
  if (status == LURN_OK) status = fill(self->ctx, *out, 0, 1);
  return finish(L, &c, *out, status);
}

static int rand_uniform(lua_State *L) { return random_tensor(L, "rand", lurn_uniform_); }
static int rand_normal(lua_State *L) { return random_tensor(L, "randn", lurn_normal_); }

/* Brings a tensor of int64 to the dtype that was asked for. */
static int finish_integers(lua_State *L, bind_state *self, const creation *c, lurn_tensor **t, lurn_status status) {
  if (status == LURN_OK && c->dtype_given && c->dtype != LURN_INT64) {
    lurn_tensor *converted;
    status = lurn_to(self->ctx, *t, c->dtype, &converted);
    if (status != LURN_OK) return bind_raise(L, status);
    lurn_release(*t);
    *t = converted;
  }
  return finish(L, c, *t, status);
}

/* randint(low, high, shape... [, options]): whole numbers of low..high, both included; int64 unless told otherwise. */
static int randint(lua_State *L) {
  bind_state *self = bind_self(L);
  int64_t shape[LURN_MAX_DIMS], low = bind_check_integer(L, 1, "randint", "low");
  int64_t high = bind_check_integer(L, 2, "randint", "high");
  int next, ndim = read_shape(L, 3, "randint", shape, &next);
  creation c = read_options(L, next, "randint");
  lurn_tensor **out = bind_new_tensor(L, self);
  lurn_status status = lurn_randint(self->ctx, low, high, ndim, shape, out);
  return finish_integers(L, self, &c, out, status);
}

/* randperm(n [, options]): 1..n in random order; int64 unless told otherwise. */
static int randperm(lua_State *L) {
  bind_state *self = bind_self(L);
  int64_t n = check_count(L, 1, "randperm", "n");
  creation c = read_options(L, 2, "randperm");
  lurn_tensor **out = bind_new_tensor(L, self);
  lurn_status status = lurn_randperm(self->ctx, n, 1, out);
  return finish_integers(L, self, &c, out, status);
}

static int fill_method(lua_State *L, const char *who, fill_fn *fill, const char *a, const char *b) {
  bind_state *self = bind_self(L);
  lurn_tensor *t = bind_check_tensor(L, self, 1, who, "self");
  double x = lua_isnoneornil(L, 2) ? 0 : bind_check_number(L, 2, who, a);
  double y = lua_isnoneornil(L, 3) ? 1 : bind_check_number(L, 3, who, b);
  lurn_status status = fill(self->ctx, t, x, y);
  if (status != LURN_OK) return bind_raise(L, status);
  lua_settop(L, 1);
  return 1;
}

static int uniform_(lua_State *L) { return fill_method(L, "uniform_", lurn_uniform_, "low", "high"); }
static int normal_(lua_State *L) { return fill_method(L, "normal_", lurn_normal_, "mean", "std"); }

static int bernoulli_(lua_State *L) {
  bind_state *self = bind_self(L);
  lurn_tensor *t = bind_check_tensor(L, self, 1, "bernoulli_", "self");
  lurn_status status =
      lurn_bernoulli_(self->ctx, t, lua_isnoneornil(L, 2) ? 0.5 : bind_check_number(L, 2, "bernoulli_", "p"));
  if (status != LURN_OK) return bind_raise(L, status);
  lua_settop(L, 1);
  return 1;
}

void bind_open_create(lua_State *L, bind_state *self) {
  static const luaL_Reg functions[] = {{"zeros", zeros},
                                       {"ones", ones},
                                       {"empty", empty},
                                       {"full", full},
                                       {"arange", arange},
                                       {"linspace", linspace},
                                       {"eye", eye},
                                       {"tensor", from_table},
                                       {"frombytes", frombytes},
                                       {"rand", rand_uniform},
                                       {"randn", rand_normal},
                                       {"randint", randint},
                                       {"randperm", randperm},
                                       {NULL, NULL}};
  static const luaL_Reg methods[] = {
      {"uniform_", uniform_}, {"normal_", normal_}, {"bernoulli_", bernoulli_}, {NULL, NULL}};
  bind_functions(L, self, functions);
  bind_push_methods(L);
  bind_functions(L, self, methods);
  lua_pop(L, 1);
}
