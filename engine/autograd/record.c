/* Ops in the graph: runs an op and records it when an input requires a gradient.  Also the public family of typed functions. */
#include <string.h>

#include "autograd/node.h"

/* ---- Nodes of ops ------------------------------------------------------------------------------------------ */

/* What the node of an op keeps besides: the arguments, with their lists of numbers copied behind them. */
typedef struct op_extra {
  const lurn_op_info *info;
  lurn_record *record;
  _Alignas(LURN_ARG_STRIDE) char args[];
} op_extra;

static lurn_status op_backward(lurn_ctx *ctx, lurn__graph_node *node, lurn_tensor **grad_in, const bool *need) {
  const op_extra *extra = node->extra;
  lurn_tensor *saved[LURN__MAX_SAVED];
  for (int i = 0; i < LURN__MAX_SAVED; i++) saved[i] = node->saved[i].tensor;
  lurn__grad_call grad = {.ctx = ctx,
                          .info = extra->info,
                          .args = extra->args,
                          .n_in = node->n_in,
                          .in = node->in_meta,
                          .need = need,
                          .saved = saved,
                          .grad_out = node->grad_out,
                          .grad_in = grad_in};
  if (lurn__op_of(extra->info)->backward == NULL) return LURN_OK; /* in place: nothing of the former value is left */
  lurn_status status = lurn__op_of(extra->info)->backward(&grad);
  lurn__temps_clear(&grad.temps);
  return status;
}

static void release_op_extra(lurn_ctx *ctx, lurn__graph_node *node) {
  (void)ctx;
  op_extra *extra = node->extra;
  lurn_record_release(extra->record);
  extra->record = NULL;
}

static size_t ints_bytes(const lurn_op_info *info, const void *args) {
  size_t bytes = 0;
  for (int i = 0; i < info->n_params; i++)
    if (info->params[i].kind == LURN_PARAM_DIMS || info->params[i].kind == LURN_PARAM_SIZES)
      bytes += (size_t)((const lurn_ints *)lurn__argument(args, i))->count * sizeof(int64_t);
  return bytes;
}

/* Copies the arguments: tensors become NULL, lists of numbers move behind the structure, a record is retained. */
static void keep_args(op_extra *extra, const lurn_op_info *info, const void *args) {
  extra->info = info;
  memcpy(extra->args, args, info->args_size);
  int64_t *ints = (int64_t *)(void *)(extra->args + info->args_size);
  for (int i = 0; i < info->n_params; i++) {
    void *kept = extra->args + (size_t)i * LURN_ARG_STRIDE;
    lurn_param_kind kind = info->params[i].kind;
    if (lurn__is_tensor_param(kind)) *(lurn_tensor **)kept = NULL;
    if (kind == LURN_PARAM_LIST) ((lurn_list *)kept)->items = NULL;
    if (kind == LURN_PARAM_RECORD && *(lurn_record **)kept != NULL)
      extra->record = lurn_record_retain(*(lurn_record **)kept);
    if (kind != LURN_PARAM_DIMS && kind != LURN_PARAM_SIZES) continue;
    lurn_ints *list = kept;
    if (list->count > 0) memcpy(ints, list->values, (size_t)list->count * sizeof *ints);
    list->values = ints;
    ints += list->count;
  }
}

static lurn_status new_op_node(lurn_ctx *ctx, const lurn_op_info *info, const void *args, lurn_tensor *const *in,
                               int64_t n_in, lurn__graph_node **out) {
  lurn__graph_node *node;
  size_t bytes = sizeof(op_extra) + info->args_size + ints_bytes(info, args);
  LURN__TRY(lurn__graph_node_new(ctx, info->name, in, n_in, info->n_outputs, bytes, &node));
  node->backward = op_backward;
  node->adds_into = lurn__op_of(info)->adds_into;
  node->release_extra = release_op_extra;
  keep_args(node->extra, info, args);
  *out = node;
  return LURN_OK;
}

/* ---- Writing into a view ----------------------------------------------------------------------------------- */

/* After v, a view of base, was written by a recorded op, base's value is: the former base with v's elements replaced.  This
 * node says so: inputs base and v, output the new base. */
typedef struct write_extra {
  lurn__shape shape;
  int64_t stride[LURN_MAX_DIMS];
  int64_t offset; /* of v in base, which is contiguous */
} write_extra;

/* A gradient to be changed: *from itself, taken over, where only the sweep sees it, else a copy. */
static lurn_status take_whole(lurn_ctx *ctx, lurn_tensor **from, lurn_tensor **out) {
  if (!lurn__graph_exclusive(*from)) return lurn__clone(ctx, *from, out);
  *out = *from;
  *from = NULL;
  return LURN_OK;
}

static lurn_status write_backward(lurn_ctx *ctx, lurn__graph_node *node, lurn_tensor **grad_in, const bool *need) {
  const write_extra *extra = node->extra;
  lurn_tensor *whole, *window;
  LURN__TRY(take_whole(ctx, &node->grad_out[0], &whole));
  lurn_status status = lurn__tensor_view(whole, &extra->shape, extra->stride, extra->offset, &window);
  if (status != LURN_OK) {
    lurn_release(whole);
    return status;
  }
  if (need[1]) status = lurn__clone(ctx, window, &grad_in[1]);
  if (status == LURN_OK) status = lurn__fill_(ctx, window, 0);
  lurn_release(window);
  if (status == LURN_OK && need[0]) grad_in[0] = whole;
  else lurn_release(whole);
  return status;
}

static lurn_status new_write_node(lurn_ctx *ctx, const char *who, lurn_tensor *v, lurn__graph_node **out) {
  lurn_tensor *base = v->base, *in[2] = {base, NULL};
  if (base->node == NULL && base->requires_grad)
    return lurn__fail(ctx, LURN_ESTATE, "%s_: the tensor is a view of a leaf that requires a gradient; use no_grad",
                      who);
  if (!lurn_tensor_is_contiguous(base))
    return lurn__fail(ctx, LURN_ESTATE, "%s_: the tensor is a view of one that is not contiguous; clone that one first",
                      who);
  LURN__TRY(lurn__graph_node_new(ctx, "write into a view", in, 2, 1, sizeof(write_extra), out));
  write_extra *extra = (*out)->extra;
  *extra = (write_extra){.shape = v->shape, .offset = v->offset - base->offset};
  memcpy(extra->stride, v->stride, sizeof extra->stride);
  (*out)->backward = write_backward;
  return LURN_OK;
}

/* The write node's second input is v's new value: known only once v's node is attached. */
static void finish_write(lurn__graph_node *write, lurn_tensor *v) {
  write->in_meta[1] = (lurn__meta){.shape = v->shape, .dtype = v->dtype, .present = true};
  write->need[1] = true;
  write->edges[1] = (lurn__edge){.node = lurn__node_retain(v->node), .output = v->output};
  write->base.number = v->ctx->node_number++; /* after v's */
  lurn__graph_node_attach(write, 0, v->base);
}

/* ---- Running ----------------------------------------------------------------------------------------------- */

static bool should_record(const lurn__call *call) {
  if (!call->ctx->grad_enabled) return false;
  if (call->inplace && !lurn_dtype_is_float(call->in[0]->dtype)) return false; /* no gradient passes through integers */
  if (lurn__op_of(call->info)->backward == NULL) return call->inplace && call->in[0]->requires_grad;
  for (int64_t i = 0; i < call->n_in; i++)
    if (call->in[i] != NULL && call->in[i]->requires_grad) return true;
  return false;
}

/* A view remembers what it is a view of, so that writing into it can be told to the base; not under no_grad, where it would
 * keep the graph of its base. */
static void remember_base(const lurn__call *call) {
  lurn_tensor *view = call->out[0], *of = call->in[0];
  if (!lurn__op_of(call->info)->view || view->storage != of->storage) return;
  view->blind = of->blind || !call->ctx->grad_enabled;
  if (!view->blind) view->base = lurn_retain(of->base != NULL ? of->base : of);
}

static void commit(lurn__call *call, lurn__graph_node *node) {
  memcpy(node->saved, call->saved, sizeof node->saved);
  memset(call->saved, 0, sizeof call->saved);
  for (int i = 0; i < LURN__MAX_SAVED; i++)
    if (node->saved[i].tensor != NULL && node->saved[i].is_output)
      node->saved[i].version = node->saved[i].tensor->storage->version;
  for (int i = 0; i < call->info->n_outputs; i++)
    if (call->out[i] != NULL) lurn__graph_node_attach(node, i, call->out[i]);
}

static lurn_status run_recorded(lurn__call *call) {
  lurn_ctx *ctx = call->ctx;
  lurn__graph_node *node, *write = NULL;
  lurn_tensor *target = call->in[0];
  if (call->inplace && target->requires_grad && target->node == NULL)
    return lurn__fail(ctx, LURN_ESTATE, "%s_: a leaf that requires a gradient cannot be changed in place; use no_grad",
                      call->info->name);
  if (call->inplace && target->blind)
    return lurn__fail(ctx, LURN_ESTATE,
                      "%s_: the tensor shares memory with one that would not learn of the gradient: it is a view made "
                      "under no_grad, or what a custom function made of its input; clone it first",
                      call->info->name);
  LURN__TRY(new_op_node(ctx, call->info, call->args, call->in, call->n_in, &node));
  lurn_status status = LURN_OK;
  if (call->inplace && target->base != NULL) status = new_write_node(ctx, call->info->name, target, &write);
  call->need = node->need;
  call->recording = true;
  if (status == LURN_OK) status = lurn__op_forward(call);
  if (status == LURN_OK) {
    commit(call, node);
    if (write != NULL) finish_write(write, target);
  }
  if (write != NULL) lurn__node_release(ctx, &write->base);
  lurn__node_release(ctx, &node->base);
  return status;
}

static lurn_status run_plain(lurn__call *call, bool *no_need) {
  call->need = no_need;
  memset(no_need, 0, (size_t)call->n_in * sizeof *no_need);
  return lurn__op_forward(call);
}

enum { FEW_INPUTS = 16 };

static lurn_status run_with(lurn__call *call, lurn_tensor **in, bool *need, lurn_tensor **out) {
  call->in = in;
  lurn__op_inputs(call->info, call->args, in);
  for (int64_t i = 0; i < call->n_in && call->ctx->grad_enabled; i++)
    if (in[i] != NULL) LURN__TRY(lurn__check_history(call->ctx, call->info->name, in[i]));
  LURN__TRY(should_record(call) ? run_recorded(call) : run_plain(call, need));
  if (call->inplace) {
    lurn__call_clear(call);
    return LURN_OK;
  }
  remember_base(call);
  for (int i = 0; i < call->info->n_outputs; i++) out[i] = call->out[i];
  return LURN_OK;
}

static lurn_status run(lurn__call *call, lurn_tensor **out) {
  lurn_ctx *ctx = call->ctx;
  LURN__TRY(lurn__op_check_inputs(ctx, call->info, call->args));
  call->n_in = lurn__op_input_count(call->info, call->args);
  if (call->n_in <= FEW_INPUTS) {
    lurn_tensor *in[FEW_INPUTS] = {0};
    bool need[FEW_INPUTS];
    return run_with(call, in, need, out);
  }
  size_t n = (size_t)call->n_in, bytes = n * (sizeof(lurn_tensor *) + sizeof(bool));
  lurn_tensor **in = lurn__alloc(ctx, bytes);
  if (in == NULL) return LURN_ENOMEM;
  lurn_status status = run_with(call, in, (bool *)(in + n), out);
  lurn__free(ctx, in, bytes);
  return status;
}

lurn_status lurn_op_call(lurn_ctx *ctx, const lurn_op_info *info, const void *args, lurn_tensor **out) {
  LURN__TRY(lurn__need(ctx, "op_call", "op", info));
  LURN__TRY(lurn__need(ctx, info->name, "arguments", args));
  LURN__TRY(lurn__need_place(ctx, info->name, out));
  lurn__call call = {.ctx = ctx, .info = info, .args = args};
  return run(&call, out);
}

lurn_status lurn_op_call_inplace(lurn_ctx *ctx, const lurn_op_info *info, const void *args) {
  LURN__TRY(lurn__need(ctx, "op_call_inplace", "op", info));
  LURN__TRY(lurn__need(ctx, info->name, "arguments", args));
  lurn__call call = {.ctx = ctx, .info = info, .args = args, .inplace = true};
  if (!info->has_inplace) return lurn__fail(ctx, LURN_EVALUE, "%s has no in-place variant", info->name);
  return run(&call, NULL);
}

static lurn_status call_into(lurn_ctx *ctx, const lurn_op_info *info, const void *args, lurn_tensor **const *places) {
  lurn_tensor *out[LURN__MAX_OUT];
  for (int i = 0; i < info->n_outputs; i++) LURN__TRY(lurn__need_place(ctx, info->name, places[i]));
  LURN__TRY(lurn_op_call(ctx, info, args, out));
  for (int i = 0; i < info->n_outputs; i++) *places[i] = out[i];
  return LURN_OK;
}

#define OP(name, inplace, ...) LURN__DEFINE_OP(lurn_, call_into, lurn_op_call_inplace, name, inplace, __VA_ARGS__)
#include "ops/ops.def"
#undef OP
