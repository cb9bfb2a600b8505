/* backward, grad, custom functions, gradcheck. */
#include "binding.h"

/* Marks the thread that callbacks run on; returns the former one. */
static lua_State *enter(bind_state *self, lua_State *L) {
  lua_State *before = self->running;
  self->running = L;
  return before;
}

/* ---- backward, grad ---------------------------------------------------------------------------------------- */

static bool option_flag(lua_State *L, int index, const char *who, const char *name) {
  if (!lua_istable(L, index) || lua_getfield(L, index, name) == LUA_TNIL) return false;
  bool value = bind_check_flag(L, -1, who, name);
  lua_pop(L, 1);
  return value;
}

/* x:backward([grad] [, {retain_graph = true}]) */
static int backward(lua_State *L) {
  static const char *const names[] = {"retain_graph", NULL};
  bind_state *self = bind_self(L);
  lurn_tensor *root = bind_check_tensor(L, self, 1, "backward", "self"), *grad = NULL;
  int options = bind_is_options(L, 2) ? 2 : 3;
  if (options == 3 && !lua_isnoneornil(L, 2)) grad = bind_check_tensor(L, self, 2, "backward", "gradient");
  bind_check_options(L, options, "backward", names);
  bool retain = option_flag(L, options, "backward", "retain_graph");
  lua_State *before = enter(self, L);
  lurn_status status = lurn_backward(self->ctx, root, grad, retain);
  self->running = before;
  return status == LURN_OK ? 0 : bind_raise(L, status);
}

/* A single tensor stands for a list of one. */
static lurn_tensor **tensors_or_one(lua_State *L, bind_state *self, int index, const char *what, int64_t *count) {
  if (bind_test_tensor(L, self, index) == NULL) return bind_check_tensors(L, self, index, "grad", what, count);
  lurn_tensor **one = lua_newuserdatauv(L, sizeof *one, 0);
  one[0] = bind_test_tensor(L, self, index);
  *count = 1;
  return one;
}

/* grad(outputs, inputs [, {grad_outputs =, retain_graph =}]): one result for each input, nil where there is no dependence. */
static int grad(lua_State *L) {
  static const char *const names[] = {"grad_outputs", "retain_graph", NULL};
  bind_state *self = bind_self(L);
  int64_t n_outputs, n_inputs, n_weights;
  lua_settop(L, 3);
  lurn_tensor **outputs = tensors_or_one(L, self, 1, "outputs", &n_outputs), **weights = NULL;
  lurn_tensor **inputs = tensors_or_one(L, self, 2, "inputs", &n_inputs);
  bind_check_options(L, 3, "grad", names);
  bool retain = option_flag(L, 3, "grad", "retain_graph");
  if (lua_istable(L, 3) && lua_getfield(L, 3, "grad_outputs") != LUA_TNIL) {
    weights = tensors_or_one(L, self, lua_gettop(L), "grad_outputs", &n_weights);
    if (n_weights != n_outputs)
      return bind_error(L, "grad: %d grad_outputs for %d outputs", (int)n_weights, (int)n_outputs);
  }
  if (n_inputs > 200) return bind_error(L, "grad: %d inputs; at most 200 are possible", (int)n_inputs);
  luaL_checkstack(L, (int)n_inputs + 8, "grad");
  int first = lua_gettop(L) + 1;
  for (int64_t i = 0; i < n_inputs; i++) bind_new_tensor(L, self);
  lurn_tensor *out[200];
  lua_State *before = enter(self, L);
  lurn_status status =
      lurn_grad(self->ctx, outputs, (int)n_outputs, weights, inputs, (int)n_inputs, retain, out);
  self->running = before;
  if (status != LURN_OK) return bind_raise(L, status);
  for (int64_t i = 0; i < n_inputs; i++) {
    if (out[i] != NULL) {
      *(lurn_tensor **)lua_touserdata(L, first + (int)i) = out[i];
    } else {
      lua_pushnil(L);
      lua_replace(L, first + (int)i);
    }
  }
  return (int)n_inputs;
}

/* core.set_grad_enabled(flag) -> former */
static int set_grad_enabled(lua_State *L) {
  lua_pushboolean(L, lurn_set_grad_enabled(bind_ctx(L), bind_check_flag(L, 1, "set_grad_enabled", "flag")));
  return 1;
}

static int grad_enabled(lua_State *L) {
  lua_pushboolean(L, lurn_grad_enabled(bind_ctx(L)));
  return 1;
}

/* ---- Custom functions -------------------------------------------------------------------------------------- */

/* A Lua function kept in the registry. */
typedef struct callback {
  bind_state *self;
  int ref;
  lurn_tensor *const *grad_out; /* of the call in progress */
  int n_out;
  lurn_tensor **grad_in;
  const bool *need;
  int n_in;
} callback;

/* Runs protected: calls the function with the gradients of the outputs and takes those of the inputs. */
static int call_backward(lua_State *L) {
  callback *c = lua_touserdata(L, 1);
  luaL_checkstack(L, c->n_out + c->n_in + 4, "backward");
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->ref);
  for (int i = 0; i < c->n_out; i++) bind_push_tensor(L, c->self, c->grad_out[i]);
  lua_call(L, c->n_out, c->n_in);
  for (int i = 0; i < c->n_in; i++) {
    int index = 2 + i;
    if (lua_isnil(L, index) || !c->need[i]) continue;
    if (bind_test_tensor(L, c->self, index) == NULL)
      return luaL_error(L, "custom function: backward gave %s as gradient %d; expected a tensor or nil",
                        bind_typename(L, index), i + 1);
  }
  for (int i = 0; i < c->n_in; i++)
    if (c->need[i] && !lua_isnil(L, 2 + i)) c->grad_in[i] = lurn_retain(bind_test_tensor(L, c->self, 2 + i));
  return 0;
}

/* Runs the C function f(c) protected on the running thread; an error is kept for bind_raise. */
static lurn_status call_protected(bind_state *self, lua_CFunction f, void *c) {
  lua_State *L = self->running != NULL ? self->running : self->main;
  if (!lua_checkstack(L, 4)) return lurn_fail(self->ctx, LURN_ENOMEM, "the Lua stack cannot grow");
  lua_pushlightuserdata(L, self);
  lua_pushcclosure(L, f, 1);
  lua_pushlightuserdata(L, c);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return LURN_OK;
  const char *text = lua_tostring(L, -1);
  lurn_fail(self->ctx, LURN_ECALLBACK, "%s", text != NULL ? text : "a Lua function failed");
  bind_keep_error(L);
  return LURN_ECALLBACK;
}

static lurn_status custom_backward(lurn_ctx *ctx, void *ud, lurn_tensor *const *grad_out, int n_out,
                                   lurn_tensor **grad_in, const bool *need, int n_in) {
  (void)ctx;
  callback *c = ud;
  c->grad_out = grad_out;
  c->n_out = n_out;
  c->grad_in = grad_in;
  c->need = need;
  c->n_in = n_in;
  return call_protected(c->self, call_backward, c);
}

/* The callback's memory is a userdata in the registry: giving up the reference lets it be collected with the function. */
static void free_callback(void *ud) {
  callback *c = ud;
  bind_state *self = c->self;
  int ref = c->ref;
  lua_State *L = self->main;
  if (self->ctx == NULL) return; /* the registry is going away as a whole */
  luaL_unref(L, LUA_REGISTRYINDEX, ref);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, c);
}

/* core.custom(name, inputs, values, backward): see scripts/lurn/custom.lua. */
static int custom(lua_State *L) {
  bind_state *self = bind_self(L);
  int64_t n_in, n_out;
  const char *name = bind_check_string(L, 1, "custom_function", "name");
  lurn_tensor **inputs = bind_check_tensors(L, self, 2, name, "inputs", &n_in);
  lurn_tensor **values = bind_check_tensors(L, self, 3, name, "results of forward", &n_out);
  luaL_checktype(L, 4, LUA_TFUNCTION);
  if (n_out > 16 || n_in > 200) return bind_error(L, "%s: at most 200 inputs and 16 results are possible", name);
  luaL_checkstack(L, (int)n_out + 8, name);
  int first = lua_gettop(L) + 1;
  for (int64_t i = 0; i < n_out; i++) bind_new_tensor(L, self);
  lurn_tensor *out[16];
  callback *c = lua_newuserdatauv(L, sizeof *c, 0);
  *c = (callback){.self = self};
  lua_rawsetp(L, LUA_REGISTRYINDEX, c);
  lua_pushvalue(L, 4);
  c->ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_getfield(L, LUA_REGISTRYINDEX, "lurn.names"); /* node names must outlive their nodes: intern them for good */
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 1);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  lurn_status status =
      lurn_custom(self->ctx, name, inputs, (int)n_in, values, (int)n_out, custom_backward, free_callback, c, out);
  if (status != LURN_OK) return bind_raise(L, status);
  for (int64_t i = 0; i < n_out; i++) *(lurn_tensor **)lua_touserdata(L, first + (int)i) = out[i];
  return (int)n_out;
}

/* ---- gradcheck --------------------------------------------------------------------------------------------- */

typedef struct scalar_call {
  bind_state *self;
  int function, inputs; /* stack indices in the running thread are not valid inside pcall: registry references */
  lurn_tensor *result;
} scalar_call;

static int call_scalar(lua_State *L) {
  scalar_call *c = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->function);
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->inputs);
  int n = (int)luaL_len(L, -1), list = lua_gettop(L);
  luaL_checkstack(L, n + 2, "gradcheck");
  for (int i = 1; i <= n; i++) lua_geti(L, list, i);
  lua_remove(L, list);
  lua_call(L, n, 1);
  c->result = lurn_retain(bind_check_tensor(L, c->self, -1, "gradcheck", "result of the function"));
  return 0;
}

static lurn_status scalar_function(lurn_ctx *ctx, void *ud, lurn_tensor *const *inputs, int n, lurn_tensor **out) {
  (void)ctx;
  (void)inputs;
  (void)n;
  scalar_call *c = ud;
  c->result = NULL;
  lurn_status status = call_protected(c->self, call_scalar, c);
  if (status == LURN_OK) *out = c->result;
  return status;
}

static double option_number(lua_State *L, int index, const char *name, double preset) {
  if (!lua_istable(L, index) || lua_getfield(L, index, name) == LUA_TNIL) return preset;
  double value = bind_check_number(L, -1, "gradcheck", name);
  lua_pop(L, 1);
  return value;
}

/* gradcheck(fn, inputs [, {eps =, rtol =, atol =}]) -> true, or nil and what differs most. */
static int gradcheck(lua_State *L) {
  static const char *const names[] = {"eps", "rtol", "atol", NULL};
  bind_state *self = bind_self(L);
  int64_t n;
  lua_settop(L, 3);
  if (!lua_isfunction(L, 1)) return bind_error(L, "gradcheck: expected a function, got %s", bind_typename(L, 1));
  lurn_tensor **inputs = bind_check_tensors(L, self, 2, "gradcheck", "inputs", &n);
  bind_check_options(L, 3, "gradcheck", names);
  double eps = option_number(L, 3, "eps", 1e-6), rtol = option_number(L, 3, "rtol", 1e-3);
  double atol = option_number(L, 3, "atol", 1e-5);
  scalar_call c = {.self = self};
  lua_pushvalue(L, 1);
  c.function = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushvalue(L, 2);
  c.inputs = luaL_ref(L, LUA_REGISTRYINDEX);
  lurn_gradcheck_result result = {.ok = false};
  lua_State *before = enter(self, L);
  lurn_status status = lurn_gradcheck(self->ctx, scalar_function, &c, inputs, (int)n, eps, rtol, atol, &result);
  self->running = before;
  luaL_unref(L, LUA_REGISTRYINDEX, c.function);
  luaL_unref(L, LUA_REGISTRYINDEX, c.inputs);
  if (status != LURN_OK) return bind_raise(L, status);
  if (result.ok) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushnil(L);
  lua_pushfstring(L, "gradcheck: input %d, element %I: backward gives %f, differences give %f", result.input + 1,
                  (LUAI_UACINT)(result.element + 1), result.analytic, result.numeric);
  return 2;
}

void bind_open_autograd(lua_State *L, bind_state *self) {
  static const luaL_Reg functions[] = {
      {"grad", grad},     {"set_grad_enabled", set_grad_enabled}, {"grad_enabled", grad_enabled},
      {"custom", custom}, {"gradcheck", gradcheck},               {NULL, NULL}};
  static const luaL_Reg methods[] = {{"backward", backward}, {NULL, NULL}};
  lua_newtable(L);
  lua_setfield(L, LUA_REGISTRYINDEX, "lurn.names");
  bind_functions(L, self, functions);
  bind_push_methods(L);
  bind_functions(L, self, methods);
  lua_pop(L, 1);
}
