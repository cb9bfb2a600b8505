/* Hooks on gradients: x:register_hook(fn), its handle, and x:retain_grad(). */
#include "binding.h"

/* Registry keys by address: functions {fn} -> address; addresses -> {fn}, weak, since cycles.c loosens the first; addresses -> callee,
 * which lives as long as the engine's. */
static const char FUNCTIONS_KEY = 0, HOLDERS_KEY = 0, HOOKS_KEY = 0;

void bind_push_hook_functions(lua_State *L) { lua_rawgetp(L, LUA_REGISTRYINDEX, &FUNCTIONS_KEY); }

/* ---- What the engine has ----------------------------------------------------------------------------------- */

typedef struct callee {
  bind_state *self;
  lurn_tensor *grad; /* of the call in progress */
  lurn_tensor *changed;
} callee;

/* t[address] = the value on top of the stack, in one of the three tables. */
static void note(lua_State *L, const void *table, const callee *h) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, table);
  lua_insert(L, -2);
  lua_rawsetp(L, -2, h);
  lua_pop(L, 1);
}

/* Runs protected on the address, the callee and {fn}. */
static int remember(lua_State *L) {
  const callee *h = lua_touserdata(L, 1);
  lua_settop(L, 3);
  lua_pushvalue(L, 2);
  note(L, &HOOKS_KEY, h);
  lua_pushvalue(L, 3);
  note(L, &HOLDERS_KEY, h);
  bind_push_hook_functions(L);
  lua_pushvalue(L, 3);
  lua_pushvalue(L, 1);
  lua_rawset(L, -3);
  return 0;
}

/* Pushes {fn}, or nil where the collector took it.  HOLDERS loses what only a finalizer still leads to, FUNCTIONS does not. */
static void push_holder(lua_State *L, const callee *h) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &HOLDERS_KEY);
  lua_rawgetp(L, -1, h);
  lua_remove(L, -2);
  if (!lua_isnil(L, -1)) return;
  lua_pop(L, 1);
  bind_push_hook_functions(L);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    if (lua_touserdata(L, -1) != h) continue;
    lua_pop(L, 1);
    lua_remove(L, -2);
    return;
  }
  lua_pop(L, 1);
  lua_pushnil(L);
}

/* Removing fields asks for no memory. */
static void forget(lua_State *L, const callee *h) {
  push_holder(L, h);
  if (!lua_isnil(L, -1)) {
    bind_push_hook_functions(L);
    lua_insert(L, -2);
    lua_pushnil(L);
    lua_rawset(L, -3);
  }
  lua_pop(L, 1);
  lua_pushnil(L);
  note(L, &HOLDERS_KEY, h);
  lua_pushnil(L);
  note(L, &HOOKS_KEY, h);
}

static void free_hook(void *ud) {
  callee *h = ud;
  lua_State *L = h->self->main;
  if (h->self->ctx == NULL || !lua_checkstack(L, 8)) return; /* closing: the registry is going away as a whole */
  h->self->hooks--;
  forget(L, h);
}

/* ---- Calling ----------------------------------------------------------------------------------------------- */

/* Runs protected on the callee. */
static int call_function(lua_State *L) {
  callee *h = lua_touserdata(L, 1);
  lurn_tensor *grad = h->grad;
  push_holder(L, h);
  if (lua_isnil(L, -1)) return 0;
  lua_rawgeti(L, -1, 1);
  *bind_new_tensor(L, h->self) = lurn_retain(grad);
  lua_call(L, 1, 1);
  if (lua_isnil(L, -1)) return 0;
  lurn_tensor *changed = bind_test_tensor(L, h->self, -1);
  if (changed == NULL)
    return bind_error(L, "register_hook: the function gave %s; expected a tensor or nil", bind_typename(L, -1));
  h->changed = lurn_retain(changed);
  return 0;
}

/* The same hook may run within itself. */
static lurn_status run_hook(lurn_ctx *ctx, void *ud, lurn_tensor *grad, lurn_tensor **out) {
  (void)ctx;
  callee *h = ud, before = *h;
  h->grad = grad;
  h->changed = NULL;
  lurn_status status = bind_call_protected(h->self, call_function, h, 0);
  if (status == LURN_OK) *out = h->changed;
  *h = before;
  return status;
}

/* ---- Handles ----------------------------------------------------------------------------------------------- */

typedef struct handle {
  bind_object head;
  lurn_hook *hook; /* NULL when not yet filled, or collected */
} handle;

static void release_handle(void *object) {
  handle *h = object;
  lurn_hook *hook = h->hook;
  h->hook = NULL;
  lurn_hook_release(hook);
}

static const bind_type HANDLE = {"lurn.Hook", release_handle};

/* handle:remove(), and the end of a <close> variable. */
static int handle_remove(lua_State *L) {
  bind_state *self = bind_self(L);
  const handle *h = bind_check_object(L, self, 1, &HANDLE, "remove");
  if (h->hook != NULL) lurn_hook_remove(h->hook);
  return 0;
}

/* ---- Methods of tensors ------------------------------------------------------------------------------------ */

static void check_callable(lua_State *L, int index) {
  bool callable = lua_isfunction(L, index);
  if (!callable && luaL_getmetafield(L, index, "__call") != LUA_TNIL) {
    lua_pop(L, 1);
    callable = true;
  }
  if (!callable) bind_error(L, "register_hook: expected a function, got %s", bind_typename(L, index));
}

/* Pushes a callee that is remembered with the function at index. */
static callee *push_hook(lua_State *L, bind_state *self, int function) {
  callee *h = lua_newuserdatauv(L, sizeof *h, 0);
  int at = lua_gettop(L);
  *h = (callee){.self = self};
  lua_pushcfunction(L, remember);
  lua_pushlightuserdata(L, h);
  lua_pushvalue(L, at);
  lua_createtable(L, 1, 0);
  lua_pushvalue(L, function);
  lua_rawseti(L, -2, 1);
  if (lua_pcall(L, 3, 0, 0) != LUA_OK) {
    forget(L, h);
    lua_error(L);
  }
  return h;
}

/* x:register_hook(fn) -> handle */
static int register_hook(lua_State *L) {
  bind_state *self = bind_self(L);
  lua_settop(L, 2);
  bind_check_tensor(L, self, 1, "register_hook", "self");
  check_callable(L, 2);
  if (self->hooks >= self->hooks_allowed) bind_collect(L, self);
  handle *shell = bind_new_object(L, self, &HANDLE, sizeof *shell);
  callee *h = push_hook(L, self, 2);
  lurn_tensor *t = bind_peek_tensor(L, self, 1);
  if (t == NULL) { /* a finalizer freed it */
    forget(L, h);
    return bind_error(L, "this tensor was freed");
  }
  self->hooks++;
  lurn_status status = lurn_add_hook(self->ctx, t, run_hook, free_hook, h, &shell->hook);
  lua_settop(L, 3);
  return status == LURN_OK ? 1 : bind_raise(L, status);
}

/* collect(): a full collection that finds cycles of hooks too.  The first rids them of what nobody holds any more but was not collected
 * yet, the second finds them, the third comes after their finalizers. */
static int collect(lua_State *L) {
  for (int i = 0; i < 3; i++) bind_collect(L, bind_self(L));
  return 0;
}

static int retain_grad(lua_State *L) {
  bind_state *self = bind_self(L);
  lurn_status status = lurn_retain_grad(self->ctx, bind_check_tensor(L, self, 1, "retain_grad", "self"));
  if (status != LURN_OK) return bind_raise(L, status);
  lua_settop(L, 1);
  return 1;
}

/* ---- Opening ----------------------------------------------------------------------------------------------- */

void bind_open_hooks(lua_State *L, bind_state *self) {
  static const luaL_Reg meta[] = {{"__close", handle_remove}, {NULL, NULL}};
  static const luaL_Reg handle_methods[] = {{"remove", handle_remove}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"register_hook", register_hook}, {"retain_grad", retain_grad}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"collect", collect}, {NULL, NULL}};
  const void *const tables[] = {&FUNCTIONS_KEY, &HOLDERS_KEY, &HOOKS_KEY};
  for (int i = 0; i < 3; i++) {
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, tables[i]);
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, &HOLDERS_KEY);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
  bind_functions(L, self, functions);
  bind_metatable(L, self, &HANDLE, meta);
  lua_newtable(L);
  bind_functions(L, self, handle_methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  bind_push_methods(L);
  bind_functions(L, self, methods);
  lua_pop(L, 1);
}
