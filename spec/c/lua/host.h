/* A Lua state with lurn in it, as a host program makes one, whose allocator counts and fails on command. */
#ifndef LURN_SPEC_LUA_HOST_H
#define LURN_SPEC_LUA_HOST_H

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>

#include "binding.h"
#include "harness.h"

int luaopen_lurn_core(lua_State *L);

typedef struct lua_memory {
  int64_t calls;   /* that asked for more memory */
  int64_t fail_at; /* number of the call that fails, from 1; 0: none */
  bool fail_on;    /* and all after it */
} lua_memory;

/* Lua relies on it that a block can always be made smaller. */
static inline void *lua_memory_alloc(void *ud, void *ptr, size_t old_size, size_t new_size) {
  lua_memory *memory = ud;
  if (new_size == 0) {
    free(ptr);
    return NULL;
  }
  if (ptr == NULL || new_size > old_size) {
    memory->calls++;
    if (memory->fail_at > 0 &&
        (memory->calls == memory->fail_at || (memory->fail_on && memory->calls > memory->fail_at)))
      return NULL;
  }
  return realloc(ptr, new_size);
}

static inline void lua_memory_arm(lua_memory *memory, int64_t fail_at, bool fail_on) {
  *memory = (lua_memory){.fail_at = fail_at, .fail_on = fail_on};
}

/* A state with the standard libraries, where lurn can be required from the scripts of the working directory. */
static inline lua_State *host_new(lua_memory *memory) {
  *memory = (lua_memory){0};
  lua_State *L = lua_newstate(lua_memory_alloc, memory);
  if (L == NULL) abort();
  luaL_openlibs(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_lurn_core);
  lua_setfield(L, -2, "lurn.core");
  lua_getglobal(L, "package");
  lua_pushliteral(L, "scripts/?.lua;scripts/?/init.lua");
  lua_setfield(L, -2, "path");
  lua_settop(L, 0);
  return L;
}

/* Leaves the function of a chunk on the stack. */
static inline void host_load(lua_State *L, const char *code) {
  if (luaL_loadstring(L, code) == LUA_OK) return;
  printf("%s\n", lua_tostring(L, -1));
  abort();
}

/* The context behind lurn, or NULL when it was not loaded; leaves the stack as it was. */
static inline lurn_ctx *host_ctx(lua_State *L) {
  lurn_ctx *ctx = NULL;
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, "lurn.core") == LUA_TTABLE && lua_getfield(L, -1, "zeros") == LUA_TFUNCTION &&
      lua_getupvalue(L, -1, 1) != NULL) {
    const bind_state *self = lua_touserdata(L, -1);
    ctx = self->ctx;
  }
  lua_settop(L, 0);
  return ctx;
}

/* Closes the state and returns the bytes that its tensors and graphs left behind. */
static inline int64_t host_close(lua_State *L) {
  lua_settop(L, 0);
  lurn_ctx *ctx = host_ctx(L);
  if (ctx == NULL) {
    lua_close(L);
    return 0;
  }
  lurn_ctx *fresh;
  lurn_tensor *probe, *alone; /* a context lives until its last tensor is released */
  if (lurn_ctx_new(NULL, &fresh) != LURN_OK || lurn_scalar(fresh, 1, &alone) != LURN_OK ||
      lurn_scalar(ctx, 1, &probe) != LURN_OK)
    abort();
  int64_t expected = (int64_t)lurn_memory_live(fresh);
  lua_close(L);
  int64_t left = (int64_t)lurn_memory_live(ctx) - expected;
  lurn_release(probe);
  lurn_release(alone);
  lurn_ctx_free(fresh);
  return left;
}

#endif
