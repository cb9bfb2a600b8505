/* What keeps what alive in the graph, for hosts with a collector. */
#include "autograd/node.h"

/* A tensor or a node that was met, and how many of its references were not. */
typedef struct item {
  lurn_tensor *tensor; /* one of both; neither is owned */
  lurn__graph_node *node;
  int64_t unexplained;
} item;

typedef struct trace {
  lurn_ctx *ctx;
  uint64_t mark;
  item *items;
  int64_t n_items, item_room;
  lurn_trace *out;
  int64_t room, count;
} trace;

static void tell(trace *t, lurn_trace_kind kind, const void *from, const void *to) {
  if (t->count < t->room) t->out[t->count] = (lurn_trace){kind, from, to};
  t->count++;
}

static lurn_status add_item(trace *t, item new) {
  LURN__TRY(lurn__grow_list(t->ctx, (void **)&t->items, t->n_items, &t->item_room, sizeof(item)));
  t->items[t->n_items++] = new;
  return LURN_OK;
}

/* Comes to a tensor, or a node, by one of its references. */
static lurn_status meet_tensor(trace *t, lurn_tensor *tensor) {
  if (tensor->mark != t->mark) {
    LURN__TRY(add_item(t, (item){.tensor = tensor, .unexplained = tensor->refs}));
    tensor->mark = t->mark;
    tensor->slot = t->n_items - 1;
  }
  t->items[tensor->slot].unexplained--;
  return LURN_OK;
}

static lurn_status meet_node(trace *t, lurn__node *base) {
  lurn__graph_node *node = (lurn__graph_node *)base;
  if (node->mark != t->mark) {
    LURN__TRY(add_item(t, (item){.node = node, .unexplained = base->refs}));
    node->mark = t->mark;
    node->slot = t->n_items - 1;
  }
  t->items[node->slot].unexplained--;
  return LURN_OK;
}

static void tell_hooks(trace *t, const void *from, const lurn__hooks *hooks) {
  for (const lurn_hook *hook = hooks->first; hook != NULL; hook = hook->next) tell(t, LURN_TRACE_HOOK, from, hook->ud);
}

static lurn_status follow_tensor(trace *t, const lurn_tensor *tensor) {
  tell_hooks(t, tensor, &tensor->hooks);
  if (tensor->node != NULL) {
    tell(t, LURN_TRACE_LINK, tensor, tensor->node);
    LURN__TRY(meet_node(t, tensor->node));
  }
  if (tensor->base == NULL) return LURN_OK;
  tell(t, LURN_TRACE_LINK, tensor, tensor->base);
  return meet_tensor(t, tensor->base);
}

static lurn_status follow_node(trace *t, const lurn__graph_node *node) {
  tell_hooks(t, node, &node->base.hooks);
  for (int64_t i = 0; i < node->n_in; i++) {
    lurn__edge edge = node->edges[i];
    const void *to = edge.node != NULL ? (const void *)edge.node : edge.leaf;
    if (to != NULL) tell(t, LURN_TRACE_LINK, node, to);
    if (edge.node != NULL) LURN__TRY(meet_node(t, edge.node));
    if (edge.leaf != NULL) LURN__TRY(meet_tensor(t, edge.leaf));
  }
  return LURN_OK;
}

static lurn_status follow(trace *t, lurn_tensor *const *tensors, int64_t n) {
  for (int64_t i = 0; i < n; i++) LURN__TRY(meet_tensor(t, tensors[i]));
  for (int64_t i = 0; i < t->n_items; i++) {
    item at = t->items[i];
    LURN__TRY(at.node != NULL ? follow_node(t, at.node) : follow_tensor(t, at.tensor));
  }
  for (int64_t i = 0; i < t->n_items; i++) {
    const item *at = &t->items[i];
    const void *address = at->node != NULL ? (const void *)at->node : at->tensor;
    if (at->unexplained > 0) tell(t, LURN_TRACE_HELD, NULL, address);
  }
  return LURN_OK;
}

lurn_status lurn_graph_trace(lurn_ctx *ctx, lurn_tensor *const *tensors, int64_t n, int64_t room, lurn_trace *out,
                             int64_t *count) {
  LURN__TRY(lurn__check_tensors(ctx, "graph_trace", tensors, n));
  if (room > 0) LURN__TRY(lurn__need_place(ctx, "graph_trace", out));
  LURN__TRY(lurn__need_place(ctx, "graph_trace", count));
  trace t = {.ctx = ctx, .mark = ++ctx->backward_mark, .out = out, .room = room};
  lurn_status status = follow(&t, tensors, n);
  if (status == LURN_OK) *count = t.count;
  lurn__free(ctx, t.items, (size_t)t.item_room * sizeof(item));
  return status;
}
