/* The tensor as a userdata: its life, from the slot that the engine fills to the collector, and how arguments are told to be one. */
#include <string.h>

#include "binding.h"

static const char METHODS_KEY = 0, SCOPE_KEY = 0;

typedef struct shell {
  bind_object head;
  lurn_tensor *tensor; /* NULL when not yet filled, or freed */
} shell;

static void release_shell(void *object) {
  shell *s = object;
  lurn_tensor *t = s->tensor;
  s->tensor = NULL;
  lurn_release(t);
}

/* The user value is for searches of cycles.c. */
static const bind_type TENSOR = {"lurn.Tensor", release_shell, 1};

/* ---- Shells ------------------------------------------------------------------------------------------------ */

/* Lua's collector does not see the engine's memory: collect when it has doubled since the last time.  The limit comes down again
 * once memory has, so that one large moment does not allow as much garbage ever after. */
static void collect_if_due(lua_State *L, bind_state *self) {
  const size_t floor = (size_t)64 << 20;
  size_t live = lurn_memory_live(self->ctx);
  if (live > self->soft_limit) {
    self->collect(L, self);
    live = lurn_memory_live(self->ctx);
  } else if (live >= self->soft_limit / 4) {
    return;
  }
  self->soft_limit = 2 * live > floor ? 2 * live : floor;
}

/* How much memory may grow before a step of the collector is due: an eighth at least, a quarter at most where that is much. */
static size_t growth_allowed(size_t live, size_t every) {
  const size_t much = (size_t)32 << 20, most = live / 4 > much ? live / 4 : much, least = live / 8;
  size_t growth = every << 14;
  if (growth < least) growth = least;
  return growth < most ? growth : most;
}

/* Long before memory has doubled, what was dropped lately is found by a step of the collector, which in generational mode costs
 * microseconds: else small tensors would lie about until the memory of those that come next is in no cache, and large ones would be held
 * along with those of the next training step.  One is due after so many tensors or some growth, and later the next time when it found
 * few of them: while most are in use, or in incremental mode with much that is not lurn's. */
static void collect_young(lua_State *L, bind_state *self) {
  enum { OFTEN = 256, SELDOM = 1 << 20 };
  size_t live = lurn_memory_live(self->ctx), every = self->young.every;
  if (live < self->young.least) self->young.least = live;
  self->young.made++;
  if (self->young.made < every && live - self->young.least < growth_allowed(live, every)) return;
  size_t before = self->young.released;
  if (lua_gc(L, LUA_GCISRUNNING) == 1) lua_gc(L, LUA_GCSTEP, 0); /* not where the user stopped it, nor in finalizers */
  bool found = self->young.released - before > self->young.made / 4;
  every = found ? every / 2 : every * 2;
  self->young.every = every < OFTEN ? OFTEN : every > SELDOM ? SELDOM : every;
  self->young.made = 0;
  self->young.least = lurn_memory_live(self->ctx);
}

/* Notes the tensor on top of the stack in the innermost open scope. */
static void note_in_scope(lua_State *L, const bind_state *self) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &SCOPE_KEY);
  lua_rawgeti(L, -1, self->scopes);
  lua_pushvalue(L, -3);
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  lua_pop(L, 2);
}

/* Pushes a shell that no scope knows. */
static shell *new_shell(lua_State *L, bind_state *self) {
  collect_if_due(L, self);
  collect_young(L, self);
  return bind_new_object(L, self, &TENSOR, sizeof(shell));
}

lurn_tensor **bind_new_tensor(lua_State *L, bind_state *self) {
  shell *s = new_shell(L, self);
  if (self->scopes > 0) note_in_scope(L, self);
  return &s->tensor;
}

lurn_tensor **bind_new_unscoped(lua_State *L, bind_state *self) { return &new_shell(L, self)->tensor; }

void bind_fill_tensor(lua_State *L, int index, lurn_tensor *t) {
  shell *s = lua_touserdata(L, index);
  s->tensor = t;
}

static shell *test_shell(lua_State *L, const bind_state *self, int index) {
  return bind_test_object(L, self, index, &TENSOR);
}

void bind_drop_tensor(lua_State *L, const bind_state *self, int index) {
  shell *s = test_shell(L, self, index);
  if (s != NULL) release_shell(s);
}

lurn_tensor *bind_test_tensor(lua_State *L, bind_state *self, int index) {
  shell *s = test_shell(L, self, index);
  if (s != NULL && s->tensor == NULL) bind_error(L, "this tensor was freed");
  return s != NULL ? s->tensor : NULL;
}

lurn_tensor *bind_peek_tensor(lua_State *L, const bind_state *self, int index) {
  const shell *s = test_shell(L, self, index);
  return s != NULL ? s->tensor : NULL;
}

lurn_tensor *bind_check_tensor(lua_State *L, bind_state *self, int index, const char *who, const char *what) {
  lurn_tensor *t = bind_test_tensor(L, self, index);
  if (t == NULL && strcmp(what, "self") == 0)
    bind_error(L, "%s: self: expected a tensor, got %s; methods are called with a colon, x:%s(...)", who,
               bind_typename(L, index), who);
  if (t == NULL) bind_error(L, "%s: %s: expected a tensor, got %s", who, what, bind_typename(L, index));
  return t;
}

lurn_tensor **bind_check_tensors(lua_State *L, bind_state *self, int index, const char *who, const char *what,
                                 int64_t *count) {
  if (!lua_istable(L, index))
    bind_error(L, "%s: %s: expected a list of tensors, got %s", who, what, bind_typename(L, index));
  index = lua_absindex(L, index);
  lua_Integer n = (lua_Integer)lua_rawlen(L, index);
  lurn_tensor **list = lua_newuserdatauv(L, (size_t)(n > 0 ? n : 1) * sizeof(lurn_tensor *), 0);
  for (lua_Integer i = 1; i <= n; i++) { /* raw: each tensor must be one that the table keeps */
    lua_rawgeti(L, index, i);
    lurn_tensor *t = bind_test_tensor(L, self, -1);
    if (t == NULL) bind_error(L, "%s: %s[%d]: expected a tensor, got %s", who, what, (int)i, bind_typename(L, -1));
    list[i - 1] = t;
    lua_pop(L, 1);
  }
  *count = n;
  return list;
}

/* x:free(), and the end of a <close> variable. */
static int tensor_free(lua_State *L) {
  bind_state *self = lua_touserdata(L, lua_upvalueindex(1)); /* also while the state closes */
  shell *s = test_shell(L, self, 1);
  if (s == NULL) return luaL_error(L, "free: expected a tensor, got %s", luaL_typename(L, 1));
  release_shell(s);
  return 0;
}

static int is_tensor(lua_State *L) {
  lua_pushboolean(L, test_shell(L, bind_self(L), 1) != NULL);
  return 1;
}

/* core.is_freed(t): whether t:free() was called; for printing. */
static int is_freed(lua_State *L) {
  shell *s = test_shell(L, bind_self(L), 1);
  lua_pushboolean(L, s != NULL && s->tensor == NULL);
  return 1;
}

/* ---- Scopes: see scripts/lurn/autograd.lua ----------------------------------------------------------------- */

/* core.scope_open(list): tensors made from here on are noted in the list. */
static int scope_open(lua_State *L) {
  bind_state *self = bind_self(L);
  if (!lua_istable(L, 1)) return bind_error(L, "scope_open: expected a table, got %s", bind_typename(L, 1));
  lua_rawgetp(L, LUA_REGISTRYINDEX, &SCOPE_KEY);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, self->scopes + 1);
  self->scopes++;
  return 0;
}

/* Without memory and without further calls: there may be none left. */
bool bind_close_scope(lua_State *L, bind_state *self, int index) {
  index = lua_absindex(L, index);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &SCOPE_KEY);
  int scopes = lua_gettop(L);
  lua_Integer at = self->scopes;
  for (; at > 0; at--) {
    lua_rawgeti(L, scopes, at);
    if (lua_rawequal(L, index, -1)) break;
    lua_pop(L, 1);
  }
  lua_settop(L, scopes);
  for (; at > 0 && self->scopes >= at; self->scopes--) {
    lua_pushnil(L);
    lua_rawseti(L, scopes, self->scopes);
  }
  if (at > 1) lua_rawgeti(L, scopes, at - 1);
  else lua_pushnil(L);
  lua_remove(L, scopes);
  return at > 0;
}

/* core.scope_close(list) -> whether it was open, the list of the scope around it: the list, and those opened after it, are no longer
 * written. */
static int scope_close(lua_State *L) {
  lua_settop(L, 1);
  lua_pushboolean(L, bind_close_scope(L, bind_self(L), 1));
  lua_insert(L, 2);
  return 2;
}

/* ---- Opening ----------------------------------------------------------------------------------------------- */

void bind_push_methods(lua_State *L) { lua_rawgetp(L, LUA_REGISTRYINDEX, &METHODS_KEY); }
void bind_push_tensor_metatable(lua_State *L) { luaL_getmetatable(L, TENSOR.name); }

void bind_open_shell(lua_State *L, bind_state *self) {
  static const luaL_Reg meta[] = {{"__close", tensor_free}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"free", tensor_free}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"is_tensor", is_tensor},
                                       {"is_freed", is_freed},
                                       {"scope_open", scope_open},
                                       {"scope_close", scope_close},
                                       {NULL, NULL}};
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &SCOPE_KEY);
  bind_metatable(L, self, &TENSOR, meta);
  lua_setfield(L, -2, "metatable");
  lua_newtable(L);
  bind_functions(L, self, methods);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &METHODS_KEY);
  lua_setfield(L, -2, "methods");
  bind_functions(L, self, functions);
}
