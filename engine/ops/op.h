/* L2: how an op is written.
 *
 * An op is one section in one file: doc, shape rule and forward in one function, backward in another, and
 *     const lurn__op lurn__op_NAME = {.forward = ..., .backward = ..., .doc = "..."};
 * plus its line in ops.def.  From that line this header makes struct lurn__NAME_args, which both functions read.
 *
 * forward(call) checks its inputs, asks for its outputs by lurn__out, saves what backward needs by lurn__save_in and lurn__save_out,
 * and only then computes: everything that can fail comes before the first write to an output, because for the in-place
 * variant the output is the first input.  Nothing is recorded below this layer: ops call each other through the raw family
 * lurn__NAME, which has the public prototypes.
 *
 * backward(grad) sets grad_in[i] (own references) for the inputs with need[i]; leaving NULL means zero.  Gradients may be of the
 * shape that the input was broadcast to: lurn__sum_to brings them back.
 *
 * An op that picks some elements of an input says adds_into: its backward asks for grad_in[i] by lurn__grad_buffer and adds to it.
 * The buffer may hold what other users of the input gave before, so that many slices of a tensor share one gradient instead of
 * making one each that is nearly all zero. */
#ifndef LURN_OPS_OP_H
#define LURN_OPS_OP_H

#include <assert.h>

#include "core/tensor.h"
#include "kernels/kernels.h"

/* ---- Argument structures: struct lurn__NAME_args, made from ops.def ---------------------------------------- */

#define LURN__FIELD_T(name) _Alignas(LURN_ARG_STRIDE) lurn_tensor *name;
#define LURN__FIELD_S(name) _Alignas(LURN_ARG_STRIDE) lurn_tensor *name;
#define LURN__FIELD_OT(name) _Alignas(LURN_ARG_STRIDE) lurn_tensor *name;
#define LURN__FIELD_TL(name) _Alignas(LURN_ARG_STRIDE) lurn_list name;
#define LURN__FIELD_INT(name) _Alignas(LURN_ARG_STRIDE) int64_t name;
#define LURN__FIELD_INTO(name, preset) _Alignas(LURN_ARG_STRIDE) int64_t name;
#define LURN__FIELD_R(name) _Alignas(LURN_ARG_STRIDE) double name;
#define LURN__FIELD_RO(name, preset) _Alignas(LURN_ARG_STRIDE) double name;
#define LURN__FIELD_F(name, preset) _Alignas(LURN_ARG_STRIDE) bool name;
#define LURN__FIELD_DIM(name) _Alignas(LURN_ARG_STRIDE) int64_t name;
#define LURN__FIELD_DIMO(name, preset) _Alignas(LURN_ARG_STRIDE) int64_t name;
#define LURN__FIELD_DIMS(name) _Alignas(LURN_ARG_STRIDE) lurn_ints name;
#define LURN__FIELD_SIZES(name) _Alignas(LURN_ARG_STRIDE) lurn_ints name;
#define LURN__FIELD_PERM(name) _Alignas(LURN_ARG_STRIDE) lurn_ints name;
#define LURN__FIELD_POS(name) _Alignas(LURN_ARG_STRIDE) int64_t name;
#define LURN__FIELD_BASE(name) _Alignas(LURN_ARG_STRIDE) int64_t name;
#define LURN__FIELD_CHOICE(name, preset, words) _Alignas(LURN_ARG_STRIDE) int64_t name;
#define LURN__FIELD_DT(name) _Alignas(LURN_ARG_STRIDE) int64_t name;
#define LURN__FIELD_REC(name) _Alignas(LURN_ARG_STRIDE) lurn_record *name;
#define LURN__FIELD_O(name)

#define OP(name, inplace, ...)                                                                                         \
  struct lurn__##name##_args {                                                                                         \
    LURN__EACH(LURN__FIELD_, __VA_ARGS__)                                                                              \
  };
#include "ops/ops.def"
#undef OP

/* Numbers of the ops in the registry. */
enum {
#define OP(name, ...) LURN__ID_##name,
#include "ops/ops.def"
#undef OP
  LURN__OP_COUNT
};

/* ---- Running an op ----------------------------------------------------------------------------------------- */

enum { LURN__MAX_OUT = 4, LURN__MAX_SAVED = 12, LURN__MAX_TEMPS = 24 };

/* Intermediate tensors of one forward or backward, released by whoever runs it, however it ends. */
typedef struct lurn__temps {
  lurn_tensor *tensor[LURN__MAX_TEMPS];
  int count;
} lurn__temps;

/* A slot to pass as an out-parameter. */
static inline lurn_tensor **lurn__temp(lurn__temps *temps) {
  assert(temps->count < LURN__MAX_TEMPS);
  temps->tensor[temps->count] = NULL;
  return &temps->tensor[temps->count++];
}
void lurn__temps_clear(lurn__temps *temps);

typedef struct lurn__saved {
  lurn_tensor *tensor; /* an alias outside the graph, or NULL */
  uint64_t version;    /* of its storage; backward refuses a later one */
  bool is_output;
} lurn__saved;

typedef struct lurn__op lurn__op;

typedef struct lurn__call {
  lurn_ctx *ctx;
  const lurn_op_info *info;
  const void *args;
  lurn_tensor **in; /* tensors among the arguments in order, lists flattened, NULL for absent ones */
  int64_t n_in;
  const bool *need; /* per input: its gradient is wanted; all false when nothing is recorded */
  bool recording;   /* some need is true */
  bool inplace;     /* out[0] is in[0] */
  lurn_tensor *out[LURN__MAX_OUT];
  lurn__saved saved[LURN__MAX_SAVED];
  lurn__temps temps;
} lurn__call;

typedef struct lurn__meta {
  lurn__shape shape;
  lurn_dtype dtype;
  bool present;
} lurn__meta;

typedef struct lurn__grad_call {
  lurn_ctx *ctx;
  const lurn_op_info *info;
  const void *args; /* the arguments of forward; tensors in it are NULL */
  int64_t n_in;
  const lurn__meta *in; /* what the inputs looked like */
  const bool *need;
  lurn_tensor *const *saved;
  lurn_tensor *const *grad_out; /* NULL where no gradient arrives, but never all NULL */
  lurn_tensor **grad_in;
  lurn__temps temps;
} lurn__grad_call;

struct lurn__op {
  const char *doc;
  lurn_status (*forward)(lurn__call *call);
  lurn_status (*backward)(lurn__grad_call *grad); /* NULL: not differentiable */
  bool view;                                      /* the output shares the first input's elements */
  bool adds_into;                                 /* backward adds to what lurn__grad_buffer gives */
};

const lurn__op *lurn__op_of(const lurn_op_info *info);

/* Runs an op outside the graph. */
lurn_status lurn__op_run(lurn_ctx *ctx, const lurn_op_info *info, const void *args, lurn_tensor **out);
lurn_status lurn__op_run_inplace(lurn_ctx *ctx, const lurn_op_info *info, const void *args);
/* Runs forward alone on a call whose ctx, info, args, in, n_in, need, recording and inplace are set.  On failure the outputs and saved
 * tensors of the call are released. */
lurn_status lurn__op_forward(lurn__call *call);
void lurn__call_clear(lurn__call *call);
/* Argument number i of an argument structure. */
static inline const void *lurn__argument(const void *args, int i) {
  return (const char *)args + (size_t)i * LURN_ARG_STRIDE;
}
/* Number of tensors among the arguments, and the tensors themselves. */
int64_t lurn__op_input_count(const lurn_op_info *info, const void *args);
static inline bool lurn__is_tensor_param(lurn_param_kind kind) {
  return kind == LURN_PARAM_TENSOR || kind == LURN_PARAM_SCALAR || kind == LURN_PARAM_OPTIONAL;
}
void lurn__op_inputs(const lurn_op_info *info, const void *args, lurn_tensor **in);
/* Every tensor given, of this context, and required ones present. */
lurn_status lurn__op_check_inputs(lurn_ctx *ctx, const lurn_op_info *info, const void *args);

/* The raw family: same prototypes as the public one, nothing recorded. */
#define LURN__RAW_INPLACE_0(name, ...)
#define LURN__RAW_INPLACE_1(name, ...)                                                                                 \
  lurn_status lurn__##name##_(lurn_ctx *ctx LURN__EACH(LURN__IN_, __VA_ARGS__)) LURN_CHECKED;
#define OP(name, inplace, ...)                                                                                         \
  lurn_status lurn__##name(lurn_ctx *ctx LURN__EACH(LURN__DECL_, __VA_ARGS__)) LURN_CHECKED;                           \
  LURN__RAW_INPLACE_##inplace(name, __VA_ARGS__)
#include "ops/ops.def"
#undef OP

/* ---- Helpers for forward ----------------------------------------------------------------------------------- */

/* The op's name as it was called, "index_put" or "index_put_". */
const char *lurn__call_name(const lurn__call *call);
/* Fails with "NAME: ...". */
lurn_status lurn__op_fail(lurn__call *call, lurn_status status, const char *fmt, ...) LURN_PRINTF(3, 4);
/* Fails for an expanded tensor, which cannot be written into. */
lurn_status lurn__need_own_elements(const lurn_tensor *t, const char *who);
/* Output i of the given dtype and shape: new memory, or for an in-place call the first input, which must be just that. */
lurn_status lurn__out(lurn__call *call, int i, lurn_dtype dtype, const lurn__shape *shape);
/* Makes t, which no one else will change, output 0; in place its elements are copied into the first input, converted. */
lurn_status lurn__give(lurn__call *call, lurn_tensor *t);
/* Keeps a tensor for backward in saved[slot]; nothing happens unless the call is recorded.  _out for tensors that this call
 * fills itself; an input that the call is about to overwrite in place is copied. */
lurn_status lurn__save_in(lurn__call *call, int slot, lurn_tensor *t);
lurn_status lurn__save_out(lurn__call *call, int slot, lurn_tensor *t);
/* The kernels of the context's instruction set. */
static inline const lurn__kernels *lurn__kernels_of(const lurn_ctx *ctx) { return lurn__kernels_for(ctx->isa); }
/* Fails unless t is float32 or float64. */
lurn_status lurn__need_float(lurn__call *call, const lurn_tensor *t, const char *what);
/* The dtype that two operands promote to.  As in PyTorch a tensor without dimensions changes the dtype of one with dimensions only
 * from bool to integer and from integer to float. */
lurn_dtype lurn__common_dtype(const lurn_tensor *a, const lurn_tensor *b);
/* t itself (retained) when it is contiguous and of the dtype, else a converted copy. */
lurn_status lurn__as_contiguous(lurn_ctx *ctx, lurn_tensor *t, lurn_dtype dtype, lurn_tensor **out);
/* Writes "(2, 3)" for messages. */
#define LURN__SHAPE(t) lurn__shape_print(&(t)->shape, (char[LURN__SHAPE_TEXT]){0})

/* ---- Helpers for backward ---------------------------------------------------------------------------------- */

/* Sums g over the dimensions that broadcasting added or stretched, and converts to the input's dtype. */
lurn_status lurn__sum_to(lurn_ctx *ctx, lurn_tensor *g, const lurn__meta *meta, lurn_tensor **out);
/* The same, taking over *g. */
lurn_status lurn__give_sum_to(lurn_ctx *ctx, lurn_tensor *g, const lurn__meta *meta, lurn_tensor **out);
lurn_status lurn__zeros_like_meta(lurn_ctx *ctx, const lurn__meta *meta, lurn_tensor **out);
/* Makes grad_in[i] a contiguous tensor like the input, to be added to: zero, or the gradient that has come together so far. */
lurn_status lurn__grad_buffer(lurn__grad_call *grad, int i);

/* ---- Making a family of typed functions from ops.def ------------------------------------------------------- */

#define LURN__VALUE_T(name) .name = name,
#define LURN__VALUE_S(name) .name = name,
#define LURN__VALUE_OT(name) .name = name,
#define LURN__VALUE_TL(name) .name = {name, n_##name},
#define LURN__VALUE_INT(name) .name = name,
#define LURN__VALUE_INTO(name, preset) .name = name,
#define LURN__VALUE_R(name) .name = name,
#define LURN__VALUE_RO(name, preset) .name = name,
#define LURN__VALUE_F(name, preset) .name = name,
#define LURN__VALUE_DIM(name) .name = name,
#define LURN__VALUE_DIMO(name, preset) .name = name,
#define LURN__VALUE_DIMS(name) .name = {name, n_##name},
#define LURN__VALUE_SIZES(name) .name = {name, n_##name},
#define LURN__VALUE_PERM(name) .name = {name, n_##name},
#define LURN__VALUE_POS(name) .name = name,
#define LURN__VALUE_BASE(name) .name = name,
#define LURN__VALUE_CHOICE(name, preset, words) .name = name,
#define LURN__VALUE_DT(name) .name = name,
#define LURN__VALUE_REC(name) .name = name,
#define LURN__VALUE_O(name)

#define LURN__OUTPUT_T(name)
#define LURN__OUTPUT_S(name)
#define LURN__OUTPUT_OT(name)
#define LURN__OUTPUT_TL(name)
#define LURN__OUTPUT_INT(name)
#define LURN__OUTPUT_INTO(name, preset)
#define LURN__OUTPUT_R(name)
#define LURN__OUTPUT_RO(name, preset)
#define LURN__OUTPUT_F(name, preset)
#define LURN__OUTPUT_DIM(name)
#define LURN__OUTPUT_DIMO(name, preset)
#define LURN__OUTPUT_DIMS(name)
#define LURN__OUTPUT_SIZES(name)
#define LURN__OUTPUT_PERM(name)
#define LURN__OUTPUT_POS(name)
#define LURN__OUTPUT_BASE(name)
#define LURN__OUTPUT_CHOICE(name, preset, words)
#define LURN__OUTPUT_DT(name)
#define LURN__OUTPUT_REC(name)
#define LURN__OUTPUT_O(name) name,

/* Defines PREFIX##name, and PREFIX##name##_ where there is an in-place variant, over run(ctx, info, args, places of the outputs) and
 * run_inplace(ctx, info, args). */
#define LURN__DEFINE_OP(prefix, run, run_inplace, name, inplace, ...)                                                  \
  lurn_status prefix##name(lurn_ctx *ctx LURN__EACH(LURN__DECL_, __VA_ARGS__)) {                                       \
    const struct lurn__##name##_args args_ = {LURN__EACH(LURN__VALUE_, __VA_ARGS__)};                                  \
    lurn_tensor **const places_[] = {LURN__EACH(LURN__OUTPUT_, __VA_ARGS__)};                                          \
    return run(ctx, lurn_op_at(LURN__ID_##name), &args_, places_);                                                     \
  }                                                                                                                    \
  LURN__DEFINE_INPLACE_##inplace(prefix, run_inplace, name, __VA_ARGS__)
#define LURN__DEFINE_INPLACE_0(prefix, run_inplace, name, ...)
#define LURN__DEFINE_INPLACE_1(prefix, run_inplace, name, ...)                                                         \
  lurn_status prefix##name##_(lurn_ctx *ctx LURN__EACH(LURN__IN_, __VA_ARGS__)) {                                      \
    const struct lurn__##name##_args args_ = {LURN__EACH(LURN__VALUE_, __VA_ARGS__)};                                  \
    return run_inplace(ctx, lurn_op_at(LURN__ID_##name), &args_);                                                      \
  }

/* ---- Tables of all ops ------------------------------------------------------------------------------------- */

#define OP(name, ...) extern const lurn__op lurn__op_##name;
#include "ops/ops.def"
#undef OP

#endif
