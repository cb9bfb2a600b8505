/* The worker that runs oneDNN's recurrent primitives (C API of oneDNN 2).
 *
 *   dnnl          training packs the weights anew in every step, as an optimizer's update forces
 *   dnnl bare     training with weights that were packed once, which no training can have
 *
 * Weights are kept as ldigo, the layout nearest to oneDNN's own; packing for inference is outside the measurement. */

#include <dnnl.h>

#include "protocol.h"

#if DNNL_VERSION_MAJOR != 2
#error "this benchmark is written for oneDNN 2"
#endif

/* Everything a primitive can be given; in training each has its gradient at + GRADS. */
enum { SRC, SRC_ITER, SRC_ITER_C, W_LAYER, W_ITER, BIAS, DST, DST_ITER, DST_ITER_C, WORKSPACE, SLOTS };

static const int ARGS[SLOTS] = {DNNL_ARG_SRC_LAYER,    DNNL_ARG_SRC_ITER, DNNL_ARG_SRC_ITER_C, DNNL_ARG_WEIGHTS_LAYER,
                                DNNL_ARG_WEIGHTS_ITER, DNNL_ARG_BIAS,     DNNL_ARG_DST_LAYER,  DNNL_ARG_DST_ITER,
                                DNNL_ARG_DST_ITER_C,   DNNL_ARG_WORKSPACE};
static const int GRAD_ARGS[SLOTS] = {[SRC] = DNNL_ARG_DIFF_SRC_LAYER,        [W_LAYER] = DNNL_ARG_DIFF_WEIGHTS_LAYER,
                                     [W_ITER] = DNNL_ARG_DIFF_WEIGHTS_ITER,  [BIAS] = DNNL_ARG_DIFF_BIAS,
                                     [DST] = DNNL_ARG_DIFF_DST_LAYER,        [SRC_ITER] = DNNL_ARG_DIFF_SRC_ITER,
                                     [SRC_ITER_C] = DNNL_ARG_DIFF_SRC_ITER_C};

/* A weight: as the user keeps it, and as each primitive wants it with the reorder that makes it so (NULL: the same memory). */
typedef struct weight {
  dnnl_memory_t user, forward, backward, grad, user_grad;
  dnnl_primitive_t to_forward, to_backward, from_grad;
} weight;

typedef struct net {
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  bench_request r;
  bool train, carries, repack;
  int64_t gates, bias_gates;
  dnnl_memory_desc_t md[SLOTS], any[2]; /* any: layer, iter */
  dnnl_memory_t mem[SLOTS], grad[SLOTS];
  weight w[2]; /* layer, iter */
  dnnl_primitive_desc_t forward_pd, backward_pd;
  dnnl_primitive_t forward, backward;
  const char *failed; /* what went wrong first */
} net;

static void must(net *n, dnnl_status_t status, const char *what) {
  if (status != dnnl_success && !n->failed) n->failed = what;
}

/* ---- Descriptions ------------------------------------------------------------------------------------------ */

static void describe(net *n, dnnl_memory_desc_t *md, int ndim, const int64_t *sizes, dnnl_format_tag_t tag) {
  dnnl_dims_t dims = {0};
  for (int i = 0; i < ndim; i++) dims[i] = sizes[i];
  must(n, dnnl_memory_desc_init_by_tag(md, ndim, dims, dnnl_f32, tag), "a memory description");
}

static void describe_all(net *n) {
  const bench_request *r = &n->r;
  const int64_t src[] = {r->T, r->N, r->D}, dst[] = {r->T, r->N, r->H}, iter[] = {1, 1, r->N, r->H};
  const int64_t layer[] = {1, 1, r->D, n->gates, r->H}, recurrent[] = {1, 1, r->H, n->gates, r->H};
  const int64_t bias[] = {1, 1, n->bias_gates, r->H};
  describe(n, &n->md[SRC], 3, src, dnnl_tnc);
  describe(n, &n->md[DST], 3, dst, dnnl_tnc);
  describe(n, &n->md[W_LAYER], 5, layer, dnnl_ldigo);
  describe(n, &n->md[W_ITER], 5, recurrent, dnnl_ldigo);
  describe(n, &n->any[0], 5, layer, dnnl_format_tag_any);
  describe(n, &n->any[1], 5, recurrent, dnnl_format_tag_any);
  describe(n, &n->md[BIAS], 4, bias, dnnl_ldgo);
  /* Training gets a first state too, of zeros: without one, oneDNN 2.6 gives wrong gradients of the recurrent weights. */
  bool cell = bench_is(r->kind, "lstm");
  if (n->train || n->carries) describe(n, &n->md[SRC_ITER], 4, iter, dnnl_ldnc);
  if (cell && (n->train || n->carries)) describe(n, &n->md[SRC_ITER_C], 4, iter, dnnl_ldnc);
  if (n->carries) describe(n, &n->md[DST_ITER], 4, iter, dnnl_ldnc);
  if (cell && n->carries) describe(n, &n->md[DST_ITER_C], 4, iter, dnnl_ldnc);
}

static dnnl_status_t init_forward(const net *n, dnnl_rnn_desc_t *desc) {
  const dnnl_memory_desc_t *m = n->md, *w = n->any;
  dnnl_prop_kind_t prop = n->train ? dnnl_forward_training : dnnl_forward_inference;
  dnnl_rnn_direction_t way = dnnl_unidirectional_left2right;
  if (bench_is(n->r.kind, "lstm"))
    return dnnl_lstm_forward_desc_init(desc, prop, way, &m[SRC], &m[SRC_ITER], &m[SRC_ITER_C], &w[0], &w[1], &m[BIAS],
                                       &m[DST], &m[DST_ITER], &m[DST_ITER_C], 0);
  if (bench_is(n->r.kind, "gru"))
    return dnnl_lbr_gru_forward_desc_init(desc, prop, way, &m[SRC], &m[SRC_ITER], &w[0], &w[1], &m[BIAS], &m[DST],
                                          &m[DST_ITER], 0);
  return dnnl_vanilla_rnn_forward_desc_init(desc, prop, dnnl_eltwise_tanh, way, &m[SRC], &m[SRC_ITER], &w[0], &w[1],
                                            &m[BIAS], &m[DST], &m[DST_ITER], 0, 0, 0);
}

/* The gradients are laid out like what they belong to. */
static dnnl_status_t init_backward(const net *n, dnnl_rnn_desc_t *desc) {
  const dnnl_memory_desc_t *m = n->md, *w = n->any, *si = &m[SRC_ITER], *di = &m[DST_ITER];
  dnnl_rnn_direction_t way = dnnl_unidirectional_left2right;
  if (bench_is(n->r.kind, "lstm"))
    return dnnl_lstm_backward_desc_init(desc, dnnl_backward, way, &m[SRC], si, &m[SRC_ITER_C], &w[0], &w[1], &m[BIAS],
                                        &m[DST], di, &m[DST_ITER_C], &m[SRC], si, &m[SRC_ITER_C], &w[0], &w[1],
                                        &m[BIAS], &m[DST], di, &m[DST_ITER_C], 0);
  if (bench_is(n->r.kind, "gru"))
    return dnnl_lbr_gru_backward_desc_init(desc, dnnl_backward, way, &m[SRC], si, &w[0], &w[1], &m[BIAS], &m[DST], di,
                                           &m[SRC], si, &w[0], &w[1], &m[BIAS], &m[DST], di, 0);
  return dnnl_vanilla_rnn_backward_desc_init(desc, dnnl_backward, dnnl_eltwise_tanh, way, &m[SRC], si, &w[0], &w[1],
                                             &m[BIAS], &m[DST], di, &m[SRC], si, &w[0], &w[1], &m[BIAS], &m[DST], di, 0,
                                             0, 0);
}

/* ---- Memory ------------------------------------------------------------------------------------------------ */

static dnnl_memory_t allocate(net *n, const dnnl_memory_desc_t *md) {
  dnnl_memory_t memory = NULL;
  if (!md || md->ndims == 0) return NULL;
  must(n, dnnl_memory_create(&memory, md, n->engine, DNNL_MEMORY_ALLOCATE), "memory");
  return memory;
}

static void *data_of(dnnl_memory_t memory) {
  void *data = NULL;
  dnnl_memory_get_data_handle(memory, &data);
  return data;
}

static size_t bytes_of(dnnl_memory_t memory) {
  const dnnl_memory_desc_t *md = NULL;
  dnnl_memory_get_memory_desc(memory, &md);
  return dnnl_memory_desc_get_size(md);
}

static void clear(dnnl_memory_t memory) {
  if (memory) memset(data_of(memory), 0, bytes_of(memory));
}

/* A reorder between two layouts, NULL where they are one. */
static dnnl_primitive_t make_reorder(net *n, const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to) {
  dnnl_primitive_desc_t pd = NULL;
  dnnl_primitive_t reorder = NULL;
  if (dnnl_memory_desc_equal(from, to)) return NULL;
  must(n, dnnl_reorder_primitive_desc_create(&pd, from, n->engine, to, n->engine, NULL), "a reorder");
  if (!pd) return NULL;
  must(n, dnnl_primitive_create(&reorder, pd), "a reorder");
  dnnl_primitive_desc_destroy(pd);
  return reorder;
}

static void run_reorder(net *n, dnnl_primitive_t reorder, dnnl_memory_t from, dnnl_memory_t to) {
  if (!reorder) return;
  const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
  must(n, dnnl_primitive_execute(reorder, n->stream, 2, args), "a reorder");
}

/* ---- Weights ----------------------------------------------------------------------------------------------- */

static void make_weight(net *n, int i) {
  weight *w = &n->w[i];
  const dnnl_memory_desc_t *user = &n->md[W_LAYER + i];
  const dnnl_memory_desc_t *forward = dnnl_primitive_desc_query_md(n->forward_pd, dnnl_query_weights_md, i);
  w->user = allocate(n, user);
  w->to_forward = make_reorder(n, user, forward);
  w->forward = w->to_forward ? allocate(n, forward) : w->user;
  if (!n->train) return;
  const dnnl_memory_desc_t *backward = dnnl_primitive_desc_query_md(n->backward_pd, dnnl_query_weights_md, i);
  const dnnl_memory_desc_t *grad = dnnl_primitive_desc_query_md(n->backward_pd, dnnl_query_diff_weights_md, i);
  w->to_backward = make_reorder(n, user, backward);
  w->backward = w->to_backward ? allocate(n, backward) : w->user;
  w->from_grad = make_reorder(n, grad, user);
  w->grad = allocate(n, grad);
  w->user_grad = w->from_grad ? allocate(n, user) : w->grad;
}

static void pack(net *n) {
  for (int i = 0; i < 2; i++) {
    run_reorder(n, n->w[i].to_forward, n->w[i].user, n->w[i].forward);
    run_reorder(n, n->w[i].to_backward, n->w[i].user, n->w[i].backward);
  }
}

static void free_weight(weight *w) {
  dnnl_primitive_t reorders[] = {w->to_forward, w->to_backward, w->from_grad};
  if (w->user_grad != w->grad) dnnl_memory_destroy(w->user_grad);
  if (w->backward != w->user) dnnl_memory_destroy(w->backward);
  if (w->forward != w->user) dnnl_memory_destroy(w->forward);
  dnnl_memory_destroy(w->grad);
  dnnl_memory_destroy(w->user);
  for (int i = 0; i < 3; i++)
    if (reorders[i]) dnnl_primitive_destroy(reorders[i]);
}

/* PyTorch's gate at each of oneDNN's: LSTM has the same order i f g o; GRU is z r n here, and r z n there. */
static int64_t gate_of(const net *n, int64_t gate) { return n->gates == 3 && gate < 2 ? 1 - gate : gate; }

/* Between PyTorch's (G H, columns) and ldigo, in either direction. */
static void convert_weight(const net *n, float *torch, float *ldigo, int64_t columns, bool to_ldigo) {
  int64_t H = n->r.H, G = n->gates;
  for (int64_t i = 0; i < columns; i++)
    for (int64_t g = 0; g < G; g++)
      for (int64_t o = 0; o < H; o++) {
        float *there = &torch[(gate_of(n, g) * H + o) * columns + i], *here = &ldigo[(i * G + g) * H + o];
        *(to_ldigo ? here : there) = *(to_ldigo ? there : here);
      }
}

/* oneDNN has one bias per gate; its GRU keeps the recurrent bias of n apart, as a fourth. */
static void fill_bias(const net *n, const float *b_ih, const float *b_hh, float *out) {
  int64_t H = n->r.H;
  for (int64_t g = 0; g < n->gates; g++)
    for (int64_t o = 0; o < H; o++) {
      int64_t from = gate_of(n, g) * H + o;
      bool apart = n->bias_gates > n->gates && g == 2;
      out[g * H + o] = b_ih[from] + (apart ? 0 : b_hh[from]);
      if (apart) out[3 * H + o] = b_hh[from];
    }
}

static void fill(net *n) {
  const bench_request *r = &n->r;
  double scale = 1 / sqrt((double)r->H);
  int64_t rows = n->gates * r->H, most = r->D > r->H ? r->D : r->H;
  float *torch = malloc((size_t)(rows * most) * sizeof *torch), *bias = malloc((size_t)(2 * rows) * sizeof *bias);
  if (!torch || !bias) {
    must(n, dnnl_out_of_memory, "memory");
  } else {
    bench_fill(data_of(n->mem[SRC]), r->T * r->N * r->D, 1, 1);
    for (int i = 0; i < 2; i++) {
      int64_t columns = i == 0 ? r->D : r->H;
      bench_fill(torch, rows * columns, (uint32_t)i + 2, scale);
      convert_weight(n, torch, data_of(n->w[i].user), columns, true);
      bench_fill(bias + i * rows, rows, (uint32_t)i + 4, scale);
    }
    fill_bias(n, bias, bias + rows, data_of(n->mem[BIAS]));
    if (n->train) bench_fill(data_of(n->grad[DST]), r->T * r->N * r->H, 6, 1);
  }
  free(torch);
  free(bias);
}

/* ---- The layer --------------------------------------------------------------------------------------------- */

static void make_primitives(net *n) {
  dnnl_rnn_desc_t desc;
  must(n, init_forward(n, &desc), "the forward description");
  must(n, dnnl_primitive_desc_create(&n->forward_pd, &desc, NULL, n->engine, NULL), "the forward primitive");
  if (!n->failed) must(n, dnnl_primitive_create(&n->forward, n->forward_pd), "the forward primitive");
  if (!n->train || n->failed) return;
  must(n, init_backward(n, &desc), "the backward description");
  must(n, dnnl_primitive_desc_create(&n->backward_pd, &desc, NULL, n->engine, n->forward_pd), "the backward primitive");
  if (!n->failed) must(n, dnnl_primitive_create(&n->backward, n->backward_pd), "the backward primitive");
}

static void make_net(net *n) {
  const bench_request *r = &n->r;
  n->train = bench_is(r->mode, "train");
  n->carries = bench_is(r->mode, "stream");
  n->gates = bench_is(r->kind, "lstm") ? 4 : bench_is(r->kind, "gru") ? 3 : 1;
  n->bias_gates = n->gates == 3 ? 4 : n->gates;
  must(n, dnnl_engine_create(&n->engine, dnnl_cpu, 0), "the engine");
  must(n, dnnl_stream_create(&n->stream, n->engine, dnnl_stream_default_flags), "the stream");
  describe_all(n);
  if (!n->failed) make_primitives(n);
  if (n->failed) return;
  for (int slot = 0; slot < WORKSPACE; slot++)
    if (slot != W_LAYER && slot != W_ITER) n->mem[slot] = allocate(n, &n->md[slot]);
  for (int slot = SRC_ITER; slot <= SRC_ITER_C; slot++) clear(n->mem[slot]);
  if (n->train) {
    n->mem[WORKSPACE] = allocate(n, dnnl_primitive_desc_query_md(n->forward_pd, dnnl_query_workspace_md, 0));
    for (int slot = 0; slot < SLOTS; slot++)
      if (slot <= SRC_ITER_C || slot == BIAS || slot == DST) n->grad[slot] = allocate(n, &n->md[slot]);
  }
  for (int i = 0; i < 2; i++) make_weight(n, i);
  if (!n->failed) fill(n);
  if (!n->failed) pack(n);
}

static void free_net(net *n) {
  for (int slot = 0; slot < SLOTS; slot++) {
    if (n->mem[slot]) dnnl_memory_destroy(n->mem[slot]);
    if (n->grad[slot]) dnnl_memory_destroy(n->grad[slot]);
  }
  for (int i = 0; i < 2; i++) free_weight(&n->w[i]);
  if (n->forward) dnnl_primitive_destroy(n->forward);
  if (n->backward) dnnl_primitive_destroy(n->backward);
  if (n->forward_pd) dnnl_primitive_desc_destroy(n->forward_pd);
  if (n->backward_pd) dnnl_primitive_desc_destroy(n->backward_pd);
  if (n->stream) dnnl_stream_destroy(n->stream);
  if (n->engine) dnnl_engine_destroy(n->engine);
}

static void run_forward(net *n) {
  dnnl_exec_arg_t args[SLOTS];
  int count = 0;
  for (int slot = 0; slot < SLOTS; slot++) {
    dnnl_memory_t memory = slot == W_LAYER || slot == W_ITER ? n->w[slot - W_LAYER].forward : n->mem[slot];
    if (memory) args[count++] = (dnnl_exec_arg_t){ARGS[slot], memory};
  }
  must(n, dnnl_primitive_execute(n->forward, n->stream, count, args), "forward");
}

/* oneDNN adds to the gradients of the weights, which therefore begin at zero. */
static void run_backward(net *n) {
  dnnl_exec_arg_t args[2 * SLOTS];
  int count = 0;
  clear(n->grad[BIAS]);
  for (int i = 0; i < 2; i++) clear(n->w[i].grad);
  for (int slot = 0; slot < SLOTS; slot++) {
    bool weights = slot == W_LAYER || slot == W_ITER;
    dnnl_memory_t memory = weights ? n->w[slot - W_LAYER].backward : n->mem[slot];
    dnnl_memory_t grad = weights ? n->w[slot - W_LAYER].grad : n->grad[slot];
    if (memory) args[count++] = (dnnl_exec_arg_t){ARGS[slot], memory};
    if (grad) args[count++] = (dnnl_exec_arg_t){GRAD_ARGS[slot], grad};
  }
  must(n, dnnl_primitive_execute(n->backward, n->stream, count, args), "backward");
  for (int i = 0; i < 2; i++) run_reorder(n, n->w[i].from_grad, n->w[i].grad, n->w[i].user_grad);
}

/* The state of a stream goes from where it comes out to where it goes in, without a copy. */
static void swap_state(net *n) {
  for (int i = 0; i < 2; i++) {
    dnnl_memory_t out = n->mem[DST_ITER + i];
    n->mem[DST_ITER + i] = n->mem[SRC_ITER + i];
    n->mem[SRC_ITER + i] = out;
  }
}

static bool step(void *ud) {
  net *n = ud;
  if (n->train && n->repack) pack(n);
  run_forward(n);
  if (n->train) run_backward(n);
  must(n, dnnl_stream_wait(n->stream), "waiting");
  if (n->carries) swap_state(n);
  return n->failed == NULL;
}

/* ---- Requests ---------------------------------------------------------------------------------------------- */

static void put_weight_grad(net *n, int i) {
  int64_t columns = i == 0 ? n->r.D : n->r.H, count = n->gates * n->r.H * columns;
  float *torch = malloc((size_t)count * sizeof *torch);
  if (!torch) return;
  convert_weight(n, torch, data_of(n->w[i].user_grad), columns, false);
  bench_values(torch, count);
  free(torch);
}

static void check(net *n, int64_t steps) {
  const bench_request *r = &n->r;
  bench_values_begin();
  for (int64_t t = 0; t < steps; t++) {
    float *x = data_of(n->mem[SRC]);
    if (n->carries) { /* the whole sequence is one pattern: take step t of it */
      float *all = malloc((size_t)(steps * r->D) * sizeof *all);
      if (!all) return;
      bench_fill(all, steps * r->D, 1, 1);
      memcpy(x, all + t * r->D, (size_t)r->D * sizeof *x);
      free(all);
    }
    step(n);
    bench_values(data_of(n->mem[DST]), r->T * r->N * r->H);
  }
  if (n->train) {
    bench_values(data_of(n->grad[SRC]), r->T * r->N * r->D);
    for (int i = 0; i < 2; i++) put_weight_grad(n, i);
    for (int64_t g = 0; g < n->gates; g++) bench_values((float *)data_of(n->grad[BIAS]) + gate_of(n, g) * r->H, r->H);
  }
  bench_values_end();
}

static void serve(const bench_request *r, bool repack) {
  long before = bench_resident("VmRSS");
  net n = {.r = *r, .repack = repack};
  int64_t steps = bench_is(r->mode, "stream") ? r->T : 1;
  if (bench_is(r->mode, "stream")) n.r.T = 1;
  make_net(&n);
  if (n.failed) bench_say("error", n.failed);
  else if (bench_is(r->verb, "check")) check(&n, steps);
  else if (bench_is(r->verb, "memory")) bench_memory(before, step, &n);
  else bench_measure(r, step, &n);
  free_net(&n);
}

int main(int argc, char **argv) {
  bool bare = argc > 1 && bench_is(argv[1], "bare");
  bench_request r;
  while (bench_read(&r)) {
    const dnnl_version_t *v = dnnl_version();
    bool layers = bench_is(r.kind, "lstm") || bench_is(r.kind, "gru") || bench_is(r.kind, "rnn");
    if (bench_is(r.verb, "info"))
      printf("ok\tversion=%d.%d.%d\tdetail=%s\n", v->major, v->minor, v->patch,
             bare ? "weights packed once, outside the time" : "weights packed in every training step"),
          fflush(stdout);
    else if (!layers || (bare && !bench_is(r.mode, "train"))) bench_say("skip", "no such primitive");
    else serve(&r, !bare);
  }
  return 0;
}
