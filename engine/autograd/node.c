#include "autograd/node.h"

#include <string.h>

void lurn__graph_node_consume(lurn_ctx *ctx, lurn__graph_node *node) {
  if (node->consumed) return;
  node->consumed = true;
  for (int i = 0; i < LURN__MAX_SAVED; i++) lurn__drop(&node->saved[i].tensor);
  for (int64_t i = 0; i < node->n_in; i++) {
    lurn__edge edge = node->edges[i];
    node->edges[i] = (lurn__edge){0};
    if (edge.node != NULL) lurn__node_release(ctx, edge.node);
    lurn_release(edge.leaf);
  }
  if (node->release_extra != NULL) node->release_extra(ctx, node);
}

static void destroy(lurn_ctx *ctx, lurn__node *base) {
  lurn__graph_node *node = (lurn__graph_node *)base;
  lurn__graph_node_consume(ctx, node);
  if (base->hooks.first != NULL) lurn__hooks_clear(&base->hooks);
  for (int i = 0; i < node->n_out; i++) lurn_release(node->grad_out[i]);
  lurn__free(ctx, node, node->bytes);
}

/* Takes the next n bytes of a block, keeping every part aligned for any type. */
static size_t part(size_t *total, size_t bytes) {
  size_t at = *total;
  *total += (bytes + 15) & ~(size_t)15;
  return at;
}

static void fill_input(lurn__graph_node *node, int64_t i, lurn_tensor *t) {
  if (t == NULL) return;
  node->in_meta[i] = (lurn__meta){.shape = t->shape, .dtype = t->dtype, .present = true};
  node->need[i] = t->requires_grad;
  if (!t->requires_grad) return;
  node->edges[i].output = t->output;
  if (t->node != NULL) node->edges[i].node = lurn__node_retain(t->node);
  else node->edges[i].leaf = lurn_retain(t);
}

lurn_status lurn__graph_node_new(lurn_ctx *ctx, const char *name, lurn_tensor *const *in, int64_t n_in, int n_out,
                                 size_t extra_bytes, lurn__graph_node **out) {
  size_t inputs = (size_t)n_in, outputs = (size_t)n_out, total = 0;
  part(&total, sizeof(lurn__graph_node));
  size_t edges = part(&total, inputs * sizeof(lurn__edge)), in_meta = part(&total, inputs * sizeof(lurn__meta));
  size_t need = part(&total, inputs), out_meta = part(&total, outputs * sizeof(lurn__meta));
  size_t grad_out = part(&total, outputs * sizeof(lurn_tensor *)), extra = part(&total, extra_bytes);
  char *block = lurn__alloc_zeroed(ctx, total);
  if (block == NULL) return LURN_ENOMEM;
  lurn__graph_node *node = (lurn__graph_node *)(void *)block;
  node->base = (lurn__node){.refs = 1, .number = ctx->node_number++, .name = name, .destroy = destroy};
  node->bytes = total;
  node->n_in = n_in;
  node->n_out = n_out;
  node->edges = (void *)(block + edges);
  node->in_meta = (void *)(block + in_meta);
  node->need = (void *)(block + need);
  node->out_meta = (void *)(block + out_meta);
  node->grad_out = (void *)(block + grad_out);
  node->extra = block + extra;
  for (int64_t i = 0; i < n_in; i++) fill_input(node, i, in[i]);
  *out = node;
  return LURN_OK;
}

void lurn__graph_node_attach(lurn__graph_node *node, int i, lurn_tensor *t) {
  node->out_meta[i] = (lurn__meta){.shape = t->shape, .dtype = t->dtype, .present = true};
  if (!lurn_dtype_is_float(t->dtype)) return;
  lurn__node *former = t->node;
  t->node = lurn__node_retain(&node->base);
  t->output = i;
  t->requires_grad = true;
  t->history = t->storage->version;
  if (t->keeper != NULL) lurn__keeper_move(t, former);
  if (former != NULL) lurn__node_release(t->ctx, former);
}

bool lurn__graph_exclusive(const lurn_tensor *t) {
  return t->refs == 1 && t->storage->refs == 1 && !t->storage->foreign && lurn_tensor_is_contiguous(t) &&
         t->storage->bytes == (size_t)lurn__numel(t) * lurn__tensor_width(t) && !t->requires_grad && t->grad == NULL;
}

lurn_status lurn__grow_list(lurn_ctx *ctx, void **list, int64_t count, int64_t *room, size_t size) {
  if (count < *room) return LURN_OK;
  int64_t wider = *room == 0 ? 64 : *room * 2;
  void *copy = lurn__alloc_array(ctx, (size_t)wider, size);
  if (copy == NULL) return LURN_ENOMEM;
  if (count > 0) memcpy(copy, *list, (size_t)count * size);
  if (*list != NULL) lurn__free(ctx, *list, (size_t)*room * size);
  *list = copy;
  *room = wider;
  return LURN_OK;
}

lurn_status lurn__check_tensors(lurn_ctx *ctx, const char *who, lurn_tensor *const *tensors, int64_t n) {
  if (ctx == NULL) return LURN_EVALUE;
  if (n < 0) return lurn__fail(ctx, LURN_EVALUE, "%s: %lld tensors", who, (long long)n);
  if (n > 0) LURN__TRY(lurn__need(ctx, who, "tensors", tensors));
  for (int64_t i = 0; i < n; i++) {
    if (tensors[i] == NULL) return lurn__fail(ctx, LURN_EVALUE, "%s: a tensor is missing", who);
    if (tensors[i]->ctx != ctx) return lurn__fail(ctx, LURN_ESTATE, "%s: a tensor belongs to another context", who);
  }
  return LURN_OK;
}

lurn_status lurn__check_history(lurn_ctx *ctx, const char *who, const lurn_tensor *t) {
  bool tracked = t->node != NULL || (t->base != NULL && t->base->node != NULL);
  if (!tracked || t->history == t->storage->version) return LURN_OK;
  return lurn__fail(ctx, LURN_EVERSION,
                    "%s: an input of shape %s, made by %s, was changed in place through another tensor "
                    "on the same memory; its gradient is no longer known",
                    who, LURN__SHAPE(t), t->node != NULL ? t->node->name : "indexing");
}
