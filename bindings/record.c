/* Recordings of recurrent layers: record.gates, .cell, .hidden, .grad_hidden, .grad_cell. */
#include <string.h>

#include "binding.h"

typedef struct shell {
  bind_object head;
  lurn_record *record; /* NULL when not yet filled, or collected */
} shell;

static void release_shell(void *object) {
  shell *s = object;
  lurn_record *record = s->record;
  s->record = NULL;
  lurn_record_release(record);
}

static const bind_type RECORD = {"lurn.Record", release_shell, 0};

lurn_record *bind_test_record(lua_State *L, bind_state *self, int index) {
  shell *s = bind_test_object(L, self, index, &RECORD);
  if (s != NULL && s->record == NULL) bind_error(L, "this record was collected");
  return s != NULL ? s->record : NULL;
}

static int record_new(lua_State *L) {
  bind_state *self = bind_self(L);
  shell *s = bind_new_object(L, self, &RECORD, sizeof *s);
  lurn_status status = lurn_record_new(self->ctx, &s->record);
  return status == LURN_OK ? 1 : bind_raise(L, status);
}

static int push_recorded(lua_State *L, bind_state *self, const shell *s, lurn_record_field field) {
  lurn_tensor **out = bind_new_tensor(L, self); /* may bring on finalizers: the record is read after it */
  lurn_tensor *t = s->record != NULL ? lurn_record_get(s->record, field) : NULL;
  if (t != NULL) *out = lurn_retain(t);
  else lua_pushnil(L);
  return 1;
}

static int record_index(lua_State *L) {
  static const char *const fields[LURN_RECORD_FIELDS] = {"gates", "cell", "hidden", "grad_hidden", "grad_cell"};
  bind_state *self = bind_self(L);
  const shell *s = bind_check_object(L, self, 1, &RECORD, "record");
  const char *name = bind_check_string(L, 2, "record", "field");
  for (int i = 0; i < LURN_RECORD_FIELDS; i++)
    if (strcmp(name, fields[i]) == 0) return push_recorded(L, self, s, (lurn_record_field)i);
  return bind_error(L, "a record has no field \"%s\"; it has gates, cell, hidden, grad_hidden, grad_cell", name);
}

void bind_open_record(lua_State *L, bind_state *self) {
  static const luaL_Reg meta[] = {{"__index", record_index}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"record", record_new}, {NULL, NULL}};
  bind_metatable(L, self, &RECORD, meta);
  lua_pop(L, 1);
  bind_functions(L, self, functions);
}
