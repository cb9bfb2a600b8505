/* lurn_einsum: values against loops, gradients against differences, errors word for word, every allocation failing in turn. */
#include <ctype.h>

#include "graph.h"

enum { MOST = 3 }; /* operands of an equation here */

typedef struct product {
  const char *equation;
  int n;
  int64_t shape[MOST][LURN_MAX_DIMS + 1]; /* each ends with a 0, which no size here is */
} product;

static const product products[] = {
    {"tnd,hd->tnh", 2, {{3, 2, 4}, {5, 4}}},     /* a linear layer */
    {"ij,jk", 2, {{2, 3}, {3, 4}}},              /* implied output */
    {"bij,bjk->kbi", 2, {{2, 3, 4}, {2, 4, 2}}}, /* a batch, moved */
    {"ij,kj->ik", 2, {{2, 3}, {4, 1}}},          /* a size of 1 is stretched */
    {"i,j->ij", 2, {{3}, {4}}},                  /* nothing is summed */
    {"ii->i", 1, {{4, 4}}},                      /* a diagonal */
    {"ii", 1, {{4, 4}}},                         /* and its sum */
    {"iji,j->i", 2, {{3, 2, 3}, {2}}},           /* within a product */
    {"ba", 1, {{2, 3}}},                         /* letters in order: a transpose */
    {"ab,bc,cd->ad", 3, {{2, 3}, {3, 4}, {4, 2}}},
    {"ab,ab,b->a", 3, {{2, 3}, {2, 3}, {3}}},
    {"ij,ij->", 2, {{2, 3}, {2, 3}}},
};
enum { PRODUCTS = sizeof products / sizeof products[0] };

static int dims_of(const int64_t *shape) {
  int n = 0;
  while (shape[n] > 0) n++;
  return n;
}

/* Leaves in float64 with values that do not repeat soon. */
static lurn_status make_operands(const product *p, bool leaf, lurn_tensor **out) {
  for (int k = 0; k < p->n; k++) {
    LURN__TRY(lurn_empty(ctx, LURN_FLOAT64, dims_of(p->shape[k]), p->shape[k], &out[k]));
    for (int64_t i = 0; i < lurn_tensor_numel(out[k]); i++) lurn__f64(out[k])[i] = sin((double)(7 * i + 3 * k + 1));
    LURN__TRY(lurn_tensor_set_requires_grad(out[k], leaf));
  }
  return LURN_OK;
}

static void release_operands(lurn_tensor **t) {
  for (int k = 0; k < MOST; k++) lurn_release(t[k]);
}

/* ---- Naive ------------------------------------------------------------------------------------------------- */

/* Sizes of the letters, and the letters of the output. */
typedef struct reading {
  int64_t size[128];
  char output[32];
} reading;

static void note_term(reading *r, const char **at, const int64_t *shape, int *uses) {
  for (int d = 0; isalpha((unsigned char)**at); d++, (*at)++) {
    int letter = **at;
    if (r->size[letter] <= 1) r->size[letter] = shape[d];
    uses[letter]++;
  }
  if (**at == ',') (*at)++;
}

static reading read_product(const product *p) {
  reading r = {{0}, {0}};
  int uses[128] = {0}, n = 0;
  const char *at = p->equation;
  for (int k = 0; k < p->n; k++) note_term(&r, &at, p->shape[k], uses);
  if (*at == '-') snprintf(r.output, sizeof r.output, "%s", at + 2);
  for (int c = 0; *at == '\0' && c < 128; c++)
    if (uses[c] == 1) r.output[n++] = (char)c;
  return r;
}

/* Element of an operand at the letters' places; a size of 1 stays where it is. */
static double element_of(const char **at, const lurn_tensor *t, const int64_t *place) {
  int64_t offset = 0;
  for (int d = 0; isalpha((unsigned char)**at); d++, (*at)++) {
    int64_t size = lurn_tensor_shape(t)[d];
    offset = offset * size + (size == 1 ? 0 : place[(int)**at]);
  }
  if (**at == ',') (*at)++;
  return lurn__f64(t)[offset];
}

/* The sum over all letters that the output leaves out, one combination after another. */
static void add_products(const product *p, const reading *r, lurn_tensor *const *t, double *out) {
  int64_t place[128] = {0};
  for (;;) {
    const char *at = p->equation;
    double value = 1;
    for (int k = 0; k < p->n; k++) value *= element_of(&at, t[k], place);
    int64_t offset = 0;
    for (const char *c = r->output; *c != '\0'; c++) offset = offset * r->size[(int)*c] + place[(int)*c];
    out[offset] += value;
    int c = 0;
    while (c < 128 && (r->size[c] == 0 || ++place[c] == r->size[c])) place[c++] = 0;
    if (c == 128) return;
  }
}

/* ---- Values and gradients ---------------------------------------------------------------------------------- */

TEST(einsum_equals_loops) {
  begin();
  for (int i = 0; i < PRODUCTS; i++) {
    const product *p = &products[i];
    lurn_tensor *t[MOST] = {0}, *y = NULL;
    double want[256] = {0};
    reading r = read_product(p);
    CHECK_EQ(make_operands(p, false, t), LURN_OK);
    if (!CHECK_EQ(lurn_einsum(ctx, p->equation, t, p->n, &y), LURN_OK)) printf("  %s\n", p->equation);
    add_products(p, &r, t, want);
    if (CHECK_EQ(lurn_tensor_ndim(keep(y)), strlen(r.output))) {
      lurn_tensor *flat = NULL;
      for (size_t d = 0; d < strlen(r.output); d++) CHECK_EQ(lurn_tensor_shape(y)[d], r.size[(int)r.output[d]]);
      CHECK_EQ(lurn_contiguous(ctx, y, &flat), LURN_OK);
      for (int64_t e = 0; e < lurn_tensor_numel(y); e++) CHECK_NEAR(lurn__f64(flat)[e], want[e], 1e-14); /* few terms */
      lurn_release(flat);
    }
    drop_all();
    release_operands(t);
  }
  end();
}

/* The squares of the result, so that no gradient is constant. */
static lurn_status squared_einsum(lurn_ctx *c, void *ud, lurn_tensor *const *in, int n, lurn_tensor **out) {
  lurn_tensor *y = NULL, *square = NULL;
  lurn_status status = lurn_einsum(c, ud, in, n, &y);
  if (status == LURN_OK) status = lurn_square(c, y, &square);
  if (status == LURN_OK) status = lurn_sum(c, square, NULL, 0, false, out);
  lurn_release(y);
  lurn_release(square);
  return status;
}

TEST(einsum_gradients) {
  begin();
  for (int i = 0; i < PRODUCTS; i++) {
    const product *p = &products[i];
    lurn_tensor *t[MOST] = {0};
    lurn_gradcheck_result result = {0};
    CHECK_EQ(make_operands(p, true, t), LURN_OK);
    CHECK_EQ(lurn_gradcheck(ctx, squared_einsum, (void *)(uintptr_t)p->equation, t, p->n, 1e-6, 1e-6, 1e-7, &result),
             LURN_OK);
    if (!CHECK(result.ok)) printf("  %s\n", p->equation);
    release_operands(t);
  }
  end();
}

/* ---- Errors ------------------------------------------------------------------------------------------------ */

static void check_refused(const char *equation, lurn_tensor *const *t, int64_t n, lurn_status status,
                          const char *text) {
  lurn_tensor *y = NULL;
  CHECK_EQ(lurn_einsum(ctx, equation, t, n, &y), status);
  CHECK(y == NULL);
  CHECK_STR(lurn_error(ctx), text);
}

TEST(einsum_refuses) {
  begin();
  lurn_tensor *a = filled(2, 2, 3, 0, 1, false), *b = filled(2, 3, 4, 0, 1, false), *pair[] = {a, b}, *none = NULL;
  lurn_tensor *many[27];
  for (int i = 0; i < 27; i++) many[i] = a;
  check_refused("ij", many, 0, LURN_EVALUE, "einsum: 0 tensors; expected 1..26");
  check_refused("ij", many, 27, LURN_EVALUE, "einsum: 27 tensors; expected 1..26");
  check_refused("ij", &none, 1, LURN_EVALUE, "einsum: no tensor given for operand 0");
  check_refused("ij,jk", pair, 1, LURN_EVALUE, "einsum: 2 terms in the equation for 1 tensors");
  check_refused("i,jk", pair, 2, LURN_ESHAPE,
                "einsum: operand 0 has shape (2, 3), but its term \"i\" names 1 dimensions");
  check_refused("ij,ik", pair, 2, LURN_ESHAPE, "einsum: \"i\" has size 3 in operand 1 and 2 in another");
  check_refused("...,...", pair, 2, LURN_ESHAPE, "einsum: operand 1 has size 3 where another has 2 under \"...\"");
  check_refused("ij,jk->il", pair, 2, LURN_EVALUE, "einsum: \"l\" of the output is in no input");
  check_refused("ij,jk->ii", pair, 2, LURN_EVALUE, "einsum: \"i\" is in the output twice");
  check_refused("ij,jk->i->k", pair, 2, LURN_EVALUE, "einsum: more follows the output \"i\"");
  check_refused("i?,jk", pair, 2, LURN_EVALUE,
                "einsum: \"?\" in the equation; expected letters, \"...\", \",\" or \"->\"");
  lurn_ctx *other = NULL;
  lurn_tensor *strange = NULL;
  CHECK_EQ(lurn_ctx_new(NULL, &other), LURN_OK);
  CHECK_EQ(lurn_full(other, LURN_FLOAT64, 1, (int64_t[]){2}, 1, &strange), LURN_OK);
  check_refused("i", &strange, 1, LURN_ESTATE, "einsum: operand 0 belongs to another context");
  lurn_release(strange);
  lurn_ctx_free(other);
  drop_all();
  end();
}

/* ---- Memory ------------------------------------------------------------------------------------------------ */

/* Forward and backward; the sum of all gradients. */
static lurn_status whole_run(const product *p, double *total) {
  lurn_tensor *t[MOST] = {0}, *y = NULL;
  lurn_status status = make_operands(p, true, t);
  if (status == LURN_OK) status = squared_einsum(ctx, (void *)(uintptr_t)p->equation, t, p->n, &y);
  if (status == LURN_OK) status = lurn_backward(ctx, y, NULL, false);
  *total = 0;
  for (int k = 0; k < p->n && status == LURN_OK; k++) {
    lurn_tensor *g = lurn_tensor_grad(t[k]);
    for (int64_t i = 0; i < lurn_tensor_numel(g); i++) *total += lurn__f64(g)[i];
  }
  lurn_release(y);
  release_operands(t);
  return status;
}

/* A pool that keeps nothing, so that each allocation reaches the host. */
static void begin_uncached(void) {
  lurn_config config = {.alloc = counting_alloc, .alloc_ud = &memory, .num_threads = 1, .cache_limit = 1};
  memory = (counting){0};
  CHECK_EQ(lurn_ctx_new(&config, &ctx), LURN_OK);
}

static void check_each_failure(const product *p, bool from_then_on) {
  double expected, total;
  int64_t failures = 0;
  CHECK_EQ(whole_run(p, &expected), LURN_OK);
  int64_t blocks = memory.blocks;
  memory.fail_on = from_then_on;
  for (int64_t n = 1; n < 10000; n++) {
    memory.fail_at = memory.calls + n;
    lurn_status status = whole_run(p, &total);
    memory.fail_at = 0;
    CHECK_EQ(memory.blocks, blocks);
    if (status == LURN_OK) break;
    CHECK_EQ(status, LURN_ENOMEM);
    CHECK_HAS(lurn_error(ctx), "out of memory");
    failures++;
  }
  CHECK(failures > 10 && failures < 9999);
  CHECK_EQ(whole_run(p, &total), LURN_OK);
  CHECK_NEAR(total, expected, 0);
}

TEST(einsum_every_allocation_fails) {
  for (int from_then_on = 0; from_then_on < 2; from_then_on++) {
    begin_uncached();
    for (int i = 0; i < PRODUCTS; i++) check_each_failure(&products[i], from_then_on);
    end();
  }
}
