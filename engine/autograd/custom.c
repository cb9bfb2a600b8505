/* Differentiable functions of the host. */
#include <string.h>

#include "autograd/node.h"

enum { MOST_OUTPUTS = LURN__MAX_OUT * 4 };

typedef struct custom_extra {
  lurn_custom_backward backward;
  void (*free_ud)(void *ud);
  void *ud;
  char name[]; /* a copy, which messages and lurn_tensor_maker give */
} custom_extra;

static lurn_status custom_backward(lurn_ctx *ctx, lurn__graph_node *node, lurn_tensor **grad_in, const bool *need) {
  const custom_extra *extra = node->extra;
  return extra->backward(ctx, extra->ud, node->grad_out, node->n_out, grad_in, need, (int)node->n_in);
}

static void release_custom(lurn_ctx *ctx, lurn__graph_node *node) {
  (void)ctx;
  custom_extra *extra = node->extra;
  if (extra->free_ud != NULL) extra->free_ud(extra->ud);
  extra->free_ud = NULL;
}

static bool needs_grad(const lurn_ctx *ctx, lurn_tensor *const *inputs, int n_in) {
  for (int i = 0; i < n_in && ctx->grad_enabled; i++)
    if (inputs[i]->requires_grad) return true;
  return false;
}

/* True when writing into the value would write into an input, behind the back of its gradient. */
static bool shows_an_input(const lurn_tensor *value, lurn_tensor *const *inputs, int n_in) {
  for (int i = 0; i < n_in; i++)
    if (inputs[i]->storage == value->storage) return true;
  return false;
}

static lurn_status make_outputs(lurn_tensor *const *inputs, int n_in, lurn_tensor *const *values, int n_out,
                                lurn_tensor **out) {
  for (int i = 0; i < n_out; i++) {
    lurn_status status = lurn__tensor_alias(values[i], &out[i]);
    if (status != LURN_OK) {
      while (i > 0) lurn__drop(&out[--i]);
      return status;
    }
    out[i]->blind = shows_an_input(values[i], inputs, n_in);
  }
  return LURN_OK;
}

static lurn_status record(lurn_ctx *ctx, const char *name, lurn_tensor *const *inputs, int n_in, int n_out,
                          lurn__graph_node **out) {
  for (int i = 0; i < n_in; i++) LURN__TRY(lurn__check_history(ctx, name, inputs[i]));
  size_t name_bytes = strlen(name) + 1;
  LURN__TRY(lurn__graph_node_new(ctx, name, inputs, n_in, n_out, sizeof(custom_extra) + name_bytes, out));
  custom_extra *extra = (*out)->extra;
  (*out)->base.name = memcpy(extra->name, name, name_bytes);
  return LURN_OK;
}

static lurn_status check_custom(lurn_ctx *ctx, const char *name, lurn_tensor *const *inputs, int n_in,
                                lurn_tensor *const *values, int n_out, lurn_custom_backward backward,
                                lurn_tensor **out) {
  LURN__TRY(lurn__need(ctx, "custom", "name", name));
  if (n_out > MOST_OUTPUTS)
    return lurn__fail(ctx, LURN_EVALUE, "%s: %d outputs; at most %d are possible", name, n_out, (int)MOST_OUTPUTS);
  LURN__TRY(lurn__check_tensors(ctx, name, inputs, n_in));
  LURN__TRY(lurn__check_tensors(ctx, name, values, n_out));
  if (backward == NULL) return lurn__fail(ctx, LURN_EVALUE, "%s: no backward function given", name);
  return n_out > 0 ? lurn__need_place(ctx, name, out) : LURN_OK;
}

lurn_status lurn_custom(lurn_ctx *ctx, const char *name, lurn_tensor *const *inputs, int n_in,
                        lurn_tensor *const *values, int n_out, lurn_custom_backward backward, void (*free_ud)(void *ud),
                        void *ud, lurn_tensor **out) {
  lurn__graph_node *node = NULL;
  lurn_tensor *results[MOST_OUTPUTS];
  lurn_status status = check_custom(ctx, name, inputs, n_in, values, n_out, backward, out);
  if (status == LURN_OK && needs_grad(ctx, inputs, n_in)) status = record(ctx, name, inputs, n_in, n_out, &node);
  if (status == LURN_OK) status = make_outputs(inputs, n_in, values, n_out, results);
  if (status != LURN_OK || node == NULL) {
    if (node != NULL) lurn__node_release(ctx, &node->base);
    if (free_ud != NULL) free_ud(ud);
  }
  if (status != LURN_OK) return status;
  if (node != NULL) {
    custom_extra *extra = node->extra;
    extra->backward = backward;
    extra->free_ud = free_ud;
    extra->ud = ud;
    node->backward = custom_backward;
    node->release_extra = release_custom;
    for (int i = 0; i < n_out; i++) lurn__graph_node_attach(node, i, results[i]);
    lurn__node_release(ctx, &node->base);
  }
  for (int i = 0; i < n_out; i++) out[i] = results[i];
  return LURN_OK;
}
