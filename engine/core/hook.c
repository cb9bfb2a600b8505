#include "core/hook.h"

#include "core/tensor.h"

/* ---- The list ---------------------------------------------------------------------------------------------- */

void lurn_hook_release(lurn_hook *hook) {
  if (hook == NULL || --hook->refs > 0) return;
  lurn_ctx *ctx = hook->ctx;
  lurn__free(ctx, hook, sizeof *hook);
  lurn__ctx_release(ctx);
}

/* Gives back hooks that are out of their list. */
static void free_chain(lurn_hook *chain) {
  while (chain != NULL) {
    lurn_hook *hook = chain;
    chain = hook->next;
    hook->next = NULL;
    if (hook->free_ud != NULL) hook->free_ud(hook->ud);
    lurn_hook_release(hook);
  }
}

static void append(lurn__hooks *list, lurn_hook *hook) {
  lurn_hook *first = list->first;
  hook->list = list;
  hook->before = first != NULL ? first->before : hook;
  if (first != NULL) first->before->next = hook;
  else list->first = hook;
  list->first->before = hook;
}

static void unlink_hook(lurn_hook *hook) {
  lurn__hooks *list = hook->list;
  lurn_hook *after = hook->next != NULL ? hook->next : list->first;
  if (hook == list->first) list->first = hook->next;
  else hook->before->next = hook->next;
  after->before = hook->before;
  hook->next = NULL;
  hook->list = NULL;
}

/* First all are taken out: what the host does when it gets back its own may remove further ones. */
static void take_out(lurn__hooks *list, bool all) {
  lurn_hook *chain = NULL, **end = &chain, *next;
  for (lurn_hook *hook = list->first; hook != NULL; hook = next) {
    next = hook->next;
    if (!all && !hook->removed) continue;
    unlink_hook(hook);
    *end = hook;
    end = &hook->next;
  }
  free_chain(chain);
}

void lurn__hooks_clear(lurn__hooks *list) {
  if (list->first != NULL) take_out(list, true);
}

void lurn_hook_remove(lurn_hook *hook) {
  if (hook == NULL || hook->list == NULL) return;
  hook->removed = true;
  if (hook->list->running > 0) return;
  unlink_hook(hook);
  free_chain(hook);
}

lurn_status lurn__hooks_add(lurn_ctx *ctx, lurn__hooks *list, int output, lurn_hook_fn fn, void (*free_ud)(void *ud),
                            void *ud, lurn_hook **out) {
  lurn_hook *hook = lurn__alloc(ctx, sizeof *hook);
  if (hook == NULL) return LURN_ENOMEM;
  *hook = (lurn_hook){.refs = 1, .ctx = ctx, .output = output, .fn = fn, .free_ud = free_ud, .ud = ud};
  lurn__ctx_retain(ctx);
  append(list, hook);
  if (out == NULL) return LURN_OK;
  hook->refs++;
  *out = hook;
  return LURN_OK;
}

/* ---- Running ----------------------------------------------------------------------------------------------- */

static lurn_status check_changed(lurn_ctx *ctx, const char *who, const lurn_tensor *g, const lurn_tensor *changed) {
  if (changed->ctx != ctx)
    return lurn__fail(ctx, LURN_ESTATE, "%s: the gradient that a hook gave belongs to another context", who);
  if (changed->dtype == g->dtype && lurn__shape_equal(&changed->shape, &g->shape)) return LURN_OK;
  char given[LURN__SHAPE_TEXT], expected[LURN__SHAPE_TEXT];
  return lurn__fail(ctx, LURN_ESHAPE, "%s: a hook gave a gradient of %s %s for a tensor of %s %s", who,
                    lurn_dtype_name(changed->dtype), lurn__shape_print(&changed->shape, given),
                    lurn_dtype_name(g->dtype), lurn__shape_print(&g->shape, expected));
}

/* What the hook gave takes the place of *grad, without a history. */
static lurn_status run_one(lurn_ctx *ctx, const char *who, const lurn_hook *hook, lurn_tensor **grad) {
  lurn_tensor *changed = NULL, *plain;
  LURN__TRY(hook->fn(ctx, hook->ud, *grad, &changed));
  if (changed == NULL) return LURN_OK;
  lurn_status status = LURN_OK;
  if (changed != *grad) {
    status = check_changed(ctx, who, *grad, changed);
    if (status == LURN_OK) status = lurn__tensor_alias(changed, &plain);
    if (status == LURN_OK) {
      lurn_release(*grad);
      *grad = plain;
    }
  }
  lurn_release(changed);
  return status;
}

lurn_status lurn__hooks_run(lurn_ctx *ctx, const char *who, lurn__hooks *list, int output, lurn_tensor **grad) {
  if (list->first == NULL) return LURN_OK;
  const lurn_hook *last = list->first->before;
  lurn_status status = LURN_OK;
  list->running++;
  for (const lurn_hook *hook = list->first;; hook = hook->next) {
    if (hook->output == output && !hook->removed) status = run_one(ctx, who, hook, grad);
    if (hook == last || status != LURN_OK) break;
  }
  if (--list->running == 0) take_out(list, false);
  return status;
}

/* ---- Keepers ----------------------------------------------------------------------------------------------- */

static void link_keeper(lurn__node *node, lurn__keeper *keeper) {
  keeper->next = node->keepers;
  node->keepers = keeper;
}

static void unlink_keeper(lurn__node *node, const lurn__keeper *keeper) {
  lurn__keeper **at = &node->keepers;
  while (*at != keeper) at = &(*at)->next;
  *at = keeper->next;
}

lurn_status lurn__keeper_new(lurn_tensor *t) {
  lurn__keeper *keeper = lurn__alloc(t->ctx, sizeof *keeper);
  if (keeper == NULL) return LURN_ENOMEM;
  *keeper = (lurn__keeper){.tensor = t};
  link_keeper(t->node, keeper);
  t->keeper = keeper;
  return LURN_OK;
}

void lurn__keeper_move(lurn_tensor *t, lurn__node *former) {
  unlink_keeper(former, t->keeper);
  lurn__drop(&t->keeper->kept); /* of the former value, in a sweep that ends without it */
  link_keeper(t->node, t->keeper);
}

void lurn__keeper_free(lurn_tensor *t) {
  lurn__keeper *keeper = t->keeper;
  unlink_keeper(t->node, keeper);
  t->keeper = NULL;
  lurn_release(keeper->kept);
  lurn__free(t->ctx, keeper, sizeof *keeper);
}
