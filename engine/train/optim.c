#include "train/optim.h"

#include <string.h>

#include "train/pieces.h"

/* ---- The object -------------------------------------------------------------------------------------------- */

lurn_status lurn_optim_new(lurn_ctx *ctx, lurn_optim_kind kind, lurn_optim **out) {
  if (lurn__optim_rule_of(kind) == NULL)
    return lurn__fail(ctx, LURN_EVALUE, "optim: there is no optimizer number %d", (int)kind);
  LURN__TRY(lurn__need_place(ctx, "optim", out));
  lurn_optim *opt = lurn__alloc(ctx, sizeof *opt);
  if (opt == NULL) return LURN_ENOMEM;
  *opt = (lurn_optim){.ctx = ctx, .kind = kind};
  lurn__ctx_retain(ctx);
  *out = opt;
  return LURN_OK;
}

static size_t group_bytes(int64_t n) { return sizeof(lurn__optim_group) + (size_t)n * sizeof(lurn__optim_param); }

static void free_group(lurn_ctx *ctx, lurn__optim_group *group) {
  for (int64_t i = 0; i < group->n; i++) {
    lurn__optim_param *param = &group->params[i];
    for (int k = 0; k < LURN__OPTIM_SLOTS; k++) lurn_release(param->slot[k]);
    lurn_release(param->tensor);
  }
  lurn__free(ctx, group, group_bytes(group->n));
}

void lurn_optim_free(lurn_optim *opt) {
  if (opt == NULL) return;
  lurn_ctx *ctx = opt->ctx;
  while (opt->first != NULL) {
    lurn__optim_group *group = opt->first;
    opt->first = group->next;
    free_group(ctx, group);
  }
  lurn__free(ctx, opt, sizeof *opt);
  lurn__ctx_release(ctx);
}

int lurn_optim_groups(const lurn_optim *opt) { return opt->n_groups; }

lurn_optim_options *lurn_optim_group_options(lurn_optim *opt, int group) {
  if (group < 0 || group >= opt->n_groups) return NULL;
  lurn__optim_group *item = opt->first;
  while (group-- > 0) item = item->next;
  return &item->options;
}

/* ---- Groups ------------------------------------------------------------------------------------------------ */

static bool has_param(const lurn_optim *opt, const lurn_tensor *t) {
  for (const lurn__optim_group *group = opt->first; group != NULL; group = group->next)
    for (int64_t i = 0; i < group->n; i++)
      if (group->params[i].tensor == t) return true;
  return false;
}

/* Checks params[i], counted in messages within its group. */
static lurn_status check_param(const lurn_optim *opt, lurn_tensor *const *params, int64_t i) {
  lurn_ctx *ctx = opt->ctx;
  const char *who = lurn__optim_rule_of(opt->kind)->name;
  const lurn_tensor *t = params[i];
  long long number = (long long)i + ctx->index_base;
  if (t == NULL) return lurn__fail(ctx, LURN_EVALUE, "%s: parameter %lld is missing", who, number);
  if (t->ctx != ctx) return lurn__fail(ctx, LURN_ESTATE, "%s: parameter %lld is of another context", who, number);
  if (!lurn_dtype_is_float(t->dtype))
    return lurn__fail(ctx, LURN_EDTYPE, "%s: parameter %lld is %s; expected float32 or float64", who, number,
                      lurn_dtype_name(t->dtype));
  if (t->node != NULL)
    return lurn__fail(ctx, LURN_ESTATE, "%s: parameter %lld was made by %s; expected a leaf", who, number,
                      t->node->name);
  if (lurn__self_overlaps(t))
    return lurn__fail(ctx, LURN_EVALUE, "%s: parameter %lld is an expanded tensor; clone it first", who, number);
  bool twice = has_param(opt, t);
  for (int64_t j = 0; j < i && !twice; j++) twice = params[j] == t;
  if (twice) return lurn__fail(ctx, LURN_EVALUE, "%s: parameter %lld is there already", who, number);
  return LURN_OK;
}

lurn_status lurn_optim_add_group(lurn_optim *opt, lurn_tensor *const *params, int64_t n,
                                 const lurn_optim_options *options, int *number) {
  if (opt == NULL) return LURN_EVALUE;
  lurn_optim_options defaults = lurn_optim_defaults(opt->kind);
  if (options == NULL) options = &defaults;
  LURN__TRY(lurn__optim_check(opt->ctx, opt->kind, options));
  if (n < 0) return lurn__fail(opt->ctx, LURN_EVALUE, "optim: %lld parameters", (long long)n);
  if (n > 0) LURN__TRY(lurn__need(opt->ctx, lurn__optim_rule_of(opt->kind)->name, "parameters", params));
  for (int64_t i = 0; i < n; i++) LURN__TRY(check_param(opt, params, i));
  lurn__optim_group *group = lurn__alloc_zeroed(opt->ctx, group_bytes(n));
  if (group == NULL) return LURN_ENOMEM;
  group->n = n;
  group->options = *options;
  for (int64_t i = 0; i < n; i++) group->params[i].tensor = lurn_retain(params[i]);
  *(opt->last != NULL ? &opt->last->next : &opt->first) = group;
  opt->last = group;
  if (number != NULL) *number = opt->n_groups;
  opt->n_groups++;
  return LURN_OK;
}

/* ---- Step -------------------------------------------------------------------------------------------------- */

static lurn_status make_slots(const lurn_optim *opt, const lurn_optim_options *options, lurn__optim_param *param) {
  const lurn__optim_rule *rule = lurn__optim_rule_of(opt->kind);
  unsigned used = rule->slots_used(options);
  const lurn__shape *shape = &param->tensor->shape;
  for (unsigned k = 0; k < LURN__OPTIM_SLOTS; k++) {
    if (!(used & 1u << k) || param->slot[k] != NULL) continue;
    LURN__TRY(
        lurn_full(opt->ctx, param->tensor->dtype, shape->ndim, shape->size, rule->initial(options), &param->slot[k]));
    param->fresh |= 1u << k;
  }
  return LURN_OK;
}

static lurn_status prepare(lurn_optim *opt) {
  for (lurn__optim_group *group = opt->first; group != NULL; group = group->next) {
    LURN__TRY(lurn__optim_check(opt->ctx, opt->kind, &group->options));
    for (int64_t i = 0; i < group->n; i++)
      if (group->params[i].tensor->grad != NULL) LURN__TRY(make_slots(opt, &group->options, &group->params[i]));
  }
  return LURN_OK;
}

static void update_group(const lurn_optim *opt, lurn__optim_group *group) {
  for (int64_t i = 0; i < group->n; i++)
    if (group->params[i].tensor->grad != NULL) lurn__optim_update(opt, &group->options, &group->params[i]);
}

/* Ends a step: the slots made for it stay, or go if it failed. */
static void settle(lurn__optim_group *group, bool keep) {
  for (int64_t i = 0; i < group->n; i++) {
    lurn__optim_param *param = &group->params[i];
    for (int k = 0; k < LURN__OPTIM_SLOTS && !keep; k++)
      if (param->fresh & 1u << k) lurn__drop(&param->slot[k]);
    param->fresh = 0;
  }
}

lurn_status lurn_optim_step(lurn_optim *opt) {
  if (opt == NULL) return LURN_EVALUE;
  lurn_status status = prepare(opt);
  lurn__optim_group *group = opt->first;
  for (; group != NULL && status == LURN_OK; group = group->next) update_group(opt, group);
  for (group = opt->first; group != NULL; group = group->next) settle(group, status == LURN_OK);
  return status;
}

void lurn_optim_zero_grad(lurn_optim *opt) {
  for (lurn__optim_group *group = opt->first; group != NULL; group = group->next)
    for (int64_t i = 0; i < group->n; i++) lurn__drop(&group->params[i].tensor->grad);
}
