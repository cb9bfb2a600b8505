/* lurn: a neural-network engine for sequences.
 *
 * This is the only public header.  It is plain C11 and clean C++.
 *
 * Conventions
 *   - Functions that can fail return lurn_status; out-parameters come last and are untouched on failure.
 *     The text of the last error is lurn_error(ctx).
 *   - A tensor returned through an out-parameter belongs to the caller, who gives it back with
 *     lurn_release().  Tensors passed in stay the caller's; what an op needs later it retains itself.
 *   - A pointer may be NULL where its comment says so. Elsewhere functions that return lurn_status refuse it with LURN_EVALUE,
 *     without a text when the context or the object they are about is what is missing. Other functions that find or retain
 *     something answer NULL, -1 or false to NULL; those that read or change an object need it.
 *   - A context, and every tensor made in it, belongs to one thread at a time.  Contexts are independent.
 *   - After fork() the child may go on with, or free, the contexts of the thread that forked: its copies have no worker
 *     threads until they start their own.  Those that other threads were using are lost to it.
 *   - Dimensions, positions and indices count from 0 here.  Negative dimensions count from the end.
 *   - Sizes are in elements unless a name says bytes.
 *
 * Dimension names in comments: T time, N batch, D input features, H hidden units, C classes.
 */
#ifndef LURN_H
#define LURN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LURN_VERSION_MAJOR 0
#define LURN_VERSION_MINOR 1
#define LURN_VERSION_PATCH 0
#define LURN_VERSION "0.1.0"

#if defined(__GNUC__)
#define LURN_API __attribute__((visibility("default")))
#define LURN_CHECKED __attribute__((warn_unused_result))
#define LURN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define LURN_API
#define LURN_CHECKED
#define LURN_PRINTF(fmt, args)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Status ------------------------------------------------------------------------------------------------ */

typedef enum lurn_status {
  LURN_OK = 0,
  LURN_ENOMEM,    /* an allocation failed; nothing was changed */
  LURN_ESHAPE,    /* shapes do not fit each other or the op */
  LURN_EDTYPE,    /* a dtype the op does not take */
  LURN_EINDEX,    /* an index, position or dimension out of range */
  LURN_EVALUE,    /* any other argument out of its range */
  LURN_ESTATE,    /* the object is not in a state that allows this (freed graph, foreign context, no gradient) */
  LURN_EVERSION,  /* a tensor needed for backward was changed in place */
  LURN_EIO,       /* the operating system said no */
  LURN_EFORMAT,   /* a file is not sound */
  LURN_ECALLBACK, /* a callback of the host failed */
  LURN_STATUS_COUNT
} lurn_status;

/* A short name such as "shape" or "out of memory". */
LURN_API const char *lurn_status_name(lurn_status status);

/* ---- Types ------------------------------------------------------------------------------------------------- */

typedef enum lurn_dtype {
  LURN_FLOAT32 = 0,
  LURN_FLOAT64,
  LURN_INT64,
  LURN_INT32,
  LURN_UINT8,
  LURN_BOOL,
  LURN_DTYPE_COUNT
} lurn_dtype;

LURN_API const char *lurn_dtype_name(lurn_dtype dtype); /* "float32" ... */
LURN_API size_t lurn_dtype_size(lurn_dtype dtype);      /* bytes per element */
LURN_API bool lurn_dtype_is_float(lurn_dtype dtype);
/* Finds a dtype by name; false when there is none. */
LURN_API bool lurn_dtype_parse(const char *name, lurn_dtype *out);

/* The most dimensions a tensor can have. */
#define LURN_MAX_DIMS 8

typedef struct lurn_ctx lurn_ctx;
typedef struct lurn_tensor lurn_tensor;
typedef struct lurn_record lurn_record;
typedef struct lurn_hook lurn_hook;

/* ---- Context ----------------------------------------------------------------------------------------------- */

/* Host allocator, in the manner of Lua's: new_size 0 frees (and returns NULL), ptr NULL allocates, otherwise resizes.
 * Returned memory is aligned for any type.  May return NULL: that becomes LURN_ENOMEM. */
typedef void *(*lurn_alloc_fn)(void *ud, void *ptr, size_t old_size, size_t new_size);

typedef enum lurn_isa { LURN_ISA_SCALAR = 0, LURN_ISA_AVX2, LURN_ISA_AVX512, LURN_ISA_BEST = 100 } lurn_isa;

/* Settings of a new context; zero-initialise it and set what differs.  All fields may stay zero. */
typedef struct lurn_config {
  lurn_alloc_fn alloc; /* NULL: malloc and free */
  void *alloc_ud;
  int num_threads;  /* 0: LURN_NUM_THREADS, else the number of cores this process may run on */
  lurn_isa max_isa; /* cap on the instruction set; 0 with isa_set false: the best the CPU has */
  bool isa_set;     /* true: honour max_isa */
  bool use_blas;    /* general matrix products by the BLAS library, which is otherwise done only where the engine has no
                           vector kernels of its own */
  uint64_t seed;    /* of the random numbers */
  int index_base;   /* what messages count from: 0 or 1 */
  size_t cache_limit; /* bytes of freed memory the pool may keep; 0: 1 GiB */
} lurn_config;

/* Makes a context.  config may be NULL.  On failure *out is untouched and the status says why. */
LURN_API LURN_CHECKED lurn_status lurn_ctx_new(const lurn_config *config, lurn_ctx **out);
/* Gives the context back.  Tensors still alive stay valid; the memory goes when the last of them is released. */
LURN_API void lurn_ctx_free(lurn_ctx *ctx);

/* Text of the last error in this context; "" before the first.  ctx may be NULL. */
LURN_API const char *lurn_error(const lurn_ctx *ctx);
/* Sets the error text and returns status: for callbacks of the host. */
LURN_API lurn_status lurn_fail(lurn_ctx *ctx, lurn_status status, const char *fmt, ...) LURN_PRINTF(3, 4);

/* Begins the stream of random numbers that belongs to the seed. */
LURN_API void lurn_manual_seed(lurn_ctx *ctx, uint64_t seed);
/* The random state: seed and number of 128-bit blocks drawn.  Restoring it continues the same stream. */
LURN_API void lurn_rng_state(const lurn_ctx *ctx, uint64_t out[2]);
LURN_API void lurn_set_rng_state(lurn_ctx *ctx, const uint64_t state[2]);

LURN_API LURN_CHECKED lurn_status lurn_set_num_threads(lurn_ctx *ctx, int n); /* 1..256 */
LURN_API int lurn_num_threads(const lurn_ctx *ctx);
LURN_API const char *lurn_isa_name(const lurn_ctx *ctx); /* kernels in use: "scalar", "avx2", "avx512" */

LURN_API const char *lurn_cpu_isa_name(void); /* the best this machine could use */
LURN_API int lurn_cpu_cores(void);            /* cores this process may run on */

/* Bytes held by live objects of this context, and bytes taken from the host's allocator (live + cached). */
LURN_API size_t lurn_memory_live(const lurn_ctx *ctx);
LURN_API size_t lurn_memory_held(const lurn_ctx *ctx);
/* The most bytes that were live at once since the context was made or the peak was reset to what is live now. */
LURN_API size_t lurn_memory_peak(const lurn_ctx *ctx);
LURN_API void lurn_memory_reset_peak(lurn_ctx *ctx);
/* Calls that reached the host's allocator for more memory since the context was made. */
LURN_API uint64_t lurn_memory_allocations(const lurn_ctx *ctx);
/* Returns the pool's cached memory to the host; where that is malloc, what malloc keeps goes to the system as far as it can. */
LURN_API void lurn_memory_trim(lurn_ctx *ctx);

LURN_API const char *lurn_version(void); /* LURN_VERSION of the library that runs */
/* The BLAS library's own description of itself and its kernel; "" when it tells nothing. */
LURN_API const char *lurn_blas_config(void);
LURN_API const char *lurn_blas_kernel(void);
/* The BLAS library's thread count is one for the whole process: only a program, never a library, should set it. */
LURN_API void lurn_blas_set_threads(int n);
LURN_API int lurn_blas_threads(void);

/* ---- Tensors ----------------------------------------------------------------------------------------------- */

/* A tensor of the given shape with undefined contents.  ndim 0 makes a scalar; a size may be 0. */
LURN_API LURN_CHECKED lurn_status lurn_empty(lurn_ctx *ctx, lurn_dtype dtype, int ndim, const int64_t *shape,
                                             lurn_tensor **out);
LURN_API LURN_CHECKED lurn_status lurn_zeros(lurn_ctx *ctx, lurn_dtype dtype, int ndim, const int64_t *shape,
                                             lurn_tensor **out);
LURN_API LURN_CHECKED lurn_status lurn_full(lurn_ctx *ctx, lurn_dtype dtype, int ndim, const int64_t *shape,
                                            double value, lurn_tensor **out);
/* A contiguous tensor filled from host memory, which is copied. */
LURN_API LURN_CHECKED lurn_status lurn_from_data(lurn_ctx *ctx, lurn_dtype dtype, int ndim, const int64_t *shape,
                                                 const void *data, lurn_tensor **out);
/* A contiguous tensor over the host's own buffer, without a copy.  free_fn (may be NULL) is called with ud and data
 * once no tensor uses the buffer.  On failure the buffer stays the caller's. */
LURN_API LURN_CHECKED lurn_status lurn_from_buffer(lurn_ctx *ctx, lurn_dtype dtype, int ndim, const int64_t *shape,
                                                   void *data, void (*free_fn)(void *ud, void *data), void *ud,
                                                   lurn_tensor **out);
/* Zero-dim tensors for mixing plain numbers into ops: like a Python number in PyTorch, they never change the dtype of
 * the other operand, except that a float with an integer tensor gives float32. */
LURN_API LURN_CHECKED lurn_status lurn_scalar(lurn_ctx *ctx, double value, lurn_tensor **out);
LURN_API LURN_CHECKED lurn_status lurn_scalar_int(lurn_ctx *ctx, int64_t value, lurn_tensor **out);

LURN_API lurn_tensor *lurn_retain(lurn_tensor *t); /* returns t */
LURN_API void lurn_release(lurn_tensor *t);        /* NULL is fine */

/* What a tensor is: its context, element type, and sizes; shape and strides belong to the tensor. */
LURN_API lurn_ctx *lurn_tensor_ctx(const lurn_tensor *t);
LURN_API lurn_dtype lurn_tensor_dtype(const lurn_tensor *t);
LURN_API int lurn_tensor_ndim(const lurn_tensor *t);
LURN_API const int64_t *lurn_tensor_shape(const lurn_tensor *t);
LURN_API const int64_t *lurn_tensor_strides(const lurn_tensor *t); /* in elements */
LURN_API int64_t lurn_tensor_numel(const lurn_tensor *t);
LURN_API bool lurn_tensor_is_contiguous(const lurn_tensor *t);
/* Address of the first element.  Whoever writes through it calls lurn_tensor_touch afterwards. */
LURN_API void *lurn_tensor_data(const lurn_tensor *t);
/* Says that the contents were changed from outside: caches and saved values that depend on them become stale. */
LURN_API void lurn_tensor_touch(lurn_tensor *t);
LURN_API uint64_t lurn_tensor_version(const lurn_tensor *t);
/* True when both look at the same elements in the same order. */
LURN_API bool lurn_tensor_same_view(const lurn_tensor *a, const lurn_tensor *b);

/* Reads or writes the element at index[0..ndim), as double or int64. */
LURN_API LURN_CHECKED lurn_status lurn_tensor_get(lurn_tensor *t, const int64_t *index, double *out);
LURN_API LURN_CHECKED lurn_status lurn_tensor_get_int(lurn_tensor *t, const int64_t *index, int64_t *out);
LURN_API LURN_CHECKED lurn_status lurn_tensor_set(lurn_tensor *t, const int64_t *index, double value);
LURN_API LURN_CHECKED lurn_status lurn_tensor_set_int(lurn_tensor *t, const int64_t *index, int64_t value);

/* A tensor of the same elements outside the graph; shares storage. */
LURN_API LURN_CHECKED lurn_status lurn_detach(lurn_ctx *ctx, lurn_tensor *t, lurn_tensor **out);

/* ---- Gradients --------------------------------------------------------------------------------------------- */

/* Whether backward is to reach the tensor. */
LURN_API bool lurn_tensor_requires_grad(const lurn_tensor *t);
/* Only for a float leaf; LURN_ESTATE or LURN_EDTYPE otherwise. */
LURN_API LURN_CHECKED lurn_status lurn_tensor_set_requires_grad(lurn_tensor *t, bool on);
LURN_API bool lurn_tensor_is_leaf(const lurn_tensor *t);
/* Name of the op that made it, or NULL for a leaf. */
LURN_API const char *lurn_tensor_maker(const lurn_tensor *t);
/* The accumulated gradient, borrowed: NULL when there is none, as always for a result without lurn_retain_grad.  Setting keeps a tensor of its own over the same elements,
 * outside the graph; NULL clears. */
LURN_API lurn_tensor *lurn_tensor_grad(const lurn_tensor *t);
LURN_API LURN_CHECKED lurn_status lurn_tensor_set_grad(lurn_tensor *t, lurn_tensor *grad);

/* Whether ops record for backward; returns the former setting. */
LURN_API bool lurn_set_grad_enabled(lurn_ctx *ctx, bool on);
LURN_API bool lurn_grad_enabled(const lurn_ctx *ctx);

/* Accumulates d root / d leaf into the .grad of every leaf that requires it.  grad is the gradient of root; NULL means 1
 * and needs a root of one element.  The graph is freed on the way, also by a backward that fails there, unless retain_graph.
 * On failure no .grad has changed. */
LURN_API LURN_CHECKED lurn_status lurn_backward(lurn_ctx *ctx, lurn_tensor *root, lurn_tensor *grad, bool retain_graph);
/* Gradients of the sum of outputs (weighted by grad_outputs, NULL or NULL entries mean 1) with respect to inputs, leaves or
 * not, leaving the .grad of every leaf alone.  out[i] is NULL where outputs do not depend on inputs[i]. */
LURN_API LURN_CHECKED lurn_status lurn_grad(lurn_ctx *ctx, lurn_tensor *const *outputs, int n_outputs,
                                            lurn_tensor *const *grad_outputs, lurn_tensor *const *inputs, int n_inputs,
                                            bool retain_graph, lurn_tensor **out);
/* The same, but without the hooks of the inputs: for a function whose backward differentiates what it computed anew, and hands on
 * what comes to the inputs as a part of their gradients. */
LURN_API LURN_CHECKED lurn_status lurn_partial_grad(lurn_ctx *ctx, lurn_tensor *const *outputs, int n_outputs,
                                                    lurn_tensor *const *grad_outputs, lurn_tensor *const *inputs,
                                                    int n_inputs, bool retain_graph, lurn_tensor **out);

/* Has a result keep its gradient: every lurn_backward, and every lurn_grad that passes through it, adds it to .grad, as they do for
 * leaves, which need no asking.  It is the complete gradient, after all hooks.  It goes with the tensor: an op in place leaves it
 * the gradient of the new value.  LURN_ESTATE when t requires no gradient. */
LURN_API LURN_CHECKED lurn_status lurn_retain_grad(lurn_ctx *ctx, lurn_tensor *t);
LURN_API bool lurn_tensor_retains_grad(const lurn_tensor *t);

/* A function that sees a gradient on its way.  grad must not be written; *out, NULL at first, may be given an own reference to a
 * tensor of the same dtype and shape that takes its place.  It runs without recording.  It may call ops, and backward through other
 * graphs, and add and remove hooks; it must not throw or jump.  A failure is that of the backward, which changes no .grad then. */
typedef lurn_status (*lurn_hook_fn)(lurn_ctx *ctx, void *ud, lurn_tensor *grad, lurn_tensor **out);
/* Calls fn in every backward and lurn_grad in which a gradient comes to t, once with all of it, after the hooks that were there
 * before and before the gradient goes further: on to what t was made of, for inputs of lurn_grad into the result, and into .grad.
 * For leaves that is at the end of the sweep.  The hook belongs to the leaf, or to the value t has now: it is there without t too,
 * and an op in place leaves it with the former value.  free_ud is called once with ud when it is no longer needed, with the leaf or
 * the graph, also with the backward that consumes it; after lurn_hook_remove; or when this call fails: LURN_ESTATE when t requires
 * no gradient, LURN_EVERSION when its memory was changed through another tensor.  *out, unless out is NULL, is a handle of the
 * caller's. */
LURN_API LURN_CHECKED lurn_status lurn_add_hook(lurn_ctx *ctx, lurn_tensor *t, lurn_hook_fn fn,
                                                void (*free_ud)(void *ud), void *ud, lurn_hook **out);
/* The hook is not called again; from within hooks of the same tensor, free_ud waits for their end.  Does nothing the second time,
 * when the hook is gone with its graph, or for NULL. */
LURN_API void lurn_hook_remove(lurn_hook *hook);
/* Gives back the handle; the hook stays.  NULL is fine. */
LURN_API void lurn_hook_release(lurn_hook *hook);

/* A differentiable function of the host.  grad_out[i] is NULL where no gradient arrives, and must not be written; the callback
 * fills grad_in[j] (own references) for the inputs with need[j], NULL meaning zero.  It may call ops, and backward through other
 * graphs; it must not throw or jump. */
typedef lurn_status (*lurn_custom_backward)(lurn_ctx *ctx, void *ud, lurn_tensor *const *grad_out, int n_out,
                                            lurn_tensor **grad_in, const bool *need, int n_in);
/* Ties results computed outside the graph to their inputs: out[i] is a tensor with values[i]'s elements whose gradient is
 * what backward says.  free_ud is called once with ud when it is no longer needed; also when this call fails or when nothing
 * is recorded because no input needs a gradient.  name, for messages, is copied. */
LURN_API LURN_CHECKED lurn_status lurn_custom(lurn_ctx *ctx, const char *name, lurn_tensor *const *inputs, int n_in,
                                              lurn_tensor *const *values, int n_out, lurn_custom_backward backward,
                                              void (*free_ud)(void *ud), void *ud, lurn_tensor **out);

/* For functions that compute a part of the graph anew in backward.  lurn_graph_position numbers the place that recording has come to.
 * lurn_graph_leaves gives the leaves other than `known` that gradients of the outputs would reach, in an order that is always the
 * same: own references to the first `room` of them in out, and in *n how many there are.  LURN_ESTATE, in the name of who, when the
 * graph goes back beyond the position `since`: to what was not computed from leaves after that. */
LURN_API uint64_t lurn_graph_position(const lurn_ctx *ctx);
LURN_API LURN_CHECKED lurn_status lurn_graph_leaves(lurn_ctx *ctx, const char *who, lurn_tensor *const *outputs,
                                                    int n_outputs, lurn_tensor *const *known, int n_known,
                                                    uint64_t since, int64_t room, lurn_tensor **out, int64_t *n);

/* One thing that lurn_graph_trace tells; from and to are addresses, of tensors and of what they are made of, to be compared only. */
typedef enum lurn_trace_kind {
  LURN_TRACE_LINK, /* `from` keeps `to` alive */
  LURN_TRACE_HOOK, /* `from` has a hook whose ud is `to` */
  LURN_TRACE_HELD  /* `to` is kept alive by something else than the tensors that were given and what they lead to */
} lurn_trace_kind;
typedef struct lurn_trace {
  lurn_trace_kind kind;
  const void *from, *to;
} lurn_trace;
/* For hosts with a collector, which does not see the graph: hooks that lead back to the tensors whose graph they belong to would keep
 * each other alive.  Tells what n tensors, in each of which the host has one reference, lead to: the first `room` entries in out, and
 * in *count how many there are.  What is not LURN_TRACE_HELD, or reached from there, lives through these references alone. */
LURN_API LURN_CHECKED lurn_status lurn_graph_trace(lurn_ctx *ctx, lurn_tensor *const *tensors, int64_t n, int64_t room,
                                                   lurn_trace *out, int64_t *count);

/* A scalar function for lurn_gradcheck; *out belongs to the caller. */
typedef lurn_status (*lurn_scalar_fn)(lurn_ctx *ctx, void *ud, lurn_tensor *const *inputs, int n, lurn_tensor **out);
typedef struct lurn_gradcheck_result {
  bool ok;
  int input; /* worst entry: which input, which element (counted in row-major order), and both values */
  int64_t element;
  double analytic, numeric;
} lurn_gradcheck_result;
/* Compares gradients with central differences, (f(x+eps) - f(x-eps)) / 2 eps, for every float64 input that requires a
 * gradient.  An entry passes when |analytic - numeric| <= atol + rtol |numeric|. */
LURN_API LURN_CHECKED lurn_status lurn_gradcheck(lurn_ctx *ctx, lurn_scalar_fn fn, void *ud, lurn_tensor *const *inputs,
                                                 int n, double eps, double rtol, double atol,
                                                 lurn_gradcheck_result *out);

/* ---- Recurrent recordings ---------------------------------------------------------------------------------- */

/* Asked for by passing a record to lurn_rnn, lurn_lstm or lurn_gru.  Steps are in time order whatever the direction. */
typedef enum lurn_record_field {
  LURN_RECORD_GATES = 0,   /* after their nonlinearity (T, N, G H): LSTM i f g o, coupled f g o, GRU r z n, RNN h */
  LURN_RECORD_CELL,        /* LSTM: c_t (T, N, H) */
  LURN_RECORD_HIDDEN,      /* h_t (T, N, H), or as wide as its projection */
  LURN_RECORD_GRAD_HIDDEN, /* filled by backward: total gradient of h_t, from above and from later steps, shaped as h_t */
  LURN_RECORD_GRAD_CELL,   /* LSTM: total gradient of c_t (T, N, H) */
  LURN_RECORD_FIELDS
} lurn_record_field;
LURN_API LURN_CHECKED lurn_status lurn_record_new(lurn_ctx *ctx, lurn_record **out);
LURN_API lurn_record *lurn_record_retain(lurn_record *record);
LURN_API void lurn_record_release(lurn_record *record);
/* Borrowed; NULL when that was not (or not yet) recorded. */
LURN_API lurn_tensor *lurn_record_get(const lurn_record *record, lurn_record_field field);

/* ---- Ops --------------------------------------------------------------------------------------------------- */

/* Every op of ops.def becomes
 *     lurn_status lurn_NAME(lurn_ctx *ctx, inputs..., lurn_tensor **out, ...)
 * and, where the list says so, an in-place variant lurn_NAME_ that writes into its first input.  What each computes is
 * told by lurn_op_doc(lurn_op_find("NAME")), and in the op's section of its source file. */

typedef enum lurn_param_kind {
  LURN_PARAM_TENSOR = 0, /* lurn_tensor *                                             */
  LURN_PARAM_SCALAR,     /* lurn_tensor *: from Lua a plain number will do            */
  LURN_PARAM_OPTIONAL,   /* lurn_tensor * or NULL                                     */
  LURN_PARAM_LIST,       /* lurn_list: tensors                                        */
  LURN_PARAM_INT,        /* int64_t                                                   */
  LURN_PARAM_REAL,       /* double                                                    */
  LURN_PARAM_FLAG,       /* bool                                                      */
  LURN_PARAM_DIM,        /* int64_t: a dimension                                      */
  LURN_PARAM_DIMS,       /* lurn_ints: dimensions; none means all                     */
  LURN_PARAM_SIZES,      /* lurn_ints: a shape                                        */
  LURN_PARAM_POSITION,   /* int64_t: a position along a dimension                     */
  LURN_PARAM_BASE,       /* int64_t: what indices in tensors count from               */
  LURN_PARAM_CHOICE,     /* int64_t: one of a list of words                           */
  LURN_PARAM_DTYPE,      /* int64_t: a lurn_dtype                                     */
  LURN_PARAM_RECORD,     /* lurn_record * or NULL                                     */
  LURN_PARAM_OUTPUT      /* lurn_tensor **                                            */
} lurn_param_kind;

typedef struct lurn_list {
  lurn_tensor *const *items;
  int64_t count;
} lurn_list;

typedef struct lurn_ints {
  const int64_t *values;
  int64_t count;
} lurn_ints;

/* An op's argument structure holds one field of LURN_ARG_STRIDE bytes for each parameter that is not an output, in order: the
 * type that its kind names, at the start of the field. */
#define LURN_ARG_STRIDE 16

typedef struct lurn_param {
  const char *name;
  lurn_param_kind kind;
  bool required;
  double preset;       /* value when it is left out: INT, REAL, FLAG, DIM, CHOICE, DTYPE */
  const char *choices; /* CHOICE: "none|mean|sum" */
} lurn_param;

typedef struct lurn_op_info {
  const char *name;
  const lurn_param *params;
  int n_params; /* inputs, then outputs */
  int n_outputs;
  size_t args_size; /* bytes of the argument structure */
  bool has_inplace;
} lurn_op_info;

/* The registry of ops: by position from 0, and by name. */
LURN_API int lurn_op_count(void);
LURN_API const lurn_op_info *lurn_op_at(int i);              /* NULL when out of range */
LURN_API const lurn_op_info *lurn_op_find(const char *name); /* NULL when there is none */
/* What the op computes: first line the formula; then shapes, dtypes, errors, source. */
LURN_API const char *lurn_op_doc(const lurn_op_info *op);
LURN_API bool lurn_op_is_differentiable(const lurn_op_info *op);
/* Runs an op from a filled argument structure: how bindings call every op through one function.  out has n_outputs slots. */
LURN_API LURN_CHECKED lurn_status lurn_op_call(lurn_ctx *ctx, const lurn_op_info *op, const void *args,
                                               lurn_tensor **out);
/* The in-place variant: the first input receives the result. */
LURN_API LURN_CHECKED lurn_status lurn_op_call_inplace(lurn_ctx *ctx, const lurn_op_info *op, const void *args);

#include "ops/ops_expand.h" /* the prototypes of all ops */

/* The sum of products that an equation describes, as NumPy and PyTorch write it: "tnd,hd->tnh" multiplies a[t][n][d] b[h][d] and
 * sums over what the output leaves out.  Letters name dimensions, one twice in a term is a diagonal, "..." stands for any others,
 * which broadcast; without "->" the output is "..." and the letters that come once, in the order of the alphabet.  Of more than two
 * operands the first two are multiplied first, then the next.  Recorded for backward; dtypes and sizes of 1 as for matmul, or as
 * for mul where nothing is summed or no operand is a float.  The result may share memory with an only operand. */
LURN_API LURN_CHECKED lurn_status lurn_einsum(lurn_ctx *ctx, const char *equation, lurn_tensor *const *operands,
                                              int64_t n, lurn_tensor **out);

/* ---- Random ------------------------------------------------------------------------------------------------ */

/* In place, float tensors: uniform on [low, high), normal, 0 or 1 with probability p (any dtype). */
LURN_API LURN_CHECKED lurn_status lurn_uniform_(lurn_ctx *ctx, lurn_tensor *t, double low, double high);
LURN_API LURN_CHECKED lurn_status lurn_normal_(lurn_ctx *ctx, lurn_tensor *t, double mean, double std);
LURN_API LURN_CHECKED lurn_status lurn_bernoulli_(lurn_ctx *ctx, lurn_tensor *t, double p);
/* int64: integers of [low, high], and a permutation of first..first+n-1. */
LURN_API LURN_CHECKED lurn_status lurn_randint(lurn_ctx *ctx, int64_t low, int64_t high, int ndim, const int64_t *shape,
                                               lurn_tensor **out);
LURN_API LURN_CHECKED lurn_status lurn_randperm(lurn_ctx *ctx, int64_t n, int64_t first, lurn_tensor **out);

/* ---- Optimizers -------------------------------------------------------------------------------------------- */

typedef struct lurn_optim lurn_optim;
typedef enum lurn_optim_kind {
  LURN_SGD = 0,
  LURN_RMSPROP,
  LURN_ADAM,
  LURN_ADAMW,
  LURN_ADAGRAD,
  LURN_ADADELTA,
  LURN_OPTIM_KINDS
} lurn_optim_kind;

/* Options of a parameter group, PyTorch's names and meanings.  Fill with lurn_optim_defaults first. */
typedef struct lurn_optim_options {
  double lr, weight_decay, momentum, dampening, alpha, eps, beta1, beta2, rho, lr_decay, initial_accumulator;
  bool nesterov, centered, amsgrad, maximize;
} lurn_optim_options;

/* The options that a kind has by default. */
LURN_API lurn_optim_options lurn_optim_defaults(lurn_optim_kind kind);
/* An optimizer without parameters; it holds those that are added until it is freed. */
LURN_API LURN_CHECKED lurn_status lurn_optim_new(lurn_ctx *ctx, lurn_optim_kind kind, lurn_optim **out);
LURN_API void lurn_optim_free(lurn_optim *opt);
/* Adds a group of float leaves (those without a gradient are skipped by step) and sets *group to its number (from 0; may be
 * NULL).  options may be NULL: the kind's defaults. */
LURN_API LURN_CHECKED lurn_status lurn_optim_add_group(lurn_optim *opt, lurn_tensor *const *params, int64_t n,
                                                       const lurn_optim_options *options, int *group);
LURN_API int lurn_optim_groups(const lurn_optim *opt);
/* The options of a group, to read or change between steps; NULL when there is no such group. */
LURN_API lurn_optim_options *lurn_optim_group_options(lurn_optim *opt, int group);
/* One update of every parameter that has a gradient. On failure nothing has changed. */
LURN_API LURN_CHECKED lurn_status lurn_optim_step(lurn_optim *opt);
/* Clears the gradients of all parameters. */
LURN_API void lurn_optim_zero_grad(lurn_optim *opt);
/* State tensors by position: fills name ("state.0.exp_avg": parameters counted over all groups from 0) and a new reference.
 * Returns LURN_EINDEX past the last. "state.0.step" is an int64 scalar. */
LURN_API LURN_CHECKED lurn_status lurn_optim_state_at(lurn_optim *opt, int64_t i, char name[64], lurn_tensor **out);
/* Sets one state tensor (its contents are copied); creates the state of that parameter when it has none yet. */
LURN_API LURN_CHECKED lurn_status lurn_optim_set_state(lurn_optim *opt, const char *name, lurn_tensor *value);

/* Scales all gradients so that their joint 2-norm is at most max_norm; *total is the norm before.  A norm that is not finite
 * is reported in *total (which may be NULL) and leaves the gradients as they are. */
LURN_API LURN_CHECKED lurn_status lurn_clip_grad_norm(lurn_ctx *ctx, lurn_tensor *const *params, int64_t n,
                                                      double max_norm, double *total);
LURN_API LURN_CHECKED lurn_status lurn_clip_grad_value(lurn_ctx *ctx, lurn_tensor *const *params, int64_t n,
                                                       double max_value);

/* ---- Files ------------------------------------------------------------------------------------------------- */

/* Writes safetensors: temporary file beside it, fsync, rename, fsync of the directory.  Tensors of any strides; names in the
 * given order.  metadata is pairs of strings (key, value).  Only a regular file is replaced, and keeps its permissions; a symbolic
 * link stays and the file it leads to is replaced, other hard links keep the old one.  After an error what path named before is
 * whole and the temporary file gone; only when the last step failed, telling the disk of the rename, the new file is in place
 * already, and LURN_EIO means that a power cut could bring the old one back: saving again is always right.  A process that is
 * killed meanwhile leaves the temporary file, whose name is .lurn-*.tmp. */
LURN_API LURN_CHECKED lurn_status lurn_save(lurn_ctx *ctx, const char *path, const char *const *names,
                                            lurn_tensor *const *tensors, int64_t n, const char *const *metadata,
                                            int64_t n_metadata);

/* A safetensors file that was read and checked.  F16 and BF16 become float32. */
typedef struct lurn_archive lurn_archive;
LURN_API LURN_CHECKED lurn_status lurn_archive_open(lurn_ctx *ctx, const char *path, lurn_archive **out);
/* The same from memory that holds the whole file, of any alignment, which must stay as it is until the archive is closed: it is read,
 * not copied.  name stands for the path in messages. */
LURN_API LURN_CHECKED lurn_status lurn_archive_open_memory(lurn_ctx *ctx, const char *name, const void *p, size_t bytes,
                                                           lurn_archive **out);
LURN_API void lurn_archive_close(lurn_archive *archive);
LURN_API int64_t lurn_archive_count(const lurn_archive *archive);
LURN_API const char *lurn_archive_name(const lurn_archive *archive, int64_t i);  /* NULL when out of range */
LURN_API const char *lurn_archive_dtype(const lurn_archive *archive, int64_t i); /* as the file says: "BF16" */
LURN_API int lurn_archive_ndim(const lurn_archive *archive, int64_t i);
LURN_API const int64_t *lurn_archive_shape(const lurn_archive *archive, int64_t i);
/* Position of a name, or -1. */
LURN_API int64_t lurn_archive_find(const lurn_archive *archive, const char *name);
LURN_API LURN_CHECKED lurn_status lurn_archive_tensor(lurn_archive *archive, int64_t i, lurn_tensor **out);
LURN_API int64_t lurn_archive_metadata_count(const lurn_archive *archive);
LURN_API const char *lurn_archive_metadata_key(const lurn_archive *archive, int64_t i);
LURN_API const char *lurn_archive_metadata_value(const lurn_archive *archive, int64_t i);

#ifdef __cplusplus
}
#endif

#endif
