/* Hooks on gradients: x:register_hook(fn), its handle, and x:retain_grad(). */
#include "binding.h"

/* ---- What the engine has ----------------------------------------------------------------------------------- */

typedef struct callee {
  bind_state *self;
  lurn_tensor *grad; /* of the call in progress */
  lurn_tensor *changed;
} callee;

/* Pushes a callee for the function at index, which nobody holds yet but the stack. */
static callee *push_callee(lua_State *L, bind_state *self, int function) {
  callee *h = lua_newuserdatauv(L, sizeof *h, 1);
  *h = (callee){.self = self};
  lua_pushvalue(L, function);
  lua_setiuservalue(L, -2, 1);
  return h;
}

/* Pops the callee, to be kept, or nil. */
static void keep(lua_State *L, const callee *h) {
  bind_push_hooks(L);
  lua_insert(L, -2);
  lua_rawsetp(L, -2, h);
  lua_pop(L, 1);
}

/* Removing a field asks for no memory. */
static void free_hook(void *ud) {
  callee *h = ud;
  lua_State *L = h->self->main;
  if (h->self->ctx == NULL || !lua_checkstack(L, 8)) return; /* closing: the registry is going away as a whole */
  h->self->hooks--;
  lua_pushnil(L);
  keep(L, h);
}

/* ---- Calling ----------------------------------------------------------------------------------------------- */

/* Runs protected on the callee. */
static int call_function(lua_State *L) {
  callee *h = lua_touserdata(L, 1);
  if (h->self->searching) bind_tighten(L); /* a finalizer, before that of the search */
  bind_push_hooks(L);
  lua_rawgetp(L, -1, h);
  lua_getiuservalue(L, -1, 1);
  lurn_tensor **grad = bind_new_tensor(L, h->self);
  *grad = lurn_retain(h->grad);
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

static const bind_type HANDLE = {"lurn.Hook", release_handle, 0};

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

/* x:register_hook(fn) -> handle.  Until the callee is made finalizers may run, which may free x. */
static int register_hook(lua_State *L) {
  bind_state *self = bind_self(L);
  lua_settop(L, 2);
  bind_check_tensor(L, self, 1, "register_hook", "self");
  check_callable(L, 2);
  if (self->hooks >= self->hooks_allowed) bind_collect(L, self);
  handle *shell = bind_new_object(L, self, &HANDLE, sizeof *shell);
  callee *h = push_callee(L, self, 2);
  lurn_tensor *t = bind_check_tensor(L, self, 1, "register_hook", "self");
  keep(L, h);
  self->hooks++;
  lurn_status status = lurn_add_hook(self->ctx, t, run_hook, free_hook, h, &shell->hook);
  return status == LURN_OK ? 1 : bind_raise(L, status);
}

/* collect(): a full collection that finds cycles of hooks too; and once more, for what is free after finalizers. */
static int collect(lua_State *L) {
  for (int i = 0; i < 2; i++) bind_collect(L, bind_self(L));
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
