/* Files: save, load, load_string, archive_info.  What the world does wrong (no such file, not sound, disk full) is returned as nil and a
 * message; what the programmer does wrong is raised. */
#include <stdlib.h>
#include <string.h>

#include "binding.h"

/* ---- Arguments --------------------------------------------------------------------------------------------- */

/* The text at index, whose bytes C must be able to see all of. */
static const char *check_text(lua_State *L, int index, const char *who, const char *what) {
  const char *text = bind_check_string(L, index, who, what);
  if (strlen(text) != lua_rawlen(L, index)) bind_error(L, "%s: %s: a zero byte after \"%s\"", who, what, text);
  return text;
}

/* One entry of a table given to save; the table keeps the strings and the tensor. */
typedef struct entry {
  const char *name;
  const char *text;
  lurn_tensor *tensor;
} entry;

static int compare_entries(const void *a, const void *b) {
  return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

static size_t count_fields(lua_State *L, int table) {
  size_t n = 0;
  for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1)) n++;
  return n;
}

/* The name on the stack below the top, a key of the table that the argument `what` is. */
static const char *check_name(lua_State *L, const char *what) {
  if (lua_type(L, -2) != LUA_TSTRING) {
    const char *type = bind_typename(L, -2), *key = luaL_tolstring(L, -2, NULL);
    bind_error(L, "save: %s: expected names as keys, got %s (%s)", what, type, key);
  }
  return check_text(L, -2, "save", what);
}

static entry tensor_entry(lua_State *L, bind_state *self) {
  entry e = {.name = check_name(L, "tensors"), .tensor = bind_test_tensor(L, self, -1)};
  if (e.tensor == NULL) bind_error(L, "save: tensors[\"%s\"]: expected a tensor, got %s", e.name, bind_typename(L, -1));
  return e;
}

static entry metadata_entry(lua_State *L, bind_state *self) {
  (void)self;
  entry e = {.name = check_name(L, "metadata")};
  if (lua_type(L, -1) != LUA_TSTRING)
    bind_error(L, "save: metadata[\"%s\"]: expected a string, got %s", e.name, bind_typename(L, -1));
  e.text = lua_tostring(L, -1);
  if (strlen(e.text) != lua_rawlen(L, -1)) bind_error(L, "save: metadata[\"%s\"]: contains a zero byte", e.name);
  return e;
}

/* What is borrowed from one table.  New userdata may bring on finalizers, which change tables and free tensors: room is made for all
 * of them first, and then they are read without asking Lua for memory. */
typedef struct entries {
  entry *list;
  size_t n;
} entries;

/* Pushes the userdata with room for the entries of the table at index. */
static entries new_entries(lua_State *L, int index, const char *what) {
  if (!lua_istable(L, index)) bind_error(L, "save: %s: expected a table, got %s", what, bind_typename(L, index));
  size_t n = count_fields(L, index);
  return (entries){.list = lua_newuserdatauv(L, (n + 1) * sizeof(entry), 0), .n = n};
}

/* Reads them, sorted by name because the order of a Lua table changes from run to run. */
static void read_entries(lua_State *L, bind_state *self, int index, const char *what,
                         entry (*read)(lua_State *L, bind_state *self), const entries *out) {
  size_t n = 0;
  if (count_fields(L, index) != out->n) bind_error(L, "save: %s: the table was changed while it was read", what);
  for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) out->list[n++] = read(L, self);
  if (n > 0) qsort(out->list, n, sizeof(entry), compare_entries);
}

/* ---- Saving ------------------------------------------------------------------------------------------------ */

/* Pushes nil and the error text, or raises where the program is at fault or memory is out. */
static int push_failure(lua_State *L, lurn_ctx *ctx, lurn_status status) {
  if (status != LURN_EIO && status != LURN_EFORMAT && status != LURN_EDTYPE) return bind_raise(L, status);
  luaL_pushfail(L);
  lua_pushstring(L, lurn_error(ctx));
  return 2;
}

/* save(path, {name = tensor} [, {key = "value"}]) -> true, or nil and a message */
static int save(lua_State *L) {
  bind_state *self = bind_self(L);
  lua_settop(L, 3);
  const char *path = check_text(L, 1, "save", "path");
  if (lua_isnil(L, 3)) {
    lua_newtable(L);
    lua_replace(L, 3);
  }
  const entries given = new_entries(L, 2, "tensors"), metadata = new_entries(L, 3, "metadata");
  size_t n = given.n, n_metadata = metadata.n;
  const char **names = lua_newuserdatauv(L, (n + 2 * n_metadata + 1) * sizeof *names, 0), **pairs = names + n;
  lurn_tensor **tensors = lua_newuserdatauv(L, (n + 1) * sizeof(lurn_tensor *), 0);
  read_entries(L, self, 2, "tensors", tensor_entry, &given);
  read_entries(L, self, 3, "metadata", metadata_entry, &metadata);
  for (size_t i = 0; i < n; i++) {
    names[i] = given.list[i].name;
    tensors[i] = given.list[i].tensor;
  }
  for (size_t i = 0; i < n_metadata; i++) {
    pairs[2 * i] = metadata.list[i].name;
    pairs[2 * i + 1] = metadata.list[i].text;
  }
  lurn_status status = lurn_save(self->ctx, path, names, tensors, (int64_t)n, pairs, (int64_t)n_metadata);
  if (status != LURN_OK) return push_failure(L, self->ctx, status);
  lua_pushboolean(L, 1);
  return 1;
}

/* ---- Loading ----------------------------------------------------------------------------------------------- */

typedef struct shell {
  bind_object head;
  lurn_archive *archive;
} shell;

/* The file is closed when its last byte was read, not when Lua gets round to it. */
static void close_archive(void *object) {
  shell *s = object;
  lurn_archive *archive = s->archive;
  s->archive = NULL;
  lurn_archive_close(archive);
}

static const bind_type ARCHIVE = {"lurn.Archive", close_archive, 0};

/* Pushes the userdata that closes the archive that will be opened into it. */
static shell *new_archive(lua_State *L, bind_state *self) { return bind_new_object(L, self, &ARCHIVE, sizeof(shell)); }

static void push_metadata(lua_State *L, const lurn_archive *archive) {
  lua_newtable(L);
  for (int64_t i = 0; i < lurn_archive_metadata_count(archive); i++) {
    lua_pushstring(L, lurn_archive_metadata_value(archive, i));
    lua_setfield(L, -2, lurn_archive_metadata_key(archive, i));
  }
}

/* Pushes the table of all tensors by name. */
static lurn_status push_tensors(lua_State *L, bind_state *self, lurn_archive *archive) {
  lua_newtable(L);
  for (int64_t i = 0; i < lurn_archive_count(archive); i++) {
    lurn_tensor **slot = bind_new_tensor(L, self);
    lurn_status status = lurn_archive_tensor(archive, i, slot);
    if (status != LURN_OK) return status;
    lua_setfield(L, -2, lurn_archive_name(archive, i));
  }
  return LURN_OK;
}

/* Pushes all that is in an archive, whose opening ended with status, and closes it. */
static int push_contents(lua_State *L, bind_state *self, shell *s, lurn_status status) {
  if (status != LURN_OK) return push_failure(L, self->ctx, status);
  status = push_tensors(L, self, s->archive);
  if (status != LURN_OK) {
    close_archive(s);
    return push_failure(L, self->ctx, status);
  }
  push_metadata(L, s->archive);
  close_archive(s);
  return 2;
}

/* load(path) -> tensors, metadata, or nil and a message */
static int load(lua_State *L) {
  bind_state *self = bind_self(L);
  const char *path = check_text(L, 1, "load", "path");
  shell *s = new_archive(L, self);
  return push_contents(L, self, s, lurn_archive_open(self->ctx, path, &s->archive));
}

/* load_string(bytes [, name]) -> the same from what a file would hold; name stands for the path in messages. */
static int load_string(lua_State *L) {
  bind_state *self = bind_self(L);
  const char *bytes = bind_check_string(L, 1, "load_string", "bytes");
  const char *name = lua_isnoneornil(L, 2) ? "string" : check_text(L, 2, "load_string", "name");
  shell *s = new_archive(L, self);
  return push_contents(L, self, s, lurn_archive_open_memory(self->ctx, name, bytes, lua_rawlen(L, 1), &s->archive));
}

/* ---- Looking ----------------------------------------------------------------------------------------------- */

/* Pushes {name = "w", dtype = "BF16", shape = {2, 3}}. */
static void push_description(lua_State *L, const lurn_archive *archive, int64_t i) {
  lua_createtable(L, 0, 3);
  lua_pushstring(L, lurn_archive_name(archive, i));
  lua_setfield(L, -2, "name");
  lua_pushstring(L, lurn_archive_dtype(archive, i));
  lua_setfield(L, -2, "dtype");
  int ndim = lurn_archive_ndim(archive, i);
  lua_createtable(L, ndim, 0);
  for (int d = 0; d < ndim; d++) {
    lua_pushinteger(L, lurn_archive_shape(archive, i)[d]);
    lua_rawseti(L, -2, d + 1);
  }
  lua_setfield(L, -2, "shape");
}

/* archive_info(path) -> {tensors = {{name, dtype, shape} ...}, metadata}, or nil and a message: reads the header only; tensors in
 * the order of the file, dtypes as the file calls them. */
static int archive_info(lua_State *L) {
  bind_state *self = bind_self(L);
  const char *path = check_text(L, 1, "archive_info", "path");
  shell *s = new_archive(L, self);
  lurn_status status = lurn_archive_open(self->ctx, path, &s->archive);
  if (status != LURN_OK) return push_failure(L, self->ctx, status);
  lua_createtable(L, 0, 2);
  lua_newtable(L);
  for (int64_t i = 0; i < lurn_archive_count(s->archive); i++) {
    push_description(L, s->archive, i);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "tensors");
  push_metadata(L, s->archive);
  lua_setfield(L, -2, "metadata");
  close_archive(s);
  return 1;
}

void bind_open_io(lua_State *L, bind_state *self) {
  static const luaL_Reg metamethods[] = {{NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"save", save}, {"load", load}, {"load_string", load_string}, {"archive_info", archive_info}, {NULL, NULL}};
  bind_metatable(L, self, &ARCHIVE, metamethods);
  lua_pop(L, 1);
  bind_functions(L, self, functions);
}
