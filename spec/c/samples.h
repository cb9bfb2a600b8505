/* Arguments for every op of the registry, from one line of text per call.
 *
 * One word per parameter, outputs left out:
 *   tensor   dtype (f d l i u b), sizes joined by x, then flags after ":", as in f3x4:t or l5:<4; - for none; a list joined by ;
 *            t memory in the opposite order, s every second element, e expanded along the first dimension, w weak, n without gradient,
 *            <k positions of k elements, =k all of them k
 *   sizes    joined by a comma, . for none        record   r or -        anything else   a number
 */
#ifndef LURN_SPEC_SAMPLES_H
#define LURN_SPEC_SAMPLES_H

#include "ops/op.h"

#include "harness.h"

static const struct {
  const char *name, *words;
} samples[] = {
    {"masked_fill", "f3x4:t b4 d:w"},
    {"masked_fill", "d3x4 b3x4 d"},
    {"where", "b3x4 f3x4:t d4"},
    {"where", "b3x1 f4 d:w"},
    {"view", "f3x4 2,6"},
    {"reshape", "d3x4:t 2,-1"},
    {"permute", "f2x3x4 2,0,1"},
    {"narrow", "f3x4:t 0 1 2"},
    {"slice", "d5x4:t 0 1 -1 2"},
    {"select", "d3x4:t 1 1"},
    {"expand", "f3x1 2,3,4"},
    {"squeeze", "f3x1x2:t 1"},
    {"diagonal", "f3x4:t 0 0 1"},
    {"diagonal", "d2x3x4 1 1 2"},
    {"diag", "f4:s 1"},
    {"diag", "d3x4:t 0"},
    {"cat", "f3x4;d3x4:t 0"},
    {"cat", "f2x3;f4x3:s 0"},
    {"cat", "f2;f2;f2:s;f2;f2;f2;f2;f2;d2;f2;f2;f2;f2;f2 0"},
    {"stack", "f3x4;f3x4:t -1"},
    {"stack", "d2;l2;f2:s 0"},
    {"index_select", "f3x4:t 0 l5:<3 0"},
    {"index_select", "d3x4 -1 i2:<4 1"},
    {"gather", "f3x4 1 l3x2:<4 0"},
    {"gather", "d3x4:t 0 i2x4:t<3 1"},
    {"index", "f3x4:t 0 l2x2:<3;l2:<4 0"},
    {"index", "d3x4 1 i3:<4 1"},
    {"index", "f3x4 0 b3 0"},
    {"index_put", "f3x4 0 l2:<3 f2x4 0"},
    {"index_put", "d3x4:t 0 l2:<3;i2:<4 f2:s 1"},
    {"index_put", "f3x4 0 l2:<3 d:w 0"},
    {"index_put", "d3x4 0 b3x4 d:w 0"},
    {"index_copy", "f3x4 0 l2:<3 f2x4 0"},
    {"index_copy", "d3x4:t 1 i2:<4 d3x2:t 1"},
    {"index_fill", "f3x4 0 l2:<3 d:w 0"},
    {"index_fill", "d3x4:t 1 i2:<4 d 1"},
    {"index_add", "f3x4 0 l4:<3 f4x4:t 0.5 0"},
    {"index_add", "d3x4:t 1 i2:<4 d3x2:s 1 1"},
    {"masked_select", "f3x4:t b3x4"},
    {"masked_select", "d3x4 b4"},
    {"masked_scatter", "f3x4 b3x4 f12"},
    {"masked_scatter", "d3x4:t b4 d12:s"},
    {"scatter", "f3x4 1 l3x2:<4 f3x2:t 0"},
    {"scatter", "d3x4:t 0 i2x4:<3 d:w 1"},
    {"scatter_add", "f3x4 1 l3x2:<4 f3x2:t 0"},
    {"scatter_add", "d3x4:t 0 i2x4:t<3 d2x4 1"},
    {"one_hot", "l3:<4 5 0"},
    {"one_hot", "i2x3:t<4 -1 1"},
    {"repeat_interleave", "f3x4:t l:=2 0"},
    {"repeat_interleave", "d3x4 l3:<3 0"},
    {"topk", "f3x4:t 2 -1 1 1 0"},
    {"topk", "d3x4 2 0 0 1 1"},
    {"topk", "l3x4 2 0 1 0 0"},
    {"multinomial", "d2x4:t 2 0 0"},
    {"multinomial", "f4:s 6 1 1"},
    {"searchsorted", "f5:=1 f3x4:t 0 0"},
    {"searchsorted", "l5:=2 d:w 1 1"},
    {"searchsorted", "d5:s=1 f2x3 0 1"},
    {"matmul", "f3x4 f4x5"},
    {"matmul", "d2x3x4:t d4x5"},
    {"matmul", "f2x3x4 f2x4x5:s"},
    {"matmul", "f2x1x3x4 f3x4x2:t"},
    {"matmul", "f4:s f4"},
    {"matmul", "f3x4:t f4"},
    {"matmul", "d4 d2x4x3"},
    {"matmul", "f3x4:e f4x5"},
    {"linear", "f3x4 f5x4 f5"},
    {"linear", "d2x3x4:t d5x4:t -"},
    {"linear", "f4 f5x4 f5:s"},
    {"embedding", "l2x3:t<5 f5x4 0"},
    {"embedding", "i3:<5 d5x4:t 1"},
    {"layer_norm", "f3x4:t f4 f4 1e-5 1"},
    {"layer_norm", "d2x3x4 - - 1e-5 2"},
    {"layer_norm", "f3x4 f4:s - 1e-5 1"},
    {"cross_entropy", "f3x4 l3:<4 - -100 0 1 0"},
    {"cross_entropy", "d3x4:t i3:<4 d4:n -100 0.1 2 1"},
    {"cross_entropy", "f2x3x4 l2x3:t<4 f4:ns -100 0.1 0 0"},
    {"nll_loss", "f3x4 l3:<4 - -100 1 0"},
    {"nll_loss", "d3x4:t i3:<4 d4:n -100 2 1"},
    {"nll_loss", "f2x3x4 l2x3:t<4 f4:ns -100 0 0"},
    {"mse_loss", "f3x4 f3x4:t 1"},
    {"mse_loss", "d3x4 d3x4:s 0"},
    {"l1_loss", "f3x4 f3x4:t 2"},
    {"l1_loss", "d3x4 d3x4:s 0"},
    {"smooth_l1_loss", "f3x4 f3x4:t 1 0.5"},
    {"smooth_l1_loss", "d3x4 d3x4:s 0 1"},
    {"binary_cross_entropy_with_logits", "f3x4 f3x4:t - - 1"},
    {"binary_cross_entropy_with_logits", "d3x4:t d3x4 d4:n d4:ns 0"},
    {"binary_cross_entropy_with_logits", "f3x4 f3x4 f3x4:n - 2"},
    {"binary_cross_entropy_with_logits", "f3x4 f3x4 - f4 2"},
    {"ctc_loss", "f5x2x4 l2x2:<3 l2:=5 l2:=2 4 1 0 1"},
    {"ctc_loss", "d5x2x4:t i2x2:t<3 i2:=5 l2:=2 4 2 1 1"},
    {"ctc_loss", "f5x2x4 l2x2:<3 l2:=5 l2:=2 4 0 0 1"},
    {"rnn", "f5x3x4 f2x4 f2x2 f2 f2 f3x2 l3:<5 0 0 r"},
    {"rnn", "d5x3x4:t d2x4:t d2x2:t - - - - 1 1 -"},
    {"rnn", "f5x3x4:s f2x4 f2x2 f2:s - - - 2 0 -"},
    {"gru", "f5x3x4 f6x4 f6x2 f6 f6 f3x2 l3:<5 0 r"},
    {"gru", "d5x3x4:t d6x4:t d6x2:t - - - - 1 -"},
    {"gru", "f5x3x4:s f6x4 f6x2 f6:s - - - 0 -"},
    {"lstm", "f5x3x4 f8x4 f8x2 f8 f8 f3x2 f3x2 l3:<5 - - - - 0 0 r"},
    {"lstm", "d5x3x4:t d8x4:t d8x2:t - - - - - - d2 d2:s d2 0 1 -"},
    {"lstm", "f5x3x4 f8x4 f8x3 f8:s - f3x3:t f3x2 - f3x2 - - - 0 0 -"},
    {"pad", "f3x4:t 0 1 2 0.5"},
    {"tile", "f3x4:t 2,1"},
    {"tile", "d3:s 2,2"},
    {"norm", "f3x4:t 1 1 0"},
    {"norm", "d3x4 inf . 0"},
    {"norm", "f3x4 3 0 1"},
    {"prod", "f3x4:t 0,1 1"},
    {"dot", "f4 f4:s"},
    {"outer", "f3 d4:s"},
    {"addmm", "f3x5 f3x4 f4x5:t 1 0.5"},
    {"addmm", "d5 d3x4:t d4x5 1 1"},
    {NULL, NULL},
};

/* Calls beside those above, or beside the generic ones, for paths of their own. */
static const struct {
  const char *name, *words;
} further[] = {
    {"pow", "f3x4 d:w=2"},
    {"pow", "d3x4:t l:w=2"},
    {"pow", "f3x4:n d3x4"},
    {"sub", "d3x4:n d4"},
    {"mul", "f3x4:n f4"},
    {"div", "f3x4:n f4"},
    {"remainder", "f3x4:n f4"},
    {"maximum", "f3x4:n d4"},
    {"atan2", "u3x4 f4"},
    {"atan2", "f3x4 i4:s"},
    {"softplus", "f3x4:t 2 0.5"},
    {"softplus", "d3x4 3 20"},
    {"softplus", "l3x4:t 1 20"},
    {"median", "f 0 0 0"},
    {"median", "d3x4:t 1 1 1"},
    {"prod", "f2x3x4:t 0,2 0"},
    {"prod", "d3x4:t 0 1"},
    {"logsumexp", "f2x3x4 1 1"},
    {"lerp", "f3x4:t f4 f3x4"},
    {"lerp", "f3x4 d4 d:w=1"},
    {"where", "f3x4 d4 f3x4:t"},
    {"where", "b3x4 d3x4:n f4:s"},
    {"masked_fill", "f1x4 b3x4 d"},
    {"masked_fill", "f3x4:n b4 f"},
    {"index_put", "d3x4 0 b3x4 d 0"},
    {"index_put", "f3x4:n 0 l2:<3 f2x4 0"},
    {"index_put", "f3x4:n 0 b3x4 d 0"},
    {"index_add", "l3x4 0 l4:<3 l4x4 2 0"},
    {"masked_scatter", "f3x4 b3x4 d12:s"},
    {"scatter_add", "f3x4:n 1 l3x2:<4 f3x2 0"},
    {"repeat_interleave", "f3x4 i3:<3 0"},
    {"matmul", "f3x4 d4x5:t"},
    {"matmul", "d3x4 f4x5:n"},
    {"matmul", "f3x4:n f4x5"},
    {"matmul", "f3x4 f4x5:n"},
    {"layer_norm", "f3x4 f4:n f4:s 1e-5 1"},
    {"mse_loss", "f3x4:n d3x4 1"},
    {"mse_loss", "f3x4 d3x4 2"},
    {"l1_loss", "f3x4:n d3x4:t 1"},
    {"l1_loss", "f3x4 d3x4 1"},
    {"smooth_l1_loss", "f3x4:t d3x4 1 0"},
    {"binary_cross_entropy_with_logits", "f3x4 f3x4:n f4 f4 1"},
    {"binary_cross_entropy_with_logits", "f3x4:n f3x4 d4 - 1"},
    {"rnn", "f5x3x4 f2x4 f2x2 f2:s f2:s f3x2:s - 0 0 -"},
    {"lstm", "f5x3x4 f8x4 f8x2 f8 f8:s f3x2:s f3x2:s - - - - - 0 0 -"},
    {"dot", "f4:t d4:s"},
    {"addmm", "f1x5:s f3x4:n f4x5 2 1"},
    {"addmm", "d5:n d3x4 d4x5:n 2 3"},
    {"addmm", "f f3x4 f4x5:s 0 0.5"},
    {"cdist", "f3x4:t f5x4:s 2"},
    {"cdist", "d2x1x3x4 f2x5x4 3"},
    {"cdist", "f2x16x8:n f17x8:s 2"},
    {NULL, NULL},
};

/* Arguments of their own for ops whose shapes depend on each other; the others take what their kinds of parameters ask for. */
static inline bool has_samples(const char *name) {
  for (int i = 0; samples[i].name != NULL; i++)
    if (strcmp(samples[i].name, name) == 0) return true;
  return false;
}

enum { GENERIC = 6, WORDS = 256 };

static inline void add_word(char *words, const char *word) {
  if (*words != 0) strncat(words, " ", WORDS - strlen(words) - 1);
  strncat(words, word, WORDS - strlen(words) - 1);
}

static inline void add_number(char *words, double x) {
  char word[32];
  snprintf(word, sizeof word, "%g", x);
  add_word(words, word);
}

/* Number v of the generic calls: dtypes and layouts mixed, with and without broadcasting. */
static inline void generic_words(const lurn_op_info *op, int v, char words[WORDS]) {
  static const char *const first[] = {"f3x4", "d3x4:t", "f3x4:s", "l3x4:t", "d3x1", "b3x4"};
  static const char *const other[] = {"f3x4:t", "d3x4", "d4:s", "i3x4", "f3x4:e", "b4"};
  static const char *const number[] = {"d:w", "f3x4:s", "d4", "l:w", "f4:s", "b3x4"};
  static const char *const dims[] = {".", "1", "0", "-1", "0,1", "."};
  *words = 0;
  for (int i = 0; i < op->n_params; i++) {
    const lurn_param *param = &op->params[i];
    switch (param->kind) {
      case LURN_PARAM_TENSOR: add_word(words, i == 0 ? first[v] : other[v]); break;
      case LURN_PARAM_SCALAR: add_word(words, i == 0 ? first[v] : number[v]); break;
      case LURN_PARAM_OPTIONAL:
      case LURN_PARAM_RECORD: add_word(words, "-"); break;
      case LURN_PARAM_LIST: add_word(words, other[v]); break;
      case LURN_PARAM_DIMS:
      case LURN_PARAM_SIZES: add_word(words, dims[v]); break;
      case LURN_PARAM_DIM: add_number(words, param->required ? (v % 2 == 0 ? 0 : -1) : param->preset); break;
      case LURN_PARAM_FLAG: add_number(words, v % 2); break;
      case LURN_PARAM_BASE: add_number(words, v % 2); break;
      case LURN_PARAM_CHOICE: add_number(words, v % 2); break;
      case LURN_PARAM_DTYPE: add_number(words, v % 2 ? LURN_FLOAT32 : LURN_FLOAT64); break;
      case LURN_PARAM_OUTPUT: break;
      default: add_number(words, param->required ? 1 : param->preset); break;
    }
  }
}

/* ---- Tensors ----------------------------------------------------------------------------------------------- */

static inline void fill_sample(lurn_tensor *t, int64_t n, int seed, int64_t low, int64_t range, const int64_t *all) {
  void *data = lurn_tensor_data(t);
  for (int64_t i = 0; i < n; i++) {
    int64_t whole = all != NULL ? *all : range > 0 ? low + (i * 5 + seed) % range : 1 + (i * 7 + seed) % 5;
    double real = all != NULL ? (double)*all : 0.13 + 0.17 * (double)((i * 7 + (int64_t)seed * 5) % 11);
    switch (t->dtype) {
      case LURN_FLOAT32: ((float *)data)[i] = (float)real; break;
      case LURN_FLOAT64: ((double *)data)[i] = real; break;
      case LURN_INT64: ((int64_t *)data)[i] = whole; break;
      case LURN_INT32: ((int32_t *)data)[i] = (int32_t)whole; break;
      case LURN_UINT8: ((uint8_t *)data)[i] = (uint8_t)whole; break;
      default: ((uint8_t *)data)[i] = i % 3 != 1; break;
    }
  }
}

static inline lurn_dtype sample_dtype(char letter) {
  switch (letter) {
    case 'f': return LURN_FLOAT32;
    case 'd': return LURN_FLOAT64;
    case 'l': return LURN_INT64;
    case 'i': return LURN_INT32;
    case 'u': return LURN_UINT8;
    default: return LURN_BOOL;
  }
}

/* Memory as the layout asks for it, seen with the sizes; takes over nothing. */
static inline lurn_tensor *laid_out(lurn_ctx *ctx, lurn_dtype dtype, int ndim, const int64_t *size, const char *flags,
                                    lurn_tensor **base) {
  int64_t there[LURN_MAX_DIMS + 1], order[LURN_MAX_DIMS];
  bool opposite = strchr(flags, 't') != NULL, second = strchr(flags, 's') != NULL, wide = strchr(flags, 'e') != NULL;
  lurn_tensor *t = NULL;
  lurn_status status;
  for (int d = 0; d < ndim; d++) {
    order[d] = ndim - 1 - d;
    there[d] = opposite ? size[ndim - 1 - d] : wide && d == 0 ? 1 : size[d];
  }
  there[ndim] = 2;
  if (lurn_empty(ctx, dtype, ndim + second, there, base) != LURN_OK) abort();
  if (opposite) status = lurn_permute(ctx, *base, order, ndim, &t);
  else if (second) status = lurn_select(ctx, *base, ndim, 1, &t);
  else if (wide) status = lurn_expand(ctx, *base, size, ndim, &t);
  else {
    t = lurn_retain(*base);
    status = LURN_OK;
  }
  if (status != LURN_OK) abort();
  return t;
}

/* A tensor from its word, up to the end or the next tensor of a list; positions count from base. */
static inline lurn_tensor *sample_tensor(lurn_ctx *ctx, const char *word, int seed, int64_t base, bool *no_grad) {
  int64_t size[LURN_MAX_DIMS], all, range = 0;
  char flags[16] = {0};
  const int64_t *same = NULL;
  const char *at = word + 1;
  char *end;
  int ndim = 0;
  while (*at >= '0' && *at <= '9') {
    size[ndim++] = strtol(at, &end, 10);
    at = *end == 'x' ? end + 1 : end;
  }
  if (*at == ':') at++;
  for (int i = 0; *at >= 'a' && *at <= 'z'; i++) flags[i] = *at++;
  if (*at == '<') range = strtol(at + 1, NULL, 10);
  if (*at == '=') {
    all = strtol(at + 1, NULL, 10);
    same = &all;
  }
  lurn_tensor *memory_of = NULL, *t = laid_out(ctx, sample_dtype(*word), ndim, size, flags, &memory_of);
  fill_sample(memory_of, lurn_tensor_numel(memory_of), seed, base, range, same);
  lurn_release(memory_of);
  t->weak = strchr(flags, 'w') != NULL;
  if (no_grad != NULL) *no_grad = t->weak || strchr(flags, 'n') != NULL;
  return t;
}

/* ---- From words to arguments ------------------------------------------------------------------------------- */

enum { TENSORS = 20, PARAMS = 18, NUMBERS = 10 };

typedef struct arguments {
  lurn_tensor *in[TENSORS]; /* owned */
  bool no_grad[TENSORS];
  int n_in, record_at; /* parameter that is a record, -1: none */
  int64_t base, numbers[PARAMS][NUMBERS];
  _Alignas(LURN_ARG_STRIDE) char args[PARAMS * LURN_ARG_STRIDE];
} arguments;

static inline const char *word_at(const char *words, int i) {
  for (; i > 0 && words != NULL; i--) words = strchr(words, ' ') == NULL ? NULL : strchr(words, ' ') + 1;
  if (words == NULL) abort();
  return words;
}

static inline lurn_tensor *add_tensor(lurn_ctx *ctx, arguments *a, const char *word) {
  lurn_tensor *t = *word == '-' ? NULL : sample_tensor(ctx, word, a->n_in, a->base, &a->no_grad[a->n_in]);
  return a->in[a->n_in++] = t;
}

static inline lurn_list add_list(lurn_ctx *ctx, arguments *a, const char *word) {
  lurn_list list = {.items = &a->in[a->n_in]};
  for (bool more = *word != '.'; more; list.count++) {
    size_t length = strcspn(word, "; ");
    add_tensor(ctx, a, word);
    more = word[length] == ';';
    word += length + 1;
  }
  return list;
}

static inline lurn_ints add_numbers(arguments *a, int i, const char *word) {
  lurn_ints ints = {.values = a->numbers[i]};
  char *end;
  for (bool more = *word != '.'; more; ints.count++) {
    a->numbers[i][ints.count] = strtoll(word, &end, 10);
    more = *end == ',';
    word = end + 1;
  }
  return ints;
}

static inline void fill_arguments(lurn_ctx *ctx, const lurn_op_info *op, const char *words, arguments *a) {
  bool grad = lurn_set_grad_enabled(ctx, false);
  a->n_in = 0;
  a->record_at = -1;
  for (int i = 0; i < op->n_params; i++)
    if (op->params[i].kind == LURN_PARAM_BASE) a->base = strtol(word_at(words, i), NULL, 10);
  for (int i = 0; i < op->n_params; i++) {
    if (op->params[i].kind == LURN_PARAM_OUTPUT) continue;
    void *value = a->args + (size_t)i * LURN_ARG_STRIDE;
    const char *word = word_at(words, i);
    switch (op->params[i].kind) {
      case LURN_PARAM_TENSOR:
      case LURN_PARAM_SCALAR:
      case LURN_PARAM_OPTIONAL: *(lurn_tensor **)value = add_tensor(ctx, a, word); break;
      case LURN_PARAM_LIST: *(lurn_list *)value = add_list(ctx, a, word); break;
      case LURN_PARAM_DIMS:
      case LURN_PARAM_SIZES: *(lurn_ints *)value = add_numbers(a, i, word); break;
      case LURN_PARAM_REAL: *(double *)value = strtod(word, NULL); break;
      case LURN_PARAM_FLAG: *(bool *)value = *word != '0'; break;
      case LURN_PARAM_RECORD: a->record_at = *word == 'r' ? i : -1; break;
      default: *(int64_t *)value = strtoll(word, NULL, 10); break;
    }
  }
  lurn_set_grad_enabled(ctx, grad);
}

#endif
