/* Recordings of recurrent layers: record.gates, .cell, .hidden, .grad_hidden, .grad_cell. */
#include <string.h>

#include "binding.h"

static const char RECORD[] = "lurn.Record";

static int record_new(lua_State *L) {
  bind_state *self = bind_self(L);
  lurn_record **record = lua_newuserdatauv(L, sizeof(lurn_record *), 0);
  *record = NULL;
  luaL_setmetatable(L, RECORD);
  lurn_status status = lurn_record_new(self->ctx, record);
  return status == LURN_OK ? 1 : bind_raise(L, status);
}

static int record_gc(lua_State *L) {
  lurn_record **record = luaL_checkudata(L, 1, RECORD);
  lurn_record_release(*record);
  *record = NULL;
  return 0;
}

static int record_index(lua_State *L) {
  static const char *const fields[LURN_RECORD_FIELDS] = {"gates", "cell", "hidden", "grad_hidden", "grad_cell"};
  bind_state *self = bind_self(L);
  lurn_record **record = luaL_checkudata(L, 1, RECORD);
  const char *name = bind_check_string(L, 2, "record", "field");
  for (int i = 0; i < LURN_RECORD_FIELDS; i++) {
    if (strcmp(name, fields[i]) != 0) continue;
    bind_push_tensor(L, self, *record != NULL ? lurn_record_get(*record, (lurn_record_field)i) : NULL);
    return 1;
  }
  return bind_error(L, "a record has no field \"%s\"; it has gates, cell, hidden, grad_hidden, grad_cell", name);
}

void bind_open_record(lua_State *L, bind_state *self) {
  static const luaL_Reg meta[] = {{"__gc", record_gc}, {"__index", record_index}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"record", record_new}, {NULL, NULL}};
  bind_metatable(L, self, RECORD, meta);
  lua_pop(L, 1);
  bind_functions(L, self, functions);
}
