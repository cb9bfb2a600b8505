/* What the files of the binding share.  A binding is: check the arguments, create the shell of the result, call the engine, raise.
 *
 * Nothing that can raise stands between taking something from the engine and putting it into a shell, a userdata that gives it
 * back when it is collected. */
#ifndef LURN_BINDING_H
#define LURN_BINDING_H

#include <lauxlib.h>
#include <lua.h>

#include "lurn.h"

/* One per Lua state: upvalue 1 of every function registered by bind_functions. */
typedef struct bind_state {
  lurn_ctx *ctx;         /* NULL once the Lua state is being closed */
  lua_State *main;       /* the main thread, for giving back references */
  lua_State *running;    /* the thread that is inside lurn_backward, for callbacks */
  const void *tensor_mt; /* identity of the tensor's metatable */
  size_t soft_limit;     /* live bytes above which a full collection is made */
  int scopes;            /* open lurn.scope calls */
} bind_state;

/* The state of the running function; raises when the Lua state is being closed. */
bind_state *bind_self(lua_State *L);
lurn_ctx *bind_ctx(lua_State *L);
/* Registers functions with the state as upvalue 1 into the table on top of the stack. */
void bind_functions(lua_State *L, bind_state *self, const luaL_Reg *functions);
/* Creates the metatable `name` with these metamethods and leaves it on the stack. */
void bind_metatable(lua_State *L, bind_state *self, const char *name, const luaL_Reg *metamethods);

/* ---- Errors ---- */

/* Raises the context's error text, led by the position of the user's script and the layer; an error that a Lua callback raised is
 * raised again as it was. */
int bind_raise(lua_State *L, lurn_status status);
/* Raises a message of the binding's own, led in the same way. */
int bind_error(lua_State *L, const char *fmt, ...) LURN_PRINTF(2, 3);
/* Pops the error object of a failed Lua callback and keeps it for bind_raise(LURN_ECALLBACK). */
void bind_keep_error(lua_State *L);
/* "a number", "nil", "a tensor" ...: for messages. */
const char *bind_typename(lua_State *L, int index);

/* ---- Tensors ---- */

/* Pushes an empty tensor userdata and returns its slot, to be filled by the engine.  Makes a collection first when memory is above
 * the soft limit. */
lurn_tensor **bind_new_tensor(lua_State *L, bind_state *self);
/* Pushes a tensor over t, taking a reference of its own; nil for NULL. */
void bind_push_tensor(lua_State *L, bind_state *self, lurn_tensor *t);
/* The tensor at index, or NULL when it is something else.  A freed tensor raises. */
lurn_tensor *bind_test_tensor(lua_State *L, bind_state *self, int index);
/* The same, raising "who: what: expected a tensor, got ...". */
lurn_tensor *bind_check_tensor(lua_State *L, bind_state *self, int index, const char *who, const char *what);

/* ---- Arguments ---- */

/* Numbers and words, raising "who: what: expected ..., got ...". */
lua_Integer bind_check_integer(lua_State *L, int index, const char *who, const char *what);
double bind_check_number(lua_State *L, int index, const char *who, const char *what);
bool bind_check_flag(lua_State *L, int index, const char *who, const char *what);
const char *bind_check_string(lua_State *L, int index, const char *who, const char *what);
lurn_dtype bind_check_dtype(lua_State *L, int index, const char *who);
/* A dimension or position counted from 1, or from the end when negative, as the engine counts it. */
int64_t bind_check_position(lua_State *L, int index, const char *who, const char *what);
/* Reads numbers of the list at index; returns how many.  Raises when there are more than LURN_MAX_DIMS. */
int bind_check_integers(lua_State *L, int index, const char *who, const char *what, int64_t out[LURN_MAX_DIMS]);
/* A shape, either as one table at `first` or as numbers from there on; *next is the argument after it. */
int bind_check_shape(lua_State *L, int first, const char *who, int64_t shape[LURN_MAX_DIMS], int *next);
/* A list of tensors as an array of references, valid while the returned userdata, pushed on the stack, lives. */
lurn_tensor **bind_check_tensors(lua_State *L, bind_state *self, int index, const char *who, const char *what,
                                 int64_t *count);
/* True when the argument is a table of options: it has no first element, but some other field, or is empty. */
bool bind_is_options(lua_State *L, int index);
/* Raises unless every field of the options table at index is one of the names; index may be past the arguments. */
void bind_check_options(lua_State *L, int index, const char *who, const char *const *names);

/* ---- Parts of lurn.core: each adds its functions to the table on top of the stack ---- */

void bind_open_raise(lua_State *L, bind_state *self);
void bind_open_tensor(lua_State *L, bind_state *self);
void bind_open_create(lua_State *L, bind_state *self);
void bind_open_ops(lua_State *L, bind_state *self);
void bind_open_autograd(lua_State *L, bind_state *self);
void bind_open_context(lua_State *L, bind_state *self);
void bind_open_record(lua_State *L, bind_state *self);
void bind_open_io(lua_State *L, bind_state *self);
void bind_open_optim(lua_State *L, bind_state *self);

/* Pushes the table of tensor methods, or the tensor's metatable. */
void bind_push_methods(lua_State *L);
void bind_push_tensor_metatable(lua_State *L);
/* x[key] and x[key] = value for keys that are no names, see index.c. */
int bind_index(lua_State *L, bind_state *self);
int bind_newindex(lua_State *L, bind_state *self);

#endif
