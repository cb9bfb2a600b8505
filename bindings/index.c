/* x[key] and x[key] = value: positions, ranges, tensors of positions. */
#include "binding.h"

/* One step of indexing applied to *view, which is replaced; dim moves on past a dimension that stays. */
static lurn_status apply_integer(lurn_ctx *ctx, lurn_tensor **view, int64_t dim, int64_t at) {
  lurn_tensor *next;
  lurn_status status = lurn_select(ctx, *view, dim, at, &next);
  if (status != LURN_OK) return status;
  lurn_release(*view);
  *view = next;
  return LURN_OK;
}

static lurn_status apply_range(lurn_ctx *ctx, lurn_tensor **view, int64_t dim, int64_t first, int64_t last) {
  lurn_tensor *next;
  int64_t size = dim < lurn_tensor_ndim(*view) ? lurn_tensor_shape(*view)[dim] : 0;
  int64_t from = first < 0 ? first + size : first, to = last < 0 ? last + size : last;
  if (from < 0 || from > size || to < -1 || to >= size || to - from < -1)
    return lurn_fail(ctx, LURN_EINDEX, "index: range {%lld, %lld} in dimension %lld of size %lld",
                     (long long)(first < 0 ? first : first + 1), (long long)(last < 0 ? last : last + 1),
                     (long long)dim + 1, (long long)size);
  lurn_status status = lurn_narrow(ctx, *view, dim, from, to - from + 1, &next);
  if (status != LURN_OK) return status;
  lurn_release(*view);
  *view = next;
  return LURN_OK;
}

typedef struct step {
  bool is_range, is_all;
  int64_t first, last;
} step;

/* The length of a list at an absolute index; a table with names instead is an error. */
static lua_Unsigned list_length(lua_State *L, int index) {
  lua_Unsigned n = lua_rawlen(L, index);
  lua_pushnil(L);
  if (n == 0 && lua_next(L, index) != 0)
    bind_error(L, "index: expected a list of positions, got a table with other keys");
  lua_settop(L, n == 0 ? -1 : -2);
  return n;
}

/* Reads {first, last}, {at} or {} at the top of the stack. */
static step read_range(lua_State *L) {
  int64_t ends[LURN_MAX_DIMS];
  int index = lua_gettop(L), n = 0;
  lua_Unsigned length = list_length(L, index);
  if (length == 0) return (step){.is_range = true, .is_all = true};
  if (length > 2) bind_error(L, "index: a range is {first, last}, {position} or {}");
  for (; n < (int)length; n++) {
    lua_rawgeti(L, index, n + 1);
    ends[n] = bind_check_position(L, -1, "index", "position");
    lua_pop(L, 1);
  }
  return (step){.is_range = true, .first = ends[0], .last = ends[length - 1]};
}

static int read_steps(lua_State *L, int index, step steps[LURN_MAX_DIMS]) {
  lua_Unsigned n = list_length(L, index);
  if (n > LURN_MAX_DIMS)
    bind_error(L, "index: %d positions; a tensor has at most %d dimensions", (int)n, LURN_MAX_DIMS);
  for (int i = 0; i < (int)n; i++) {
    lua_rawgeti(L, index, i + 1);
    if (lua_istable(L, -1)) steps[i] = read_range(L);
    else steps[i] = (step){.first = bind_check_position(L, -1, "index", "position")};
    lua_pop(L, 1);
  }
  return (int)n;
}

static lurn_status apply_steps(lurn_ctx *ctx, lurn_tensor **view, const step *steps, int n) {
  int64_t dim = 0;
  if (n > lurn_tensor_ndim(*view))
    return lurn_fail(ctx, LURN_EINDEX, "index: %d positions for a tensor with %d dimensions", n,
                     lurn_tensor_ndim(*view));
  for (int i = 0; i < n; i++) {
    lurn_status status = LURN_OK;
    if (!steps[i].is_range) status = apply_integer(ctx, view, dim, steps[i].first);
    else if (!steps[i].is_all) status = apply_range(ctx, view, dim, steps[i].first, steps[i].last);
    if (status != LURN_OK) return status;
    dim += steps[i].is_range;
  }
  return LURN_OK;
}

/* Pushes the view that the key at stack index 2 names. */
static lurn_tensor *push_view(lua_State *L, bind_state *self) {
  step steps[LURN_MAX_DIMS];
  int n = 1;
  lurn_tensor **view = bind_new_tensor(L, self);
  if (lua_istable(L, 2)) n = read_steps(L, 2, steps);
  else steps[0] = (step){.first = bind_check_position(L, 2, "index", "position")};
  *view = lurn_retain(bind_check_tensor(L, self, 1, "index", "self"));
  lurn_status status = apply_steps(self->ctx, view, steps, n);
  if (status != LURN_OK) bind_raise(L, status);
  return *view;
}

int bind_index(lua_State *L, bind_state *self) {
  lua_settop(L, 2);
  if (bind_test_tensor(L, self, 2) == NULL) {
    push_view(L, self);
    return 1;
  }
  lurn_tensor **out = bind_new_tensor(L, self);
  lurn_tensor *key = bind_test_tensor(L, self, 2), *x = bind_check_tensor(L, self, 1, "index", "self");
  if (lurn_tensor_dtype(key) == LURN_BOOL)
    return bind_error(L, "index: a mask of bools cannot be read with in this version");
  lurn_status status = lurn_index_select(self->ctx, x, 0, key, 1, out);
  return status == LURN_OK ? 1 : bind_raise(L, status);
}

static int assign(lua_State *L, bind_state *self, lurn_tensor *view) {
  lurn_ctx *ctx = self->ctx;
  lurn_tensor *value = bind_test_tensor(L, self, 3), *number = NULL;
  lurn_status status = LURN_OK;
  if (value == NULL && lua_type(L, 3) != LUA_TNUMBER && !lua_isboolean(L, 3))
    return bind_error(L, "index: cannot assign %s; expected a tensor or a number", bind_typename(L, 3));
  if (value == NULL) {
    if (lua_isinteger(L, 3) || lua_isboolean(L, 3))
      status = lurn_scalar_int(ctx, lua_isboolean(L, 3) ? lua_toboolean(L, 3) : lua_tointeger(L, 3), &number);
    else status = lurn_scalar(ctx, lua_tonumber(L, 3), &number);
    value = number;
  }
  if (status == LURN_OK) status = lurn_copy_(ctx, view, value);
  lurn_release(number);
  return status == LURN_OK ? 0 : bind_raise(L, status);
}

/* x[mask] = number or boolean */
static int assign_masked(lua_State *L, bind_state *self, lurn_tensor *mask) {
  lurn_tensor *x = bind_check_tensor(L, self, 1, "index", "self");
  if (lurn_tensor_dtype(mask) != LURN_BOOL)
    return bind_error(L, "index: a tensor to assign by is a mask of bools, this is %s",
                      lurn_dtype_name(lurn_tensor_dtype(mask)));
  if (lua_type(L, 3) != LUA_TNUMBER && !lua_isboolean(L, 3))
    return bind_error(L, "index: only a number or a boolean can be assigned by a mask, not %s", bind_typename(L, 3));
  double value = lua_isboolean(L, 3) ? lua_toboolean(L, 3) : lua_tonumber(L, 3);
  lurn_status status = lurn_masked_fill_(self->ctx, x, mask, value);
  return status == LURN_OK ? 0 : bind_raise(L, status);
}

int bind_newindex(lua_State *L, bind_state *self) {
  lua_settop(L, 3);
  lurn_tensor *key = bind_test_tensor(L, self, 2);
  if (key != NULL) return assign_masked(L, self, key);
  return assign(L, self, push_view(L, self));
}
