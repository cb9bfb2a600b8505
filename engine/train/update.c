#include <assert.h>

#include "train/optim.h"
#include "train/pieces.h"

typedef struct update {
  const lurn__optim_rule *rule;
  const lurn__kernels *kernels;
  lurn__optim_numbers numbers;
  lurn_tensor *param, *grad;
  lurn_tensor *slot[LURN__OPTIM_SLOTS]; /* NULL when out of use */
  int64_t n;
  bool dense; /* the kernel can work on the parameter and its gradient where they lie */
} update;

static void run(const update *u, int64_t first, int64_t n, void *p, const void *g) {
  int64_t width = (int64_t)lurn__tensor_width(u->param);
  void *slot[LURN__OPTIM_SLOTS];
  for (int k = 0; k < LURN__OPTIM_SLOTS; k++)
    slot[k] = u->slot[k] != NULL ? (char *)lurn__tensor_ptr(u->slot[k]) + first * width : NULL;
  u->rule->run(u->kernels->optim, u->param->dtype == LURN_FLOAT64, n, &u->numbers, p, g, slot);
}

static void run_gathered(const update *u, int64_t first, int64_t n) {
  lurn__piece p, g;
  for (int64_t end = first + n; first < end; first += LURN__PIECE) {
    int64_t size = end - first < LURN__PIECE ? end - first : LURN__PIECE;
    lurn__gather_values(u->kernels, u->param, first, size, p);
    lurn__gather_values(u->kernels, u->grad, first, size, g);
    run(u, first, size, p, g);
    lurn__scatter_pieces(u->kernels, u->param, first, size, p);
  }
}

static void update_chunk(void *arg, int64_t chunk, int thread) {
  (void)thread;
  const update *u = arg;
  int64_t first = chunk * LURN__CHUNK, n = lurn__chunk_size(u->n, chunk);
  int64_t skip = first * (int64_t)lurn__tensor_width(u->param);
  if (u->dense) run(u, first, n, (char *)lurn__tensor_ptr(u->param) + skip, (char *)lurn__tensor_ptr(u->grad) + skip);
  else run_gathered(u, first, n);
}

/* Nothing keeps a user from making the parameter or its state its own gradient. */
static bool grad_is_shared(const update *u) {
  const lurn__storage *storage = u->grad->storage;
  bool shared = storage == u->param->storage;
  for (int k = 0; k < LURN__OPTIM_SLOTS; k++) shared |= u->slot[k] != NULL && u->slot[k]->storage == storage;
  return shared;
}

void lurn__optim_update(const lurn_optim *opt, const lurn_optim_options *options, lurn__optim_param *param) {
  update u = {.rule = lurn__optim_rule_of(opt->kind),
              .kernels = lurn__kernels_for(opt->ctx->isa),
              .param = param->tensor,
              .grad = param->tensor->grad,
              .n = lurn__numel(param->tensor)};
  assert(u.grad->dtype == u.param->dtype && lurn__shape_equal(&u.grad->shape, &u.param->shape));
  unsigned used = u.rule->slots_used(options);
  for (int k = 0; k < LURN__OPTIM_SLOTS; k++) u.slot[k] = used & 1u << k ? param->slot[k] : NULL;
  u.numbers = u.rule->numbers(options, ++param->step, param->fresh);
  bool shared = grad_is_shared(&u);
  u.dense = !shared && lurn_tensor_is_contiguous(u.param) && lurn_tensor_is_contiguous(u.grad);
  if (shared)
    for (int64_t chunk = 0; chunk < lurn__chunks(u.n); chunk++) update_chunk(&u, chunk, 0);
  else lurn__for_chunks(opt->ctx, lurn__chunks(u.n), update_chunk, &u);
  lurn__touch(u.param);
  for (int k = 0; k < LURN__OPTIM_SLOTS; k++)
    if (u.slot[k] != NULL) lurn__touch(u.slot[k]);
}
