/* Watches a sensor with a model that examples/sensor.lua trained: what a small device would run, without Lua.
 *
 *   cc examples/sensor.c $(pkg-config --cflags --libs lurn) -lm -o sensor
 *   ./sensor sensor.safetensors <sensor.txt
 *
 * Reads one number a line, forecasts the next, and says which readings are far from their forecast. */
#include <lurn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { W_IH, W_HH, B_IH, B_HH, HEAD, HEAD_BIAS, TENSORS };
static const char *const names[TENSORS] = {"rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0",
                                           "rnn.bias_hh_l0",   "head.weight",      "head.bias"};

enum { SETTLE = 50, SIGMAS = 8 }; /* readings before the first is judged; how many times the usual error is unusual */

typedef struct forecaster {
  lurn_ctx *ctx;
  lurn_tensor *w[TENSORS];
  lurn_tensor *x;          /* (1, 1, 1): the reading, in standard deviations from the mean */
  lurn_tensor *h, *c;      /* (1, H): the state, NULL before the first reading */
  double mean, std, error; /* of the readings learned from, and of forecasts of them */
} forecaster;

/* ---- The model --------------------------------------------------------------------------------------------- */

static double number_named(const lurn_archive *archive, const char *key) {
  for (int64_t i = 0; i < lurn_archive_metadata_count(archive); i++)
    if (strcmp(lurn_archive_metadata_key(archive, i), key) == 0)
      return strtod(lurn_archive_metadata_value(archive, i), NULL);
  return NAN;
}

static lurn_status take(forecaster *f, lurn_archive *archive) {
  for (int i = 0; i < TENSORS; i++) {
    int64_t at = lurn_archive_find(archive, names[i]);
    if (at < 0) return lurn_fail(f->ctx, LURN_EFORMAT, "the model has no tensor %s", names[i]);
    lurn_status status = lurn_archive_tensor(archive, at, &f->w[i]);
    if (status != LURN_OK) return status;
  }
  f->mean = number_named(archive, "mean");
  f->std = number_named(archive, "std");
  f->error = number_named(archive, "error");
  if (isnan(f->mean) || isnan(f->std) || isnan(f->error))
    return lurn_fail(f->ctx, LURN_EFORMAT, "the model does not say its mean, std and error");
  return lurn_zeros(f->ctx, LURN_FLOAT32, 3, (int64_t[]){1, 1, 1}, &f->x);
}

static lurn_status forecaster_load(forecaster *f, const char *path) {
  lurn_archive *archive;
  lurn_set_grad_enabled(f->ctx, false);
  lurn_status status = lurn_archive_open(f->ctx, path, &archive);
  if (status != LURN_OK) return status;
  status = take(f, archive);
  lurn_archive_close(archive);
  return status;
}

static void forecaster_free(forecaster *f) {
  for (int i = 0; i < TENSORS; i++) lurn_release(f->w[i]);
  lurn_release(f->x);
  lurn_release(f->h);
  lurn_release(f->c);
}

/* One step of the LSTM from the reading z; *next becomes what the linear layer makes of h. */
static lurn_status forecast(forecaster *f, double z, double *next) {
  lurn_tensor **w = f->w, *y, *h, *c, *out;
  ((float *)lurn_tensor_data(f->x))[0] = (float)z;
  lurn_tensor_touch(f->x);
  lurn_status status = lurn_lstm(f->ctx, f->x, w[W_IH], w[W_HH], w[B_IH], w[B_HH], f->h, f->c, NULL, NULL, NULL, NULL,
                                 NULL, false, false, NULL, &y, &h, &c);
  if (status != LURN_OK) return status;
  lurn_release(f->h);
  lurn_release(f->c);
  f->h = h;
  f->c = c;
  status = lurn_linear(f->ctx, y, w[HEAD], w[HEAD_BIAS], &out);
  lurn_release(y);
  if (status != LURN_OK) return status;
  *next = ((float *)lurn_tensor_data(out))[0];
  lurn_release(out);
  return LURN_OK;
}

/* ---- Watching ---------------------------------------------------------------------------------------------- */

static lurn_status watch(forecaster *f, FILE *in) {
  long n = 0, unusual = 0;
  double reading, next = 0;
  int read;
  while ((read = fscanf(in, "%lf", &reading)) == 1) {
    double z = (reading - f->mean) / f->std;
    if (++n > SETTLE && fabs(z - next) > SIGMAS * f->error) {
      printf("reading %ld is %.2f; %.2f was expected\n", n, reading, next * f->std + f->mean);
      z = next; /* so that one fault does not spoil the next forecasts */
      unusual++;
    }
    lurn_status status = forecast(f, z, &next);
    if (status != LURN_OK) return status;
  }
  if (read != EOF) return lurn_fail(f->ctx, LURN_EVALUE, "reading %ld is no number", n + 1);
  printf("%ld readings, %ld unusual\n", n, unusual);
  return LURN_OK;
}

int main(int argc, char **argv) {
  if (argc != 2) return fprintf(stderr, "usage: %s sensor.safetensors <readings\n", argv[0]), 2;
  forecaster f = {0};
  lurn_config config = {.num_threads = 1};
  if (lurn_ctx_new(&config, &f.ctx) != LURN_OK) return fprintf(stderr, "sensor: out of memory\n"), 1;
  lurn_status status = forecaster_load(&f, argv[1]);
  if (status == LURN_OK) status = watch(&f, stdin);
  if (status != LURN_OK) fprintf(stderr, "sensor: %s\n", lurn_error(f.ctx));
  forecaster_free(&f);
  lurn_ctx_free(f.ctx);
  return status == LURN_OK ? 0 : 1;
}
