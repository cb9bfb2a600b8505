/* Settings of the context: seed, threads, memory; and what it says of itself. */
#include <time.h>

#include "binding.h"

static int manual_seed(lua_State *L) {
  lurn_manual_seed(bind_ctx(L), (uint64_t)bind_check_integer(L, 1, "manual_seed", "seed"));
  return 0;
}

/* rng_state() -> seed, block: two integers; set_rng_state(seed, block) continues that stream. */
static int rng_state(lua_State *L) {
  uint64_t state[2];
  lurn_rng_state(bind_ctx(L), state);
  lua_pushinteger(L, (lua_Integer)state[0]);
  lua_pushinteger(L, (lua_Integer)state[1]);
  return 2;
}

static int set_rng_state(lua_State *L) {
  uint64_t state[2] = {(uint64_t)bind_check_integer(L, 1, "set_rng_state", "seed"),
                       (uint64_t)bind_check_integer(L, 2, "set_rng_state", "block")};
  lurn_set_rng_state(bind_ctx(L), state);
  return 0;
}

static int set_num_threads(lua_State *L) {
  lua_Integer n = bind_check_integer(L, 1, "set_num_threads", "n");
  lurn_status status = lurn_set_num_threads(bind_ctx(L), n < 0 || n > 1000000 ? -1 : (int)n);
  return status == LURN_OK ? 0 : bind_raise(L, status);
}

static int get_num_threads(lua_State *L) {
  lua_pushinteger(L, lurn_num_threads(bind_ctx(L)));
  return 1;
}

/* memory() -> live, held, requests, peak: bytes in use by tensors and the graph, bytes taken from the system, how often it was asked
 * for more, and the most bytes that were in use at once; memory_reset_peak() begins that anew. */
static int memory(lua_State *L) {
  lurn_ctx *ctx = bind_ctx(L);
  lua_pushinteger(L, (lua_Integer)lurn_memory_live(ctx));
  lua_pushinteger(L, (lua_Integer)lurn_memory_held(ctx));
  lua_pushinteger(L, (lua_Integer)lurn_memory_allocations(ctx));
  lua_pushinteger(L, (lua_Integer)lurn_memory_peak(ctx));
  return 4;
}

static int memory_reset_peak(lua_State *L) {
  lurn_memory_reset_peak(bind_ctx(L));
  return 0;
}

static int memory_trim(lua_State *L) {
  lurn_memory_trim(bind_ctx(L));
  return 0;
}

/* clock(): seconds on a clock that only moves forward; what it counts from means nothing. */
static int monotonic_clock(lua_State *L) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  lua_pushnumber(L, (lua_Number)now.tv_sec + 1e-9 * (lua_Number)now.tv_nsec);
  return 1;
}

static void set_string(lua_State *L, const char *key, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, key);
}

static void set_integer(lua_State *L, const char *key, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, key);
}

/* config(): what `lurn info` prints. */
static int config(lua_State *L) {
  lurn_ctx *ctx = bind_ctx(L);
  lua_newtable(L);
  set_string(L, "version", lurn_version());
  set_string(L, "lua", LUA_RELEASE);
  set_string(L, "isa", lurn_isa_name(ctx));
  set_string(L, "cpu_isa", lurn_cpu_isa_name());
  set_integer(L, "cores", lurn_cpu_cores());
  set_integer(L, "threads", lurn_num_threads(ctx));
  set_string(L, "blas", lurn_blas_config());
  set_string(L, "blas_kernel", lurn_blas_kernel());
  set_integer(L, "blas_threads", lurn_blas_threads());
  set_integer(L, "memory_live", (lua_Integer)lurn_memory_live(ctx));
  set_integer(L, "memory_held", (lua_Integer)lurn_memory_held(ctx));
  return 1;
}

void bind_open_context(lua_State *L, bind_state *self) {
  static const luaL_Reg functions[] = {{"manual_seed", manual_seed},
                                       {"rng_state", rng_state},
                                       {"set_rng_state", set_rng_state},
                                       {"set_num_threads", set_num_threads},
                                       {"get_num_threads", get_num_threads},
                                       {"memory", memory},
                                       {"memory_trim", memory_trim},
                                       {"memory_reset_peak", memory_reset_peak},
                                       {"config", config},
                                       {"clock", monotonic_clock},
                                       {NULL, NULL}};
  bind_functions(L, self, functions);
  lua_pushstring(L, lurn_version());
  lua_setfield(L, -2, "version");
}
