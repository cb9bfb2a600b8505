/* Hooks whose functions lead back to their own graph.
 *
 * The functions of hooks are kept for the engine, since a gradient may come as long as the graph lives.  Where one of them leads to a
 * tensor of that graph, as an upvalue say, both would live for good: Lua's collector does not see what the tensor leads to in the
 * engine.  So now and then it is shown that.  Tensors that the functions lead to are found; what they lead to in the graph is made
 * of tables, with the functions in them; and one full collection is made in which nothing else keeps the functions, but for those
 * that the engine holds for other reasons as well. */
#include "binding.h"

/* Registry key by address: the metatable of a table with weak keys. */
static const char WEAK_KEY = 0;

/* ---- What the functions lead to ---------------------------------------------------------------------------- */

/* Stack slots while tables are made. */
enum { SEEN = 2, WORK, SHELLS, PROXIES, TOLD, HELD, OWNERS };

typedef struct search {
  bind_state *self;
  lua_Integer waiting, shells;
} search;

/* Pops a value; one that may lead on and was not met before waits to be followed. */
static void meet(lua_State *L, search *s) {
  int type = lua_type(L, -1);
  bool leads_on = type == LUA_TTABLE || type == LUA_TFUNCTION || type == LUA_TUSERDATA;
  lua_pushvalue(L, -1);
  if (!leads_on || lua_rawget(L, SEEN) != LUA_TNIL) {
    lua_pop(L, 2);
    return;
  }
  lua_pop(L, 1);
  lua_pushvalue(L, -1);
  lua_pushboolean(L, 1);
  lua_rawset(L, SEEN);
  lua_rawseti(L, WORK, ++s->waiting);
}

/* Pops a value that is not to be followed: it lives anyway. */
static void pass_over(lua_State *L) {
  lua_pushboolean(L, 1);
  lua_rawset(L, SEEN);
}

/* What every program has, and its modules. */
static void pass_over_roots(lua_State *L) {
  lua_pushvalue(L, LUA_REGISTRYINDEX);
  pass_over(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  pass_over(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (lua_pushnil(L); lua_next(L, -2);) pass_over(L);
  pass_over(L);
}

static void follow_table(lua_State *L, search *s) {
  for (lua_pushnil(L); lua_next(L, -2);) {
    meet(L, s);
    lua_pushvalue(L, -1);
    meet(L, s);
  }
}

static void follow_function(lua_State *L, search *s) {
  for (int i = 1; lua_getupvalue(L, -1, i) != NULL; i++) meet(L, s);
}

static void follow_userdata(lua_State *L, search *s) {
  if (bind_peek_tensor(L, s->self, -1) != NULL) {
    lua_pushvalue(L, -1);
    lua_rawseti(L, SHELLS, ++s->shells);
  }
  for (int i = 1; lua_getiuservalue(L, -1, i) != LUA_TNONE; i++) meet(L, s);
  lua_pop(L, 1);
}

/* Lists the tensors that functions of hooks lead to. */
static void find_shells(lua_State *L, search *s) {
  pass_over_roots(L);
  bind_push_hook_functions(L);
  follow_table(L, s);
  lua_pop(L, 1);
  while (s->waiting > 0) {
    lua_rawgeti(L, WORK, s->waiting--);
    int type = lua_type(L, -1);
    if (type == LUA_TTABLE) follow_table(L, s);
    else if (type == LUA_TFUNCTION) follow_function(L, s);
    else follow_userdata(L, s);
    if (lua_getmetatable(L, -1)) meet(L, s);
    lua_pop(L, 1);
  }
}

/* ---- The graph as tables ----------------------------------------------------------------------------------- */

/* Pushes the table that stands for an address in the graph. */
static void push_proxy(lua_State *L, const void *address) {
  if (lua_rawgetp(L, PROXIES, address) != LUA_TNIL) return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, PROXIES, address);
}

/* Pops a value and appends it to the list at index. */
static void append(lua_State *L, int index) { lua_rawseti(L, index, (lua_Integer)lua_rawlen(L, index) + 1); }

/* Addresses of hooks that were told of, with the proxy that has them; and what is held from elsewhere. */
static void build(lua_State *L, const lurn_trace *trace, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    if (trace[i].kind == LURN_TRACE_HELD) {
      push_proxy(L, trace[i].to);
      append(L, HELD);
      continue;
    }
    push_proxy(L, trace[i].from);
    if (trace[i].kind == LURN_TRACE_LINK) {
      push_proxy(L, trace[i].to);
      append(L, lua_gettop(L) - 1);
      lua_pop(L, 1);
    } else {
      lua_rawsetp(L, TOLD, trace[i].to);
    }
  }
}

/* Functions go to the proxies of what they are hooks of; those that nothing found leads to are held. */
static void place_functions(lua_State *L) {
  bind_push_hook_functions(L);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    bool told = lua_rawgetp(L, TOLD, lua_touserdata(L, -1)) != LUA_TNIL;
    lua_pushvalue(L, -3);
    append(L, told ? lua_gettop(L) - 1 : HELD);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* Every tensor that was found keeps what it leads to, as long as it lives itself. */
static void place_shells(lua_State *L, const search *s, lurn_tensor *const *tensors) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &WEAK_KEY);
  lua_setmetatable(L, OWNERS);
  for (lua_Integer i = 1; i <= s->shells; i++) {
    lua_rawgeti(L, SHELLS, i);
    push_proxy(L, tensors[i - 1]);
    lua_rawset(L, OWNERS);
  }
}

/* Runs protected, while the collector stands: (self) -> what keeps functions, by tensors and otherwise; or nothing. */
static int make_tables(lua_State *L) {
  search s = {.self = lua_touserdata(L, 1)};
  lurn_ctx *ctx = s.self->ctx;
  luaL_checkstack(L, 32, "hooks");
  for (int i = SEEN; i <= OWNERS; i++) lua_newtable(L);
  find_shells(L, &s);
  if (s.shells == 0) return 0;
  lurn_tensor **tensors = lua_newuserdatauv(L, (size_t)s.shells * sizeof(lurn_tensor *), 0);
  for (lua_Integer i = 1; i <= s.shells; i++) {
    lua_rawgeti(L, SHELLS, i);
    tensors[i - 1] = bind_peek_tensor(L, s.self, -1);
    lua_pop(L, 1);
  }
  int64_t n = 0;
  if (lurn_graph_trace(ctx, tensors, s.shells, 0, NULL, &n) != LURN_OK) return 0;
  lurn_trace *trace = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *trace, 0);
  if (lurn_graph_trace(ctx, tensors, s.shells, n, trace, &n) != LURN_OK) return 0;
  build(L, trace, n);
  place_functions(L);
  place_shells(L, &s, tensors);
  lua_pushvalue(L, OWNERS);
  lua_pushvalue(L, HELD);
  return 2;
}

/* ---- Collecting -------------------------------------------------------------------------------------------- */

/* Whether the table of functions keeps them. */
static void set_weak(lua_State *L, bind_state *self, bool weak) {
  self->searching = weak;
  bind_push_hook_functions(L);
  if (weak) lua_rawgetp(L, LUA_REGISTRYINDEX, &WEAK_KEY);
  else lua_pushnil(L);
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
}

static bool is_due(lua_State *L, const bind_state *self) {
  if (self->hooks == 0 || self->searching || self->running != NULL)
    return false;                                              /* a backward holds what nobody sees */
  return lua_gc(L, LUA_GCCOUNT) >= 0 && lua_checkstack(L, 16); /* not in a finalizer */
}

/* The next search is due when hooks have doubled. */
static void allow(bind_state *self) {
  enum { FEW = 64 };
  self->hooks_allowed = 2 * self->hooks > FEW ? 2 * self->hooks : FEW;
}

void bind_collect(lua_State *L, bind_state *self) {
  if (!is_due(L, self)) {
    lua_gc(L, LUA_GCCOLLECT);
    allow(self);
    return;
  }
  int top = lua_gettop(L), runs = lua_gc(L, LUA_GCISRUNNING);
  lua_gc(L, LUA_GCSTOP); /* so that nothing changes: no finalizer runs */
  lua_pushcfunction(L, make_tables);
  lua_pushlightuserdata(L, self);
  bool made = lua_pcall(L, 1, 2, 0) == LUA_OK && lua_istable(L, -1);
  if (runs) lua_gc(L, LUA_GCRESTART);
  if (made) set_weak(L, self, true);
  lua_gc(L, LUA_GCCOLLECT);
  if (made) set_weak(L, self, false);
  lua_settop(L, top);
  allow(self);
}

void bind_open_cycles(lua_State *L, bind_state *self) {
  allow(self);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &WEAK_KEY);
}
