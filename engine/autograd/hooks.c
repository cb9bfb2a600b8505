/* Hooks and kept gradients, as the host asks for them; backward.c runs them. */
#include "autograd/node.h"

static lurn_status check_hooked(lurn_ctx *ctx, const char *who, lurn_tensor *t) {
  LURN__TRY(lurn__check_tensors(ctx, who, &t, 1));
  if (!t->requires_grad)
    return lurn__fail(ctx, LURN_ESTATE, "%s: the tensor does not require a gradient, so none will come to it", who);
  return lurn__check_history(ctx, who, t);
}

lurn_status lurn_add_hook(lurn_ctx *ctx, lurn_tensor *t, lurn_hook_fn fn, void (*free_ud)(void *ud), void *ud,
                          lurn_hook **out) {
  lurn_status status = check_hooked(ctx, "register_hook", t);
  if (status == LURN_OK && fn == NULL) status = lurn__fail(ctx, LURN_EVALUE, "register_hook: no function given");
  if (status == LURN_OK) {
    lurn__hooks *list = t->node != NULL ? &t->node->hooks : &t->hooks;
    status = lurn__hooks_add(ctx, list, t->output, fn, free_ud, ud, out);
  }
  if (status != LURN_OK && free_ud != NULL) free_ud(ud);
  return status;
}

lurn_status lurn_retain_grad(lurn_ctx *ctx, lurn_tensor *t) {
  LURN__TRY(check_hooked(ctx, "retain_grad", t));
  return t->node == NULL || t->keeper != NULL ? LURN_OK : lurn__keeper_new(t);
}

bool lurn_tensor_retains_grad(const lurn_tensor *t) { return t->keeper != NULL; }
