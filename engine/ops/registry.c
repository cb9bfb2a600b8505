/* The registry: a description of every op, made from ops.def. */
#include <math.h>
#include <string.h>

#include "ops/op.h"

_Static_assert(sizeof(lurn_list) <= LURN_ARG_STRIDE && sizeof(lurn_ints) <= LURN_ARG_STRIDE, "an argument is too wide");

#define PARAM(name, kind, required, preset, choices) {#name, kind, required, (double)(preset), choices},
#define LURN__INFO_T(name) PARAM(name, LURN_PARAM_TENSOR, true, 0, NULL)
#define LURN__INFO_S(name) PARAM(name, LURN_PARAM_SCALAR, true, 0, NULL)
#define LURN__INFO_OT(name) PARAM(name, LURN_PARAM_OPTIONAL, false, 0, NULL)
#define LURN__INFO_TL(name) PARAM(name, LURN_PARAM_LIST, true, 0, NULL)
#define LURN__INFO_INT(name) PARAM(name, LURN_PARAM_INT, true, 0, NULL)
#define LURN__INFO_INTO(name, preset) PARAM(name, LURN_PARAM_INT, false, preset, NULL)
#define LURN__INFO_R(name) PARAM(name, LURN_PARAM_REAL, true, 0, NULL)
#define LURN__INFO_RO(name, preset) PARAM(name, LURN_PARAM_REAL, false, preset, NULL)
#define LURN__INFO_F(name, preset) PARAM(name, LURN_PARAM_FLAG, false, preset, NULL)
#define LURN__INFO_DIM(name) PARAM(name, LURN_PARAM_DIM, true, 0, NULL)
#define LURN__INFO_DIMO(name, preset) PARAM(name, LURN_PARAM_DIM, false, preset, NULL)
#define LURN__INFO_DIMS(name) PARAM(name, LURN_PARAM_DIMS, false, 0, NULL)
#define LURN__INFO_SIZES(name) PARAM(name, LURN_PARAM_SIZES, true, 0, NULL)
#define LURN__INFO_PERM(name) PARAM(name, LURN_PARAM_DIMS, true, 0, NULL)
#define LURN__INFO_POS(name) PARAM(name, LURN_PARAM_POSITION, true, 0, NULL)
#define LURN__INFO_BASE(name) PARAM(name, LURN_PARAM_BASE, false, 0, NULL)
#define LURN__INFO_CHOICE(name, preset, words) PARAM(name, LURN_PARAM_CHOICE, false, preset, words)
#define LURN__INFO_DT(name) PARAM(name, LURN_PARAM_DTYPE, true, 0, NULL)
#define LURN__INFO_REC(name) PARAM(name, LURN_PARAM_RECORD, false, 0, NULL)
#define LURN__INFO_O(name) PARAM(name, LURN_PARAM_OUTPUT, true, 0, NULL)

#define OP(name, inplace, ...) static const lurn_param params_##name[] = {LURN__EACH(LURN__INFO_, __VA_ARGS__)};
#include "ops/ops.def"
#undef OP

/* How many outputs: the parameters at the end of kind OUTPUT. */
#define LURN__COUNT_T(name) +0
#define LURN__COUNT_S(name) +0
#define LURN__COUNT_OT(name) +0
#define LURN__COUNT_TL(name) +0
#define LURN__COUNT_INT(name) +0
#define LURN__COUNT_INTO(name, preset) +0
#define LURN__COUNT_R(name) +0
#define LURN__COUNT_RO(name, preset) +0
#define LURN__COUNT_F(name, preset) +0
#define LURN__COUNT_DIM(name) +0
#define LURN__COUNT_DIMO(name, preset) +0
#define LURN__COUNT_DIMS(name) +0
#define LURN__COUNT_SIZES(name) +0
#define LURN__COUNT_PERM(name) +0
#define LURN__COUNT_POS(name) +0
#define LURN__COUNT_BASE(name) +0
#define LURN__COUNT_CHOICE(name, preset, words) +0
#define LURN__COUNT_DT(name) +0
#define LURN__COUNT_REC(name) +0
#define LURN__COUNT_O(name) +1

typedef struct entry {
  lurn_op_info info; /* first, so that an info leads back to its entry */
  const lurn__op *op;
  const char *inplace_name;
} entry;

static const entry entries[] = {
#define OP(name, inplace, ...)                                                                                         \
  {{#name, params_##name, (int)(sizeof params_##name / sizeof params_##name[0]),                                       \
    0 LURN__EACH(LURN__COUNT_, __VA_ARGS__), sizeof(struct lurn__##name##_args), inplace},                             \
   &lurn__op_##name,                                                                                                   \
   #name "_"},
#include "ops/ops.def"
#undef OP
};

int lurn_op_count(void) { return LURN__OP_COUNT; }

const lurn_op_info *lurn_op_at(int i) { return i >= 0 && i < LURN__OP_COUNT ? &entries[i].info : NULL; }

const lurn_op_info *lurn_op_find(const char *name) {
  for (int i = 0; i < LURN__OP_COUNT && name != NULL; i++)
    if (strcmp(entries[i].info.name, name) == 0) return &entries[i].info;
  return NULL;
}

const char *lurn__call_name(const lurn__call *call) {
  return call->inplace ? ((const entry *)(const void *)call->info)->inplace_name : call->info->name;
}

const lurn__op *lurn__op_of(const lurn_op_info *info) { return ((const entry *)(const void *)info)->op; }

const char *lurn_op_doc(const lurn_op_info *info) { return info != NULL ? lurn__op_of(info)->doc : NULL; }

bool lurn_op_is_differentiable(const lurn_op_info *info) { return info != NULL && lurn__op_of(info)->backward != NULL; }
