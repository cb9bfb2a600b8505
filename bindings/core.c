/* lurn.core: the C half of the Lua module. */
#include <string.h>

#include "binding.h"

static const char STATE[] = "lurn.state";
static const char CORE_KEY = 0; /* registry key by address */

/* Finalizers run in the reverse order of creation, so the state goes after all tensors. */
static int close_state(lua_State *L) {
  bind_state *self = luaL_checkudata(L, 1, STATE);
  if (lua_rawlen(L, 1) != sizeof *self || self->identity != self) return luaL_error(L, "__gc: expected a %s", STATE);
  lurn_ctx *ctx = self->ctx;
  self->ctx = NULL;
  bind_release_stranded(L, self);
  lurn_ctx_free(ctx);
  return 0;
}

static lurn_status new_context(bind_state *self) {
  lurn_config config = {.index_base = 1};
  return lurn_ctx_new(&config, &self->ctx);
}

int luaopen_lurn_core(lua_State *L);

int luaopen_lurn_core(lua_State *L) {
  static const luaL_Reg state_meta[] = {{"__gc", close_state}, {NULL, NULL}};
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &CORE_KEY) == LUA_TTABLE) return 1; /* one context for a Lua state */
  bind_state *self = lua_newuserdatauv(L, sizeof *self, 0);
  memset(self, 0, sizeof *self);
  self->identity = self;
  self->soft_limit = (size_t)64 << 20;
  luaL_newmetatable(L, STATE);
  luaL_setfuncs(L, state_meta, 0);
  lua_setmetatable(L, -2);
  luaL_ref(L, LUA_REGISTRYINDEX); /* lives as long as the Lua state */
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  self->main = lua_tothread(L, -1);
  lua_pop(L, 1);
  if (new_context(self) != LURN_OK) return luaL_error(L, "lurn: out of memory");
  lua_newtable(L);
  bind_open_object(L);
  bind_open_raise(L, self);
  bind_open_shell(L, self);
  bind_open_tensor(L, self);
  bind_open_ops(L, self);
  bind_open_create(L, self);
  bind_open_autograd(L, self);
  bind_open_cycles(L, self);
  bind_open_hooks(L, self);
  bind_open_context(L, self);
  bind_open_record(L, self);
  bind_open_io(L, self);
  bind_open_optim(L, self);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &CORE_KEY);
  return 1;
}
