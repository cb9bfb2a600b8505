/* From bytes to steps.  Ops come from the registry; arguments are made to fit most of the time, by patterns of shapes for ops
 * whose tensors depend on each other, else by their kind. */
#include <math.h>
#include <string.h>

#include "program.h"

unsigned take(bytes *b, unsigned below) {
  if (b->left == 0 || below == 0) return 0;
  b->left--;
  return *b->data++ % below;
}

/* ---- Patterns ---------------------------------------------------------------------------------------------- */

enum { PATTERN = 12 };
/* The dimension that a pattern is for, how many tensors its list has, and what its first flag has to be. */
enum { LAST_DIM = 1, FIRST_DIM = 2, SECOND_DIM = 3, LIST_1 = 4, LIST_2 = 8, FLAG_OFF = 16, FLAG_ON = 32 };
enum { ITS_DIM = 3, ITS_LIST = 12, ITS_FLAG = 48 };

/* Per tensor "KIND:SHAPE": f one float dtype, p floats above 0, s in rising order, iX integers of base..base+X-1, lX integers of 0..X,
 * m bool, b bool or uint8, . any; + before it: never absent; - alone: absent.  A shape is letters that stand for sizes, 4H for a multiple,
 * * for any dimensions in front. */
typedef struct pattern {
  const char *name;
  unsigned hints;
  const char *tensor[PATTERN];
} pattern;

static const pattern patterns[] = {
    {"matmul", 0, {"f:*mk", "f:kn"}},
    {"matmul", 0, {"f:*mk", "f:*kn"}},
    {"matmul", 0, {"f:*k", "f:k"}},
    {"linear", 0, {"f:*D", "f:CD", "f:C"}},
    {"embedding", 0, {"iC:*", "f:CD"}},
    {"layer_norm", 0, {"f:*D", "f:D", "f:D"}},
    {"cross_entropy", 0, {"f:*C", "iC:*", "f:C"}},
    {"nll_loss", 0, {"f:*C", "iC:*", "f:C"}},
    {"mse_loss", 0, {"f:*", "f:*"}},
    {"l1_loss", 0, {"f:*", "f:*"}},
    {"smooth_l1_loss", 0, {"f:*", "f:*"}},
    {"binary_cross_entropy_with_logits", 0, {"f:*", "f:*", "f:*", "f:*"}},
    {"binary_cross_entropy_with_logits", 0, {"f:*k", "f:*k", "f:k", "f:k"}},
    {"ctc_loss", 0, {"f:TNC", "iC:NS", "lT:N", "lS:N"}},
    {"ctc_loss", 0, {"f:TNC", "iC:N", "lT:N", "lO:N"}},
    {"rnn", 0, {"f:TND", "f:HD", "f:HH", "f:H", "f:H", "f:NH", "lT:N"}},
    {"gru", 0, {"f:TND", "f:3HD", "f:3HH", "f:3H", "f:3H", "f:NH", "lT:N"}},
    {"lstm", FLAG_OFF, {"f:TND", "f:4HD", "f:4HH", "f:4H", "f:4H", "f:NH", "f:NH", "lT:N", "-", "-", "-", "-"}},
    {"lstm", FLAG_OFF, {"f:TND", "f:4HD", "f:4HH", "f:4H", "f:4H", "f:NH", "f:NH", "lT:N", "-", "f:H", "f:H", "f:H"}},
    {"lstm",
     FLAG_OFF,
     {"f:TND", "f:4HD", "f:4HP", "f:4H", "f:4H", "f:NP", "f:NH", "lT:N", "+f:PH", "f:H", "f:H", "f:H"}},
    {"lstm", FLAG_ON, {"f:TND", "f:3HD", "f:3HH", "f:3H", "f:3H", "f:NH", "f:NH", "lT:N", "-", "-", "f:H", "f:H"}},
    {"lstm", FLAG_ON, {"f:TND", "f:3HD", "f:3HP", "f:3H", "f:3H", "f:NP", "f:NH", "lT:N", "+f:PH", "-", "f:H", "f:H"}},
    {"index_select", LAST_DIM, {".:*C", "iC:k"}},
    {"index_select", SECOND_DIM, {".:aCb", "iC:k"}},
    {"gather", LAST_DIM, {".:*C", "iC:*k"}},
    {"gather", SECOND_DIM, {".:aCb", "iC:akb"}},
    {"index", LIST_1 | SECOND_DIM, {".:aCb", "iC:jk"}},
    {"index", LIST_1 | LAST_DIM, {".:*C", "iC:k"}},
    {"index", LIST_2 | FIRST_DIM, {".:ABc", "iA:jk", "iB:k"}},
    {"index", LIST_1 | FIRST_DIM, {".:abc", "m:ab"}},
    {"index", LIST_2 | SECOND_DIM, {".:abCd", "m:b", "iC:"}},
    {"index_put", LIST_1 | SECOND_DIM, {".:aCb", "iC:k", ".:akb"}},
    {"index_put", LIST_2 | FIRST_DIM, {".:ABc", "iA:jk", "iB:k", ".:jkc"}},
    {"index_put", LIST_1 | LAST_DIM, {".:*C", "iC:k", ".:k"}},
    {"index_put", LIST_1 | FIRST_DIM, {".:abc", "m:ab", ".:c"}},
    {"index_put", LIST_1 | SECOND_DIM, {".:abc", "m:b", ".:"}},
    {"index_copy", SECOND_DIM, {".:aCb", "iC:k", ".:akb"}},
    {"index_copy", LAST_DIM, {".:*C", "iC:k", ".:*k"}},
    {"index_fill", SECOND_DIM, {".:aCb", "iC:k", ".:"}},
    {"index_add", SECOND_DIM, {".:aCb", "iC:k", ".:akb"}},
    {"index_add", LAST_DIM, {".:*C", "iC:k", ".:*k"}},
    {"scatter", LAST_DIM, {".:*C", "iC:*k", ".:*k"}},
    {"scatter", SECOND_DIM, {".:aCb", "iC:akb", ".:akb"}},
    {"scatter", FIRST_DIM, {".:Ca", "iC:ka", ".:"}},
    {"scatter_add", LAST_DIM, {".:*C", "iC:*k", ".:*k"}},
    {"scatter_add", SECOND_DIM, {".:aCb", "iC:akb", ".:akb"}},
    {"masked_select", 0, {".:*", "m:*"}},
    {"masked_select", 0, {".:*k", "m:k"}},
    {"masked_scatter", 0, {".:*", "m:*", ".:*"}},
    {"masked_scatter", 0, {".:*k", "m:k", ".:*k"}},
    {"one_hot", 0, {"iC:*"}},
    {"repeat_interleave", SECOND_DIM, {".:aCb", "lR:C"}},
    {"repeat_interleave", LAST_DIM, {".:*C", "lR:"}},
    {"searchsorted", 0, {"s:n", ".:*"}},
    {"dot", 0, {"f:k", "f:k"}},
    {"outer", 0, {".:m", ".:n"}},
    {"addmm", 0, {"f:mn", "f:mk", "f:kn"}},
    {"cdist", 0, {"f:*PD", "f:*RD"}},
    {"cdist", 0, {"f:PD", "f:*RD"}},
    {"multinomial", 0, {"p:NC"}},
    {"multinomial", 0, {"p:C"}},
    {"diagonal", 0, {".:*mn"}},
    {"diag", 0, {".:n"}},
    {"diag", 0, {".:mn"}},
    {"tril", 0, {".:*mn"}},
    {"triu", 0, {".:*mn"}},
    {"lerp", 0, {"f:*k", "f:*k", "f:k"}},
    {"lerp", 0, {"f:*k", "f:k", "f:"}},
    {"where", 0, {"b:*", ".:*", ".:*"}},
    {"masked_fill", 0, {".:*", "b:*", ".:"}},
    {NULL, 0, {NULL}}};

typedef struct binding {
  int64_t letter[128]; /* -1: free */
  int star;            /* dimensions in front, -1: free */
  int64_t front[LURN_MAX_DIMS];
  int dtype; /* of the f tensors, -1: free */
} binding;

static void free_binding(binding *v) {
  for (int i = 0; i < 128; i++) v->letter[i] = -1;
  v->star = v->dtype = -1;
}

/* Next letter of a shape and what it is multiplied by. */
static const char *next_letter(const char *shape, int64_t *times) {
  *times = 1;
  if (*shape >= '0' && *shape <= '9') *times = *shape++ - '0';
  return shape;
}

static int letters(const char *shape) {
  int n = 0;
  for (; *shape != 0; shape++) n += *shape > '9';
  return n;
}

static bool matches(const char *shape, const lurn_tensor *t, binding *v) {
  binding trial = *v;
  const int64_t *size = lurn_tensor_shape(t);
  int ndim = lurn_tensor_ndim(t), fixed = letters(shape), d = 0;
  if (*shape == '*') {
    int front = ndim - fixed;
    if (front < 0 || (trial.star >= 0 && trial.star != front)) return false;
    for (; d < front; d++) {
      if (trial.star >= 0 && trial.front[d] != size[d]) return false;
      trial.front[d] = size[d];
    }
    trial.star = front;
    shape++;
  } else if (ndim != fixed) {
    return false;
  }
  for (int64_t times; *shape != 0; d++, shape++) {
    shape = next_letter(shape, &times);
    int64_t *bound = &trial.letter[(int)*shape];
    if (size[d] % times != 0 || (*bound >= 0 && *bound * times != size[d])) return false;
    *bound = size[d] / times;
  }
  *v = trial;
  return true;
}

/* Mostly small, now and then nothing or enough for vector loops. */
static int64_t random_size(bytes *b) {
  static const int64_t sizes[] = {1, 2, 3, 4, 5, 2, 3, 4, 1, 2, 3, 5, 0, 7, 17, 33};
  return sizes[take(b, 16)];
}

static void shape_of(bytes *b, const char *shape, binding *v, leaf *l) {
  l->ndim = 0;
  if (*shape == '*') {
    if (v->star < 0) {
      v->star = (int)take(b, 3);
      for (int d = 0; d < v->star; d++) v->front[d] = random_size(b);
    }
    for (int d = 0; d < v->star; d++) l->size[l->ndim++] = v->front[d];
    shape++;
  }
  for (int64_t times; *shape != 0; shape++) {
    shape = next_letter(shape, &times);
    int64_t *bound = &v->letter[(int)*shape];
    if (*bound < 0) *bound = random_size(b);
    l->size[l->ndim++] = *bound * times;
  }
}

/* ---- Leaves ------------------------------------------------------------------------------------------------ */

typedef bool run_now_fn(program *p, run *r, step *s);

typedef struct decoder {
  bytes *b;
  program *p;
  run *r;
  run_now_fn *run_now;
} decoder;

static step *new_step(decoder *d, step_kind kind) {
  if (d->p->n_steps == STEPS || d->p->n_slots + NAIVE_OUT > SLOTS) return NULL;
  step *s = &d->p->steps[d->p->n_steps];
  memset(s, 0, sizeof *s);
  s->kind = kind;
  return s;
}

/* Runs the leaf and returns its slot, -1 when there is no more room. */
static int add_leaf(decoder *d, const leaf *l) {
  step *s = new_step(d, STEP_LEAF);
  if (s == NULL) return -1;
  s->leaf = *l;
  s->slot[0] = d->p->n_slots++;
  d->p->n_steps++;
  return d->run_now(d->p, d->r, s) ? s->slot[0] : -1;
}

static void random_manner(decoder *d, leaf *l) {
  static const palette some[] = {EXTREME, SMOOTH, SMOOTH, POSITIVE, SMOOTH, TIES, SMOOTH, TIES};
  bytes *b = d->b;
  l->layout = (layout)take(b, LAYOUTS);
  l->palette = some[take(b, 8)];
  if (d->p->only_float64 && l->palette == EXTREME) l->palette = SMOOTH;
  l->seed = take(b, 256);
  l->needs_grad = take(b, 3) != 0;
}

static lurn_dtype random_dtype(decoder *d) {
  static const lurn_dtype some[] = {LURN_FLOAT32, LURN_FLOAT64, LURN_FLOAT64, LURN_FLOAT32, LURN_FLOAT64,
                                    LURN_FLOAT32, LURN_INT64,   LURN_INT32,   LURN_UINT8,   LURN_BOOL};
  lurn_dtype dtype = some[take(d->b, 10)];
  return d->p->only_float64 && naive_is_float(dtype) ? LURN_FLOAT64 : dtype;
}

static void keep_small(leaf *l) {
  int64_t n = 1;
  for (int d = 0; d < l->ndim; d++) {
    if (l->size[d] > 5 && n * l->size[d] > 3000) l->size[d] = 2;
    n *= l->size[d];
  }
}

static int any_leaf(decoder *d) {
  leaf l = {.dtype = random_dtype(d), .ndim = (int)take(d->b, 5)};
  for (int k = 0; k < l.ndim; k++) l.size[k] = random_size(d->b);
  keep_small(&l);
  if (l.ndim > 0 && take(d->b, 40) == 39) l.size[0] = 2048; /* more than one task for the threads */
  int64_t n = 1;
  for (int k = 0; k < l.ndim; k++) n *= l.size[k];
  if (n > 40000) l.size[0] = 2;
  random_manner(d, &l);
  return add_leaf(d, &l);
}

static int number_leaf(decoder *d) {
  leaf l = {.dtype = take(d->b, 2) ? LURN_FLOAT64 : LURN_INT64, .weak = true, .seed = take(d->b, 256)};
  l.palette = take(d->b, 8) == 7 ? EXTREME : TIES;
  return add_leaf(d, &l);
}

/* ---- Choosing tensors -------------------------------------------------------------------------------------- */

static int any_slot(decoder *d) {
  int start = (int)take(d->b, (unsigned)d->p->n_slots + 1);
  for (int i = 0; i < d->p->n_slots; i++) {
    int slot = (start + i) % d->p->n_slots;
    if (d->r->slot[slot] != NULL) return slot;
  }
  return any_leaf(d);
}

static bool dtype_fits(char kind, const lurn_tensor *t, const binding *v) {
  lurn_dtype dtype = lurn_tensor_dtype(t);
  if (kind == '.') return true;
  if (kind == 'm') return dtype == LURN_BOOL;
  if (kind == 'b') return dtype == LURN_BOOL || dtype == LURN_UINT8;
  return kind == 'f' && naive_is_float(dtype) && (v->dtype < 0 || v->dtype == (int)dtype);
}

static int fresh_for(decoder *d, const char *want, const char *shape, int64_t base, binding *v) {
  static const lurn_dtype whole[] = {LURN_INT64, LURN_INT64, LURN_INT32, LURN_UINT8};
  leaf l = {0};
  shape_of(d->b, shape, v, &l);
  random_manner(d, &l);
  l.dtype = *want == 'b' || *want == 'm' ? LURN_BOOL : random_dtype(d);
  if (*want == 'f')
    l.dtype = v->dtype >= 0 ? (lurn_dtype)v->dtype : take(d->b, 2) && !d->p->only_float64 ? LURN_FLOAT32 : LURN_FLOAT64;
  if (*want == 'p') {
    l.dtype = LURN_FLOAT64;
    l.palette = POSITIVE;
  }
  if (*want == 's') {
    if (l.dtype == LURN_BOOL) l.dtype = LURN_INT64;
    l.palette = RISING;
  }
  if (*want == 'i' || *want == 'l') {
    int64_t *bound = &v->letter[(int)want[1]];
    if (*bound < 0) *bound = random_size(d->b);
    l.dtype = whole[take(d->b, 4)];
    l.palette = RANGE;
    l.low = *want == 'i' ? base : 0;
    l.high = *want == 'i' ? base + (*bound > 0 ? *bound - 1 : 0) : *bound;
  }
  return add_leaf(d, &l);
}

static int slot_for(decoder *d, const char *want, int64_t base, binding *v) {
  const char *shape = strchr(want, ':') + 1;
  unsigned luck = take(d->b, 24);
  if (luck == 23) return any_slot(d); /* now and then what does not fit */
  for (int i = 0; i < 6 && luck > 8 && *want != 'i' && *want != 'l'; i++) {
    int slot = any_slot(d);
    lurn_tensor *t = slot < 0 ? NULL : d->r->slot[slot];
    if (t == NULL || !dtype_fits(*want, t, v) || !matches(shape, t, v)) continue;
    if (*want == 'f') v->dtype = (int)lurn_tensor_dtype(t);
    return slot;
  }
  int slot = fresh_for(d, want, shape, base, v);
  if (slot >= 0 && *want == 'f') v->dtype = (int)lurn_tensor_dtype(d->r->slot[slot]);
  return slot;
}

/* A tensor that broadcasts with t. */
static int partner(decoder *d, const lurn_tensor *t) {
  unsigned luck = take(d->b, 8);
  if (luck == 0) return any_slot(d);
  if (luck == 1) return number_leaf(d);
  for (int i = 0; i < 4 && luck > 4; i++) {
    int slot = any_slot(d);
    if (slot < 0) return -1;
    naive a = {.ndim = lurn_tensor_ndim(t)}, both, b = {.ndim = lurn_tensor_ndim(d->r->slot[slot])};
    memcpy(a.size, lurn_tensor_shape(t), sizeof a.size);
    memcpy(b.size, lurn_tensor_shape(d->r->slot[slot]), sizeof b.size);
    if (naive_broadcast(&a, &b, &both)) return slot;
  }
  leaf l = {.dtype = take(d->b, 3) ? lurn_tensor_dtype(t) : random_dtype(d)};
  int drop = (int)take(d->b, (unsigned)lurn_tensor_ndim(t) + 1) * (take(d->b, 2) == 1);
  for (int k = drop; k < lurn_tensor_ndim(t); k++) l.size[l.ndim++] = take(d->b, 4) == 3 ? 1 : lurn_tensor_shape(t)[k];
  random_manner(d, &l);
  return add_leaf(d, &l);
}

static const pattern *pattern_of(bytes *b, const char *op) {
  int first = -1, count = 0;
  for (int i = 0; patterns[i].name != NULL; i++)
    if (strcmp(patterns[i].name, op) == 0) {
      if (first < 0) first = i;
      count++;
    }
  return first < 0 ? NULL : &patterns[first + (int)take(b, (unsigned)count)];
}

enum { NO_ROOM = -2 };

/* The slot of the next tensor, -1 where it is left out. */
static int choose_tensor(decoder *d, const step *s, lurn_param_kind kind, const pattern *p, int64_t base, binding *v) {
  const char *want = p != NULL && s->n_in < PATTERN ? p->tensor[s->n_in] : NULL;
  lurn_tensor *first = s->n_in > 0 && s->in[0] >= 0 ? d->r->slot[s->in[0]] : NULL;
  bool given = want != NULL && *want == '+';
  int slot;
  if (kind == LURN_PARAM_OPTIONAL && !given && ((want != NULL && *want == '-') || take(d->b, 2) == 0)) return -1;
  if (want != NULL && kind == LURN_PARAM_SCALAR && take(d->b, 4) == 0) slot = number_leaf(d);
  else if (want != NULL) slot = slot_for(d, want + given, base, v);
  else if (kind == LURN_PARAM_SCALAR && first != NULL) slot = partner(d, first);
  else if (kind == LURN_PARAM_SCALAR && take(d->b, 12) == 0) slot = number_leaf(d);
  else slot = first == NULL || kind == LURN_PARAM_SCALAR ? any_slot(d) : slot_for(d, ".:*", base, v);
  if (slot < 0) return NO_ROOM;
  if (s->n_in == 0 && p == NULL) matches("*", d->r->slot[slot], v);
  return slot;
}

/* Fills in[]; false when there is no room. */
static bool choose_tensors(decoder *d, step *s, const pattern *p, int64_t base) {
  binding v;
  int list = p != NULL ? (int)(p->hints & ITS_LIST) / LIST_1 : 0;
  free_binding(&v);
  for (int i = 0; i < s->op->n_params; i++) {
    lurn_param_kind kind = s->op->params[i].kind;
    int repeat = 1;
    if (kind > LURN_PARAM_LIST) continue;
    if (kind == LURN_PARAM_LIST) s->list_count = repeat = list > 0 ? list : 1 + (int)take(d->b, 3);
    for (int k = 0; k < repeat; k++) {
      int slot = s->n_in < NAIVE_IN ? choose_tensor(d, s, kind, p, base, &v) : NO_ROOM;
      if (slot == NO_ROOM) return false;
      s->in[s->n_in++] = slot;
    }
  }
  return true;
}

/* ---- Choosing numbers -------------------------------------------------------------------------------------- */

static int64_t some_dim(bytes *b, int ndim) {
  int64_t n = ndim > 0 ? ndim : 1;
  return (int64_t)take(b, (unsigned)(2 * n)) - n + (take(b, 24) == 23 ? 2 * n : 0);
}

static void dims_for(bytes *b, step *s, int i, int ndim) {
  int order[LURN_MAX_DIMS], count = 0;
  for (int d = 0; d < ndim; d++) order[d] = d;
  for (int d = ndim - 1; d > 0; d--) {
    int k = (int)take(b, (unsigned)d + 1), swap = order[d];
    order[d] = order[k];
    order[k] = swap;
  }
  bool all = s->op->params[i].required;
  int want = all ? ndim : (int)take(b, (unsigned)ndim + 1);
  for (; count < want; count++) s->ints[i][count] = order[count] - (take(b, 3) == 2 ? ndim : 0);
  if (take(b, 24) == 23 && count < INTS) s->ints[i][count++] = some_dim(b, ndim);
  s->n_ints[i] = count;
}

static void sizes_for(bytes *b, step *s, int i, const lurn_tensor *x) {
  int ndim = x != NULL ? lurn_tensor_ndim(x) : 0, count = 0;
  int64_t left = x != NULL ? lurn_tensor_numel(x) : 1, *to = s->ints[i];
  if (strcmp(s->op->name, "expand") == 0) {
    for (int k = (int)take(b, 2); k > 0 && ndim < LURN_MAX_DIMS; k--) to[count++] = random_size(b) % 6;
    for (int d = 0; d < ndim; d++) {
      int64_t size = lurn_tensor_shape(x)[d];
      to[count++] = take(b, 5) == 4 ? -1 : size == 1 ? random_size(b) % 6 : size;
    }
  } else if (strcmp(s->op->name, "view") == 0 || strcmp(s->op->name, "reshape") == 0) {
    int open = (int)take(b, 8);
    for (int k = (int)take(b, 4); k > 0; k--) {
      int64_t f = 1 + (int64_t)take(b, 6);
      if (left == 0 || left % f != 0) continue;
      to[count++] = f;
      left /= f;
    }
    if (left != 1 || take(b, 2)) to[count++] = left;
    if (open < count) to[open] = -1;
  } else {
    for (int k = (int)take(b, 4); k > 0; k--) to[count++] = (int64_t)take(b, 4) - (take(b, 16) == 15);
  }
  s->n_ints[i] = count;
}

static double some_real(bytes *b, double preset) {
  static const double some[] = {0, 1, 2, 0.5, -1, 0.25, 1e-5, 3, 1.5, -0.5, INFINITY, -INFINITY, NAN, 1e-3, 10, 0.1};
  return take(b, 3) == 0 ? preset : some[take(b, 16)];
}

static int64_t some_int(bytes *b, unsigned below) {
  int64_t n = (int64_t)take(b, below);
  return take(b, 8) == 7 ? -1 - n / 2 : n;
}

/* What a pattern was made for, most of the time. */
static void suit_pattern(bytes *b, step *s, const pattern *p) {
  unsigned dim = p != NULL ? p->hints & ITS_DIM : 0, flag = p != NULL ? p->hints & ITS_FLAG : 0;
  if ((dim == 0 && flag == 0) || take(b, 24) == 23) return;
  for (int i = 0; i < s->op->n_params; i++) {
    lurn_param_kind kind = s->op->params[i].kind;
    if (kind == LURN_PARAM_DIM && dim != 0) s->number[i] = dim == LAST_DIM ? -1 : (int64_t)dim - FIRST_DIM;
    if (kind == LURN_PARAM_FLAG && flag != 0) {
      s->number[i] = flag == FLAG_ON;
      flag = 0;
    }
  }
}

static void choose_numbers(bytes *b, step *s, const lurn_tensor *x) {
  int ndim = x != NULL ? lurn_tensor_ndim(x) : 0;
  int64_t size = ndim > 0 ? lurn_tensor_shape(x)[take(b, (unsigned)ndim)] : 3;
  unsigned range = size < 200 ? (unsigned)size + 1 : 200;
  for (int i = 0; i < s->op->n_params; i++) {
    const lurn_param *param = &s->op->params[i];
    bool preset = !param->required && take(b, 2) == 0;
    switch (param->kind) {
      case LURN_PARAM_INT: s->number[i] = some_int(b, range + 1); break;
      case LURN_PARAM_REAL: s->real[i] = some_real(b, param->preset); break;
      case LURN_PARAM_FLAG: s->number[i] = take(b, 2); break;
      case LURN_PARAM_DIM: s->number[i] = some_dim(b, ndim); break;
      case LURN_PARAM_DIMS: dims_for(b, s, i, ndim); break;
      case LURN_PARAM_SIZES: sizes_for(b, s, i, x); break;
      case LURN_PARAM_POSITION: s->number[i] = (int64_t)take(b, 2 * range) - (int64_t)range; break;
      case LURN_PARAM_CHOICE: s->number[i] = (int64_t)take(b, 3) + (take(b, 64) == 63 ? 9 : 0); break;
      case LURN_PARAM_DTYPE: s->number[i] = (int64_t)take(b, LURN_DTYPE_COUNT) + (take(b, 64) == 63 ? 9 : 0); break;
      case LURN_PARAM_RECORD: s->record = take(b, 3) == 2; break;
      default: break;
    }
    if (preset && (param->kind == LURN_PARAM_INT || param->kind == LURN_PARAM_DIM || param->kind == LURN_PARAM_CHOICE))
      s->number[i] = (int64_t)param->preset;
  }
}

/* ---- Steps ------------------------------------------------------------------------------------------------- */

static int64_t choose_base(bytes *b, step *s) {
  int64_t base = 0;
  for (int i = 0; i < s->op->n_params; i++)
    if (s->op->params[i].kind == LURN_PARAM_BASE) s->number[i] = base = take(b, 2);
  return base;
}

bool decode_step(bytes *b, program *p, run *r, run_now_fn *run_now, step **out) {
  decoder d = {b, p, r, run_now};
  if (b->left == 0 || p->elements > MOST_ELEMENTS) return false;
  unsigned what = take(b, 16);
  if (what == 0) return any_leaf(&d) >= 0 && (*out = NULL, true);
  if (what == 1) {
    step *s = new_step(&d, STEP_DROP);
    if (s == NULL) return false;
    s->slot[0] = any_slot(&d);
    if (s->slot[0] < 0 || s != &p->steps[p->n_steps]) return s->slot[0] >= 0 && (*out = NULL, true);
    p->n_steps++;
    *out = s;
    return true;
  }
  step s = {.kind = STEP_OP, .op = lurn_op_at((int)take(b, (unsigned)lurn_op_count()))};
  s.inplace = s.op->has_inplace && take(b, 2);
  s.no_grad = take(b, 20) == 19 && !p->only_float64;
  int64_t base = choose_base(b, &s);
  const pattern *suited = pattern_of(b, s.op->name);
  if (!choose_tensors(&d, &s, suited, base)) return false;
  choose_numbers(b, &s, s.n_in > 0 && s.in[0] >= 0 ? r->slot[s.in[0]] : NULL);
  suit_pattern(b, &s, suited);
  step *kept = new_step(&d, STEP_OP);
  if (kept == NULL) return false;
  *kept = s;
  for (int k = 0; k < s.op->n_outputs && !s.inplace; k++) kept->slot[k] = p->n_slots++;
  p->n_steps++;
  *out = kept;
  return true;
}
