/* backward, grad, custom functions, gradcheck. */
#include <limits.h>

#include "binding.h"

lua_State *bind_enter(bind_state *self, lua_State *L) {
  lua_State *before = self->running;
  self->running = L;
  return before;
}

/* ---- Arguments --------------------------------------------------------------------------------------------- */

/* Options may have metamethods, and new userdata may bring on finalizers: both may free tensors, so tensors are read after them. */

static bool option_flag(lua_State *L, int index, const char *who, const char *name) {
  if (!lua_istable(L, index)) return false;
  bool value = lua_getfield(L, index, name) != LUA_TNIL && bind_check_flag(L, -1, who, name);
  lua_pop(L, 1);
  return value;
}

static double option_number(lua_State *L, int index, const char *who, const char *name, double preset) {
  if (!lua_istable(L, index)) return preset;
  double value = lua_getfield(L, index, name) != LUA_TNIL ? bind_check_number(L, -1, who, name) : preset;
  lua_pop(L, 1);
  return value;
}

/* Tensors borrowed from the argument at index: a list of them, or a single one. */
typedef struct tensors {
  int index, n;
  const char *who, *what; /* for messages */
  lurn_tensor **items;
} tensors;

/* Pushes the userdata with room for them. */
static tensors new_tensors(lua_State *L, int index, const char *who, const char *what) {
  lua_Unsigned n = lua_istable(L, index) ? lua_rawlen(L, index) : 1;
  if (n > INT_MAX) bind_error(L, "%s: too many %s", who, what); /* a table can hold no more */
  size_t bytes = (size_t)(n > 0 ? n : 1) * sizeof(lurn_tensor *);
  return (tensors){index, (int)n, who, what, lua_newuserdatauv(L, bytes, 0)};
}

/* Reads them, without asking Lua for memory.  A finalizer may have changed the list since room was made for it. */
static void read_tensors(lua_State *L, bind_state *self, const tensors *t) {
  if (!lua_istable(L, t->index)) {
    t->items[0] = bind_check_tensor(L, self, t->index, t->who, t->what);
    return;
  }
  if (lua_rawlen(L, t->index) != (lua_Unsigned)t->n)
    bind_error(L, "%s: %s: the list was changed while it was read", t->who, t->what);
  for (int i = 0; i < t->n; i++) {
    lua_rawgeti(L, t->index, i + 1);
    t->items[i] = bind_test_tensor(L, self, -1);
    if (t->items[i] == NULL)
      bind_error(L, "%s: %s[%d]: expected a tensor, got %s", t->who, t->what, i + 1, bind_typename(L, -1));
    lua_pop(L, 1);
  }
}

/* Pushes empty tensors to be filled; returns the stack index of the first. */
static int push_shells(lua_State *L, bind_state *self, int n, const char *who) {
  int first = lua_gettop(L) + 1;
  luaL_checkstack(L, n + 8, who);
  for (int i = 0; i < n; i++) bind_new_tensor(L, self);
  return first;
}

/* ---- backward, grad ---------------------------------------------------------------------------------------- */

/* x:backward([grad] [, {retain_graph = true}]) */
static int backward(lua_State *L) {
  static const char *const names[] = {"retain_graph", NULL};
  bind_state *self = bind_self(L);
  int options = bind_is_options(L, 2) ? 2 : 3;
  bind_check_options(L, options, "backward", names);
  bool retain = option_flag(L, options, "backward", "retain_graph");
  lurn_tensor *root = bind_check_tensor(L, self, 1, "backward", "self"), *grad = NULL;
  if (options == 3 && !lua_isnoneornil(L, 2)) grad = bind_check_tensor(L, self, 2, "backward", "gradient");
  lua_State *before = bind_enter(self, L);
  lurn_status status = lurn_backward(self->ctx, root, grad, retain);
  self->running = before;
  return status == LURN_OK ? 0 : bind_raise(L, status);
}

typedef lurn_status differentiate(lurn_ctx *ctx, lurn_tensor *const *outputs, int n_outputs,
                                  lurn_tensor *const *grad_outputs, lurn_tensor *const *inputs, int n_inputs,
                                  bool retain_graph, lurn_tensor **out);

static int grad_by(lua_State *L, differentiate *engine) {
  static const char *const names[] = {"grad_outputs", "retain_graph", NULL};
  bind_state *self = bind_self(L);
  lua_settop(L, 3);
  bind_check_options(L, 3, "grad", names);
  bool retain = option_flag(L, 3, "grad", "retain_graph");
  bool weighted = lua_istable(L, 3) && lua_getfield(L, 3, "grad_outputs") != LUA_TNIL;
  lua_settop(L, 4);
  tensors outputs = new_tensors(L, 1, "grad", "outputs"), inputs = new_tensors(L, 2, "grad", "inputs");
  tensors weights = new_tensors(L, weighted ? 4 : 1, "grad", "grad_outputs");
  lurn_tensor **out = lua_newuserdatauv(L, ((size_t)inputs.n + 1) * sizeof(lurn_tensor *), 0);
  int first = push_shells(L, self, inputs.n, "grad");
  read_tensors(L, self, &outputs);
  read_tensors(L, self, &inputs);
  read_tensors(L, self, &weights);
  if (weights.n != outputs.n) return bind_error(L, "grad: %d grad_outputs for %d outputs", weights.n, outputs.n);
  lua_State *before = bind_enter(self, L);
  lurn_status status =
      engine(self->ctx, outputs.items, outputs.n, weighted ? weights.items : NULL, inputs.items, inputs.n, retain, out);
  self->running = before;
  if (status != LURN_OK) return bind_raise(L, status);
  for (int i = 0; i < inputs.n; i++) bind_fill_tensor(L, first + i, out[i]);
  for (int i = 0; i < inputs.n; i++) {
    if (out[i] != NULL) continue;
    lua_pushnil(L);
    lua_replace(L, first + i);
  }
  return inputs.n;
}

/* grad(outputs, inputs [, {grad_outputs =, retain_graph =}]): one result for each input, nil where there is no dependence. */
static int grad(lua_State *L) { return grad_by(L, lurn_grad); }

/* The same, without the hooks of the inputs. */
static int partial_grad(lua_State *L) { return grad_by(L, lurn_partial_grad); }

/* core.set_grad_enabled(flag) -> former */
static int set_grad_enabled(lua_State *L) {
  lua_pushboolean(L, lurn_set_grad_enabled(bind_ctx(L), bind_check_flag(L, 1, "set_grad_enabled", "flag")));
  return 1;
}

static int grad_enabled(lua_State *L) {
  lua_pushboolean(L, lurn_grad_enabled(bind_ctx(L)));
  return 1;
}

/* core.call_without_yield(fn, ...) -> fn(...), where a coroutine cannot yield: what is switched for the time of a call must not stay
 * so while others run. */
static int call_without_yield(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

/* core.restore(guard): see scripts/lurn/guard.lua.  The switch of gradients is put back, and a scope closed, without memory and
 * without further calls: there may be none left. */
static int restore(lua_State *L) {
  bind_state *self = bind_self(L);
  lua_settop(L, 1);
  luaL_checktype(L, 1, LUA_TTABLE);
  int type = lua_getfield(L, 1, "restore");
  if (type == LUA_TNIL) return 0;
  lua_pushnil(L);
  lua_setfield(L, 1, "restore");
  if (type == LUA_TBOOLEAN) {
    lurn_set_grad_enabled(self->ctx, lua_toboolean(L, 2));
    return 0;
  }
  if (lua_getfield(L, 1, "scope") != LUA_TNIL && !bind_close_scope(L, self, 3)) return 0;
  if (lua_gettop(L) == 4) lua_remove(L, 3);
  lua_call(L, 1, 0);
  return 0;
}

/* core.shield(fn): the program's Ctrl-C waits until fn has ended before it raises its error. */
static int shield(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, "lurn.shielded");
  lua_pushvalue(L, 1);
  lua_pushboolean(L, 1);
  lua_rawset(L, -3);
  return 0;
}

/* core.version_of(t): a number that grows with every change of the elements of t. */
static int version_of(lua_State *L) {
  lurn_tensor *t = bind_check_tensor(L, bind_self(L), 1, "version_of", "tensor");
  lua_pushinteger(L, (lua_Integer)lurn_tensor_version(t));
  return 1;
}

/* ---- Custom functions -------------------------------------------------------------------------------------- */

/* A userdata that the registry keeps under its own address as long as a node needs it.  Its user values are the Lua function and
 * nil or a list of tensors that are freed with the node.  With such a list the function's results are freed too once the engine
 * has them: whoever gives it works for lurn itself and keeps none. */
typedef struct callback {
  bind_state *self;
  const char *name;
  bool owns;                    /* there is a list */
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
  lua_rawgetp(L, LUA_REGISTRYINDEX, c);
  lua_getiuservalue(L, -1, 1);
  lua_replace(L, -2);
  for (int i = 0; i < c->n_out; i++) {
    if (c->grad_out[i] != NULL) *bind_new_tensor(L, c->self) = lurn_retain(c->grad_out[i]);
    else lua_pushnil(L);
  }
  lua_call(L, c->n_out, c->n_in);
  for (int i = 0; i < c->n_in; i++) {
    int index = 2 + i;
    if (lua_isnil(L, index) || !c->need[i]) continue;
    if (bind_test_tensor(L, c->self, index) == NULL)
      return bind_error(L, "%s: backward gave %s as gradient %d; expected a tensor or nil", c->name,
                        bind_typename(L, index), i + 1);
  }
  for (int i = 0; i < c->n_in; i++)
    if (c->need[i] && !lua_isnil(L, 2 + i)) c->grad_in[i] = lurn_retain(bind_test_tensor(L, c->self, 2 + i));
  for (int i = 0; i < c->n_in && c->owns; i++) bind_drop_tensor(L, c->self, 2 + i);
  return 0;
}

/* The engine is below on the C stack: nothing here may raise, so nothing asks Lua for memory. */
lurn_status bind_call_protected(bind_state *self, lua_CFunction f, void *c, int n_values) {
  lua_State *L = self->running != NULL ? self->running : self->main;
  if (!lua_checkstack(L, n_values + 4)) return lurn_fail(self->ctx, LURN_ENOMEM, "the Lua stack cannot grow");
  lua_pushcfunction(L, f);
  lua_pushlightuserdata(L, c);
  for (int i = 1; i <= n_values; i++) lua_pushvalue(L, i);
  if (lua_pcall(L, n_values + 1, 0, 0) == LUA_OK) return LURN_OK;
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "a Lua function failed";
  lurn_fail(self->ctx, LURN_ECALLBACK, "%s", text);
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
  return bind_call_protected(c->self, call_backward, c, 0);
}

/* Frees the tensors of the callback on top of the stack. */
static void free_owned(lua_State *L, const callback *c) {
  lua_getiuservalue(L, -1, 2);
  for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i > 0; i--) {
    lua_rawgeti(L, -1, i);
    bind_drop_tensor(L, c->self, -1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* Lets the callback be collected together with its function.  Removing a field asks for no memory. */
static void free_callback(void *ud) {
  callback *c = ud;
  lua_State *L = c->self->main;
  if (c->self->ctx == NULL || !lua_checkstack(L, 8)) return; /* closing: the registry is going away as a whole */
  if (c->owns) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, c);
    free_owned(L, c);
    lua_pop(L, 1);
  }
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, c);
}

/* Node names must outlive their nodes: they are interned for good. */
static const char *intern(lua_State *L, int index) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, "lurn.names");
  lua_pushvalue(L, index);
  lua_pushboolean(L, 1);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  return lua_tostring(L, index);
}

/* Pushes a callback that nobody holds yet but the stack; the list of tensors stands above the function. */
static callback *push_callback(lua_State *L, bind_state *self, const char *name, int function) {
  callback *c = lua_newuserdatauv(L, sizeof *c, 2);
  *c = (callback){.self = self, .name = name, .owns = lua_istable(L, function + 1)};
  for (int i = 1; i <= 2; i++) {
    lua_pushvalue(L, function + i - 1);
    lua_setiuservalue(L, -2, i);
  }
  return c;
}

enum { MAX_RESULTS = 16 };

/* core.custom(name, inputs, values, backward [, owned]): see scripts/lurn/autograd.lua, and callback for the list. */
static int custom(lua_State *L) {
  bind_state *self = bind_self(L);
  lurn_tensor *out[MAX_RESULTS];
  bind_check_string(L, 1, "custom_function", "name");
  luaL_checktype(L, 4, LUA_TFUNCTION);
  lua_settop(L, 5);
  const char *name = intern(L, 1);
  callback *c = push_callback(L, self, name, 4);
  tensors inputs = new_tensors(L, 2, name, "inputs"), values = new_tensors(L, 3, name, "results of forward");
  if (values.n > MAX_RESULTS)
    return bind_error(L, "%s: %d results; at most %d are possible", name, values.n, MAX_RESULTS);
  int first = push_shells(L, self, values.n, name);
  read_tensors(L, self, &inputs);
  read_tensors(L, self, &values);
  lua_pushvalue(L, 6);
  lua_rawsetp(L, LUA_REGISTRYINDEX, c); /* the engine's from here on */
  lurn_status status = lurn_custom(self->ctx, name, inputs.items, inputs.n, values.items, values.n, custom_backward,
                                   free_callback, c, out);
  if (status != LURN_OK) return bind_raise(L, status);
  for (int i = 0; i < values.n; i++) bind_fill_tensor(L, first + i, out[i]);
  return values.n;
}

/* ---- Parts of the graph that are computed anew ------------------------------------------------------------- */

/* core.held(t): t's elements outside the graph, also when the scope that it is made in ends. */
static int held(lua_State *L) {
  bind_state *self = bind_self(L);
  lurn_tensor **out = bind_new_unscoped(L, self);
  lurn_status status = lurn_detach(self->ctx, bind_check_tensor(L, self, 1, "held", "tensor"), out);
  return status == LURN_OK ? 1 : bind_raise(L, status);
}

static int graph_position(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lurn_graph_position(bind_ctx(L)));
  return 1;
}

/* Arguments 1..4 of graph_leaves as the engine takes them. */
static lurn_status find_leaves(lua_State *L, bind_state *self, tensors *outputs, tensors *known, int64_t room,
                               lurn_tensor **out, int64_t *n) {
  read_tensors(L, self, outputs);
  read_tensors(L, self, known);
  return lurn_graph_leaves(self->ctx, outputs->who, outputs->items, outputs->n, known->items, known->n,
                           (uint64_t)lua_tointeger(L, 4), room, out, n);
}

/* core.graph_leaves(who, outputs, known, since) -> a list of the leaves below the outputs, without the known ones; no scope knows
 * its tensors. */
static int graph_leaves(lua_State *L) {
  bind_state *self = bind_self(L);
  const char *who = bind_check_string(L, 1, "graph_leaves", "who");
  lua_settop(L, 4);
  tensors outputs = new_tensors(L, 2, who, "results"), known = new_tensors(L, 3, who, "arguments");
  int64_t n = 0, found = 0;
  lurn_status status = find_leaves(L, self, &outputs, &known, 0, NULL, &n);
  if (status != LURN_OK) return bind_raise(L, status);
  if (n > INT_MAX / 2) return bind_error(L, "%s: too many parameters", who);
  lurn_tensor **out = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof(lurn_tensor *), 0);
  lua_createtable(L, (int)n, 0);
  int list = lua_gettop(L);
  for (int64_t i = 1; i <= n; i++) {
    bind_new_unscoped(L, self);
    lua_rawseti(L, list, (lua_Integer)i);
  }
  luaL_checkstack(L, 2, who);
  status = find_leaves(L, self, &outputs, &known, n, out, &found);
  if (status != LURN_OK) return bind_raise(L, status);
  for (int64_t i = 0; i < n && i < found; i++) {
    lua_rawgeti(L, list, (lua_Integer)i + 1);
    bind_fill_tensor(L, -1, out[i]);
    lua_pop(L, 1);
  }
  if (found != n) return bind_error(L, "%s: the graph was changed while it was read", who);
  return 1;
}

/* ---- gradcheck --------------------------------------------------------------------------------------------- */

typedef struct scalar_call {
  bind_state *self;
  lurn_tensor *result;
} scalar_call;

/* Runs protected on the call, the function and the list of inputs. */
static int call_scalar(lua_State *L) {
  scalar_call *c = lua_touserdata(L, 1);
  int n = (int)lua_rawlen(L, 3);
  luaL_checkstack(L, n + 2, "gradcheck");
  lua_pushvalue(L, 2);
  for (int i = 1; i <= n; i++) lua_rawgeti(L, 3, i);
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
  lurn_status status = bind_call_protected(c->self, call_scalar, c, 2);
  if (status == LURN_OK) *out = c->result;
  return status;
}

/* gradcheck(fn, inputs [, {eps =, rtol =, atol =}]) -> true, or nil and what differs most. */
static int gradcheck(lua_State *L) {
  static const char *const names[] = {"eps", "rtol", "atol", NULL};
  bind_state *self = bind_self(L);
  lua_settop(L, 3);
  if (!lua_isfunction(L, 1)) return bind_error(L, "gradcheck: expected a function, got %s", bind_typename(L, 1));
  if (!lua_istable(L, 2))
    return bind_error(L, "gradcheck: inputs: expected a list of tensors, got %s", bind_typename(L, 2));
  bind_check_options(L, 3, "gradcheck", names);
  double eps = option_number(L, 3, "gradcheck", "eps", 1e-6), rtol = option_number(L, 3, "gradcheck", "rtol", 1e-3);
  double atol = option_number(L, 3, "gradcheck", "atol", 1e-5);
  tensors inputs = new_tensors(L, 2, "gradcheck", "inputs");
  read_tensors(L, self, &inputs);
  scalar_call c = {.self = self};
  lurn_gradcheck_result result = {.ok = false};
  lua_State *before = bind_enter(self, L);
  lurn_status status = lurn_gradcheck(self->ctx, scalar_function, &c, inputs.items, inputs.n, eps, rtol, atol, &result);
  self->running = before;
  if (status != LURN_OK) return bind_raise(L, status);
  if (result.ok) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushnil(L);
  lua_pushfstring(L, "gradcheck: input %d, element %I: backward gives %f, differences give %f", result.input + 1,
                  (LUAI_UACINT)result.element + 1, result.analytic, result.numeric);
  return 2;
}

void bind_open_autograd(lua_State *L, bind_state *self) {
  static const luaL_Reg functions[] = {{"grad", grad},
                                       {"partial_grad", partial_grad},
                                       {"set_grad_enabled", set_grad_enabled},
                                       {"grad_enabled", grad_enabled},
                                       {"custom", custom},
                                       {"held", held},
                                       {"graph_position", graph_position},
                                       {"graph_leaves", graph_leaves},
                                       {"gradcheck", gradcheck},
                                       {"call_without_yield", call_without_yield},
                                       {"restore", restore},
                                       {"shield", shield},
                                       {"version_of", version_of},
                                       {NULL, NULL}};
  static const luaL_Reg methods[] = {{"backward", backward}, {NULL, NULL}};
  bind_functions(L, self, functions);
  bind_push_methods(L);
  bind_functions(L, self, methods);
  lua_pop(L, 1);
}
