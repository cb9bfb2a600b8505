/* Lua's own allocator fails, at each of its calls in turn, once and from there on: while lurn is loaded, and while a script trains,
 * saves, loads, fails and recovers.  An error arrives each time, and the same state then gives the same bits as ever.
 *
 * With LURN_EXHAUSTIVE=1 every call fails; otherwise the early ones, and later ones at a stride that grows. */
#include <unistd.h>

#include "host.h"

enum { STATES_EVERY = 40 }; /* runs in one Lua state */

/* ---- Which calls fail -------------------------------------------------------------------------------------- */

static bool exhaustive(void) { return getenv("LURN_EXHAUSTIVE") != NULL; }

/* The next call to fail: all at first, then about `density` more for every doubling. */
static int64_t next_failure(int64_t n, int64_t density) { return n + 1 + (exhaustive() ? 0 : n / density); }

/* Whether the error on top of the stack is one that lack of memory may give. */
static bool is_memory_error(lua_State *L) {
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
  if (strstr(text, "not enough memory") || strstr(text, "out of memory") || strstr(text, "cannot grow")) return true;
  printf("     unexpected: %s\n", text);
  return false;
}

/* ---- Loading ----------------------------------------------------------------------------------------------- */

static const char load_code[] = "local lurn = require 'lurn'\n"
                                "local parts = {lurn.nn, lurn.optim, lurn.data, lurn.sample, lurn.train}\n"
                                "local w = lurn.ones(3, {requires_grad = true})\n"
                                "local loss = (w * w):sum()\n"
                                "loss:backward()\n"
                                "return w.grad:sum():item()";

/* Returns whether the loading got through before the failure. */
static bool load_failing(int64_t fail_at, bool fail_on) {
  lua_memory memory;
  lua_State *L = host_new(&memory);
  host_load(L, load_code);
  lua_pushvalue(L, 1);
  lua_memory_arm(&memory, fail_at, fail_on);
  int status = lua_pcall(L, 0, 1, 0);
  bool reached = memory.calls >= fail_at;
  lua_memory_arm(&memory, 0, false);
  if (status != LUA_OK) CHECK(is_memory_error(L));
  lua_settop(L, 1);
  if (CHECK(lua_pcall(L, 0, 1, 0) == LUA_OK)) CHECK_NEAR(lua_tonumber(L, -1), 6, 0);
  else printf("     call %lld: %s\n", (long long)fail_at, lua_tostring(L, -1));
  CHECK_EQ(host_close(L), 0);
  return !reached;
}

TEST(loading_with_each_allocation_failing) {
  for (int64_t n = 1; !load_failing(n, false); n = next_failure(n, 24)) {}
  for (int64_t n = 1; !load_failing(n, true); n = next_failure(n, 24)) {}
}

/* ---- Running ----------------------------------------------------------------------------------------------- */

/* Returns a function that does a bit of everything and returns the bytes of what it computed. */
static const char run_code[] =
    "local path = ...\n"
    "local lurn = require 'lurn'\n"
    "local nn, F = lurn.nn, lurn.nn.functional\n"
    "local square = lurn.custom_function{ name = 'square',\n"
    "  forward = function(ctx, x) ctx:save_for_backward(x) return x * x end,\n"
    "  backward = function(ctx, g) local x = ctx:saved_tensors() return g * x * 2 end }\n"
    "local function train(out)\n"
    "  local model = nn.Sequential(nn.Linear(3, 4), nn.Tanh())\n"
    "  local rnn, head = nn.LSTM(4, 3, {num_layers = 2, dropout = 0.1}), nn.Linear(3, 5)\n"
    "  local params = model:parameters()\n"
    "  for _, m in ipairs{rnn, head} do for _, p in ipairs(m:parameters()) do params[#params + 1] = p end end\n"
    "  local opt = lurn.optim.Adam(params, {lr = 0.01})\n"
    "  local x, y = lurn.randn(4, 2, 3), lurn.randint(1, 5, 4, 2)\n"
    "  for step = 1, 2 do\n"
    "    opt:zero_grad()\n"
    "    local loss = F.cross_entropy(head(square((rnn(model(x))))), y)\n"
    "    loss:backward()\n"
    "    nn.utils.clip_grad_norm_(params, 1)\n"
    "    opt:step()\n"
    "    out[#out + 1] = loss:tobytes()\n"
    "  end\n"
    "  assert(lurn.save(path, rnn:state_dict(), {note = 'n'}))\n"
    "  local again = nn.LSTM(4, 3, {num_layers = 2})\n"
    "  again:load_state_dict(assert(lurn.load(path)))\n"
    "  opt:load_state_dict(opt:state_dict())\n"
    "  out[#out + 1] = again.weight_hh_l1:tobytes()\n"
    "end\n"
    "local function index(out)\n"
    "  local x = lurn.tensor{{1, 2, 3}, {4, 5, 6}}\n"
    "  x[{1, {2, 3}}] = 7\n"
    "  x[x:gt(6)] = 0.5\n"
    "  local parts = x:split(1, 2)\n"
    "  out[#out + 1] = tostring(x) .. lurn.cat(parts, 1):tobytes() .. table.concat(x:totable()[2], ',')\n"
    "  out[#out + 1] = lurn.no_grad(lurn.scope, function() return (x[-1] + 1):sum() end):tobytes()\n"
    "end\n"
    "local function hook(out)\n"
    "  local x = lurn.ones(2, {requires_grad = true})\n"
    "  local y = (x * 2):retain_grad()\n"
    "  local first = y:register_hook(function(g) return g * 3 end)\n"
    "  for i = 1, 70 do y:register_hook(function(g) return y ~= x and g or nil end) end\n" /* cycles are looked for */
    "  y:sum():backward()\n"
    "  first:remove()\n"
    "  out[#out + 1] = x.grad:tobytes() .. y.grad:tobytes()\n"
    "end\n"
    "local function fail()\n"
    "  pcall(lurn.matmul, lurn.ones(2, 3), lurn.ones(4, 5))\n"
    "  pcall(nn.Linear(2, 2), lurn.ones(3))\n"
    "  pcall(lurn.no_grad, error, 'mine')\n"
    "  pcall(lurn.scope, function() local t = lurn.ones(9) error{} end)\n"
    "  local bad = lurn.custom_function{ forward = function(_, x) return x * 1 end, backward = function() error 'b' "
    "end }\n"
    "  pcall(function() bad(lurn.ones(2, {requires_grad = true})):sum():backward() end)\n"
    "  coroutine.wrap(function() pcall(lurn.no_grad, coroutine.yield) end)()\n"
    "end\n"
    "return function()\n"
    "  lurn.manual_seed(1)\n"
    "  local out, w = {}, lurn.ones(2, {dtype = 'float64', requires_grad = true})\n"
    "  train(out) index(out) hook(out) fail()\n"
    "  local g = lurn.grad((w * w):sum(), w)\n"
    "  assert(lurn.gradcheck(function(a) return (a * a):sum() end, {w}))\n"
    "  assert(lurn.grad_enabled(), 'gradients are off')\n"
    "  return table.concat(out) .. g:tobytes()\n"
    "end, function()\n"
    "  for _ = 1, 3 do collectgarbage() end\n"
    "  local t, list = {}, {}\n"
    "  lurn.scope_open(list)\n"
    "  local _, outer = lurn.scope_close(list)\n"
    "  return lurn.grad_enabled() and outer == nil\n"
    "end";

typedef struct host {
  lua_State *
      L; /* at 1 the function that runs, at 2 the one that tells whether all is as it was, at 3 the bytes that should come */
  lua_memory memory;
  char path[64];
} host;

/* Calls the function and compares what it gives; the first result is kept as what should come. */
static bool run_well(host *h) {
  lua_settop(h->L, 3);
  lua_pushvalue(h->L, 1);
  if (lua_pcall(h->L, 0, 1, 0) != LUA_OK) {
    printf("     %s\n", lua_tostring(h->L, -1));
    return false;
  }
  if (lua_isnil(h->L, 3)) {
    lua_replace(h->L, 3);
    return true;
  }
  return lua_rawequal(h->L, 3, 4) != 0;
}

static void start(host *h) {
  snprintf(h->path, sizeof h->path, "/tmp/lurn_test_lua_memory_%d", (int)getpid());
  h->L = host_new(&h->memory);
  host_load(h->L, run_code);
  lua_pushstring(h->L, h->path);
  if (lua_pcall(h->L, 1, 2, 0) != LUA_OK) {
    printf("%s\n", lua_tostring(h->L, -1));
    abort();
  }
  lua_settop(h->L, 3);
  CHECK(run_well(h));
}

static void finish(host *h) {
  unlink(h->path);
  CHECK_EQ(host_close(h->L), 0);
}

/* Nothing that a call switches for its time is still switched. */
static bool is_as_it_was(host *h) {
  lua_settop(h->L, 3);
  lua_pushvalue(h->L, 2);
  return lua_pcall(h->L, 0, 1, 0) == LUA_OK && lua_toboolean(h->L, -1);
}

/* Returns whether the run got through before the failure. */
static bool run_failing(host *h, int64_t fail_at, bool fail_on) {
  lua_settop(h->L, 3);
  lua_gc(h->L, LUA_GCCOLLECT);
  lua_pushvalue(h->L, 1);
  lua_memory_arm(&h->memory, fail_at, fail_on);
  int status = lua_pcall(h->L, 0, 1, 0);
  bool reached = h->memory.calls >= fail_at;
  lua_memory_arm(&h->memory, 0, false);
  bool sound = status == LUA_OK ? lua_rawequal(h->L, 3, 4) != 0 : is_memory_error(h->L);
  bool holds = CHECK(sound) && CHECK(is_as_it_was(h)) && CHECK(run_well(h));
  if (!holds) printf("     allocation %lld%s\n", (long long)fail_at, fail_on ? " and all after it" : "");
  return !reached || harness.failed_checks > 20;
}

static void run_all(bool fail_on) {
  host h;
  start(&h);
  int64_t runs = 0;
  for (int64_t n = 1; !run_failing(&h, n, fail_on); n = next_failure(n, 150)) {
    if (++runs % STATES_EVERY != 0) continue;
    finish(&h);
    start(&h);
  }
  finish(&h);
}

TEST(running_with_each_allocation_failing) { run_all(false); }
TEST(running_with_all_allocations_failing_from_each_on) { run_all(true); }

/* Collections at the surface leave hardly any room for deeper calls, so even calling something may need memory. */
TEST(what_is_switched_for_a_call_is_put_back_without_memory) {
  static const char code[] = "local lurn = require 'lurn'\n"
                             "return function(switch) lurn[switch](function() return {} end) end, function()\n"
                             "  local list = {}\n"
                             "  lurn.scope_open(list)\n"
                             "  local _, outer = lurn.scope_close(list)\n"
                             "  return lurn.grad_enabled() and outer == nil\n"
                             "end";
  static const char *const switches[] = {"scope", "no_grad"};
  enum { CALLS = 60 };
  host h = {.path = ""};
  h.L = host_new(&h.memory);
  host_load(h.L, code);
  CHECK_EQ(lua_pcall(h.L, 0, 2, 0), LUA_OK);
  for (int n = 0; n < 2 * CALLS; n++) {
    lua_settop(h.L, 2);
    lua_pushnil(h.L);
    for (int k = 0; k < 9; k++) lua_gc(h.L, LUA_GCCOLLECT);
    lua_pushvalue(h.L, 1);
    lua_pushstring(h.L, switches[n % 2]);
    lua_memory_arm(&h.memory, 1 + n / 2, true);
    int status = lua_pcall(h.L, 1, 0, 0);
    lua_memory_arm(&h.memory, 0, false);
    CHECK(status == LUA_OK || is_memory_error(h.L));
    if (!CHECK(is_as_it_was(&h))) printf("     %s, allocation %d and all after it\n", switches[n % 2], 1 + n / 2);
  }
  CHECK_EQ(host_close(h.L), 0);
}
