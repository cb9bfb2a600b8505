/* Sums of products that an equation describes, put together from recorded ops: permute, reshape, matmul, mul, sum, diagonal. */
#include <ctype.h>
#include <string.h>

#include "autograd/node.h"

/* Labels are numbers: A-Z, a-z, then the dimensions that an ellipsis stands for, of which the last is LABELS - 1. */
enum { LETTERS = 52, LABELS = LETTERS + LURN_MAX_DIMS, MAX_OPERANDS = 26 };

typedef struct operand {
  lurn_tensor *t; /* owned */
  int ndim, label[LURN_MAX_DIMS];
} operand;

typedef struct equation {
  lurn_ctx *ctx;
  operand operands[MAX_OPERANDS];
  int n;
  int64_t size[LABELS];       /* of those in use */
  int uses[LABELS], ellipsis; /* how often each label comes; most dimensions that an ellipsis stands for */
  int n_output, output[LABELS];
} equation;

/* ---- Reading ----------------------------------------------------------------------------------------------- */

/* A term as written: letters before and after an ellipsis. */
typedef struct term {
  const char *text;
  int length, n, ellipsis; /* characters; letters; letters before the ellipsis, or -1 */
  int letter[LETTERS];
} term;

static int label_of(char c) { return c <= 'Z' ? c - 'A' : c - 'a' + 26; }
static char letter_of(int label) { return (char)(label < 26 ? 'A' + label : 'a' + label - 26); }

static bool ends_term(const char *p) { return *p == '\0' || *p == ',' || (p[0] == '-' && p[1] == '>'); }

static lurn_status read_term(lurn_ctx *ctx, const char **at, term *out) {
  const char *p = *at;
  *out = (term){.text = p, .ellipsis = -1};
  for (; !ends_term(p); p++) {
    if (*p == ' ') continue;
    if (strncmp(p, "...", 3) == 0 && out->ellipsis < 0) {
      out->ellipsis = out->n;
      p += 2;
    } else if (isascii(*p) && isalpha((unsigned char)*p) && out->n < LETTERS) {
      out->letter[out->n++] = label_of(*p);
    } else {
      return lurn__fail(ctx, LURN_EVALUE, "einsum: \"%c\" in the equation; expected letters, \"...\", \",\" or \"->\"",
                        *p);
    }
  }
  out->length = (int)(p - out->text);
  *at = p;
  return LURN_OK;
}

/* Labels of a tensor's dimensions from a term; an ellipsis takes what is left. */
static lurn_status label_operand(equation *e, const term *t, int number, operand *o) {
  int hidden = o->t->shape.ndim - t->n, base = e->ctx->index_base, at = 0;
  if (hidden < 0 || (hidden > 0 && t->ellipsis < 0))
    return lurn__fail(e->ctx, LURN_ESHAPE, "einsum: operand %d has shape %s, but its term \"%.*s\" names %d dimensions",
                      number + base, LURN__SHAPE(o->t), t->length, t->text, t->n);
  for (int i = 0; i <= t->n; i++) {
    for (int k = 0; i == t->ellipsis && k < hidden; k++) o->label[at++] = LABELS - hidden + k;
    if (i < t->n) o->label[at++] = t->letter[i];
  }
  o->ndim = at;
  if (hidden > e->ellipsis) e->ellipsis = hidden;
  return LURN_OK;
}

/* Equal labels have equal sizes; 1 goes with any. */
static lurn_status note_sizes(equation *e, int number) {
  const operand *o = &e->operands[number];
  for (int i = 0; i < o->ndim; i++) {
    int label = o->label[i];
    int64_t size = o->t->shape.size[i], *known = &e->size[label];
    if (e->uses[label]++ == 0 || *known == 1) *known = size;
    if (size == *known || size == 1) continue;
    if (label >= LETTERS)
      return lurn__fail(e->ctx, LURN_ESHAPE, "einsum: operand %d has size %lld where another has %lld under \"...\"",
                        number + e->ctx->index_base, (long long)size, (long long)*known);
    return lurn__fail(e->ctx, LURN_ESHAPE, "einsum: \"%c\" has size %lld in operand %d and %lld in another",
                      letter_of(label), (long long)size, number + e->ctx->index_base, (long long)*known);
  }
  return LURN_OK;
}

static lurn_status read_inputs(equation *e, const char **at) {
  int terms = 0;
  for (;; (*at)++) {
    term t;
    LURN__TRY(read_term(e->ctx, at, &t));
    if (terms < e->n) {
      LURN__TRY(label_operand(e, &t, terms, &e->operands[terms]));
      LURN__TRY(note_sizes(e, terms));
    }
    terms++;
    if (**at != ',') break;
  }
  if (terms == e->n) return LURN_OK;
  return lurn__fail(e->ctx, LURN_EVALUE, "einsum: %d terms in the equation for %d tensors", terms, e->n);
}

static void put_ellipsis(equation *e) {
  for (int k = 0; k < e->ellipsis; k++) e->output[e->n_output++] = LABELS - e->ellipsis + k;
}

/* Without an output in the equation: the ellipsis, then what comes once, in the order of the alphabet. */
static void imply_output(equation *e) {
  put_ellipsis(e);
  for (int i = 0; i < LETTERS; i++)
    if (e->uses[i] == 1) e->output[e->n_output++] = i;
}

static lurn_status read_output(equation *e, const char *p) {
  bool seen[LETTERS] = {false};
  term t;
  if (*p == '\0') {
    imply_output(e);
    return LURN_OK;
  }
  p += 2;
  LURN__TRY(read_term(e->ctx, &p, &t));
  if (*p != '\0') return lurn__fail(e->ctx, LURN_EVALUE, "einsum: more follows the output \"%.*s\"", t.length, t.text);
  for (int i = 0; i <= t.n; i++) {
    if (i == t.ellipsis) put_ellipsis(e);
    if (i == t.n) break;
    if (e->uses[t.letter[i]] == 0)
      return lurn__fail(e->ctx, LURN_EVALUE, "einsum: \"%c\" of the output is in no input", letter_of(t.letter[i]));
    if (seen[t.letter[i]])
      return lurn__fail(e->ctx, LURN_EVALUE, "einsum: \"%c\" is in the output twice", letter_of(t.letter[i]));
    seen[t.letter[i]] = true;
    e->output[e->n_output++] = t.letter[i];
  }
  return LURN_OK;
}

/* ---- One operand ------------------------------------------------------------------------------------------- */

static int place_of(const operand *o, int label) {
  for (int i = 0; i < o->ndim; i++)
    if (o->label[i] == label) return i;
  return -1;
}

static void take(operand *o, lurn_tensor *t) {
  lurn_release(o->t);
  o->t = t;
}

/* A label that comes twice is the diagonal of its two dimensions. */
static lurn_status take_diagonals(lurn_ctx *ctx, operand *o, int number) {
  for (int i = 0; i < o->ndim; i++)
    for (int k = i + 1; k < o->ndim; k++) {
      int label = o->label[i];
      if (o->label[k] != label) continue;
      if (o->t->shape.size[i] != o->t->shape.size[k])
        return lurn__fail(ctx, LURN_ESHAPE, "einsum: \"%c\" names dimensions of sizes %lld and %lld of operand %d",
                          letter_of(label), (long long)o->t->shape.size[i], (long long)o->t->shape.size[k],
                          number + ctx->index_base);
      lurn_tensor *line;
      LURN__TRY(lurn_diagonal(ctx, o->t, 0, i, k, &line));
      take(o, line);
      int at = 0, former = o->ndim;
      for (int d = 0; d < former; d++)
        if (d != i && d != k) o->label[at++] = o->label[d];
      o->label[at++] = label;
      o->ndim = at;
      i = -1; /* places have moved: look again from the start */
      break;
    }
  return LURN_OK;
}

/* Sums over the dimensions whose labels are not to be kept. */
static lurn_status sum_rest(lurn_ctx *ctx, operand *o, const bool keep[LABELS]) {
  int64_t dims[LURN_MAX_DIMS];
  int n = 0, at = 0;
  for (int i = 0; i < o->ndim; i++) {
    if (keep[o->label[i]]) o->label[at++] = o->label[i];
    else dims[n++] = i;
  }
  if (n == 0) return LURN_OK;
  lurn_tensor *sum;
  LURN__TRY(lurn_sum(ctx, o->t, dims, n, false, &sum));
  take(o, sum);
  o->ndim = at;
  return LURN_OK;
}

static lurn_status reorder(lurn_ctx *ctx, operand *o, const int *labels, int n) {
  int64_t order[LURN_MAX_DIMS];
  lurn_tensor *moved;
  for (int i = 0; i < n; i++) order[i] = place_of(o, labels[i]);
  LURN__TRY(lurn_permute(ctx, o->t, order, n, &moved));
  take(o, moved);
  memcpy(o->label, labels, (size_t)n * sizeof *labels);
  return LURN_OK;
}

static lurn_status reshape(lurn_ctx *ctx, operand *o, const int64_t *sizes, int n) {
  lurn_tensor *shaped;
  LURN__TRY(lurn_reshape(ctx, o->t, sizes, n, &shaped));
  take(o, shaped);
  return LURN_OK;
}

/* Sizes of 1 stretched to those of the other operand, for labels that are summed by a matrix product. */
static lurn_status stretch(lurn_ctx *ctx, operand *o, const operand *other) {
  int64_t sizes[LURN_MAX_DIMS];
  bool same = true;
  for (int i = 0; i < o->ndim; i++) {
    int at = place_of(other, o->label[i]);
    sizes[i] = o->t->shape.size[i];
    if (at < 0 || sizes[i] != 1 || other->t->shape.size[at] == 1) continue;
    sizes[i] = other->t->shape.size[at];
    same = false;
  }
  if (same) return LURN_OK;
  lurn_tensor *wide;
  LURN__TRY(lurn_expand(ctx, o->t, sizes, o->ndim, &wide));
  take(o, wide);
  return LURN_OK;
}

/* ---- Two operands ------------------------------------------------------------------------------------------ */

/* Labels of a pair by where they stand: in both and kept, in both and summed, in one alone. */
typedef struct classes {
  int batch[LURN_MAX_DIMS], summed[LURN_MAX_DIMS], left[LURN_MAX_DIMS], right[LURN_MAX_DIMS];
  int n_batch, n_summed, n_left, n_right;
} classes;

static void classify(const operand *a, const operand *b, const bool keep[LABELS], classes *c) {
  *c = (classes){0};
  for (int i = 0; i < a->ndim; i++) {
    int label = a->label[i];
    if (place_of(b, label) < 0) c->left[c->n_left++] = label;
    else if (keep[label]) c->batch[c->n_batch++] = label;
    else c->summed[c->n_summed++] = label;
  }
  for (int i = 0; i < b->ndim; i++)
    if (place_of(a, b->label[i]) < 0) c->right[c->n_right++] = b->label[i];
}

static int append(int *to, int at, const int *labels, int n) {
  memcpy(to + at, labels, (size_t)n * sizeof *labels);
  return at + n;
}

static int64_t size_of(const operand *o, const int *labels, int n) {
  int64_t size = 1;
  for (int i = 0; i < n; i++) size *= o->t->shape.size[place_of(o, labels[i])];
  return size;
}

static lurn_status too_many(lurn_ctx *ctx, int n) {
  return lurn__fail(ctx, LURN_ESHAPE, "einsum: a product of %d dimensions; a tensor has at most %d", n, LURN_MAX_DIMS);
}

/* a and b as matrices, one for each combination of the batch labels. */
static lurn_status multiply_matrices(lurn_ctx *ctx, operand *a, operand *b, const classes *c) {
  int labels[LURN_MAX_DIMS], n, result[2 * LURN_MAX_DIMS], n_result;
  int64_t sizes[LURN_MAX_DIMS];
  n_result =
      append(result, append(result, append(result, 0, c->batch, c->n_batch), c->left, c->n_left), c->right, c->n_right);
  if (n_result > LURN_MAX_DIMS) return too_many(ctx, n_result);
  LURN__TRY(stretch(ctx, a, b));
  LURN__TRY(stretch(ctx, b, a));
  for (int i = 0; i < n_result; i++) {
    const operand *from = place_of(a, result[i]) >= 0 ? a : b;
    sizes[i] = from->t->shape.size[place_of(from, result[i])];
  }
  int64_t batch = size_of(a, c->batch, c->n_batch), k = size_of(a, c->summed, c->n_summed);
  int64_t rows = size_of(a, c->left, c->n_left), columns = size_of(b, c->right, c->n_right);
  n = append(labels, append(labels, append(labels, 0, c->batch, c->n_batch), c->left, c->n_left), c->summed,
             c->n_summed);
  LURN__TRY(reorder(ctx, a, labels, n));
  n = append(labels, append(labels, append(labels, 0, c->batch, c->n_batch), c->summed, c->n_summed), c->right,
             c->n_right);
  LURN__TRY(reorder(ctx, b, labels, n));
  int flat = c->n_batch > 0 ? 0 : 1; /* no batch: plain matrices */
  LURN__TRY(reshape(ctx, a, (int64_t[]){batch, rows, k} + flat, 3 - flat));
  LURN__TRY(reshape(ctx, b, (int64_t[]){batch, k, columns} + flat, 3 - flat));
  lurn_tensor *product;
  LURN__TRY(lurn_matmul(ctx, a->t, b->t, &product));
  take(a, product);
  a->ndim = append(a->label, 0, result, n_result);
  return reshape(ctx, a, sizes, n_result);
}

/* o seen with the labels in that order, those it lacks with size 1. */
static lurn_status align(lurn_ctx *ctx, operand *o, const int *labels, int n) {
  int own[LURN_MAX_DIMS], count = 0;
  int64_t sizes[LURN_MAX_DIMS];
  for (int i = 0; i < n; i++) {
    int at = place_of(o, labels[i]);
    sizes[i] = at >= 0 ? o->t->shape.size[at] : 1;
    if (at >= 0) own[count++] = labels[i];
  }
  LURN__TRY(reorder(ctx, o, own, count));
  return reshape(ctx, o, sizes, n);
}

/* Element by element over all labels, then the sums: where nothing is summed, and for what matmul does not take. */
static lurn_status multiply_elements(lurn_ctx *ctx, operand *a, operand *b, const classes *c, const bool keep[LABELS]) {
  int labels[2 * LURN_MAX_DIMS], n = append(labels, append(labels, 0, a->label, a->ndim), c->right, c->n_right);
  lurn_tensor *product;
  if (n > LURN_MAX_DIMS) return too_many(ctx, n);
  LURN__TRY(align(ctx, a, labels, n));
  LURN__TRY(align(ctx, b, labels, n));
  LURN__TRY(lurn_mul(ctx, a->t, b->t, &product));
  take(a, product);
  a->ndim = append(a->label, 0, labels, n);
  return sum_rest(ctx, a, keep);
}

/* a becomes the product of a and b, with only the labels to be kept. */
static lurn_status contract(lurn_ctx *ctx, operand *a, operand *b, const bool keep[LABELS]) {
  bool wanted[LABELS];
  classes c;
  for (int i = 0; i < LABELS; i++) wanted[i] = keep[i] || place_of(b, i) >= 0;
  LURN__TRY(sum_rest(ctx, a, wanted));
  for (int i = 0; i < LABELS; i++) wanted[i] = keep[i] || place_of(a, i) >= 0;
  LURN__TRY(sum_rest(ctx, b, wanted));
  classify(a, b, keep, &c);
  bool floats = lurn_dtype_is_float(a->t->dtype) && lurn_dtype_is_float(b->t->dtype);
  if (c.n_summed > 0 && floats) return multiply_matrices(ctx, a, b, &c);
  return multiply_elements(ctx, a, b, &c, keep);
}

/* ---- The whole --------------------------------------------------------------------------------------------- */

/* Labels that the output or an operand after number `last` has. */
static void labels_to_keep(const equation *e, int last, bool keep[LABELS]) {
  memset(keep, 0, LABELS * sizeof *keep);
  for (int i = 0; i < e->n_output; i++) keep[e->output[i]] = true;
  for (int k = last + 1; k < e->n; k++)
    for (int i = 0; i < e->operands[k].ndim; i++) keep[e->operands[k].label[i]] = true;
}

static lurn_status solve(equation *e, const char *text, lurn_tensor **out) {
  lurn_ctx *ctx = e->ctx;
  operand *first = &e->operands[0];
  bool keep[LABELS];
  LURN__TRY(read_inputs(e, &text));
  LURN__TRY(read_output(e, text));
  if (e->n_output > LURN_MAX_DIMS) return too_many(ctx, e->n_output);
  for (int k = 0; k < e->n; k++) LURN__TRY(take_diagonals(ctx, &e->operands[k], k));
  for (int k = 1; k < e->n; k++) {
    labels_to_keep(e, k, keep);
    LURN__TRY(contract(ctx, first, &e->operands[k], keep));
    lurn__drop(&e->operands[k].t);
  }
  labels_to_keep(e, e->n, keep);
  LURN__TRY(sum_rest(ctx, first, keep));
  LURN__TRY(reorder(ctx, first, e->output, e->n_output));
  *out = first->t;
  first->t = NULL;
  return LURN_OK;
}

lurn_status lurn_einsum(lurn_ctx *ctx, const char *text, lurn_tensor *const *operands, int64_t n, lurn_tensor **out) {
  if (n < 1 || n > MAX_OPERANDS)
    return lurn__fail(ctx, LURN_EVALUE, "einsum: %lld tensors; expected 1..%d", (long long)n, MAX_OPERANDS);
  LURN__TRY(lurn__need(ctx, "einsum", "equation", text));
  LURN__TRY(lurn__need(ctx, "einsum", "operands", operands));
  LURN__TRY(lurn__need_place(ctx, "einsum", out));
  equation e = {.ctx = ctx, .n = (int)n};
  for (int k = 0; k < e.n; k++) {
    if (operands[k] == NULL)
      return lurn__fail(ctx, LURN_EVALUE, "einsum: no tensor given for operand %d", k + ctx->index_base);
    if (operands[k]->ctx != ctx)
      return lurn__fail(ctx, LURN_ESTATE, "einsum: operand %d belongs to another context", k + ctx->index_base);
  }
  for (int k = 0; k < e.n; k++) e.operands[k].t = lurn_retain(operands[k]);
  lurn_status status = solve(&e, text, out);
  for (int k = 0; k < e.n; k++) lurn__drop(&e.operands[k].t);
  return status;
}
