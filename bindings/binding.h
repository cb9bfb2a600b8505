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
  const void *identity; /* its own address: it is a userdata too, see bind_object */
  lurn_ctx *ctx;        /* NULL once the Lua state is being closed */
  lua_State *main;      /* the main thread, for giving back references */
  lua_State *running;   /* the thread that is inside lurn_backward, for callbacks */
  size_t soft_limit;    /* live bytes above which a full collection is made */
  lua_Integer scopes;   /* open lurn.scope calls */
  lua_Integer stranded; /* objects kept because they were made in finalizers, see object.c */
  void (*collect)(lua_State *L, struct bind_state *self); /* bind_collect, for those below it */
  size_t hooks, hooks_allowed; /* hooks that live, and how many make a search for cycles due, see cycles.c */
  bool searching;              /* such a search goes on */
  struct {                     /* see collect_young */
    size_t made, every;        /* tensors since the last step of the collector; as many make one due */
    size_t least;              /* live bytes at the least since then */
    size_t released;           /* objects of lurn that the collector ever found */
  } young;
} bind_state;

/* The state of the running function; raises when the Lua state is being closed. */
bind_state *bind_self(lua_State *L);
lurn_ctx *bind_ctx(lua_State *L);
/* Registers functions with the state as upvalue 1 into the table on top of the stack. */
void bind_functions(lua_State *L, bind_state *self, const luaL_Reg *functions);

/* ---- Objects ---- */

typedef struct bind_type {
  const char *name;              /* of the metatable */
  void (*release)(void *object); /* gives back what it holds of the engine; does nothing when called again */
  int user_values;
} bind_type;

/* What every userdata of lurn begins with.  A metatable proves nothing: debug.setmetatable gives it to anything. */
typedef struct bind_object {
  const bind_state *owner;
  const bind_type *type;
} bind_object;

/* Creates the metatable of a type, with __gc and these metamethods, and leaves it on the stack. */
void bind_metatable(lua_State *L, bind_state *self, const bind_type *type, const luaL_Reg *metamethods);
/* Pushes an object of `size` bytes, zero after its head. */
void *bind_new_object(lua_State *L, bind_state *self, const bind_type *type, size_t size);
/* The object at index, or NULL when it is something else. */
void *bind_test_object(lua_State *L, const bind_state *self, int index, const bind_type *type);
/* The same, raising "who: self: expected a ..., got ...". */
void *bind_check_object(lua_State *L, const bind_state *self, int index, const bind_type *type, const char *who);
/* Gives back what was made in finalizers while the Lua state was closing. */
void bind_release_stranded(lua_State *L, bind_state *self);

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

/* ---- Callbacks ---- */

/* Marks the thread that callbacks run on; returns the former one, to be put back. */
lua_State *bind_enter(bind_state *self, lua_State *L);
/* Runs the C function f(c, and the first n_values values of the running function's frame) protected on the running thread; an error is
 * kept for bind_raise.  For callbacks of the engine: nothing in it raises. */
lurn_status bind_call_protected(bind_state *self, lua_CFunction f, void *c, int n_values);

/* ---- Hooks ---- */

/* Pushes the table of hooks: addresses that the engine has -> userdata whose user value is the function. */
void bind_push_hooks(lua_State *L);
/* Gives the hooks back their functions, which a search has taken from them and the collector has left. */
void bind_tighten(lua_State *L);
/* A full collection that also finds hooks whose functions lead back to tensors which nothing else leads to. */
void bind_collect(lua_State *L, bind_state *self);

/* ---- Tensors ---- */

/* Pushes an empty tensor userdata and returns its slot, to be filled by the engine.  Makes a collection first when memory is above
 * the soft limit. */
lurn_tensor **bind_new_tensor(lua_State *L, bind_state *self);
/* The same, known to no open scope. */
lurn_tensor **bind_new_unscoped(lua_State *L, bind_state *self);
/* Ends the scope whose list is at index, and those opened after it; pushes the list of the scope around it, or nil.  False when it was
 * not open. */
bool bind_close_scope(lua_State *L, bind_state *self, int index);
/* What x:free() does, for a value that may be something else. */
void bind_drop_tensor(lua_State *L, const bind_state *self, int index);
/* Gives the empty tensor userdata at index its tensor. */
void bind_fill_tensor(lua_State *L, int index, lurn_tensor *t);
/* The tensor at index, or NULL when it is something else.  A freed tensor raises. */
lurn_tensor *bind_test_tensor(lua_State *L, bind_state *self, int index);
/* The same, but NULL for a freed one too. */
lurn_tensor *bind_peek_tensor(lua_State *L, const bind_state *self, int index);
/* The tensor at index, raising "who: what: expected a tensor, got ..." for anything else. */
lurn_tensor *bind_check_tensor(lua_State *L, bind_state *self, int index, const char *who, const char *what);

/* A list of tensors as an array in a userdata that is pushed.  The references are borrowed from the table: valid until Lua code runs
 * or userdata is made, which may bring on a finalizer. */
lurn_tensor **bind_check_tensors(lua_State *L, bind_state *self, int index, const char *who, const char *what,
                                 int64_t *count);
/* Pushes the table of tensor methods, or the tensor's metatable. */
void bind_push_methods(lua_State *L);
void bind_push_tensor_metatable(lua_State *L);

/* The record at index, or NULL when it is something else.  A collected record raises. */
lurn_record *bind_test_record(lua_State *L, bind_state *self, int index);

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
/* True when the argument is a table of options: it has no first element, but some other field, or is empty. */
bool bind_is_options(lua_State *L, int index);
/* Raises unless every field of the options table at index is one of the names; index may be past the arguments. */
void bind_check_options(lua_State *L, int index, const char *who, const char *const *names);

/* ---- Parts of lurn.core: each adds its functions to the table on top of the stack ---- */

void bind_open_object(lua_State *L);
void bind_open_raise(lua_State *L, bind_state *self);
void bind_open_shell(lua_State *L, bind_state *self);
void bind_open_tensor(lua_State *L, bind_state *self);
void bind_open_create(lua_State *L, bind_state *self);
void bind_open_ops(lua_State *L, bind_state *self);
void bind_open_autograd(lua_State *L, bind_state *self);
void bind_open_hooks(lua_State *L, bind_state *self);
void bind_open_cycles(lua_State *L, bind_state *self);
void bind_open_context(lua_State *L, bind_state *self);
void bind_open_record(lua_State *L, bind_state *self);
void bind_open_io(lua_State *L, bind_state *self);
void bind_open_optim(lua_State *L, bind_state *self);

/* x[key] and x[key] = value for keys that are no names, see index.c. */
int bind_index(lua_State *L, bind_state *self);
int bind_newindex(lua_State *L, bind_state *self);

#endif
