/* The backward sweep: nodes in falling order of creation, without recursion. */
#include <string.h>

#include "autograd/node.h"

typedef struct leaf {
  lurn_tensor *tensor; /* owned */
  lurn_tensor *grad;   /* gathered so far */
} leaf;

typedef struct sweep {
  lurn_ctx *ctx;
  const char *who;
  uint64_t mark;
  bool retain_graph;
  lurn__graph_node **nodes; /* owned references */
  int64_t n_nodes, node_room;
  leaf *leaves;
  int64_t n_leaves, leaf_room;
  lurn_tensor *const *inputs; /* lurn_grad: gradients go to captured[] instead of the leaves */
  lurn_tensor **captured;
  int n_inputs;
  bool partial; /* what comes to the inputs is a part of their gradients only: their hooks are not for it */
} sweep;

/* ---- Meeting ----------------------------------------------------------------------------------------------- */

static lurn_status meet_node(sweep *s, lurn__node *base) {
  lurn__graph_node *node = (lurn__graph_node *)base;
  if (node->mark == s->mark) return LURN_OK;
  if (node->consumed)
    return lurn__fail(s->ctx, LURN_ESTATE,
                      "%s: the graph was freed by an earlier backward through %s; pass retain_graph "
                      "to that one to go through it twice",
                      s->who, base->name);
  if (node->busy)
    return lurn__fail(s->ctx, LURN_ESTATE,
                      "%s: a backward through %s is running already; detach what a callback "
                      "differentiates anew",
                      s->who, base->name);
  LURN__TRY(lurn__grow_list(s->ctx, (void **)&s->nodes, s->n_nodes, &s->node_room, sizeof(lurn__graph_node *)));
  node->mark = s->mark;
  node->busy = true;
  node->wanted = s->inputs == NULL;
  lurn__node_retain(base);
  s->nodes[s->n_nodes++] = node;
  return LURN_OK;
}

static lurn_status meet_leaf(sweep *s, lurn_tensor *t) {
  if (t->mark == s->mark) return LURN_OK;
  LURN__TRY(lurn__grow_list(s->ctx, (void **)&s->leaves, s->n_leaves, &s->leaf_room, sizeof(leaf)));
  t->mark = s->mark;
  t->slot = s->n_leaves;
  s->leaves[s->n_leaves++] = (leaf){.tensor = lurn_retain(t)};
  return LURN_OK;
}

/* A callback may have run a sweep of its own and moved the mark: then search. */
static leaf *find_leaf(sweep *s, const lurn_tensor *t) {
  if (t->mark == s->mark) return &s->leaves[t->slot];
  for (int64_t i = 0; i < s->n_leaves; i++)
    if (s->leaves[i].tensor == t) return &s->leaves[i];
  return NULL;
}

static lurn_status meet_tensor(sweep *s, lurn_tensor *t) {
  return t->node != NULL ? meet_node(s, t->node) : meet_leaf(s, t);
}

/* ---- Collecting -------------------------------------------------------------------------------------------- */

static bool in_order(const lurn__graph_node *a, const lurn__graph_node *b) { return a->base.number > b->base.number; }

/* Merges the neighbouring runs from[0..half) and from[half..n) into to[0..n). */
static void merge(lurn__graph_node **from, int64_t half, int64_t n, lurn__graph_node **to) {
  for (int64_t i = 0, k = half, at = 0; at < n; at++)
    to[at] = k == n || (i < half && in_order(from[i], from[k])) ? from[i++] : from[k++];
}

static bool is_sorted(const sweep *s) {
  for (int64_t i = 1; i < s->n_nodes; i++)
    if (!in_order(s->nodes[i - 1], s->nodes[i])) return false;
  return true;
}

/* Latest first.  Not by qsort, which may call malloc. */
static lurn_status sort_nodes(sweep *s) {
  if (is_sorted(s)) return LURN_OK;
  lurn__graph_node **from = s->nodes,
                   **to = lurn__alloc_array(s->ctx, (size_t)s->node_room, sizeof(lurn__graph_node *));
  if (to == NULL) return LURN_ENOMEM;
  for (int64_t width = 1; width < s->n_nodes; width *= 2) {
    for (int64_t first = 0; first < s->n_nodes; first += 2 * width) {
      int64_t left = s->n_nodes - first;
      merge(from + first, left < width ? left : width, left < 2 * width ? left : 2 * width, to + first);
    }
    lurn__graph_node **sorted = to;
    to = from;
    from = sorted;
  }
  s->nodes = from;
  lurn__free(s->ctx, to, (size_t)s->node_room * sizeof(lurn__graph_node *));
  return LURN_OK;
}

/* Everything that can be reached from the nodes met so far. */
static lurn_status collect(sweep *s) {
  for (int64_t i = 0; i < s->n_nodes; i++)
    for (int64_t k = 0; k < s->nodes[i]->n_in; k++) {
      lurn__edge edge = s->nodes[i]->edges[k];
      if (edge.node != NULL) LURN__TRY(meet_node(s, edge.node));
      if (edge.leaf != NULL) LURN__TRY(meet_leaf(s, edge.leaf));
    }
  return sort_nodes(s);
}

static bool is_captured_leaf(const sweep *s, const lurn_tensor *t) {
  for (int i = 0; i < s->n_inputs; i++)
    if (s->inputs[i] == t) return true;
  return false;
}

static bool edge_wanted(const sweep *s, const lurn__edge *edge) {
  if (edge->node != NULL) return ((const lurn__graph_node *)edge->node)->wanted;
  return edge->leaf != NULL && (s->inputs == NULL || is_captured_leaf(s, edge->leaf));
}

/* For lurn_grad: only nodes on a way to an input take part.  Parents come after their children in the list. */
static void mark_wanted(sweep *s) {
  for (int64_t i = s->n_nodes - 1; i >= 0; i--) {
    lurn__graph_node *node = s->nodes[i];
    for (int k = 0; k < s->n_inputs; k++)
      if (s->inputs[k]->node == &node->base) node->wanted = true;
    for (int64_t k = 0; k < node->n_in && !node->wanted; k++) node->wanted = edge_wanted(s, &node->edges[k]);
  }
}

/* ---- Gathering gradients ----------------------------------------------------------------------------------- */

/* Where the gradients that an edge carries come together; NULL when they go nowhere. */
static lurn_tensor **slot_of(sweep *s, const lurn__edge *edge) {
  if (edge->node != NULL) return &((lurn__graph_node *)edge->node)->grad_out[edge->output];
  leaf *to = edge->leaf != NULL ? find_leaf(s, edge->leaf) : NULL;
  return to != NULL ? &to->grad : NULL;
}

/* Lends grad_in to a node that adds to it: what came together so far, where only the sweep sees it. */
static void lend(sweep *s, const lurn__graph_node *node, lurn_tensor **grad_in, const bool *need) {
  for (int64_t i = 0; i < node->n_in; i++) {
    lurn_tensor **slot = need[i] ? slot_of(s, &node->edges[i]) : NULL;
    if (slot == NULL || *slot == NULL || !lurn__graph_exclusive(*slot)) continue;
    grad_in[i] = *slot;
    *slot = NULL;
  }
}

/* *slot += g; takes over g. */
static lurn_status gather(lurn_ctx *ctx, lurn_tensor **slot, lurn_tensor *g) {
  if (*slot == NULL) {
    *slot = g;
    return LURN_OK;
  }
  lurn_status status;
  if (lurn__graph_exclusive(*slot)) {
    status = lurn__add_(ctx, *slot, g);
  } else {
    lurn_tensor *sum;
    status = lurn__add(ctx, *slot, g, &sum);
    if (status == LURN_OK) {
      lurn_release(*slot);
      *slot = sum;
    }
  }
  lurn_release(g);
  return status;
}

static lurn_status check_gradient(sweep *s, const char *name, const lurn_tensor *g, const lurn__meta *meta) {
  if (g->dtype == meta->dtype && lurn__shape_equal(&g->shape, &meta->shape)) return LURN_OK;
  return lurn__fail(s->ctx, LURN_ESHAPE, "%s: the backward of %s gave a gradient of %s %s for an input of %s %s",
                    s->who, name, lurn_dtype_name(g->dtype), LURN__SHAPE(g), lurn_dtype_name(meta->dtype),
                    lurn__shape_print(&meta->shape, (char[LURN__SHAPE_TEXT]){0}));
}

/* Hands grad_in to where the edges lead; takes over all of them, also on failure. */
static lurn_status hand_on(sweep *s, lurn__graph_node *node, lurn_tensor **grad_in) {
  lurn_status status = LURN_OK;
  for (int64_t i = 0; i < node->n_in; i++) {
    lurn_tensor *g = grad_in[i];
    grad_in[i] = NULL;
    if (g == NULL) continue;
    if (status == LURN_OK) status = check_gradient(s, node->base.name, g, &node->in_meta[i]);
    lurn_tensor **slot = slot_of(s, &node->edges[i]);
    if (status != LURN_OK || slot == NULL) lurn_release(g);
    else status = gather(s->ctx, slot, g);
  }
  return status;
}

/* ---- Running ----------------------------------------------------------------------------------------------- */

static lurn_status check_saved(sweep *s, const lurn__graph_node *node) {
  for (int i = 0; i < LURN__MAX_SAVED; i++) {
    const lurn__saved *saved = &node->saved[i];
    if (saved->tensor == NULL || saved->tensor->storage->version == saved->version) continue;
    return lurn__fail(s->ctx, LURN_EVERSION,
                      "%s: a tensor of shape %s that %s needs was changed in place after it was used", s->who,
                      LURN__SHAPE(saved->tensor), node->base.name);
  }
  return LURN_OK;
}

static bool is_input(const sweep *s, const lurn__graph_node *node, int output) {
  for (int i = 0; i < s->n_inputs; i++)
    if (s->inputs[i]->node == &node->base && s->inputs[i]->output == output) return true;
  return false;
}

/* The gradients of the node's outputs are complete: hooks see them, and then keepers. */
static lurn_status tell(sweep *s, lurn__graph_node *node) {
  for (int i = 0; i < node->n_out && node->base.hooks.first != NULL; i++) {
    if (node->grad_out[i] == NULL || (s->partial && is_input(s, node, i))) continue;
    LURN__TRY(lurn__hooks_run(s->ctx, s->who, &node->base.hooks, i, &node->grad_out[i]));
  }
  for (lurn__keeper *k = node->base.keepers; k != NULL; k = k->next)
    if (node->grad_out[k->tensor->output] != NULL) k->kept = lurn_retain(node->grad_out[k->tensor->output]);
  return LURN_OK;
}

static lurn_status tell_leaves(sweep *s) {
  for (int64_t i = 0; i < s->n_leaves; i++) {
    leaf *l = &s->leaves[i];
    if (l->grad == NULL || (s->inputs != NULL && (s->partial || !is_captured_leaf(s, l->tensor)))) continue;
    LURN__TRY(lurn__hooks_run(s->ctx, s->who, &l->tensor->hooks, 0, &l->grad));
  }
  return LURN_OK;
}

static void capture(sweep *s, const lurn__graph_node *node) {
  for (int i = 0; i < s->n_inputs; i++) {
    const lurn_tensor *t = s->inputs[i];
    if (t->node == &node->base && node->grad_out[t->output] != NULL && s->captured[i] == NULL)
      s->captured[i] = lurn_retain(node->grad_out[t->output]);
  }
}

/* *ran tells whether anything was asked of the node: lurn_grad ends at its inputs. */
static lurn_status run_backward(sweep *s, lurn__graph_node *node, bool *ran) {
  enum { FEW = 16 };
  lurn_tensor *few_grads[FEW] = {0}, **grad_in = few_grads;
  bool few_need[FEW], *need = few_need;
  size_t n = (size_t)node->n_in, bytes = n * (sizeof(lurn_tensor *) + sizeof(bool));
  if (n > FEW) {
    grad_in = lurn__alloc_zeroed(s->ctx, bytes);
    if (grad_in == NULL) return LURN_ENOMEM;
    need = (bool *)(grad_in + n);
  }
  bool any = false;
  for (size_t i = 0; i < n; i++) any |= need[i] = node->need[i] && edge_wanted(s, &node->edges[i]);
  *ran = any;
  if (any && node->adds_into) lend(s, node, grad_in, need);
  lurn_status status = any ? node->backward(s->ctx, node, grad_in, need) : LURN_OK;
  if (status == LURN_OK) {
    status = hand_on(s, node, grad_in);
  } else {
    for (size_t i = 0; i < n; i++) lurn_release(grad_in[i]);
  }
  if (n > FEW) lurn__free(s->ctx, grad_in, bytes);
  return status;
}

static lurn_status visit(sweep *s, lurn__graph_node *node) {
  bool reached = false;
  for (int i = 0; i < node->n_out; i++) reached |= node->grad_out[i] != NULL;
  if (!reached || !node->wanted) return LURN_OK;
  LURN__TRY(tell(s, node));
  capture(s, node);
  LURN__TRY(check_saved(s, node));
  bool ran = false;
  lurn_status status = run_backward(s, node, &ran);
  for (int i = 0; i < node->n_out; i++) lurn__drop(&node->grad_out[i]);
  if (status == LURN_OK && ran && !s->retain_graph) lurn__graph_node_consume(s->ctx, node);
  return status;
}

/* ---- Starting ---------------------------------------------------------------------------------------------- */

static lurn_status seed_gradient(sweep *s, lurn_tensor *root, lurn_tensor *given, lurn_tensor **out) {
  if (given == NULL) return lurn_full(s->ctx, root->dtype, root->shape.ndim, root->shape.size, 1, out);
  if (given->ctx != s->ctx)
    return lurn__fail(s->ctx, LURN_ESTATE, "%s: the gradient belongs to another context", s->who);
  if (given->dtype != root->dtype || !lurn__shape_equal(&given->shape, &root->shape))
    return lurn__fail(s->ctx, LURN_ESHAPE, "%s: the gradient is %s %s; expected %s %s like the tensor", s->who,
                      lurn_dtype_name(given->dtype), LURN__SHAPE(given), lurn_dtype_name(root->dtype),
                      LURN__SHAPE(root));
  return lurn__tensor_alias(given, out);
}

static lurn_status seed(sweep *s, lurn_tensor *root, lurn_tensor *given) {
  lurn_tensor *g;
  if (!root->requires_grad)
    return lurn__fail(s->ctx, LURN_ESTATE, "%s: the tensor does not depend on anything that requires a gradient",
                      s->who);
  LURN__TRY(lurn__check_history(s->ctx, s->who, root));
  LURN__TRY(meet_tensor(s, root));
  LURN__TRY(seed_gradient(s, root, given, &g));
  if (root->node != NULL) return gather(s->ctx, &((lurn__graph_node *)root->node)->grad_out[root->output], g);
  return gather(s->ctx, &find_leaf(s, root)->grad, g);
}

static lurn_status run_sweep(sweep *s) {
  LURN__TRY(collect(s));
  if (s->inputs != NULL) mark_wanted(s);
  for (int64_t i = 0; i < s->n_nodes; i++) LURN__TRY(visit(s, s->nodes[i]));
  return tell_leaves(s);
}

static void finish(sweep *s) {
  for (int64_t i = 0; i < s->n_nodes; i++) {
    for (int k = 0; k < s->nodes[i]->n_out; k++) lurn__drop(&s->nodes[i]->grad_out[k]);
    for (lurn__keeper *k = s->nodes[i]->base.keepers; k != NULL; k = k->next) lurn__drop(&k->kept);
    s->nodes[i]->busy = false;
    if (s->nodes[i]->consumed) lurn__hooks_clear(&s->nodes[i]->base.hooks); /* no gradient comes here again */
    lurn__node_release(s->ctx, &s->nodes[i]->base);
  }
  for (int64_t i = 0; i < s->n_leaves; i++) {
    lurn_release(s->leaves[i].grad);
    lurn_release(s->leaves[i].tensor);
  }
  lurn__free(s->ctx, s->nodes, (size_t)s->node_room * sizeof(lurn__graph_node *));
  lurn__free(s->ctx, s->leaves, (size_t)s->leaf_room * sizeof *s->leaves);
}

/* A gradient that leaves the sweep has memory of its own. */
static lurn_status make_exclusive(lurn_ctx *ctx, lurn_tensor **g) {
  if (*g == NULL || lurn__graph_exclusive(*g)) return LURN_OK;
  lurn_tensor *copy;
  LURN__TRY(lurn__clone(ctx, *g, &copy));
  lurn_release(*g);
  *g = copy;
  return LURN_OK;
}

/* What can fail in adding *g to t.grad; NULL when there is nothing to add. */
static lurn_status prepare(lurn_ctx *ctx, lurn_tensor *t, lurn_tensor **g) {
  if (*g == NULL) return LURN_OK;
  LURN__TRY(make_exclusive(ctx, g));
  return t->grad == NULL || lurn_tensor_is_contiguous(t->grad) ? LURN_OK : make_exclusive(ctx, &t->grad);
}

/* t.grad += *g, prepared; allocates nothing. */
static lurn_status settle(lurn_ctx *ctx, lurn_tensor *t, lurn_tensor **g) {
  if (*g == NULL) return LURN_OK;
  if (t->grad != NULL) return lurn__add_(ctx, t->grad, *g);
  t->grad = *g;
  *g = NULL;
  return LURN_OK;
}

typedef lurn_status change(lurn_ctx *ctx, lurn_tensor *t, lurn_tensor **g);

static lurn_status for_kept(sweep *s, change *f) {
  for (int64_t i = 0; i < s->n_nodes; i++)
    for (lurn__keeper *k = s->nodes[i]->base.keepers; k != NULL; k = k->next) LURN__TRY(f(s->ctx, k->tensor, &k->kept));
  return LURN_OK;
}

static lurn_status for_leaves(sweep *s, change *f) {
  for (int64_t i = 0; i < s->n_leaves; i++) LURN__TRY(f(s->ctx, s->leaves[i].tensor, &s->leaves[i].grad));
  return LURN_OK;
}

/* First everything that can fail, then the change. */
static lurn_status commit(sweep *s) {
  LURN__TRY(for_leaves(s, prepare));
  LURN__TRY(for_kept(s, prepare));
  LURN__TRY(for_leaves(s, settle));
  return for_kept(s, settle);
}

lurn_status lurn_backward(lurn_ctx *ctx, lurn_tensor *root, lurn_tensor *grad, bool retain_graph) {
  LURN__TRY(lurn__check_tensors(ctx, "backward", &root, 1));
  if (grad == NULL && lurn__numel(root) != 1)
    return lurn__fail(ctx, LURN_ESHAPE,
                      "backward: the tensor has shape %s; only one of a single element needs no gradient given",
                      LURN__SHAPE(root));
  sweep s = {.ctx = ctx, .who = "backward", .mark = ++ctx->backward_mark, .retain_graph = retain_graph};
  bool before = lurn_set_grad_enabled(ctx, false);
  lurn_status status = seed(&s, root, grad);
  if (status == LURN_OK) status = run_sweep(&s);
  if (status == LURN_OK) status = commit(&s);
  finish(&s);
  lurn_set_grad_enabled(ctx, before);
  return status;
}

/* ---- Leaves ------------------------------------------------------------------------------------------------ */

uint64_t lurn_graph_position(const lurn_ctx *ctx) { return ctx->node_number; }

static bool is_among(const lurn_tensor *t, lurn_tensor *const *list, int n) {
  for (int i = 0; i < n; i++)
    if (list[i] == t) return true;
  return false;
}

static lurn_status collect_since(sweep *s, lurn_tensor *const *outputs, int n_outputs, uint64_t since) {
  for (int i = 0; i < n_outputs; i++)
    if (outputs[i]->requires_grad) LURN__TRY(meet_tensor(s, outputs[i]));
  LURN__TRY(collect(s));
  const lurn__node *oldest = s->n_nodes > 0 ? &s->nodes[s->n_nodes - 1]->base : NULL;
  if (oldest == NULL || oldest->number >= since) return LURN_OK;
  return lurn__fail(s->ctx, LURN_ESTATE,
                    "%s: the function uses a tensor that depends on parameters and was computed outside of it, by %s "
                    "or after it; pass that tensor as an argument",
                    s->who, oldest->name);
}

lurn_status lurn_graph_leaves(lurn_ctx *ctx, const char *who, lurn_tensor *const *outputs, int n_outputs,
                              lurn_tensor *const *known, int n_known, uint64_t since, int64_t room, lurn_tensor **out,
                              int64_t *n) {
  LURN__TRY(lurn__need(ctx, "graph_leaves", "name", who));
  LURN__TRY(lurn__check_tensors(ctx, who, outputs, n_outputs));
  if (n_known > 0) LURN__TRY(lurn__need(ctx, who, "known tensors", known));
  if (room > 0) LURN__TRY(lurn__need_place(ctx, who, out));
  LURN__TRY(lurn__need_place(ctx, who, n));
  sweep s = {.ctx = ctx, .who = who, .mark = ++ctx->backward_mark};
  lurn_status status = collect_since(&s, outputs, n_outputs, since);
  int64_t found = 0;
  for (int64_t i = 0; i < s.n_leaves && status == LURN_OK; i++) {
    lurn_tensor *t = s.leaves[i].tensor;
    if (is_among(t, known, n_known)) continue;
    if (found < room) out[found] = lurn_retain(t);
    found++;
  }
  if (status == LURN_OK) *n = found;
  finish(&s);
  return status;
}

/* ---- grad -------------------------------------------------------------------------------------------------- */

/* A callback may give back what the caller holds. */
static void retain_inputs(const sweep *s) {
  for (int i = 0; i < s->n_inputs; i++) lurn_retain(s->inputs[i]);
}

static void release_inputs(const sweep *s) {
  for (int i = 0; i < s->n_inputs; i++) lurn_release(s->inputs[i]);
}

static lurn_status collect_captured(sweep *s) {
  for (int i = 0; i < s->n_inputs; i++) {
    leaf *l = s->inputs[i]->node == NULL ? find_leaf(s, s->inputs[i]) : NULL;
    if (l != NULL && l->grad != NULL) s->captured[i] = lurn_retain(l->grad);
  }
  for (int64_t i = 0; i < s->n_leaves; i++) lurn__drop(&s->leaves[i].grad); /* now only captured[] holds them */
  for (int i = 0; i < s->n_inputs; i++) LURN__TRY(make_exclusive(s->ctx, &s->captured[i]));
  return LURN_OK;
}

static lurn_status grad(lurn_ctx *ctx, lurn_tensor *const *outputs, int n_outputs, lurn_tensor *const *grad_outputs,
                        lurn_tensor *const *inputs, int n_inputs, bool retain_graph, bool partial, lurn_tensor **out) {
  LURN__TRY(lurn__check_tensors(ctx, "grad", outputs, n_outputs));
  LURN__TRY(lurn__check_tensors(ctx, "grad", inputs, n_inputs));
  if (n_inputs > 0) LURN__TRY(lurn__need_place(ctx, "grad", out));
  for (int i = 0; i < n_inputs; i++)
    if (!inputs[i]->requires_grad)
      return lurn__fail(ctx, LURN_ESTATE, "grad: input %d does not require a gradient", i + ctx->index_base);
  size_t bytes = (size_t)n_inputs * sizeof(lurn_tensor *);
  sweep s = {.ctx = ctx, .who = "grad", .mark = ++ctx->backward_mark, .retain_graph = retain_graph};
  s.inputs = inputs;
  s.n_inputs = n_inputs;
  s.partial = partial;
  s.captured = lurn__alloc_zeroed(ctx, bytes);
  if (s.captured == NULL) return LURN_ENOMEM;
  bool before = lurn_set_grad_enabled(ctx, false);
  lurn_status status = LURN_OK;
  retain_inputs(&s);
  for (int i = 0; i < n_outputs && status == LURN_OK; i++)
    status = seed(&s, outputs[i], grad_outputs != NULL ? grad_outputs[i] : NULL);
  if (status == LURN_OK) status = run_sweep(&s);
  if (status == LURN_OK) status = collect_captured(&s);
  if (status == LURN_OK) status = commit(&s); /* what results keep */
  for (int i = 0; i < n_inputs; i++) {
    if (status == LURN_OK) out[i] = s.captured[i];
    else lurn_release(s.captured[i]);
  }
  release_inputs(&s);
  lurn__free(ctx, s.captured, bytes);
  finish(&s);
  lurn_set_grad_enabled(ctx, before);
  return status;
}

lurn_status lurn_grad(lurn_ctx *ctx, lurn_tensor *const *outputs, int n_outputs, lurn_tensor *const *grad_outputs,
                      lurn_tensor *const *inputs, int n_inputs, bool retain_graph, lurn_tensor **out) {
  return grad(ctx, outputs, n_outputs, grad_outputs, inputs, n_inputs, retain_graph, false, out);
}

lurn_status lurn_partial_grad(lurn_ctx *ctx, lurn_tensor *const *outputs, int n_outputs,
                              lurn_tensor *const *grad_outputs, lurn_tensor *const *inputs, int n_inputs,
                              bool retain_graph, lurn_tensor **out) {
  return grad(ctx, outputs, n_outputs, grad_outputs, inputs, n_inputs, retain_graph, true, out);
}
