/* lurn_optim as a userdata, for scripts/lurn/optim: options by group and name, state by name; and clipping.  Groups count
 * from 1. */
#include <stddef.h>
#include <string.h>

#include "binding.h"

/* In the order of lurn_optim_kind. */
static const char *const kinds[] = {"SGD", "RMSprop", "Adam", "AdamW", "Adagrad", "Adadelta", NULL};

#define OPTION(name, field, is_flag)                                                                                   \
  { name, offsetof(lurn_optim_options, field), is_flag }
static const struct {
  const char *name;
  size_t offset;
  bool is_flag; /* bool, otherwise double */
} options[] = {
    OPTION("lr", lr, false),
    OPTION("weight_decay", weight_decay, false),
    OPTION("momentum", momentum, false),
    OPTION("dampening", dampening, false),
    OPTION("alpha", alpha, false),
    OPTION("eps", eps, false),
    OPTION("beta1", beta1, false),
    OPTION("beta2", beta2, false),
    OPTION("rho", rho, false),
    OPTION("lr_decay", lr_decay, false),
    OPTION("initial_accumulator_value", initial_accumulator, false),
    OPTION("nesterov", nesterov, true),
    OPTION("centered", centered, true),
    OPTION("amsgrad", amsgrad, true),
    OPTION("maximize", maximize, true),
};
enum { OPTIONS = sizeof options / sizeof *options };

/* ---- Arguments --------------------------------------------------------------------------------------------- */

typedef struct shell {
  bind_object head;
  lurn_optim *opt; /* NULL until it is made, and once it was collected */
  int kind;
} shell;

static void release_shell(void *object) {
  shell *self = object;
  lurn_optim *opt = self->opt;
  self->opt = NULL;
  lurn_optim_free(opt);
}

static const bind_type TYPE = {"lurn.optim", release_shell, 0};

static shell *check_shell(lua_State *L) {
  shell *self = bind_check_object(L, bind_self(L), 1, &TYPE, "optim");
  if (self->opt == NULL) bind_error(L, "%s: this optimizer was collected", kinds[self->kind]);
  return self;
}

static lurn_optim *check_optim(lua_State *L, const char **who) {
  shell *self = check_shell(L);
  *who = kinds[self->kind];
  return self->opt;
}

/* The options of the group whose number is argument 2. */
static lurn_optim_options *check_group(lua_State *L, const char **who) {
  lurn_optim *opt = check_optim(L, who);
  lua_Integer number = bind_check_integer(L, 2, *who, "group");
  if (number < 1 || number > lurn_optim_groups(opt))
    bind_error(L, "%s: there is no group %lld", *who, (long long)number);
  return lurn_optim_group_options(opt, (int)(number - 1));
}

/* The number of the option whose name is argument 3. */
static int check_option(lua_State *L, const char *who) {
  const char *name = bind_check_string(L, 3, who, "option");
  for (int i = 0; i < OPTIONS; i++)
    if (strcmp(options[i].name, name) == 0) return i;
  return bind_error(L, "%s: there is no option %s", who, name);
}

/* Sets an option from the value at index. */
static void set_option(lua_State *L, int index, const char *who, lurn_optim_options *values, int i) {
  char *field = (char *)values + options[i].offset;
  if (options[i].is_flag) *(bool *)field = bind_check_flag(L, index, who, options[i].name);
  else *(double *)field = bind_check_number(L, index, who, options[i].name);
}

/* The defaults of a kind with what the table at index says instead. */
static lurn_optim_options read_options(lua_State *L, int index, int kind) {
  lurn_optim_options values = lurn_optim_defaults((lurn_optim_kind)kind);
  for (int i = 0; i < OPTIONS; i++) {
    if (lua_getfield(L, index, options[i].name) != LUA_TNIL) set_option(L, lua_gettop(L), kinds[kind], &values, i);
    lua_pop(L, 1);
  }
  return values;
}

/* ---- The optimizer ----------------------------------------------------------------------------------------- */

/* optim_new(kind) */
static int optim_new(lua_State *L) {
  bind_state *self = bind_self(L);
  int kind = luaL_checkoption(L, 1, NULL, kinds);
  shell *optim = bind_new_object(L, self, &TYPE, sizeof *optim);
  optim->kind = kind;
  lurn_status status = lurn_optim_new(self->ctx, (lurn_optim_kind)kind, &optim->opt);
  return status == LURN_OK ? 1 : bind_raise(L, status);
}

/* optim:add_group(tensors, options): options that the table leaves out have their defaults */
static int optim_add_group(lua_State *L) {
  bind_state *self = bind_self(L);
  shell *optim = check_shell(L);
  luaL_checktype(L, 3, LUA_TTABLE);
  int64_t n;
  lurn_optim_options values = read_options(L, 3, optim->kind); /* may run metamethods: tensors are read after them */
  lurn_tensor **params = bind_check_tensors(L, self, 2, kinds[optim->kind], "params", &n);
  lurn_status status = lurn_optim_add_group(check_shell(L)->opt, params, n, &values, NULL);
  return status == LURN_OK ? 0 : bind_raise(L, status);
}

/* optim:get(group, name) -> number or boolean */
static int optim_get(lua_State *L) {
  const char *who;
  const lurn_optim_options *values = check_group(L, &who);
  int i = check_option(L, who);
  const char *field = (const char *)values + options[i].offset;
  if (options[i].is_flag) lua_pushboolean(L, *(const bool *)field);
  else lua_pushnumber(L, *(const double *)field);
  return 1;
}

/* optim:set(group, name, value) */
static int optim_set(lua_State *L) {
  const char *who;
  lurn_optim_options *values = check_group(L, &who);
  set_option(L, 4, who, values, check_option(L, who));
  return 0;
}

static int optim_step(lua_State *L) {
  const char *who;
  lurn_status status = lurn_optim_step(check_optim(L, &who));
  return status == LURN_OK ? 0 : bind_raise(L, status);
}

static int optim_zero_grad(lua_State *L) {
  const char *who;
  lurn_optim_zero_grad(check_optim(L, &who));
  return 0;
}

/* optim:state() -> {name = tensor}: what the optimizer works on, no copies */
static int optim_state(lua_State *L) {
  const char *who;
  bind_state *self = bind_self(L);
  lua_newtable(L);
  for (int64_t i = 0;; i++) {
    char name[64];
    lurn_tensor **tensor = bind_new_tensor(L, self); /* may bring on finalizers */
    lurn_status status = lurn_optim_state_at(check_optim(L, &who), i, name, tensor);
    if (status == LURN_EINDEX) break; /* past the last */
    if (status != LURN_OK) return bind_raise(L, status);
    lua_setfield(L, -2, name);
  }
  lua_pop(L, 1);
  return 1;
}

/* optim:set_state(name, tensor) */
static int optim_set_state(lua_State *L) {
  const char *who;
  bind_state *self = bind_self(L);
  lurn_optim *opt = check_optim(L, &who);
  const char *name = bind_check_string(L, 2, who, "name");
  lurn_status status = lurn_optim_set_state(opt, name, bind_check_tensor(L, self, 3, who, name));
  return status == LURN_OK ? 0 : bind_raise(L, status);
}

/* ---- Clipping ---------------------------------------------------------------------------------------------- */

/* clip_grad_norm(tensors, max_norm) -> norm before */
static int clip_grad_norm(lua_State *L) {
  bind_state *self = bind_self(L);
  int64_t n;
  double total = 0, max_norm = bind_check_number(L, 2, "clip_grad_norm", "max_norm");
  lurn_tensor **params = bind_check_tensors(L, self, 1, "clip_grad_norm", "params", &n);
  lurn_status status = lurn_clip_grad_norm(self->ctx, params, n, max_norm, &total);
  if (status != LURN_OK) return bind_raise(L, status);
  lua_pushnumber(L, total);
  return 1;
}

/* clip_grad_value(tensors, max_value) */
static int clip_grad_value(lua_State *L) {
  bind_state *self = bind_self(L);
  int64_t n;
  double max_value = bind_check_number(L, 2, "clip_grad_value", "max_value");
  lurn_tensor **params = bind_check_tensors(L, self, 1, "clip_grad_value", "params", &n);
  lurn_status status = lurn_clip_grad_value(self->ctx, params, n, max_value);
  return status == LURN_OK ? 0 : bind_raise(L, status);
}

/* ---- Opening ----------------------------------------------------------------------------------------------- */

void bind_open_optim(lua_State *L, bind_state *self) {
  static const luaL_Reg metamethods[] = {{NULL, NULL}};
  static const luaL_Reg methods[] = {
      {"add_group", optim_add_group}, {"get", optim_get},     {"set", optim_set},
      {"step", optim_step},           {"state", optim_state}, {"set_state", optim_set_state},
      {"zero_grad", optim_zero_grad}, {NULL, NULL},
  };
  static const luaL_Reg functions[] = {
      {"optim_new", optim_new}, {"clip_grad_norm", clip_grad_norm}, {"clip_grad_value", clip_grad_value}, {NULL, NULL}};
  bind_metatable(L, self, &TYPE, metamethods);
  lua_newtable(L);
  bind_functions(L, self, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  bind_functions(L, self, functions);
}
