/* x[key] and x[key] = value: positions, ranges, tensors of positions. */
#include <stdio.h>

#include "binding.h"

typedef enum step_kind { STEP_POSITION, STEP_RANGE, STEP_ALL, STEP_TENSOR } step_kind;

/* What a key says of one dimension, or of as many as a mask has. */
typedef struct step {
  step_kind kind;
  int64_t first, last, stride;
  lurn_tensor *tensor; /* kept by the key */
} step;

/* One step of indexing applied to *view, which is replaced; dim moves on past a dimension that stays. */
static lurn_status apply_integer(lurn_ctx *ctx, lurn_tensor **view, int64_t dim, int64_t at) {
  lurn_tensor *next;
  lurn_status status = lurn_select(ctx, *view, dim, at, &next);
  if (status != LURN_OK) return status;
  lurn_release(*view);
  *view = next;
  return LURN_OK;
}

/* "{2, 9}" or "{2, 9, 2}" as it was given, for messages. */
static const char *print_range(const step *s, char text[80]) {
  int n = snprintf(text, 80, "{%lld, %lld", (long long)(s->first < 0 ? s->first : s->first + 1),
                   (long long)(s->last < 0 ? s->last : s->last + 1));
  snprintf(text + n, 80 - (size_t)n, s->stride == 1 ? "}" : ", %lld}", (long long)s->stride);
  return text;
}

static lurn_status apply_range(lurn_ctx *ctx, lurn_tensor **view, int64_t dim, const step *s) {
  lurn_tensor *next;
  int64_t size = dim < lurn_tensor_ndim(*view) ? lurn_tensor_shape(*view)[dim] : 0;
  int64_t from = s->first < 0 ? s->first + size : s->first, to = s->last < 0 ? s->last + size : s->last;
  if (from < 0 || from > size || to < -1 || to >= size || to - from < -1)
    return lurn_fail(ctx, LURN_EINDEX, "index: range %s in dimension %lld of size %lld", print_range(s, (char[80]){0}),
                     (long long)dim + 1, (long long)size);
  lurn_status status = s->stride == 1 ? lurn_narrow(ctx, *view, dim, from, to - from + 1, &next)
                                      : lurn_slice(ctx, *view, dim, s->first, s->last, s->stride, &next);
  if (status != LURN_OK) return status;
  lurn_release(*view);
  *view = next;
  return LURN_OK;
}

static int dims_of(const step *s) {
  if (s->kind != STEP_TENSOR || lurn_tensor_dtype(s->tensor) != LURN_BOOL) return 1;
  return lurn_tensor_ndim(s->tensor);
}

/* The length of a list at an absolute index; a table with names instead is an error. */
static lua_Unsigned list_length(lua_State *L, int index) {
  lua_Unsigned n = lua_rawlen(L, index);
  lua_pushnil(L);
  if (n == 0 && lua_next(L, index) != 0)
    bind_error(L, "index: expected a list of positions, got a table with other keys");
  lua_settop(L, n == 0 ? -1 : -2);
  return n;
}

static int64_t read_stride(lua_State *L, int index) {
  lua_rawgeti(L, index, 3);
  int64_t stride = bind_check_integer(L, -1, "index", "step of a range");
  if (stride < 1)
    bind_error(L, "index: the step of a range is %lld; expected at least 1; flip turns x around", (long long)stride);
  lua_pop(L, 1);
  return stride;
}

/* Reads {first, last, step}, {first, last}, {at} or {} at the top of the stack. */
static step read_range(lua_State *L) {
  int64_t ends[2] = {0};
  int index = lua_gettop(L), n = 0;
  lua_Unsigned length = list_length(L, index);
  if (length == 0) return (step){.kind = STEP_ALL};
  if (length > 3)
    bind_error(L,
               "index: a range is {first, last, step}, {first, last}, {position} or {}; other positions are named by a "
               "tensor, such as lurn.tensor({1, 4, 2}, {dtype = \"int64\"})");
  for (; n < (int)length && n < 2; n++) {
    lua_rawgeti(L, index, n + 1);
    ends[n] = bind_check_position(L, -1, "index", "position");
    lua_pop(L, 1);
  }
  return (step){
      .kind = STEP_RANGE, .first = ends[0], .last = ends[n - 1], .stride = length == 3 ? read_stride(L, index) : 1};
}

/* Reads the part of a key on top of the stack. */
static step read_step(lua_State *L, bind_state *self) {
  lurn_tensor *t = bind_test_tensor(L, self, -1);
  if (t != NULL) return (step){.kind = STEP_TENSOR, .tensor = t};
  if (lua_istable(L, -1)) return read_range(L);
  return (step){.first = bind_check_position(L, -1, "index", "position")};
}

/* Reads the key at stack index 2. */
static int read_steps(lua_State *L, bind_state *self, step steps[LURN_MAX_DIMS]) {
  if (!lua_istable(L, 2)) {
    lua_pushvalue(L, 2);
    steps[0] = read_step(L, self);
    lua_pop(L, 1);
    return 1;
  }
  lua_Unsigned n = list_length(L, 2);
  if (n > LURN_MAX_DIMS)
    bind_error(L, "index: %d positions; a tensor has at most %d dimensions", (int)n, LURN_MAX_DIMS);
  for (int i = 0; i < (int)n; i++) {
    lua_rawgeti(L, 2, i + 1);
    steps[i] = read_step(L, self);
    lua_pop(L, 1);
  }
  return (int)n;
}

/* ---- The part that a key names ----------------------------------------------------------------------------- */

/* A view of x, in which index tensors still have to pick from neighbouring dimensions. */
typedef struct part {
  lurn_tensor *view; /* owned */
  lurn_tensor *index[LURN_MAX_DIMS];
  int64_t dims[LURN_MAX_DIMS]; /* the first that each stands for */
  int n_index;
} part;

static lurn_status apply_steps(lurn_ctx *ctx, part *p, const step *steps, int n) {
  int64_t dim = 0;
  int given = 0;
  for (int i = 0; i < n; i++) given += dims_of(&steps[i]);
  if (given > lurn_tensor_ndim(p->view))
    return lurn_fail(ctx, LURN_EINDEX, "index: %d positions for a tensor with %d dimensions", given,
                     lurn_tensor_ndim(p->view));
  for (int i = 0; i < n; i++) {
    lurn_status status = LURN_OK;
    if (steps[i].kind == STEP_POSITION) status = apply_integer(ctx, &p->view, dim, steps[i].first);
    if (steps[i].kind == STEP_RANGE) status = apply_range(ctx, &p->view, dim, &steps[i]);
    if (status != LURN_OK) return status;
    if (steps[i].kind == STEP_TENSOR) {
      p->dims[p->n_index] = dim;
      p->index[p->n_index++] = steps[i].tensor;
    }
    if (steps[i].kind != STEP_POSITION) dim += dims_of(&steps[i]);
  }
  return LURN_OK;
}

static int width_of(const lurn_tensor *index) {
  return lurn_tensor_dtype(index) == LURN_BOOL ? lurn_tensor_ndim(index) : 1;
}

/* Brings the dimensions of index tensors that have others between them to the front, where what they pick comes to stand. */
static lurn_status bring_together(lurn_ctx *ctx, part *p) {
  int64_t order[LURN_MAX_DIMS], count = 0;
  bool indexed[LURN_MAX_DIMS] = {false}, apart = false;
  int ndim = lurn_tensor_ndim(p->view);
  for (int k = 0; k < p->n_index; k++) {
    apart = apart || (k > 0 && p->dims[k] != p->dims[k - 1] + width_of(p->index[k - 1]));
    for (int i = 0; i < width_of(p->index[k]); i++) {
      indexed[p->dims[k] + i] = true;
      order[count++] = p->dims[k] + i;
    }
  }
  if (!apart) return LURN_OK;
  for (int i = 0; i < ndim; i++)
    if (!indexed[i]) order[count++] = i;
  lurn_tensor *next;
  lurn_status status = lurn_permute(ctx, p->view, order, ndim, &next);
  if (status != LURN_OK) return status;
  lurn_release(p->view);
  p->view = next;
  p->dims[0] = 0;
  return LURN_OK;
}

static lurn_status find_part(lurn_ctx *ctx, lurn_tensor *x, const step *steps, int n, part *p) {
  *p = (part){.view = lurn_retain(x)};
  lurn_status status = apply_steps(ctx, p, steps, n);
  if (status == LURN_OK) status = bring_together(ctx, p);
  if (status == LURN_OK) return LURN_OK;
  lurn_release(p->view);
  return status;
}

/* ---- Reading and writing ----------------------------------------------------------------------------------- */

int bind_index(lua_State *L, bind_state *self) {
  step steps[LURN_MAX_DIMS];
  part p;
  lua_settop(L, 2);
  lurn_tensor **out = bind_new_tensor(L, self);
  int n = read_steps(L, self, steps);
  lurn_status status = find_part(self->ctx, bind_check_tensor(L, self, 1, "index", "self"), steps, n, &p);
  if (status != LURN_OK) return bind_raise(L, status);
  if (p.n_index == 0) {
    *out = p.view;
    return 1;
  }
  status = lurn_index(self->ctx, p.view, p.dims[0], p.index, p.n_index, 1, out);
  lurn_release(p.view);
  return status == LURN_OK ? 1 : bind_raise(L, status);
}

static lurn_status make_number(lua_State *L, lurn_ctx *ctx, lurn_tensor **out) {
  if (lua_isboolean(L, 3)) return lurn_scalar_int(ctx, lua_toboolean(L, 3), out);
  if (lua_isinteger(L, 3)) return lurn_scalar_int(ctx, lua_tointeger(L, 3), out);
  return lurn_scalar(ctx, lua_tonumber(L, 3), out);
}

int bind_newindex(lua_State *L, bind_state *self) {
  step steps[LURN_MAX_DIMS];
  part p;
  lua_settop(L, 3);
  int n = read_steps(L, self, steps);
  lurn_ctx *ctx = self->ctx;
  lurn_tensor *x = bind_check_tensor(L, self, 1, "index", "self"), *value = bind_test_tensor(L, self, 3),
              *number = NULL;
  if (value == NULL && lua_type(L, 3) != LUA_TNUMBER && !lua_isboolean(L, 3))
    return bind_error(L, "index: cannot assign %s; expected a tensor or a number", bind_typename(L, 3));
  lurn_status status = find_part(ctx, x, steps, n, &p);
  if (status != LURN_OK) return bind_raise(L, status);
  if (value == NULL) status = make_number(L, ctx, &number);
  if (value == NULL) value = number;
  if (status == LURN_OK && p.n_index == 0) status = lurn_copy_(ctx, p.view, value);
  if (status == LURN_OK && p.n_index > 0)
    status = lurn_index_put_(ctx, p.view, p.dims[0], p.index, p.n_index, value, 1);
  lurn_release(number);
  lurn_release(p.view);
  return status == LURN_OK ? 0 : bind_raise(L, status);
}
