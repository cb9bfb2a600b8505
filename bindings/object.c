/* The userdata of lurn: each begins with who made it and what it is, and gives back what it holds of the engine once. */
#include <string.h>

#include "binding.h"

/* Registry key by address: the objects made inside finalizers since one was last made outside. */
static const char STRANDED_KEY = 0;

/* ---- Made in finalizers ------------------------------------------------------------------------------------ */

/* While a Lua state closes, only the finalizers of older objects still run: what they make gets none itself.  So what is made in any
 * finalizer is kept until another object is made outside of one, or until the end, where bind_release_stranded gives it back. */

/* Lua answers -1 to everything about its collector inside a finalizer. */
static bool in_finalizer(lua_State *L) { return lua_gc(L, LUA_GCCOUNT) < 0; }

static void strand(lua_State *L, bind_state *self) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &STRANDED_KEY);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, self->stranded + 1);
  self->stranded++;
  lua_pop(L, 1);
}

static void forget_stranded(lua_State *L, bind_state *self) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &STRANDED_KEY);
  for (; self->stranded > 0; self->stranded--) {
    lua_pushnil(L);
    lua_rawseti(L, -2, self->stranded);
  }
  lua_pop(L, 1);
}

void bind_release_stranded(lua_State *L, bind_state *self) {
  for (; self->stranded > 0; self->stranded--) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &STRANDED_KEY);
    lua_rawgeti(L, -1, self->stranded);
    bind_object *object = lua_touserdata(L, -1);
    object->type->release(object);
    lua_pop(L, 2);
  }
}

/* ---- Objects ----------------------------------------------------------------------------------------------- */

void *bind_new_object(lua_State *L, bind_state *self, const bind_type *type, size_t size) {
  bool stranded = in_finalizer(L);
  if (!stranded && self->stranded > 0) forget_stranded(L, self);
  bind_object *object = lua_newuserdatauv(L, size, type->user_values);
  memset(object, 0, size);
  object->owner = self;
  object->type = type;
  lua_rawgetp(L, LUA_REGISTRYINDEX, type);
  lua_setmetatable(L, -2);
  if (stranded) strand(L, self);
  return object;
}

void *bind_test_object(lua_State *L, const bind_state *self, int index, const bind_type *type) {
  bind_object *object = lua_touserdata(L, index);
  if (object == NULL || lua_rawlen(L, index) < sizeof *object) return NULL; /* light userdata has no length */
  return object->owner == self && object->type == type ? object : NULL;
}

void *bind_check_object(lua_State *L, const bind_state *self, int index, const bind_type *type, const char *who) {
  void *object = bind_test_object(L, self, index, type);
  if (object == NULL) bind_error(L, "%s: self: expected a %s, got %s", who, type->name, bind_typename(L, index));
  return object;
}

/* Collection, also while the state closes; and whoever calls it by hand. */
static int collect(lua_State *L) {
  bind_state *self = lua_touserdata(L, lua_upvalueindex(1));
  const bind_type *type = lua_touserdata(L, lua_upvalueindex(2));
  void *object = bind_test_object(L, self, 1, type);
  if (object == NULL) return luaL_error(L, "__gc: expected a %s, got %s", type->name, luaL_typename(L, 1));
  self->young.released++;
  type->release(object);
  return 0;
}

void bind_metatable(lua_State *L, bind_state *self, const bind_type *type, const luaL_Reg *metamethods) {
  luaL_newmetatable(L, type->name);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, type); /* found faster by address than by name */
  lua_pushlightuserdata(L, self);
  lua_pushlightuserdata(L, (void *)(uintptr_t)type);
  lua_pushcclosure(L, collect, 2);
  lua_setfield(L, -2, "__gc");
  bind_functions(L, self, metamethods);
}

void bind_open_object(lua_State *L) {
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &STRANDED_KEY);
}
