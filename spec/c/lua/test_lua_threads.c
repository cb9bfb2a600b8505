/* Lua states in threads of their own, each with its lurn: they train side by side, and get the bits that one alone gets. */
#include <pthread.h>

#include "host.h"

enum { THREADS = 4 };

static const char train_code[] =
    "local lurn = require 'lurn'\n"
    "local nn, F = lurn.nn, lurn.nn.functional\n"
    "lurn.set_num_threads(2)\n"
    "lurn.manual_seed(7)\n"
    "local embed, rnn, head = nn.Embedding(9, 8), nn.LSTM(8, 33, {num_layers = 2, dropout = 0.2}), nn.Linear(33, 9)\n"
    "local params = {}\n"
    "for _, m in ipairs{embed, rnn, head} do for _, p in ipairs(m:parameters()) do params[#params + 1] = p end end\n"
    "local opt = lurn.optim.Adam(params, {lr = 0.01})\n"
    "local out, ids, state = {}, lurn.randint(1, 9, 12, 20), nil\n"
    "for step = 1, 6 do\n"
    "  opt:zero_grad()\n"
    "  local y\n"
    "  y, state = rnn(embed(ids), state)\n"
    "  local loss = F.cross_entropy(head(y), ids)\n"
    "  loss:backward()\n"
    "  nn.utils.clip_grad_norm_(params, 1)\n"
    "  opt:step()\n"
    "  state = state:detach()\n"
    "  pcall(lurn.matmul, y, loss)\n"
    "  collectgarbage()\n"
    "  out[step] = loss:tobytes()\n"
    "end\n"
    "local big = lurn.randn(300, 300)\n"
    "return table.concat(out) .. head.weight:tobytes() .. big:matmul(big):tobytes()";

typedef struct result {
  char *bytes;
  size_t length;
  int64_t left;
} result;

static void *train(void *ud) {
  result *r = ud;
  lua_memory memory;
  lua_State *L = host_new(&memory);
  host_load(L, train_code);
  if (lua_pcall(L, 0, 1, 0) != LUA_OK) printf("%s\n", lua_tostring(L, -1));
  const char *bytes = lua_tolstring(L, -1, &r->length);
  r->bytes = malloc(r->length + 1);
  if (r->bytes == NULL) abort();
  memcpy(r->bytes, bytes, r->length);
  r->left = host_close(L);
  return NULL;
}

TEST(states_in_threads_train_as_one_alone_does) {
  result alone, together[THREADS];
  pthread_t threads[THREADS];
  train(&alone);
  CHECK(alone.length > 100000);
  for (int i = 0; i < THREADS; i++)
    if (pthread_create(&threads[i], NULL, train, &together[i]) != 0) abort();
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    CHECK(together[i].length == alone.length && memcmp(together[i].bytes, alone.bytes, alone.length) == 0);
    CHECK_EQ(together[i].left, 0);
    free(together[i].bytes);
  }
  CHECK_EQ(alone.left, 0);
  free(alone.bytes);
}
