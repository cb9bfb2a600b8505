/* Hooks whose functions lead back to their own graph.
 *
 * The functions of hooks are kept for the engine, since a gradient may come as long as the graph lives.  Where one of them leads to a
 * tensor of that graph, as an upvalue say, both would live for good: Lua's collector does not see what the tensor leads to in the
 * engine.  So now and then it is shown that.  Tensors that the functions lead to are found; what they lead to in the graph is made
 * of tables, with the functions in them, which become the tensors' user values; and one full collection is made in which nothing else
 * keeps these functions, but for those that the engine holds for other reasons as well.  What is kept alive for finalizers keeps its
 * functions too, and they are all given back before the first finalizer runs: the tables tell of the graph as it was before. */
#include "binding.h"

/* Registry keys by address: the hooks; during a search, {function} -> its hook, weak; the metatable of what gives hooks their functions
 * back; that of tables with weak keys. */
static const char HOOKS_KEY = 0, LOOSE_KEY = 0, GUARD_KEY = 0, WEAK_KEY = 0;

void bind_push_hooks(lua_State *L) { lua_rawgetp(L, LUA_REGISTRYINDEX, &HOOKS_KEY); }

/* ---- What the functions lead to ---------------------------------------------------------------------------- */

/* Stack slots while tables are made. */
enum { KNOWN = 2, SEEN, WORK, SHELLS, PROXIES, TOLD, HELD, LOOSE, HOOKS };

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
    lua_pushboolean(L, 1);
    lua_rawset(L, SHELLS);
    s->shells++;
  }
  for (int i = 1; lua_getiuservalue(L, -1, i) != LUA_TNONE; i++) meet(L, s);
  lua_pop(L, 1);
}

static void push_tables(lua_State *L) {
  luaL_checkstack(L, 32, "hooks");
  for (int i = SEEN; i <= LOOSE; i++) lua_newtable(L);
  bind_push_hooks(L);
}

static void make_weak(lua_State *L, int index) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &WEAK_KEY);
  lua_setmetatable(L, index);
}

/* Lists the tensors that functions of hooks, and known ones, lead to. */
static void find_shells(lua_State *L, search *s) {
  pass_over_roots(L);
  for (int i = 0; i < 2; i++) {
    lua_pushvalue(L, i == 0 ? HOOKS : KNOWN);
    follow_table(L, s);
    lua_pop(L, 1);
  }
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

/* Runs protected, while the collector stands: (self, {}) -> a weak table of tensors that functions lead to, or nothing. */
static int find_tensors(lua_State *L) {
  search s = {.self = lua_touserdata(L, 1)};
  push_tables(L);
  find_shells(L, &s);
  make_weak(L, SHELLS);
  lua_pushvalue(L, SHELLS);
  return s.shells > 0 ? 1 : 0;
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

/* Functions go to the proxies of what they are hooks of; others stay where they are. */
static void place_functions(lua_State *L) {
  for (lua_pushnil(L); lua_next(L, HOOKS); lua_pop(L, 1)) {
    if (lua_rawgetp(L, TOLD, lua_touserdata(L, -2)) != LUA_TNIL) {
      int proxy = lua_gettop(L);
      lua_createtable(L, 1, 0);
      lua_getiuservalue(L, proxy - 1, 1);
      lua_rawseti(L, -2, 1);
      lua_pushvalue(L, -1);
      append(L, proxy);
      lua_pushvalue(L, proxy - 1);
      lua_rawset(L, LOOSE);
    }
    lua_settop(L, -2);
  }
}

/* Reads the tensors, and makes a proxy for each. */
static void read_shells(lua_State *L, const bind_state *self, lurn_tensor **tensors) {
  for (lua_pushnil(L); lua_next(L, SHELLS); lua_pop(L, 1)) {
    *tensors = bind_peek_tensor(L, self, -2);
    push_proxy(L, *tensors++);
    lua_pop(L, 1);
  }
}

/* ---- Collecting -------------------------------------------------------------------------------------------- */

/* Every tensor that was found keeps what it leads to, as long as it lives itself; nothing else keeps the functions. */
static void loosen(lua_State *L, bind_state *self) {
  for (lua_pushnil(L); lua_next(L, SHELLS); lua_pop(L, 1)) {
    push_proxy(L, bind_peek_tensor(L, self, -2));
    lua_setiuservalue(L, -3, 1);
  }
  for (lua_pushnil(L); lua_next(L, LOOSE); lua_pop(L, 1)) {
    lua_pushnil(L);
    lua_setiuservalue(L, -2, 1);
  }
  make_weak(L, LOOSE);
  make_weak(L, SHELLS);
  self->searching = true;
}

/* The reverse, once.  Neither asks for memory. */
void bind_tighten(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &LOOSE_KEY) == LUA_TTABLE) {
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
      lua_rawgeti(L, -2, 1);
      lua_setiuservalue(L, -2, 1);
    }
  }
  lua_pop(L, 1);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &LOOSE_KEY);
}

/* The latest object with a finalizer, so that this is the first to run. */
static int guard_collected(lua_State *L) {
  bind_tighten(L);
  return 0;
}

static void push_guard(lua_State *L) {
  lua_newuserdatauv(L, 0, 0);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &GUARD_KEY);
  lua_setmetatable(L, -2);
}

/* Runs protected, while the collector stands: (self, known tensors) -> {what keeps functions besides tensors, the tensors}; or
 * nothing. */
static int make_tables(lua_State *L) {
  search s = {.self = lua_touserdata(L, 1)};
  lurn_ctx *ctx = s.self->ctx;
  push_tables(L);
  find_shells(L, &s);
  if (s.shells == 0) return 0;
  lurn_tensor **tensors = lua_newuserdatauv(L, (size_t)s.shells * sizeof(lurn_tensor *), 0);
  read_shells(L, s.self, tensors);
  int64_t n = 0;
  if (lurn_graph_trace(ctx, tensors, s.shells, 0, NULL, &n) != LURN_OK) return 0;
  lurn_trace *trace = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *trace, 0);
  if (lurn_graph_trace(ctx, tensors, s.shells, n, trace, &n) != LURN_OK) return 0;
  build(L, trace, n);
  place_functions(L);
  lua_createtable(L, 2, 0);
  for (int i = 1; i <= 2; i++) {
    lua_pushvalue(L, i == 1 ? HELD : SHELLS);
    lua_rawseti(L, -2, i);
  }
  push_guard(L);
  lua_pushvalue(L, LOOSE);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &LOOSE_KEY);
  loosen(L, s.self);
  lua_pushvalue(L, -2);
  return 1;
}

/* Takes the tables from the tensors, which stand second in the list on top of the stack. */
static void clear_shells(lua_State *L) {
  lua_rawgeti(L, -1, 2);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    lua_pushnil(L);
    lua_setiuservalue(L, -3, 1);
  }
}

/* Replaces the table on top of the stack by what f(self, table) gives; false where that is none.  The collector stands, so that nothing
 * changes: no finalizer runs. */
static bool call_still(lua_State *L, bind_state *self, lua_CFunction f) {
  int runs = lua_gc(L, LUA_GCISRUNNING);
  lua_gc(L, LUA_GCSTOP);
  lua_pushcfunction(L, f);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, self);
  lua_insert(L, -2);
  bool done = lua_pcall(L, 2, 1, 0) == LUA_OK && lua_istable(L, -1);
  if (runs) lua_gc(L, LUA_GCRESTART);
  return done;
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

/* The first collection finds what nothing leads to already, so that it does not look as if it held a graph; and it leaves no finalizer
 * to run after the tables are made, and to change what they tell.  What led to tensors may go with it: so these are found before. */
void bind_collect(lua_State *L, bind_state *self) {
  int top = lua_gettop(L);
  bool leads = false;
  if (is_due(L, self)) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &WEAK_KEY); /* a table without tensors */
    leads = call_still(L, self, find_tensors);
  }
  lua_gc(L, LUA_GCCOLLECT);
  if (leads && is_due(L, self)) {
    bool made = call_still(L, self, make_tables);
    if (made) lua_gc(L, LUA_GCCOLLECT);
    bind_tighten(L);
    self->searching = false;
    if (made) clear_shells(L);
  }
  lua_settop(L, top);
  allow(self);
}

void bind_open_cycles(lua_State *L, bind_state *self) {
  static const luaL_Reg guard[] = {{"__gc", guard_collected}, {NULL, NULL}};
  allow(self);
  self->collect = bind_collect;
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &HOOKS_KEY);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &WEAK_KEY);
  lua_newtable(L);
  bind_functions(L, self, guard);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &GUARD_KEY);
}
