/* What a tensor shows to Lua: fields, single elements, conversion; see shell.c for its life. */
#include <string.h>

#include "binding.h"

static const char SHAPE_META_KEY = 0;

static lurn_tensor *self_tensor(lua_State *L, bind_state *self, const char *who) {
  return bind_check_tensor(L, self, 1, who, "self");
}

/* ---- Fields ------------------------------------------------------------------------------------------------ */

static void push_integers(lua_State *L, const int64_t *values, int n) {
  lua_createtable(L, n, 0);
  for (int i = 0; i < n; i++) {
    lua_pushinteger(L, values[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, &SHAPE_META_KEY);
  lua_setmetatable(L, -2);
}

static int shape_tostring(lua_State *L) {
  luaL_Buffer text;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_Integer n = (lua_Integer)lua_rawlen(L, 1);
  luaL_buffinit(L, &text);
  luaL_addchar(&text, '{');
  for (lua_Integer i = 1; i <= n; i++) {
    if (i > 1) luaL_addstring(&text, ", ");
    lua_geti(L, 1, i);
    luaL_tolstring(L, -1, NULL);
    lua_remove(L, -2);
    luaL_addvalue(&text);
  }
  luaL_addchar(&text, '}');
  luaL_pushresult(&text);
  return 1;
}

/* A tensor of its own over the gradient: what is recorded into it must not come to hang on t, to which it may lead back. */
static void push_grad(lua_State *L, bind_state *self, const lurn_tensor *t) {
  if (lurn_tensor_grad(t) == NULL) {
    lua_pushnil(L);
    return;
  }
  lurn_tensor **out = bind_new_tensor(L, self); /* may bring on finalizers: the gradient is read again */
  lurn_tensor *grad = lurn_tensor_grad(self_tensor(L, self, "grad"));
  lurn_status status = grad != NULL ? lurn_detach(self->ctx, grad, out) : LURN_OK;
  if (status != LURN_OK) bind_raise(L, status);
}

/* x.T, x.mT: the last two dimensions exchanged; T of a matrix or less. */
static void push_transpose(lua_State *L, bind_state *self, const char *name) {
  lurn_tensor **out = bind_new_tensor(L, self), *t = self_tensor(L, self, name);
  int ndim = lurn_tensor_ndim(t);
  bool any = name[0] == 'm';
  if (any ? ndim < 2 : ndim > 2)
    bind_error(L, "%s: a tensor with %d dimensions; expected %s", name, ndim, any ? "at least 2" : "at most 2");
  lurn_status status = LURN_OK;
  if (ndim < 2) *out = lurn_retain(t);
  else status = lurn_transpose(self->ctx, t, -2, -1, out);
  if (status != LURN_OK) bind_raise(L, status);
}

static bool push_field(lua_State *L, bind_state *self, lurn_tensor *t, const char *name) {
  if (strcmp(name, "shape") == 0) push_integers(L, lurn_tensor_shape(t), lurn_tensor_ndim(t));
  else if (strcmp(name, "dtype") == 0) lua_pushstring(L, lurn_dtype_name(lurn_tensor_dtype(t)));
  else if (strcmp(name, "requires_grad") == 0) lua_pushboolean(L, lurn_tensor_requires_grad(t));
  else if (strcmp(name, "grad") == 0) push_grad(L, self, t);
  else if (strcmp(name, "ndim") == 0) lua_pushinteger(L, lurn_tensor_ndim(t));
  else if (strcmp(name, "is_leaf") == 0) lua_pushboolean(L, lurn_tensor_is_leaf(t));
  else if (strcmp(name, "T") == 0 || strcmp(name, "mT") == 0) push_transpose(L, self, name);
  else if (strcmp(name, "retains_grad") == 0) lua_pushboolean(L, lurn_tensor_retains_grad(t));
  else if (strcmp(name, "maker") == 0) lua_pushstring(L, lurn_tensor_maker(t));
  else return false;
  return true;
}

/* Whether a C function asks for x[#x + 1]: so does ipairs, which goes on until it gets nil.  A script's own is out of range. */
static bool ends_iteration(lua_State *L, bind_state *self) {
  lua_Debug info;
  if (!lua_isinteger(L, 2)) return false;
  const lurn_tensor *t = bind_test_tensor(L, self, 1);
  if (t == NULL || lurn_tensor_ndim(t) == 0 || lua_tointeger(L, 2) != lurn_tensor_shape(t)[0] + 1) return false;
  return lua_getstack(L, 1, &info) && lua_getinfo(L, "S", &info) && *info.what == 'C';
}

static int tensor_index(lua_State *L) {
  bind_state *self = bind_self(L);
  if (ends_iteration(L, self)) {
    lua_pushnil(L);
    return 1;
  }
  if (lua_type(L, 2) != LUA_TSTRING) return bind_index(L, self);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL) return 1;
  const char *name = lua_tostring(L, 2);
  if (!push_field(L, self, self_tensor(L, self, name), name))
    return bind_error(L, "a tensor has no field or method \"%s\"", name);
  return 1;
}

static int tensor_newindex(lua_State *L) {
  bind_state *self = bind_self(L);
  if (lua_type(L, 2) != LUA_TSTRING) return bind_newindex(L, self);
  const char *name = lua_tostring(L, 2);
  lurn_tensor *t = self_tensor(L, self, name);
  lurn_status status;
  if (strcmp(name, "requires_grad") == 0)
    status = lurn_tensor_set_requires_grad(t, bind_check_flag(L, 3, "requires_grad", "value"));
  else if (strcmp(name, "grad") == 0)
    status = lurn_tensor_set_grad(t, lua_isnil(L, 3) ? NULL : bind_check_tensor(L, self, 3, "grad", "value"));
  else return bind_error(L, "a tensor has no field \"%s\" to set", name);
  return status == LURN_OK ? 0 : bind_raise(L, status);
}

static int tensor_len(lua_State *L) {
  lurn_tensor *t = self_tensor(L, bind_self(L), "#");
  if (lurn_tensor_ndim(t) == 0) return bind_error(L, "#: a tensor without dimensions has no length");
  lua_pushinteger(L, lurn_tensor_shape(t)[0]);
  return 1;
}

/* ---- Elements ---------------------------------------------------------------------------------------------- */

/* Reads the index arguments from `first` on. */
static void check_element(lua_State *L, const lurn_tensor *t, int first, const char *who, int64_t *index) {
  int given = lua_gettop(L) - first + 1, ndim = lurn_tensor_ndim(t);
  if (given != ndim) bind_error(L, "%s: %d indices given for a tensor with %d dimensions", who, given, ndim);
  for (int i = 0; i < ndim; i++) index[i] = bind_check_position(L, first + i, who, "index");
}

static int push_element(lua_State *L, lurn_tensor *t, const int64_t *index) {
  lurn_dtype dtype = lurn_tensor_dtype(t);
  double real = 0;
  int64_t integer = 0;
  bool is_float = lurn_dtype_is_float(dtype);
  lurn_status status = is_float ? lurn_tensor_get(t, index, &real) : lurn_tensor_get_int(t, index, &integer);
  if (status != LURN_OK) return bind_raise(L, status);
  if (is_float) lua_pushnumber(L, real);
  else if (dtype == LURN_BOOL) lua_pushboolean(L, integer != 0);
  else lua_pushinteger(L, integer);
  return 1;
}

static int tensor_get(lua_State *L) {
  int64_t index[LURN_MAX_DIMS];
  lurn_tensor *t = self_tensor(L, bind_self(L), "get");
  check_element(L, t, 2, "get", index);
  return push_element(L, t, index);
}

static int tensor_set(lua_State *L) {
  int64_t index[LURN_MAX_DIMS];
  lurn_tensor *t = self_tensor(L, bind_self(L), "set");
  check_element(L, t, 3, "set", index);
  lurn_status status;
  if (lua_isboolean(L, 2)) status = lurn_tensor_set_int(t, index, lua_toboolean(L, 2));
  else if (lua_isinteger(L, 2)) status = lurn_tensor_set_int(t, index, lua_tointeger(L, 2));
  else status = lurn_tensor_set(t, index, bind_check_number(L, 2, "set", "value"));
  if (status != LURN_OK) return bind_raise(L, status);
  lua_settop(L, 1);
  return 1;
}

static int tensor_item(lua_State *L) {
  static const int64_t first[LURN_MAX_DIMS];
  lurn_tensor *t = self_tensor(L, bind_self(L), "item");
  if (lurn_tensor_numel(t) != 1)
    return bind_error(L, "item: the tensor has %lld elements; expected one", (long long)lurn_tensor_numel(t));
  return push_element(L, t, first);
}

static int tensor_numel(lua_State *L) {
  lua_pushinteger(L, lurn_tensor_numel(self_tensor(L, bind_self(L), "numel")));
  return 1;
}

static int tensor_is_contiguous(lua_State *L) {
  lua_pushboolean(L, lurn_tensor_is_contiguous(self_tensor(L, bind_self(L), "is_contiguous")));
  return 1;
}

/* ---- To Lua ------------------------------------------------------------------------------------------------ */

/* Pushes the elements from *at on as nested lists of dimension dim and below; *at moves on in row-major order. */
static void push_nested(lua_State *L, const lurn_tensor *t, int dim, const char **at) {
  lurn_dtype dtype = lurn_tensor_dtype(t);
  if (dim == lurn_tensor_ndim(t)) {
    switch (dtype) {
      case LURN_FLOAT32: lua_pushnumber(L, (lua_Number) * (const float *)(const void *)*at); break;
      case LURN_FLOAT64: lua_pushnumber(L, *(const double *)(const void *)*at); break;
      case LURN_INT64: lua_pushinteger(L, *(const int64_t *)(const void *)*at); break;
      case LURN_INT32: lua_pushinteger(L, *(const int32_t *)(const void *)*at); break;
      case LURN_BOOL: lua_pushboolean(L, **at); break;
      default: lua_pushinteger(L, *(const uint8_t *)*at);
    }
    *at += lurn_dtype_size(dtype);
    return;
  }
  int64_t n = lurn_tensor_shape(t)[dim];
  luaL_checkstack(L, 3, "totable");
  lua_createtable(L, n < 1 << 24 ? (int)n : 0, 0);
  for (int64_t i = 1; i <= n; i++) {
    push_nested(L, t, dim + 1, at);
    lua_rawseti(L, -2, i);
  }
}

/* Pushes a contiguous version of self, which may be itself; no scope knows it, so nobody can free it. */
static lurn_tensor *push_contiguous(lua_State *L, bind_state *self, const char *who) {
  lua_settop(L, 1);
  lurn_tensor **flat = bind_new_unscoped(L, self), *t = self_tensor(L, self, who);
  bool before = lurn_set_grad_enabled(self->ctx, false);
  lurn_status status = lurn_contiguous(self->ctx, t, flat);
  lurn_set_grad_enabled(self->ctx, before);
  if (status != LURN_OK) bind_raise(L, status);
  return *flat;
}

static int tensor_totable(lua_State *L) {
  bind_state *self = bind_self(L);
  lurn_tensor *flat = push_contiguous(L, self, "totable");
  const char *at = lurn_tensor_data(flat);
  push_nested(L, flat, 0, &at);
  return 1;
}

static int tensor_tobytes(lua_State *L) {
  bind_state *self = bind_self(L);
  lurn_tensor *flat = push_contiguous(L, self, "tobytes");
  size_t bytes = (size_t)lurn_tensor_numel(flat) * lurn_dtype_size(lurn_tensor_dtype(flat));
  lua_pushlstring(L, lurn_tensor_data(flat), bytes);
  return 1;
}

/* ---- Graph ------------------------------------------------------------------------------------------------- */

static int tensor_detach(lua_State *L) {
  bind_state *self = bind_self(L);
  lua_settop(L, 1);
  lurn_tensor **out = bind_new_tensor(L, self), *t = self_tensor(L, self, "detach");
  lurn_status status = lurn_detach(self->ctx, t, out);
  return status == LURN_OK ? 1 : bind_raise(L, status);
}

static int tensor_requires_grad(lua_State *L) {
  bool on = lua_isnoneornil(L, 2) || bind_check_flag(L, 2, "requires_grad_", "value");
  lurn_status status = lurn_tensor_set_requires_grad(self_tensor(L, bind_self(L), "requires_grad_"), on);
  if (status != LURN_OK) return bind_raise(L, status);
  lua_settop(L, 1);
  return 1;
}

/* True when both are views of the same elements: x:same_as(y). */
static int tensor_same_as(lua_State *L) {
  bind_state *self = bind_self(L);
  lurn_tensor *a = self_tensor(L, self, "same_as"), *b = bind_check_tensor(L, self, 2, "same_as", "other");
  lua_pushboolean(L, lurn_tensor_same_view(a, b));
  return 1;
}

/* x < y and x <= y: Lua would make a boolean of whatever they give. */
static int tensor_order(lua_State *L) {
  return bind_error(L, "<: tensors are compared element by element with x:lt(y), x:le(y), x:gt(y), x:ge(y)");
}

/* ---- For checks in scripts, which would make a table of x.shape -------------------------------------------- */

/* core.has_shape(t, sizes...): whether t is a tensor of these sizes. */
static int has_shape(lua_State *L) {
  const lurn_tensor *t = bind_test_tensor(L, bind_self(L), 1);
  int n = lua_gettop(L) - 1;
  bool same = t != NULL && lurn_tensor_ndim(t) == n;
  for (int i = 0; same && i < n; i++) same = lurn_tensor_shape(t)[i] == lua_tointeger(L, i + 2);
  lua_pushboolean(L, same);
  return 1;
}

/* core.sizes_like(t, other) -> the sizes of t, one by one; nothing unless both are tensors of one dtype. */
static int sizes_like(lua_State *L) {
  bind_state *self = bind_self(L);
  const lurn_tensor *t = bind_test_tensor(L, self, 1), *other = bind_test_tensor(L, self, 2);
  if (t == NULL || other == NULL || lurn_tensor_dtype(t) != lurn_tensor_dtype(other)) return 0;
  int n = lurn_tensor_ndim(t);
  for (int i = 0; i < n; i++) lua_pushinteger(L, lurn_tensor_shape(t)[i]);
  return n;
}

/* core.last_size(t): the size of the last dimension; nil when t is no tensor or has none. */
static int last_size(lua_State *L) {
  const lurn_tensor *t = bind_test_tensor(L, bind_self(L), 1);
  if (t == NULL || lurn_tensor_ndim(t) == 0) lua_pushnil(L);
  else lua_pushinteger(L, lurn_tensor_shape(t)[lurn_tensor_ndim(t) - 1]);
  return 1;
}

/* ---- Opening ----------------------------------------------------------------------------------------------- */

void bind_open_tensor(lua_State *L, bind_state *self) {
  static const luaL_Reg meta[] = {{"__len", tensor_len},
                                  {"__lt", tensor_order},
                                  {"__le", tensor_order},
                                  {"__newindex", tensor_newindex},
                                  {NULL, NULL}};
  static const luaL_Reg methods[] = {{"get", tensor_get},
                                     {"set", tensor_set},
                                     {"item", tensor_item},
                                     {"numel", tensor_numel},
                                     {"is_contiguous", tensor_is_contiguous},
                                     {"totable", tensor_totable},
                                     {"tobytes", tensor_tobytes},
                                     {"detach", tensor_detach},
                                     {"requires_grad_", tensor_requires_grad},
                                     {"same_as", tensor_same_as},
                                     {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"has_shape", has_shape}, {"sizes_like", sizes_like}, {"last_size", last_size}, {NULL, NULL}};
  lua_newtable(L); /* shapes print readably */
  lua_pushcfunction(L, shape_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &SHAPE_META_KEY);
  bind_push_tensor_metatable(L);
  bind_functions(L, self, meta);
  lua_pushlightuserdata(L, self);
  bind_push_methods(L); /* __index has the methods as upvalue 2 */
  bind_functions(L, self, methods);
  lua_pushcclosure(L, tensor_index, 2);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  bind_functions(L, self, functions);
}
