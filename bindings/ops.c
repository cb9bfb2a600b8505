/* Every op of the registry as a function lurn.NAME and a method x:NAME, through one reader of arguments. */
#include <string.h>

#include "binding.h"

enum { MAX_PARAMS = 20, MAX_OUT = 4 };

/* The arguments of one call while they are read.  Nothing that could run Lua code, and so free a tensor, stands between reading the
 * first and calling the engine: new userdata may bring on a collection and options may have metamethods, so both come first. */
typedef struct reading {
  lua_State *L;
  bind_state *self;
  const lurn_op_info *op;
  const char *name;
  int top, next, options; /* arguments; the next positional one; the table of options or 0 */
  int fields;             /* stack index of the first parameter's option; the others follow */
  _Alignas(LURN_ARG_STRIDE) char args[MAX_PARAMS * LURN_ARG_STRIDE];
  int64_t ints[4][LURN_MAX_DIMS];
  int n_ints;
  struct {
    lurn_tensor **slot;
    bool is_integer;
    double real;
    int64_t integer;
  } numbers[4]; /* to become scalar tensors once nothing can raise any more */
  int n_numbers;
} reading;

/* ---- One parameter ----------------------------------------------------------------------------------------- */

/* The stack index of parameter i: the named option, the next positional argument, or 0 when it is left out. */
static int find_value(reading *r, int i) {
  if (r->options != 0 && !lua_isnil(r->L, r->fields + i)) return r->fields + i;
  int index = r->next;
  if (index >= r->top + 1 || (index == r->options)) return 0;
  r->next++;
  return lua_isnil(r->L, index) ? 0 : index;
}

static void read_scalar(reading *r, const lurn_param *param, int index, lurn_tensor **slot) {
  lua_State *L = r->L;
  if (lua_type(L, index) != LUA_TNUMBER && !lua_isboolean(L, index)) {
    lurn_tensor *t = bind_test_tensor(L, r->self, index);
    if (t == NULL)
      bind_error(L, "%s: %s: expected a tensor or a number, got %s", r->name, param->name, bind_typename(L, index));
    *slot = t;
    return;
  }
  int i = r->n_numbers++;
  r->numbers[i].slot = slot;
  r->numbers[i].is_integer = lua_isinteger(L, index) || lua_isboolean(L, index);
  r->numbers[i].integer = lua_isboolean(L, index) ? lua_toboolean(L, index) : lua_tointeger(L, index);
  r->numbers[i].real = lua_tonumber(L, index);
}

/* Lists of dimensions or sizes: one table, or all numbers that follow when varargs. */
static void read_ints(reading *r, const lurn_param *param, int index, bool dims, bool varargs, lurn_ints *out) {
  lua_State *L = r->L;
  int64_t *values = r->ints[r->n_ints++];
  int n = 0;
  if (lua_istable(L, index)) {
    n = bind_check_integers(L, index, r->name, param->name, values);
  } else {
    values[n++] = bind_check_integer(L, index, r->name, param->name);
    for (; varargs && r->next <= r->top && lua_type(L, r->next) == LUA_TNUMBER; r->next++) {
      if (n == LURN_MAX_DIMS) bind_error(L, "%s: a tensor has at most %d dimensions", r->name, LURN_MAX_DIMS);
      values[n++] = bind_check_integer(L, r->next, r->name, param->name);
    }
  }
  for (int i = 0; dims && i < n; i++) {
    if (values[i] == 0)
      bind_error(L, "%s: %s is 0; dimensions count from 1, or from -1 at the end", r->name, param->name);
    if (values[i] > 0) values[i]--;
  }
  *out = (lurn_ints){values, n};
}

static int64_t read_choice(reading *r, const lurn_param *param, int index) {
  const char *word = bind_check_string(r->L, index, r->name, param->name);
  size_t length = strlen(word);
  int64_t at = 0;
  for (const char *p = param->choices; p != NULL; at++) {
    const char *end = strchr(p, '|');
    size_t n = end != NULL ? (size_t)(end - p) : strlen(p);
    if (n == length && strncmp(p, word, n) == 0) return at;
    p = end != NULL ? end + 1 : NULL;
  }
  luaL_gsub(r->L, param->choices, "|", ", ");
  return bind_error(r->L, "%s: %s: there is no \"%s\"; expected one of: %s", r->name, param->name, word,
                    lua_tostring(r->L, -1));
}

static lurn_record *read_record(reading *r, const lurn_param *param, int index) {
  lurn_record *record = bind_test_record(r->L, r->self, index);
  if (record == NULL)
    bind_error(r->L, "%s: %s: expected a record, got %s", r->name, param->name, bind_typename(r->L, index));
  return record;
}

/* What a method is called on. */
static bool is_first_tensor(const reading *r, const lurn_param *param) {
  return param == r->op->params && (param->kind == LURN_PARAM_TENSOR || param->kind == LURN_PARAM_SCALAR);
}

static void read_value(reading *r, const lurn_param *param, int index, void *field) {
  lua_State *L = r->L;
  switch (param->kind) {
    case LURN_PARAM_TENSOR:
      if (index == 1 && lua_type(L, 1) == LUA_TNUMBER && is_first_tensor(r, param))
        bind_error(L, "%s: %s: expected a tensor, got %s; methods are called with a colon, x:%s(...)", r->name,
                   param->name, bind_typename(L, 1), r->name);
      *(lurn_tensor **)field = bind_check_tensor(L, r->self, index, r->name, param->name);
      break;
    case LURN_PARAM_OPTIONAL:
      *(lurn_tensor **)field = bind_check_tensor(L, r->self, index, r->name, param->name);
      break;
    case LURN_PARAM_SCALAR: read_scalar(r, param, index, field); break;
    case LURN_PARAM_LIST: {
      lurn_list *list = field;
      list->items = bind_check_tensors(L, r->self, index, r->name, param->name, &list->count);
      break;
    }
    case LURN_PARAM_INT: *(int64_t *)field = bind_check_integer(L, index, r->name, param->name); break;
    case LURN_PARAM_REAL: *(double *)field = bind_check_number(L, index, r->name, param->name); break;
    case LURN_PARAM_FLAG: *(bool *)field = bind_check_flag(L, index, r->name, param->name); break;
    case LURN_PARAM_DIM:
    case LURN_PARAM_POSITION: *(int64_t *)field = bind_check_position(L, index, r->name, param->name); break;
    case LURN_PARAM_DIMS: read_ints(r, param, index, true, param->required, field); break;
    case LURN_PARAM_SIZES: read_ints(r, param, index, false, true, field); break;
    case LURN_PARAM_CHOICE: *(int64_t *)field = read_choice(r, param, index); break;
    case LURN_PARAM_DTYPE: *(int64_t *)field = bind_check_dtype(L, index, r->name); break;
    case LURN_PARAM_RECORD: *(lurn_record **)field = read_record(r, param, index); break;
    default: break;
  }
}

static void set_preset(reading *r, const lurn_param *param, void *field) {
  if (param->required && r->top == 0 && is_first_tensor(r, param))
    bind_error(r->L, "%s: %s is missing; call x:%s(...), with a colon, or lurn.%s(x, ...)", r->name, param->name,
               r->name, r->name);
  if (param->required && param->kind != LURN_PARAM_SIZES) bind_error(r->L, "%s: %s is missing", r->name, param->name);
  switch (param->kind) {
    case LURN_PARAM_REAL: *(double *)field = param->preset; break;
    case LURN_PARAM_FLAG: *(bool *)field = param->preset != 0; break;
    case LURN_PARAM_INT:
    case LURN_PARAM_DIM:
    case LURN_PARAM_CHOICE:
    case LURN_PARAM_DTYPE: *(int64_t *)field = (int64_t)param->preset; break;
    default: memset(field, 0, LURN_ARG_STRIDE);
  }
}

/* ---- All of them ------------------------------------------------------------------------------------------- */

static bool is_param(const lurn_op_info *op, const char *name) {
  for (int i = 0; i < op->n_params - op->n_outputs; i++)
    if (op->params[i].kind != LURN_PARAM_BASE && strcmp(op->params[i].name, name) == 0) return true;
  return false;
}

/* Raises with the names of all options: the parameters but tensors that are always given. */
static int unknown_option(reading *r, const char *name) {
  luaL_Buffer known;
  luaL_buffinit(r->L, &known);
  bool first = true;
  for (int i = 0; i < r->op->n_params - r->op->n_outputs; i++) {
    lurn_param_kind kind = r->op->params[i].kind;
    if (kind == LURN_PARAM_TENSOR || kind == LURN_PARAM_SCALAR || kind == LURN_PARAM_LIST || kind == LURN_PARAM_BASE)
      continue;
    if (!first) luaL_addstring(&known, ", ");
    luaL_addstring(&known, r->op->params[i].name);
    first = false;
  }
  luaL_pushresult(&known);
  if (first) return bind_error(r->L, "%s: there is no option %s; it has none", r->name, name);
  return bind_error(r->L, "%s: there is no option %s; known are: %s", r->name, name, lua_tostring(r->L, -1));
}

static void check_option_names(reading *r) {
  lua_State *L = r->L;
  lua_pushnil(L);
  while (lua_next(L, r->options) != 0) {
    lua_pop(L, 1);
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?";
    if (!is_param(r->op, name)) unknown_option(r, name);
  }
}

static void begin(reading *r, lua_State *L, const char *name) {
  r->L = L;
  r->self = bind_self(L);
  r->op = lua_touserdata(L, lua_upvalueindex(2));
  r->name = name != NULL ? name : r->op->name;
  r->top = lua_gettop(L);
  r->next = 1;
  r->options = r->n_ints = r->n_numbers = 0;
  luaL_checkstack(L, MAX_PARAMS + MAX_OUT + 8, r->name);
}

static void fetch_options(reading *r) {
  lua_State *L = r->L;
  if (r->top == 0 || !bind_is_options(L, r->top)) return;
  if (r->top == 1 && r->op->params[0].kind == LURN_PARAM_LIST) return;
  r->options = r->top;
  check_option_names(r);
  r->fields = lua_gettop(L) + 1;
  for (int i = 0; i < r->op->n_params - r->op->n_outputs; i++) lua_getfield(L, r->options, r->op->params[i].name);
}

static void read_arguments(reading *r) {
  lua_State *L = r->L;
  int n = r->op->n_params - r->op->n_outputs;
  fetch_options(r);
  for (int i = 0; i < n; i++) {
    const lurn_param *param = &r->op->params[i];
    void *field = r->args + (size_t)i * LURN_ARG_STRIDE;
    if (param->kind == LURN_PARAM_BASE) {
      *(int64_t *)field = 1;
      continue;
    }
    int index = find_value(r, i);
    if (index != 0) read_value(r, param, index, field);
    else set_preset(r, param, field);
  }
  int given = r->options != 0 ? r->top - 1 : r->top;
  if (r->next <= given) bind_error(L, "%s: too many arguments: %d given, %d used", r->name, given, r->next - 1);
}

/* Plain numbers become scalar tensors.  From here on nothing raises before release_numbers. */
static lurn_status make_numbers(reading *r) {
  lurn_status status = LURN_OK;
  for (int i = 0; i < r->n_numbers; i++) *r->numbers[i].slot = NULL;
  for (int i = 0; i < r->n_numbers && status == LURN_OK; i++)
    status = r->numbers[i].is_integer ? lurn_scalar_int(r->self->ctx, r->numbers[i].integer, r->numbers[i].slot)
                                      : lurn_scalar(r->self->ctx, r->numbers[i].real, r->numbers[i].slot);
  return status;
}

static void release_numbers(reading *r) {
  for (int i = 0; i < r->n_numbers; i++) lurn_release(*r->numbers[i].slot);
}

/* Raises the error of an op, under the name that it was called by. */
static int raise_as(const reading *r, lurn_status status) {
  size_t length = strlen(r->op->name);
  const char *text = lurn_error(r->self->ctx);
  if (r->name == r->op->name || strncmp(text, r->op->name, length) != 0 || text[length] != ':')
    return bind_raise(r->L, status);
  return bind_error(r->L, "%s%s", r->name, text + length);
}

static int run_op(lua_State *L, const char *name) {
  reading r;
  lurn_tensor *out[MAX_OUT] = {0}, **shells[MAX_OUT];
  begin(&r, L, name);
  for (int i = 0; i < r.op->n_outputs; i++) shells[i] = bind_new_tensor(L, r.self);
  read_arguments(&r);
  lurn_status status = make_numbers(&r);
  if (status == LURN_OK) status = lurn_op_call(r.self->ctx, r.op, r.args, out);
  release_numbers(&r);
  if (status != LURN_OK) return raise_as(&r, status);
  for (int i = 0; i < r.op->n_outputs; i++) *shells[i] = out[i];
  lua_settop(L, r.top + r.op->n_outputs);
  return r.op->n_outputs;
}

static int call_op(lua_State *L) { return run_op(L, NULL); }

static int call_renamed(lua_State *L) { return run_op(L, lua_tostring(L, lua_upvalueindex(3))); }

static int call_inplace(lua_State *L) {
  reading r;
  begin(&r, L, lua_tostring(L, lua_upvalueindex(3)));
  bind_check_tensor(L, r.self, 1, r.name, "self");
  read_arguments(&r);
  lurn_status status = make_numbers(&r);
  if (status == LURN_OK) status = lurn_op_call_inplace(r.self->ctx, r.op, r.args);
  release_numbers(&r);
  if (status != LURN_OK) return bind_raise(L, status);
  lua_settop(L, 1);
  return 1;
}

/* ---- Recurrent layers and cells ---------------------------------------------------------------------------- */

/* What nn puts around rnn, lstm and gru when there is one layer and direction, or one step: views that Lua need not see, and in calls
 * that are as usual everything from the checks to the new state. */

/* What is the same in every call of a layer that is one op, one layer in one direction, or of a cell. */
typedef struct prepared {
  const lurn_op_info *op;
  bool is_cell;
  int n_args;                              /* the op's parameters that are not outputs */
  int h0;                                  /* the first state among them; the other follows */
  int64_t input, columns, hidden;          /* the last sizes of x, h and c */
  char args[MAX_PARAMS * LURN_ARG_STRIDE]; /* but for tensors, which are upvalues */
} prepared;

/* Upvalues of a prepared call; those of arguments that are no tensors are nil. */
enum { PREPARED = 2, STATE_CLASS, NAME_H, NAME_C, FIRST_ARG };

static lurn_tensor **argument(char *args, int i) {
  return (lurn_tensor **)(void *)(args + (size_t)i * LURN_ARG_STRIDE);
}

/* Pushes h and c of the state at index 2, nil where there is none; false when it is neither nil nor of the class. */
static bool push_states(lua_State *L) {
  if (lua_isnil(L, 2)) {
    lua_settop(L, 4);
    return true;
  }
  if (!lua_istable(L, 2) || !lua_getmetatable(L, 2)) return false;
  bool is_state = lua_rawequal(L, -1, lua_upvalueindex(STATE_CLASS));
  lua_settop(L, 2);
  for (int name = NAME_H; is_state && name <= NAME_C; name++) {
    lua_pushvalue(L, lua_upvalueindex(name));
    lua_rawget(L, 2);
  }
  return is_state;
}

/* Pushes the results, still empty: for a layer y, for both the new state. */
static void push_results(lua_State *L, bind_state *self, const prepared *p, lurn_tensor **shells[MAX_OUT]) {
  int n = p->op->n_outputs, h = lua_gettop(L) + (p->is_cell ? 1 : 2);
  for (int i = p->is_cell ? 1 : 0; i < n; i++) shells[i] = bind_new_tensor(L, self);
  lua_createtable(L, 0, n - 1);
  for (int i = 0; i < n - 1; i++) {
    lua_pushvalue(L, lua_upvalueindex(NAME_H + i));
    lua_pushvalue(L, h + i);
    lua_rawset(L, -3);
  }
  lua_pushvalue(L, lua_upvalueindex(STATE_CLASS));
  lua_setmetatable(L, -2);
  lua_replace(L, h);
  lua_settop(L, h);
}

/* Whether a state has the sizes (N, columns), with a first dimension of 1 for a layer. */
static bool fits(const prepared *p, const lurn_tensor *t, int64_t N, int64_t columns) {
  const int64_t *size = lurn_tensor_shape(t);
  int ndim = lurn_tensor_ndim(t);
  if (p->is_cell) return ndim == 2 && size[0] == N && size[1] == columns;
  return ndim == 3 && size[0] == 1 && size[1] == N && size[2] == columns;
}

/* Fills in the tensors; false when one is missing or an operand has other sizes than it should. */
static bool read_prepared(lua_State *L, bind_state *self, const prepared *p, char *args) {
  memcpy(args, p->args, (size_t)p->n_args * LURN_ARG_STRIDE);
  lurn_tensor *x = bind_peek_tensor(L, self, 1);
  int ndim = x != NULL ? lurn_tensor_ndim(x) : 0;
  if (ndim != (p->is_cell ? 2 : 3) || lurn_tensor_shape(x)[ndim - 1] != p->input) return false;
  *argument(args, 0) = x;
  for (int i = 1; i < p->n_args; i++) {
    if (lua_isnil(L, lua_upvalueindex(FIRST_ARG + i))) continue;
    lurn_tensor *t = bind_peek_tensor(L, self, lua_upvalueindex(FIRST_ARG + i));
    if (t == NULL) return false;
    *argument(args, i) = t;
  }
  for (int i = 0; i < p->op->n_outputs - 1 && !lua_isnil(L, 2); i++) {
    lurn_tensor *t = bind_peek_tensor(L, self, 3 + i);
    if (t == NULL || !fits(p, t, lurn_tensor_shape(x)[ndim - 2], i == 0 ? p->columns : p->hidden)) return false;
    *argument(args, p->h0 + i) = t;
  }
  return true;
}

static lurn_status widen(lurn_ctx *ctx, lurn_tensor **t) {
  lurn_tensor *wide;
  lurn_status status = lurn_unsqueeze(ctx, *t, 0, &wide);
  if (status != LURN_OK) return status;
  lurn_release(*t);
  *t = wide;
  return LURN_OK;
}

/* As the op, but states have a first dimension of 1, in and out: what a layer takes and gives. */
static lurn_status run_layer(lurn_ctx *ctx, const prepared *p, char *args, lurn_tensor **out) {
  lurn_tensor *states[MAX_OUT] = {0};
  lurn_status status = LURN_OK;
  int n = p->op->n_outputs;
  for (int i = 0; i < n - 1 && status == LURN_OK; i++) {
    lurn_tensor **slot = argument(args, p->h0 + i);
    if (*slot == NULL) continue;
    status = lurn_select(ctx, *slot, 0, 0, &states[i]);
    *slot = states[i];
  }
  if (status == LURN_OK) status = lurn_op_call(ctx, p->op, args, out);
  for (int i = 0; i < n - 1; i++) lurn_release(states[i]);
  for (int i = 1; i < n && status == LURN_OK; i++) status = widen(ctx, &out[i]);
  return status;
}

/* As the op over one step: x (N, D) in, the states (N, H) out. */
static lurn_status run_cell(lurn_ctx *ctx, const lurn_op_info *op, char *args, lurn_tensor **out) {
  lurn_tensor *x;
  lurn_status status = lurn_unsqueeze(ctx, *argument(args, 0), 0, &x);
  if (status != LURN_OK) return status;
  *argument(args, 0) = x;
  status = lurn_op_call(ctx, op, args, out);
  lurn_release(x);
  return status;
}

/* Hands the outputs to the shells; those without a shell, and all on failure, are given back. */
static void give_outputs(int n, lurn_status status, lurn_tensor **out, lurn_tensor ***shells) {
  for (int i = 0; i < n; i++) {
    if (status == LURN_OK && shells[i] != NULL) *shells[i] = out[i];
    else lurn_release(out[i]);
  }
}

/* (x, state or nil) -> y, state for a layer, state for a cell.  Nothing comes back, and nothing has changed, when anything is not as
 * usual or fails: the caller then takes the long way, which says what is wrong. */
static int call_prepared(lua_State *L) {
  bind_state *self = bind_self(L);
  const prepared *p = lua_touserdata(L, lua_upvalueindex(PREPARED));
  lurn_tensor *out[MAX_OUT] = {0}, **shells[MAX_OUT] = {0};
  _Alignas(LURN_ARG_STRIDE) char args[MAX_PARAMS * LURN_ARG_STRIDE];
  lua_settop(L, 2);
  if (!push_states(L)) return 0;
  push_results(L, self, p, shells);
  if (!read_prepared(L, self, p, args)) return 0;
  lurn_status status = p->is_cell ? run_cell(self->ctx, p->op, args, out) : run_layer(self->ctx, p, args, out);
  give_outputs(p->op->n_outputs, status, out, shells);
  if (status != LURN_OK) return 0;
  return p->is_cell ? 1 : 2;
}

static bool is_tensor_param(const lurn_param *param) {
  return param->kind == LURN_PARAM_TENSOR || param->kind == LURN_PARAM_OPTIONAL;
}

/* The arguments that are no tensors, from the stack index of the first on. */
static void read_others(reading *r, int first, prepared *p) {
  memset(r->args, 0, sizeof r->args);
  for (int i = 0; i < p->n_args; i++) {
    const lurn_param *param = &r->op->params[i];
    void *field = r->args + (size_t)i * LURN_ARG_STRIDE;
    if (is_tensor_param(param)) continue;
    if (lua_isnoneornil(r->L, first + i)) set_preset(r, param, field);
    else read_value(r, param, first + i, field);
  }
  memcpy(p->args, r->args, sizeof p->args);
}

/* Pushes the upvalues of a prepared call; `first` is the stack index of the op's first argument. */
static void push_call(lua_State *L, const bind_state *self, const prepared *p, int at, int class, int first) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)self);
  lua_pushvalue(L, at);
  lua_pushvalue(L, class);
  lua_pushliteral(L, "h");
  lua_pushliteral(L, "c");
  for (int i = 0; i < p->n_args; i++) {
    if (i > 0 && is_tensor_param(&p->op->params[i])) lua_pushvalue(L, first + i);
    else lua_pushnil(L);
  }
  lua_pushcclosure(L, call_prepared, FIRST_ARG - 1 + p->n_args);
}

/* prepare(class, input, columns, hidden, w_ih, ...): a call of the op with the arguments after x, as they are now, for states of this
 * class and for an x, an h and a c whose last sizes are these. */
static int prepare(lua_State *L, bool is_cell) {
  enum { CLASS = 1, INPUT, COLUMNS, HIDDEN, X = HIDDEN };
  reading r;
  begin(&r, L, NULL);
  luaL_checktype(L, CLASS, LUA_TTABLE);
  lua_settop(L, X + r.op->n_params);
  prepared *p = lua_newuserdatauv(L, sizeof *p, 0);
  *p = (prepared){.op = r.op, .is_cell = is_cell, .n_args = r.op->n_params - r.op->n_outputs};
  while (strcmp(r.op->params[p->h0].name, "h0") != 0) p->h0++;
  p->input = bind_check_integer(L, INPUT, r.name, "input");
  p->columns = bind_check_integer(L, COLUMNS, r.name, "columns");
  p->hidden = bind_check_integer(L, HIDDEN, r.name, "hidden");
  read_others(&r, X, p);
  push_call(L, r.self, p, lua_gettop(L), CLASS, X);
  return 1;
}

static int prepare_layer(lua_State *L) { return prepare(L, false); }
static int prepare_cell(lua_State *L) { return prepare(L, true); }

/* The long way of a cell: as the op over one step, with its messages. */
static int call_cell(lua_State *L) {
  reading r;
  lurn_tensor *out[MAX_OUT] = {0}, **shells[MAX_OUT] = {0};
  begin(&r, L, NULL);
  int n = r.op->n_outputs;
  for (int i = 1; i < n; i++) shells[i] = bind_new_tensor(L, r.self);
  read_arguments(&r);
  lurn_status status = run_cell(r.self->ctx, r.op, r.args, out);
  give_outputs(n, status, out, shells);
  if (status != LURN_OK) return bind_raise(L, status);
  lua_settop(L, r.top + n - 1);
  return n - 1;
}

/* ---- Special calls ----------------------------------------------------------------------------------------- */

/* einsum(equation, a, b...) or einsum(equation, {a, b...}) */
static int einsum(lua_State *L) {
  bind_state *self = bind_self(L);
  const char *equation = bind_check_string(L, 1, "einsum", "equation");
  int top = lua_gettop(L);
  if (top > 2 && lua_istable(L, 2)) return bind_error(L, "einsum: too many arguments: %d given, 2 used", top);
  if (top >= 2 && !lua_istable(L, 2)) {
    lua_createtable(L, top, 0);
    for (int i = 2; i <= top; i++) {
      lua_pushvalue(L, i);
      lua_rawseti(L, -2, i - 1);
    }
    lua_replace(L, 2);
  }
  lua_settop(L, 2);
  lurn_tensor **out = bind_new_tensor(L, self);
  int64_t n;
  lurn_tensor **operands = bind_check_tensors(L, self, 2, "einsum", "operands", &n);
  lurn_status status = lurn_einsum(self->ctx, equation, operands, n, out);
  if (status != LURN_OK) return bind_raise(L, status);
  lua_settop(L, 3);
  return 1;
}

/* Lua passes the operand of - twice. */
static int call_negate(lua_State *L) {
  lua_settop(L, 1);
  return call_op(L);
}

/* a & b, a | b, a ~ b and ~a, for masks only: of integers they would be something else. Lua passes the operand of ~a twice. */
static int call_mask(lua_State *L) {
  bind_state *self = bind_self(L);
  const lurn_op_info *op = lua_touserdata(L, lua_upvalueindex(2));
  for (int i = 1; i <= 2; i++) {
    const lurn_tensor *t = bind_test_tensor(L, self, i);
    if (t == NULL) return bind_error(L, "%s: expected bool tensors, got %s", op->name, bind_typename(L, i));
    if (lurn_tensor_dtype(t) != LURN_BOOL)
      return bind_error(L, "%s: expected bool tensors, got %s; compare first, as in x:gt(0) & x:lt(1)", op->name,
                        lurn_dtype_name(lurn_tensor_dtype(t)));
  }
  if (strcmp(op->name, "logical_not") == 0) lua_settop(L, 1);
  return call_op(L);
}

/* core.op_as(op, name): the op as a function that has this name in errors, for lurn's own scripts. */
static int op_as(lua_State *L) {
  const lurn_op_info *op = lurn_op_find(luaL_checkstring(L, 1));
  luaL_checkstring(L, 2);
  luaL_argcheck(L, op != NULL, 1, "an op");
  lua_pushlightuserdata(L, bind_self(L));
  lua_pushlightuserdata(L, (void *)(uintptr_t)op);
  lua_pushvalue(L, 2);
  lua_pushcclosure(L, call_renamed, 3);
  return 1;
}

/* ---- Descriptions, for documentation and specs ------------------------------------------------------------- */

static const char *const kinds[] = {"tensor", "scalar", "optional", "list", "int",    "real",  "flag",   "dim",
                                    "dims",   "sizes",  "position", "base", "choice", "dtype", "record", "output"};

static void push_param(lua_State *L, const lurn_param *param) {
  lua_createtable(L, 0, 5);
  lua_pushstring(L, param->name);
  lua_setfield(L, -2, "name");
  lua_pushstring(L, kinds[param->kind]);
  lua_setfield(L, -2, "kind");
  lua_pushboolean(L, param->required);
  lua_setfield(L, -2, "required");
  lua_pushnumber(L, param->preset);
  lua_setfield(L, -2, "preset");
  lua_pushstring(L, param->choices);
  lua_setfield(L, -2, "choices");
}

/* core.op_list(): every op as {name, doc, inplace, differentiable, params = {{name, kind, required, preset, choices}...}}. */
static int op_list(lua_State *L) {
  lua_createtable(L, lurn_op_count(), 0);
  for (int i = 0; i < lurn_op_count(); i++) {
    const lurn_op_info *op = lurn_op_at(i);
    lua_createtable(L, 0, 5);
    lua_pushstring(L, op->name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, lurn_op_doc(op));
    lua_setfield(L, -2, "doc");
    lua_pushboolean(L, op->has_inplace);
    lua_setfield(L, -2, "inplace");
    lua_pushboolean(L, lurn_op_is_differentiable(op));
    lua_setfield(L, -2, "differentiable");
    lua_createtable(L, op->n_params, 0);
    for (int k = 0; k < op->n_params; k++) {
      push_param(L, &op->params[k]);
      lua_rawseti(L, -2, k + 1);
    }
    lua_setfield(L, -2, "params");
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* ---- Opening ----------------------------------------------------------------------------------------------- */

static void push_op(lua_State *L, bind_state *self, const lurn_op_info *op, lua_CFunction function) {
  lua_pushlightuserdata(L, self);
  lua_pushlightuserdata(L, (void *)(uintptr_t)op);
  lua_pushcclosure(L, function, 2);
}

/* Tables on the stack: core at -2, methods at -1. */
static void add_op(lua_State *L, bind_state *self, const lurn_op_info *op) {
  push_op(L, self, op, call_op);
  lua_pushvalue(L, -1);
  lua_setfield(L, -4, op->name);
  lua_setfield(L, -2, op->name);
  if (!op->has_inplace) return;
  lua_pushlightuserdata(L, self);
  lua_pushlightuserdata(L, (void *)(uintptr_t)op);
  lua_pushfstring(L, "%s_", op->name);
  lua_pushcclosure(L, call_inplace, 3);
  lua_pushfstring(L, "%s_", op->name);
  lua_pushvalue(L, -2);
  lua_settable(L, -4);
  lua_pop(L, 1);
}

/* Adds core[field], {rnn = function, lstm = function, gru = function}, to core on top of the stack. */
static void add_recurrent(lua_State *L, bind_state *self, const char *field, lua_CFunction function) {
  static const char *const names[] = {"rnn", "lstm", "gru"};
  lua_newtable(L);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    push_op(L, self, lurn_op_find(names[i]), function);
    lua_setfield(L, -2, names[i]);
  }
  lua_setfield(L, -2, field);
}

void bind_open_ops(lua_State *L, bind_state *self) {
  static const struct {
    const char *event, *op;
  } operators[] = {{"__add", "add"}, {"__sub", "sub"},       {"__mul", "mul"},          {"__div", "div"},
                   {"__pow", "pow"}, {"__mod", "remainder"}, {"__idiv", "floor_divide"}},
    masks[] = {
        {"__band", "logical_and"}, {"__bor", "logical_or"}, {"__bxor", "logical_xor"}, {"__bnot", "logical_not"}};
  static const luaL_Reg functions[] = {{"op_list", op_list}, {"einsum", einsum}, {"op_as", op_as}, {NULL, NULL}};
  bind_push_methods(L);
  for (int i = 0; i < lurn_op_count(); i++) add_op(L, self, lurn_op_at(i));
  lua_pop(L, 1);
  bind_push_tensor_metatable(L);
  for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
    push_op(L, self, lurn_op_find(operators[i].op), call_op);
    lua_setfield(L, -2, operators[i].event);
  }
  for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
    push_op(L, self, lurn_op_find(masks[i].op), call_mask);
    lua_setfield(L, -2, masks[i].event);
  }
  push_op(L, self, lurn_op_find("neg"), call_negate);
  lua_setfield(L, -2, "__unm");
  lua_pop(L, 1);
  bind_functions(L, self, functions);
  add_recurrent(L, self, "prepare_layer", prepare_layer);
  add_recurrent(L, self, "prepare_cell", prepare_cell);
  add_recurrent(L, self, "cell_ops", call_cell);
}
