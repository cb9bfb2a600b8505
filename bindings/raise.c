/* The state behind the running function, and raising errors. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "binding.h"

/* Registry keys by address. */
static const char LIBRARY_KEY = 0, CALLBACK_ERROR_KEY = 0;

/* ---- State ------------------------------------------------------------------------------------------------- */

bind_state *bind_self(lua_State *L) {
  bind_state *self = lua_touserdata(L, lua_upvalueindex(1));
  if (self == NULL || self->ctx == NULL) luaL_error(L, "lurn: the Lua state is being closed");
  return self;
}

lurn_ctx *bind_ctx(lua_State *L) { return bind_self(L)->ctx; }

void bind_functions(lua_State *L, bind_state *self, const luaL_Reg *functions) {
  lua_pushlightuserdata(L, self);
  luaL_setfuncs(L, functions, 1);
}

/* ---- Errors ------------------------------------------------------------------------------------------------ */

/* True for chunks of lurn's own scripts. */
static bool is_library(lua_State *L, const lua_Debug *info) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &LIBRARY_KEY);
  const char *prefix = lua_tostring(L, -1);
  bool inside = prefix != NULL && strncmp(info->source, prefix, strlen(prefix)) == 0;
  lua_pop(L, 1);
  return inside;
}

/* Pushes "script.lua:12: " for the first Lua function on the stack that is not lurn's own, or "". */
static void push_position(lua_State *L) {
  lua_Debug info;
  for (int level = 1; lua_getstack(L, level, &info); level++) {
    lua_getinfo(L, "Sl", &info);
    if (info.currentline <= 0 || is_library(L, &info)) continue;
    lua_pushfstring(L, "%s:%d: ", info.short_src, info.currentline);
    return;
  }
  lua_pushliteral(L, "");
}

/* Whether the table on top of the stack is a module and the function at this level is its forward, or the __call that runs it and
 * whose frame stays when forward ends in a tail call. */
static bool is_forward(lua_State *L, lua_Debug *info) {
  if (luaL_getmetafield(L, -1, "is_lurn_module") == LUA_TNIL) return false;
  lua_getfield(L, -2, "forward");
  if (luaL_getmetafield(L, -3, "__call") == LUA_TNIL) lua_pushnil(L);
  lua_getinfo(L, "f", info);
  bool same = lua_rawequal(L, -1, -2) || lua_rawequal(L, -1, -3);
  lua_pop(L, 4);
  return same;
}

/* Pushes the module whose forward runs at this level; pushes nothing otherwise. */
static bool push_module(lua_State *L, lua_Debug *info) {
  const char *name = lua_getlocal(L, info, 1);
  if (name == NULL) return false;
  if (strcmp(name, "self") == 0 && lua_istable(L, -1) && is_forward(L, info)) return true;
  lua_pop(L, 1);
  return false;
}

/* The dotted name under which the module at index `child` hangs below the one at index `parent`, pushed as a string; false when it
 * does not. */
static bool push_child_name(lua_State *L, int parent, int child) {
  if (luaL_getmetafield(L, parent, "__child_name") == LUA_TNIL) return false;
  lua_pushvalue(L, parent);
  lua_pushvalue(L, child);
  if (lua_pcall(L, 2, 1, 0) == LUA_OK && lua_type(L, -1) == LUA_TSTRING) return true;
  lua_pop(L, 1);
  return false;
}

/* Pushes "head (Linear): " for the innermost module whose forward runs, named from the outermost one, or "Linear: " when it is
 * that itself, or "".  A text that begins with the class names it already. */
static void push_layer(lua_State *L, const char *text) {
  lua_Debug info;
  luaL_checkstack(L, 12, NULL);
  int inner = 0, outer = 0, top = lua_gettop(L);
  for (int level = 1; level < 100 && lua_getstack(L, level, &info); level++) {
    if (!push_module(L, &info)) continue;
    if (inner == 0) outer = inner = lua_gettop(L);
    else if (outer == inner) outer = lua_gettop(L);
    else lua_replace(L, outer);
  }
  const char *class = "";
  if (inner != 0 && luaL_getmetafield(L, inner, "__name") == LUA_TSTRING) class = lua_tostring(L, -1);
  size_t length = strlen(class);
  bool named = strncmp(text, class, length) == 0 && text[length] == ':';
  if (inner != 0 && outer != inner && push_child_name(L, outer, inner))
    lua_pushfstring(L, named ? "%s: " : "%s (%s): ", lua_tostring(L, -1), class);
  else if (length > 0 && !named) lua_pushfstring(L, "%s: ", class);
  else lua_pushliteral(L, "");
  if (lua_gettop(L) > top + 1) lua_replace(L, top + 1);
  lua_settop(L, top + 1);
}

/* Raises the text on top of the stack. */
static int raise_text(lua_State *L) {
  int text = lua_gettop(L);
  push_position(L);
  push_layer(L, lua_tostring(L, text));
  lua_pushvalue(L, text);
  lua_concat(L, 3);
  return lua_error(L);
}

/* false stands for no error: the field must never go, so that keeping an error needs no memory. */
static void forget_error(lua_State *L) {
  lua_pushboolean(L, 0);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &CALLBACK_ERROR_KEY);
}

int bind_raise(lua_State *L, lurn_status status) {
  bind_state *self = bind_self(L);
  if (status == LURN_ECALLBACK) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &CALLBACK_ERROR_KEY);
    forget_error(L);
    if (lua_toboolean(L, -1)) return lua_error(L);
  }
  lua_pushstring(L, lurn_error(self->ctx));
  return raise_text(L);
}

int bind_error(lua_State *L, const char *fmt, ...) {
  char text[1024];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  lua_pushstring(L, text);
  return raise_text(L);
}

void bind_keep_error(lua_State *L) { lua_rawsetp(L, LUA_REGISTRYINDEX, &CALLBACK_ERROR_KEY); }

/* core.raise(message): for lurn's own scripts. */
static int core_raise(lua_State *L) {
  luaL_checkstring(L, 1);
  lua_settop(L, 1);
  return raise_text(L);
}

/* core.library(prefix): chunks whose source begins so are lurn's own. */
static int core_library(lua_State *L) {
  luaL_checkstring(L, 1);
  lua_settop(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &LIBRARY_KEY);
  return 0;
}

void bind_open_raise(lua_State *L, bind_state *self) {
  static const luaL_Reg functions[] = {{"raise", core_raise}, {"library", core_library}, {NULL, NULL}};
  forget_error(L);
  bind_functions(L, self, functions);
}
