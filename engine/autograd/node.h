/* L3: nodes of the graph.
 *
 * A tensor owns the node that made it.  A node owns its parents (through its edges), the leaves it leads to, and what it saved for
 * backward as aliases outside the graph; never its outputs themselves.  So a forward pass that is not differentiated frees
 * itself, and there are no cycles. */
#ifndef LURN_AUTOGRAD_NODE_H
#define LURN_AUTOGRAD_NODE_H

#include "ops/op.h"

/* Where the gradient of an input goes: to output `output` of `node`, or to `leaf`, or nowhere. */
typedef struct lurn__edge {
  lurn__node *node;
  int output;
  lurn_tensor *leaf;
} lurn__edge;

typedef struct lurn__graph_node lurn__graph_node;

/* Fills grad_in from grad_out for the inputs with need; own references, NULL meaning zero.  Where the node adds_into, grad_in may
 * come with gradients of the sweep's own, which go back in with more added. */
typedef lurn_status lurn__node_backward(lurn_ctx *ctx, lurn__graph_node *node, lurn_tensor **grad_in, const bool *need);

struct lurn__graph_node {
  lurn__node base; /* first */
  size_t bytes;    /* of this allocation */
  lurn__node_backward *backward;
  void (*release_extra)(lurn_ctx *ctx,
                        lurn__graph_node *node); /* NULL, or gives back what only this kind of node has */
  int64_t n_in;
  int n_out;
  bool adds_into; /* backward adds to the grad_in it is given, see lurn__op */
  bool consumed;  /* an earlier backward freed what was saved */
  bool wanted;    /* in the current sweep: gradients are to flow through here */
  bool busy;      /* a sweep holds gradients here */
  uint64_t mark;  /* number of the sweep that last met it, */
  int64_t slot;   /* and its place in a trace */
  lurn__edge *edges;
  lurn__meta *in_meta;
  bool *need;
  lurn__meta *out_meta;   /* n_out */
  lurn_tensor **grad_out; /* n_out: gathered during a sweep, else NULL */
  lurn__saved saved[LURN__MAX_SAVED];
  void *extra; /* room for what this kind of node has */
};

/* A node for n_in inputs and n_out outputs, with edges, meta and need taken from the inputs, and extra_bytes of zeroed room. */
lurn_status lurn__graph_node_new(lurn_ctx *ctx, const char *name, lurn_tensor *const *in, int64_t n_in, int n_out,
                                 size_t extra_bytes, lurn__graph_node **out);
/* Makes t the output number i of the node. */
void lurn__graph_node_attach(lurn__graph_node *node, int i, lurn_tensor *t);
/* Gives back saved tensors, edges and extra; the node stays, consumed. */
void lurn__graph_node_consume(lurn_ctx *ctx, lurn__graph_node *node);

/* True when nobody but the holder can see the tensor's memory, which is no larger than it needs, and nothing hangs on it. */
bool lurn__graph_exclusive(const lurn_tensor *t);

/* Room for one more item of `size` bytes in a list of *room, from the context. */
lurn_status lurn__grow_list(lurn_ctx *ctx, void **list, int64_t count, int64_t *room, size_t size);

/* LURN_EVALUE when one of n tensors is missing, LURN_ESTATE when it belongs to another context. */
lurn_status lurn__check_tensors(lurn_ctx *ctx, const char *who, lurn_tensor *const *tensors, int64_t n);

/* LURN_EVERSION when t's memory was changed since its place in the graph was set, through another tensor. */
lurn_status lurn__check_history(lurn_ctx *ctx, const char *who, const lurn_tensor *t);

#endif
