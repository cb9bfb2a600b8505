/* Reading arguments. */
#include <math.h>
#include <string.h>

#include "binding.h"

const char *bind_typename(lua_State *L, int index) {
  if (lua_type(L, index) == LUA_TUSERDATA && luaL_getmetafield(L, index, "__name") == LUA_TSTRING) {
    const char *name = lua_tostring(L, -1); /* the metatable keeps it */
    lua_pop(L, 1);
    return strcmp(name, "lurn.Tensor") == 0 ? "a tensor" : name;
  }
  switch (lua_type(L, index)) {
    case LUA_TNONE: return "nothing";
    case LUA_TNIL: return "nil";
    case LUA_TBOOLEAN: return "a boolean";
    case LUA_TNUMBER: return lua_isinteger(L, index) ? "an integer" : "a number";
    case LUA_TSTRING: return "a string";
    case LUA_TTABLE: return "a table";
    case LUA_TFUNCTION: return "a function";
    default: return luaL_typename(L, index);
  }
}

static int wrong(lua_State *L, int index, const char *who, const char *what, const char *expected) {
  return bind_error(L, "%s: %s: expected %s, got %s", who, what, expected, bind_typename(L, index));
}

lua_Integer bind_check_integer(lua_State *L, int index, const char *who, const char *what) {
  int is_integer = 0;
  lua_Integer value = lua_type(L, index) == LUA_TNUMBER ? lua_tointegerx(L, index, &is_integer) : 0;
  if (!is_integer && lua_type(L, index) == LUA_TNUMBER)
    bind_error(L, "%s: %s: expected a whole number, got %.14g", who, what, lua_tonumber(L, index));
  if (!is_integer) wrong(L, index, who, what, "a whole number");
  return value;
}

double bind_check_number(lua_State *L, int index, const char *who, const char *what) {
  if (lua_type(L, index) != LUA_TNUMBER) wrong(L, index, who, what, "a number");
  return lua_tonumber(L, index);
}

bool bind_check_flag(lua_State *L, int index, const char *who, const char *what) {
  if (!lua_isboolean(L, index)) wrong(L, index, who, what, "true or false");
  return lua_toboolean(L, index);
}

const char *bind_check_string(lua_State *L, int index, const char *who, const char *what) {
  if (lua_type(L, index) != LUA_TSTRING) wrong(L, index, who, what, "a string");
  return lua_tostring(L, index);
}

lurn_dtype bind_check_dtype(lua_State *L, int index, const char *who) {
  lurn_dtype dtype = LURN_FLOAT32;
  const char *name = bind_check_string(L, index, who, "dtype");
  if (!lurn_dtype_parse(name, &dtype))
    bind_error(L, "%s: there is no dtype \"%s\"; expected float32, float64, int64, int32, uint8 or bool", who, name);
  return dtype;
}

int64_t bind_check_position(lua_State *L, int index, const char *who, const char *what) {
  lua_Integer value = bind_check_integer(L, index, who, what);
  if (value == 0) bind_error(L, "%s: %s is 0; counting starts at 1, or at -1 from the end", who, what);
  return value > 0 ? value - 1 : value;
}

/* Options that got into a list, {1, keepdim = true}, would go unnoticed. */
static void check_plain_list(lua_State *L, int index, lua_Unsigned n, const char *who, const char *what) {
  lua_Unsigned fields = 0;
  lua_pushnil(L);
  while (lua_next(L, index) != 0) {
    lua_pop(L, 1);
    if (++fields > n) bind_error(L, "%s: %s: expected a list of numbers, got a table with other fields", who, what);
  }
}

int bind_check_integers(lua_State *L, int index, const char *who, const char *what, int64_t out[LURN_MAX_DIMS]) {
  lua_Unsigned n = lua_rawlen(L, index); /* raw: no metamethod may run, and free a tensor, between two arguments */
  if (n > LURN_MAX_DIMS)
    bind_error(L, "%s: %s: %d numbers given; at most %d are possible", who, what, (int)n, LURN_MAX_DIMS);
  for (int i = 0; i < (int)n; i++) {
    lua_rawgeti(L, index, i + 1);
    out[i] = bind_check_integer(L, lua_gettop(L), who, what);
    lua_pop(L, 1);
  }
  check_plain_list(L, index, n, who, what);
  return (int)n;
}

int bind_check_shape(lua_State *L, int first, const char *who, int64_t shape[LURN_MAX_DIMS], int *next) {
  if (lua_istable(L, first) && (lua_rawlen(L, first) > 0 || !bind_is_options(L, first) || lua_gettop(L) > first)) {
    *next = first + 1;
    return bind_check_integers(L, first, who, "shape", shape);
  }
  int n = 0, i = first;
  for (; lua_type(L, i) == LUA_TNUMBER; i++) {
    if (n == LURN_MAX_DIMS) bind_error(L, "%s: a tensor has at most %d dimensions", who, LURN_MAX_DIMS);
    shape[n++] = bind_check_integer(L, i, who, "shape");
  }
  *next = i;
  return n;
}

bool bind_is_options(lua_State *L, int index) { return lua_istable(L, index) && lua_rawlen(L, index) == 0; }

static bool is_one_of(const char *name, const char *const *names) {
  for (; *names != NULL; names++)
    if (strcmp(name, *names) == 0) return true;
  return false;
}

void bind_check_options(lua_State *L, int index, const char *who, const char *const *names) {
  if (lua_isnoneornil(L, index)) return;
  if (!lua_istable(L, index)) wrong(L, index, who, "options", "a table");
  index = lua_absindex(L, index);
  lua_pushnil(L);
  while (lua_next(L, index) != 0) {
    lua_pop(L, 1);
    if (lua_type(L, -1) == LUA_TSTRING && is_one_of(lua_tostring(L, -1), names)) continue;
    luaL_Buffer known;
    const char *given = luaL_tolstring(L, -1, NULL);
    luaL_buffinit(L, &known);
    for (int i = 0; names[i] != NULL; i++) {
      if (i > 0) luaL_addstring(&known, ", ");
      luaL_addstring(&known, names[i]);
    }
    luaL_pushresult(&known);
    bind_error(L, "%s: there is no option %s; known are: %s", who, given, lua_tostring(L, -1));
  }
}
