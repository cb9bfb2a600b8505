/* The optimizers' state as named tensors: "state.N.NAME", parameters N counted over all groups from 0. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "train/optim.h"
#include "train/pieces.h"

/* ---- Reading ----------------------------------------------------------------------------------------------- */

/* A parameter that was never updated has none; otherwise its step comes first, then its slots. */
static int64_t count_entries(const lurn__optim_param *param) {
  int64_t slots = 0;
  for (int k = 0; k < LURN__OPTIM_SLOTS; k++) slots += param->slot[k] != NULL;
  return slots > 0 || param->step > 0 ? slots + 1 : 0;
}

/* Entry i of parameter number `number`, which has more than i. */
static lurn_status read_entry(const lurn_optim *opt, const lurn__optim_param *param, int64_t number, int64_t i,
                              char name[64], lurn_tensor **out) {
  const char *what = "step";
  if (i == 0) {
    LURN__TRY(lurn_from_data(opt->ctx, LURN_INT64, 0, NULL, &param->step, out));
  } else {
    int k = -1;
    while (i > 0) i -= param->slot[++k] != NULL;
    what = lurn__optim_rule_of(opt->kind)->slots[k];
    *out = lurn_retain(param->slot[k]);
  }
  snprintf(name, 64, "state.%" PRId64 ".%s", number, what);
  return LURN_OK;
}

lurn_status lurn_optim_state_at(lurn_optim *opt, int64_t i, char name[64], lurn_tensor **out) {
  if (opt == NULL) return LURN_EVALUE;
  const char *who = lurn__optim_rule_of(opt->kind)->name;
  LURN__TRY(lurn__need(opt->ctx, who, "place for the name", name));
  LURN__TRY(lurn__need_place(opt->ctx, who, out));
  int64_t number = 0, rest = i;
  for (const lurn__optim_group *group = opt->first; group != NULL && i >= 0; group = group->next)
    for (int64_t j = 0; j < group->n; j++, number++) {
      const lurn__optim_param *param = &group->params[j];
      int64_t entries = count_entries(param);
      if (rest < entries) return read_entry(opt, param, number, rest, name, out);
      rest -= entries;
    }
  return lurn__fail(opt->ctx, LURN_EINDEX, "%s: there is no state number %" PRId64, who, i);
}

/* ---- Setting ----------------------------------------------------------------------------------------------- */

/* Splits "state.N.NAME"; NULL when it is no such name, otherwise NAME. */
static const char *parse(const char *name, int64_t *number) {
  static const char prefix[] = "state.";
  if (strncmp(name, prefix, sizeof prefix - 1) != 0) return NULL;
  const char *digits = name + sizeof prefix - 1, *p = digits;
  int64_t n = 0;
  for (; *p >= '0' && *p <= '9' && p - digits < 18; p++) n = 10 * n + (*p - '0');
  if (p == digits || *p != '.' || (*digits == '0' && p - digits > 1)) return NULL;
  *number = n;
  return p + 1;
}

static lurn__optim_param *find_param(lurn_optim *opt, int64_t number) {
  for (lurn__optim_group *group = opt->first; group != NULL; group = group->next) {
    if (number < group->n) return &group->params[number];
    number -= group->n;
  }
  return NULL;
}

static int find_slot(const lurn__optim_rule *rule, const char *name) {
  for (int k = 0; k < LURN__OPTIM_SLOTS; k++)
    if (rule->slots[k] != NULL && strcmp(rule->slots[k], name) == 0) return k;
  return -1;
}

static lurn_status unknown_name(const lurn_optim *opt, const char *name) {
  const lurn__optim_rule *rule = lurn__optim_rule_of(opt->kind);
  char known[80] = "step"; /* the longest list: "step, square_avg, grad_avg, momentum_buffer" */
  size_t used = strlen(known);
  for (int k = 0; k < LURN__OPTIM_SLOTS && rule->slots[k] != NULL; k++)
    used += (size_t)snprintf(known + used, sizeof known - used, ", %s", rule->slots[k]);
  return lurn__fail(opt->ctx, LURN_EVALUE, "%s: \"%.100s\" is not the name of a state; expected state.N. and one of %s",
                    rule->name, name, known);
}

static lurn_status set_step(lurn_optim *opt, const char *name, lurn__optim_param *param, const lurn_tensor *value) {
  const char *who = lurn__optim_rule_of(opt->kind)->name;
  if (value->dtype != LURN_INT64 || lurn__numel(value) != 1)
    return lurn__fail(opt->ctx, LURN_EDTYPE, "%s: %s: expected one int64, got %lld %s", who, name,
                      (long long)lurn__numel(value), lurn_dtype_name(value->dtype));
  int64_t step = *lurn__i64(value);
  if (step < 0 || step == INT64_MAX)
    return lurn__fail(opt->ctx, LURN_EVALUE, "%s: %s is %lld; expected a number of steps", who, name, (long long)step);
  param->step = step;
  return LURN_OK;
}

static lurn_status set_slot(lurn_optim *opt, const char *name, lurn__optim_param *param, int k,
                            const lurn_tensor *value) {
  const char *who = lurn__optim_rule_of(opt->kind)->name;
  const lurn_tensor *like = param->tensor;
  if (value->dtype != like->dtype || !lurn__shape_equal(&value->shape, &like->shape)) {
    char expected[LURN__SHAPE_TEXT], given[LURN__SHAPE_TEXT];
    return lurn__fail(opt->ctx, value->dtype != like->dtype ? LURN_EDTYPE : LURN_ESHAPE,
                      "%s: %s: expected %s %s like the parameter, got %s %s", who, name, lurn_dtype_name(like->dtype),
                      lurn__shape_print(&like->shape, expected), lurn_dtype_name(value->dtype),
                      lurn__shape_print(&value->shape, given));
  }
  lurn_tensor *copy;
  LURN__TRY(lurn__contiguous_copy(value, &copy));
  lurn_release(param->slot[k]);
  param->slot[k] = copy;
  return LURN_OK;
}

lurn_status lurn_optim_set_state(lurn_optim *opt, const char *name, lurn_tensor *value) {
  if (opt == NULL) return LURN_EVALUE;
  const lurn__optim_rule *rule = lurn__optim_rule_of(opt->kind);
  int64_t number;
  LURN__TRY(lurn__need(opt->ctx, rule->name, "name", name));
  if (value == NULL) return lurn__fail(opt->ctx, LURN_EVALUE, "%s: no tensor given for a state", rule->name);
  const char *what = parse(name, &number);
  bool is_step = what != NULL && strcmp(what, "step") == 0;
  int slot = what != NULL && !is_step ? find_slot(rule, what) : -1;
  if (!is_step && slot < 0) return unknown_name(opt, name);
  lurn__optim_param *param = find_param(opt, number);
  if (param == NULL) return lurn__fail(opt->ctx, LURN_EINDEX, "%s: %s: there is no such parameter", rule->name, name);
  if (value->ctx != opt->ctx)
    return lurn__fail(opt->ctx, LURN_ESTATE, "%s: %s: a tensor of another context", rule->name, name);
  return is_step ? set_step(opt, name, param, value) : set_slot(opt, name, param, slot, value);
}
