/* engine/io: reading safetensors files, sound and not, and what lurn_save makes of tensors. */
#include "io/safetensors.h"

#include "io/half.h"
#include "scratch.h"

/* Same dtype, shape and bits; `got` is contiguous. */
static bool same(const lurn_tensor *expected, const lurn_tensor *got) {
  if (expected->dtype != got->dtype || !lurn__shape_equal(&expected->shape, &got->shape)) return false;
  if (!lurn_tensor_is_contiguous(got) || got->weak) return false;
  size_t width = lurn__tensor_width(expected);
  int64_t n = lurn__numel(expected);
  for (int64_t i = 0; i < n; i++) {
    int64_t rest = i, offset = 0;
    for (int d = expected->shape.ndim - 1; d >= 0; d--) {
      offset += rest % expected->shape.size[d] * expected->stride[d];
      rest /= expected->shape.size[d];
    }
    const char *a = (const char *)lurn__tensor_ptr(expected) + offset * (int64_t)width;
    if (memcmp(a, (const char *)lurn__tensor_ptr(got) + i * (int64_t)width, width) != 0) return false;
  }
  return true;
}

/* Saves, opens, and finds every tensor as it was. */
static void round_trip(lurn_ctx *ctx, const char *const *names, lurn_tensor *const *tensors, int64_t n) {
  lurn_archive *archive = NULL;
  if (!CHECK_EQ(lurn_save(ctx, place.path, names, tensors, n, NULL, 0), LURN_OK)) return;
  if (!CHECK_EQ(lurn_archive_open(ctx, place.path, &archive), LURN_OK)) {
    printf("     %s\n", lurn_error(ctx));
    return;
  }
  CHECK_EQ(lurn_archive_count(archive), n);
  for (int64_t i = 0; i < n; i++) {
    lurn_tensor *t = NULL;
    CHECK_STR(lurn_archive_name(archive, i), names[i]);
    CHECK_EQ(lurn_archive_find(archive, names[i]), i);
    if (!CHECK_EQ(lurn_archive_tensor(archive, i, &t), LURN_OK)) continue;
    if (!CHECK(same(tensors[i], t))) printf("     %s\n", names[i]);
    lurn_release(t);
  }
  lurn_archive_close(archive);
}

/* ---- Sound files ------------------------------------------------------------------------------------------- */

TEST(safetensors_golden_bytes) {
  enter_place();
  lurn_ctx *ctx = new_ctx();
  static const float values[] = {1, -2};
  static const unsigned char byte = 7;
  static const int64_t shape[] = {2};
  static const char *const names[] = {"b", "a\n"}, *const metadata[] = {"k", "v\""};
  static const char expected[] = "\x88\0\0\0\0\0\0\0"
                                 "{\"__metadata__\":{\"k\":\"v\\\"\"},"
                                 "\"b\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[8,9]},"
                                 "\"a\\n\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}  "
                                 "\0\0\x80\x3F\0\0\0\xC0\x07";
  lurn_tensor *t[2];
  CHECK_EQ(lurn_from_data(ctx, LURN_UINT8, 0, NULL, &byte, &t[0]), LURN_OK);
  CHECK_EQ(lurn_from_data(ctx, LURN_FLOAT32, 1, shape, values, &t[1]), LURN_OK);
  CHECK_EQ(lurn_save(ctx, place.path, names, t, 2, metadata, 1), LURN_OK);
  size_t n;
  unsigned char *p = read_bytes(&n);
  CHECK(n == sizeof expected - 1 && memcmp(p, expected, n) == 0);
  free(p);
  release_all(t, 2);
  lurn_ctx_free(ctx);
  leave_place();
}

TEST(safetensors_round_trip_of_every_dtype_and_stride) {
  enter_place();
  lurn_ctx *ctx = new_ctx();
  for (int dtype = 0; dtype < LURN_DTYPE_COUNT; dtype++) {
    static const char *const names[] = {"plain",   "transposed", "middle", "repeated", "scalar",
                                        "nothing", "deep",       "column", "backwards"};
    static const int64_t cube[] = {3, 4, 5}, none[] = {3, 0, 2}, deep[] = {1, 2, 1, 3, 1, 2, 1, 2};
    lurn_dtype d = (lurn_dtype)dtype;
    lurn_tensor *t[9];
    t[0] = make(ctx, d, 3, cube);
    t[1] = view(t[0], (lurn__shape){3, {5, 3, 4}}, (int64_t[]){1, 20, 5}, 0);
    t[2] = view(t[0], (lurn__shape){3, {2, 2, 3}}, (int64_t[]){20, 5, 1}, 26);
    t[3] = view(t[0], (lurn__shape){2, {4, 6}}, (int64_t[]){5, 0}, 3);
    t[4] = make(ctx, d, 0, NULL);
    t[5] = make(ctx, d, 3, none);
    t[6] = make(ctx, d, 8, deep);
    t[7] = view(t[0], (lurn__shape){1, {12}}, (int64_t[]){5}, 4);
    t[8] = view(t[0], (lurn__shape){2, {3, 5}}, (int64_t[]){-20, -1}, 44);
    round_trip(ctx, names, t, 9);
    release_all(t, 9);
  }
  lurn_ctx_free(ctx);
  leave_place();
}

/* Larger than the write buffer, with pieces that do not divide it, in every way of writing. */
TEST(safetensors_round_trip_of_large_tensors) {
  enter_place();
  lurn_ctx *ctx = new_ctx();
  static const char *const names[] = {"odd", "doubles", "columns", "rows", "flags"};
  static const int64_t odd[] = {LURN__FILE_BUFFER + 1}, wide[] = {3, 9001}, tall[] = {20001, 3};
  lurn_tensor *t[5];
  t[0] = make(ctx, LURN_UINT8, 1, odd);
  t[1] = make(ctx, LURN_FLOAT64, 2, tall);
  t[2] = view(t[1], (lurn__shape){2, {3, 20001}}, (int64_t[]){1, 3}, 0);
  t[3] = view(t[1], (lurn__shape){2, {20001, 2}}, (int64_t[]){3, 1}, 1);
  t[4] = make(ctx, LURN_BOOL, 2, wide);
  round_trip(ctx, names, t, 5);
  release_all(t, 5);
  lurn_ctx_free(ctx);
  leave_place();
}

TEST(safetensors_names_and_metadata) {
  enter_place();
  lurn_ctx *ctx = new_ctx();
  static const char *const names[] = {"z", "a", "\"\\\n", "\xC3\xA9\xF0\x9D\x84\x9E", "z.z", " "};
  static const char *const metadata[] = {"note", "two\nlines\t\x01", "", "", "\xE2\x82\xAC", "\"quoted\""};
  static const int64_t shape[] = {1};
  lurn_tensor *t[6];
  for (int i = 0; i < 6; i++) t[i] = make(ctx, i % 2 == 0 ? LURN_UINT8 : LURN_INT64, 1, shape);
  round_trip(ctx, names, t, 6);
  lurn_archive *archive = NULL;
  CHECK_EQ(lurn_save(ctx, place.path, names, t, 6, metadata, 3), LURN_OK);
  if (CHECK_EQ(lurn_archive_open(ctx, place.path, &archive), LURN_OK)) {
    CHECK_EQ(lurn_archive_metadata_count(archive), 3);
    for (int64_t i = 0; i < 3; i++) {
      CHECK_STR(lurn_archive_metadata_key(archive, i), metadata[2 * i]);
      CHECK_STR(lurn_archive_metadata_value(archive, i), metadata[2 * i + 1]);
    }
    CHECK(lurn_archive_metadata_key(archive, 3) == NULL && lurn_archive_metadata_value(archive, -1) == NULL);
    CHECK(lurn_archive_name(archive, 6) == NULL && lurn_archive_dtype(archive, -1) == NULL);
    CHECK(lurn_archive_shape(archive, 6) == NULL);
    CHECK_EQ(lurn_archive_ndim(archive, 6), -1);
    CHECK_STR(lurn_archive_dtype(archive, 1), "I64");
    CHECK_EQ(lurn_archive_ndim(archive, 1), 1);
    CHECK_EQ(lurn_archive_shape(archive, 1)[0], 1);
    CHECK_EQ(lurn_archive_find(archive, "b"), -1);
    CHECK_EQ(lurn_archive_find(archive, ""), -1);
    lurn_tensor *out = t[0];
    CHECK_EQ(lurn_archive_tensor(archive, 6, &out), LURN_EINDEX);
    CHECK_HAS(lurn_error(ctx), "m.safetensors: tensor number 6 of 6");
    CHECK(out == t[0]);
    lurn_archive_close(archive);
  }
  release_all(t, 6);
  lurn_ctx_free(ctx);
  leave_place();
}

TEST(safetensors_nothing_at_all) {
  enter_place();
  lurn_ctx *ctx = new_ctx();
  round_trip(ctx, NULL, NULL, 0);
  size_t n;
  unsigned char *p = read_bytes(&n);
  CHECK(n == 16 && memcmp(p, "\x08\0\0\0\0\0\0\0{}      ", 16) == 0);
  free(p);
  lurn_archive_close(NULL);
  lurn_ctx_free(ctx);
  leave_place();
}

/* A host's bool may be any byte; in the file it is 0 or 1. */
TEST(safetensors_writes_bools_as_0_or_1) {
  enter_place();
  lurn_ctx *ctx = new_ctx();
  static const char *const names[] = {"b"};
  static const unsigned char values[] = {0, 1, 7, 255};
  static const int64_t shape[] = {4};
  lurn_tensor *t = NULL, *back = NULL;
  lurn_archive *archive = NULL;
  CHECK_EQ(lurn_from_data(ctx, LURN_BOOL, 1, shape, values, &t), LURN_OK);
  CHECK_EQ(lurn_save(ctx, place.path, names, &t, 1, NULL, 0), LURN_OK);
  CHECK_EQ(lurn_archive_open(ctx, place.path, &archive), LURN_OK);
  if (CHECK_EQ(lurn_archive_tensor(archive, 0, &back), LURN_OK))
    CHECK(memcmp(lurn_tensor_data(back), "\0\1\1\1", 4) == 0);
  lurn_release(t);
  lurn_release(back);
  lurn_archive_close(archive);
  lurn_ctx_free(ctx);
  leave_place();
}

TEST(safetensors_takes_what_others_write) {
  static const char header[] =
      "{\"b\":{\"shape\":[2],\"data_offsets\":[4,8],\"d\\u0074ype\":\"I16\"},\n\t\"\":{\"dtype\":"
      "\"U8\", \"shape\":[0,3],\"data_offsets\":[4,4]},\"a\":{\"dtype\" : \"U8\",\"shape\":[2,2],"
      "\"data_offsets\":[ 0 , 4 ]},\"__metadata__\":{}}  \n ";
  enter_place();
  lurn_ctx *ctx = new_ctx();
  write_parts(header, strlen(header), "12345678", 8);
  lurn_archive *archive = NULL;
  lurn_tensor *t = NULL;
  if (CHECK_EQ(lurn_archive_open(ctx, place.path, &archive), LURN_OK)) {
    CHECK_EQ(lurn_archive_count(archive), 3);
    CHECK_STR(lurn_archive_name(archive, 1), "");
    CHECK_STR(lurn_archive_dtype(archive, 0), "I16");
    CHECK_EQ(lurn_archive_tensor(archive, 0, &t), LURN_EDTYPE);
    CHECK_HAS(lurn_error(ctx), "m.safetensors: tensor \"b\" has dtype I16, which lurn does not have");
    if (CHECK_EQ(lurn_archive_tensor(archive, lurn_archive_find(archive, "a"), &t), LURN_OK))
      CHECK(memcmp(lurn_tensor_data(t), "1234", 4) == 0);
    lurn_release(t);
    lurn_archive_close(archive);
  } else printf("     %s\n", lurn_error(ctx));
  lurn_ctx_free(ctx);
  leave_place();
}

TEST(safetensors_archive_keeps_the_context) {
  enter_place();
  lurn_ctx *ctx = new_ctx();
  static const char header[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}";
  write_parts(header, strlen(header), "hi", 2);
  lurn_archive *archive = NULL;
  lurn_tensor *t = NULL;
  CHECK_EQ(lurn_archive_open(ctx, place.path, &archive), LURN_OK);
  lurn_ctx_free(ctx);
  CHECK_EQ(lurn_archive_tensor(archive, 0, &t), LURN_OK);
  lurn_archive_close(archive);
  CHECK(memcmp(lurn_tensor_data(t), "hi", 2) == 0);
  lurn_release(t);
  leave_place();
}

/* ---- 16-bit floats ----------------------------------------------------------------------------------------- */

/* The definition: (-1)^s 2^(e-15) (1 + f/1024), subnormal (-1)^s 2^-14 f/1024. */
TEST(half_every_value) {
  int wrong = 0;
  for (uint32_t bits = 0; bits < 0x10000; bits++) {
    int exponent = (int)(bits >> 10 & 31), fraction = (int)(bits & 1023);
    double value = exponent == 31  ? (fraction != 0 ? NAN : INFINITY)
                   : exponent == 0 ? ldexp(fraction, -24)
                                   : ldexp(1024 + fraction, exponent - 25);
    float got = lurn__from_f16((uint16_t)bits);
    if (!(isnan(value) ? isnan(got) : fabs((double)got) == value) || (signbit(got) != 0) != (bits >> 15 != 0)) wrong++;
  }
  CHECK_EQ(wrong, 0);
}

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

TEST(half_bits) {
  CHECK_EQ(bits_of(lurn__from_f16(0x7E01)), 0x7FC02000); /* NaN with its payload */
  CHECK_EQ(bits_of(lurn__from_f16(0x8000)), 0x80000000);
  CHECK_EQ(bits_of(lurn__from_bf16(0x3F80)), 0x3F800000);
  CHECK_EQ(bits_of(lurn__from_bf16(0x0001)), 0x00010000); /* subnormal */
  CHECK_EQ(bits_of(lurn__from_bf16(0xFF80)), 0xFF800000); /* -inf */
  CHECK_EQ(bits_of(lurn__from_bf16(0x7FC1)), 0x7FC10000);
}

TEST(safetensors_reads_halves_as_float32) {
  static const char header[] = "{\"h\":{\"dtype\":\"F16\",\"shape\":[5],\"data_offsets\":[0,10]},"
                               "\"b\":{\"dtype\":\"BF16\",\"shape\":[1,3],\"data_offsets\":[10,16]},"
                               "\"none\":{\"dtype\":\"F16\",\"shape\":[0],\"data_offsets\":[16,16]}}";
  static const unsigned char data[] = {0x00, 0x3C, 0x01, 0x00, 0x00, 0xFC, 0xFF, 0x7B,
                                       0x00, 0x80, 0x80, 0x3F, 0x49, 0xC0, 0x80, 0x7F};
  static const float halves[] = {1, 0x1p-24f, -INFINITY, 65504, -0.0f}, brains[] = {1, -3.140625f, INFINITY};
  enter_place();
  lurn_ctx *ctx = new_ctx();
  write_parts(header, strlen(header), data, sizeof data);
  lurn_archive *archive = NULL;
  lurn_tensor *t[3] = {NULL, NULL, NULL};
  if (CHECK_EQ(lurn_archive_open(ctx, place.path, &archive), LURN_OK)) {
    CHECK_STR(lurn_archive_dtype(archive, 1), "BF16");
    for (int i = 0; i < 3; i++) {
      if (!CHECK_EQ(lurn_archive_tensor(archive, i, &t[i]), LURN_OK)) return;
      CHECK_EQ(lurn_tensor_dtype(t[i]), LURN_FLOAT32);
    }
    CHECK(memcmp(lurn_tensor_data(t[0]), halves, sizeof halves) == 0);
    CHECK(memcmp(lurn_tensor_data(t[1]), brains, sizeof brains) == 0);
    CHECK_EQ(lurn_tensor_numel(t[2]), 0);
  }
  release_all(t, 3);
  lurn_archive_close(archive);
  lurn_ctx_free(ctx);
  leave_place();
}

/* ---- Files that are not sound ------------------------------------------------------------------------------ */

#define TENSOR(name, dtype, shape, begin, end)                                                                         \
  "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

static void rejects(lurn_ctx *ctx, const char *message) {
  lurn_archive *archive = NULL;
  lurn_status status = lurn_archive_open(ctx, place.path, &archive);
  bool held = CHECK_EQ(status, LURN_EFORMAT) && CHECK(archive == NULL);
  held = CHECK(strncmp(lurn_error(ctx), place.path, strlen(place.path)) == 0) && held;
  held = CHECK_HAS(lurn_error(ctx), message) && held;
  if (!held) printf("     wanted: %s\n     %s\n", message, lurn_error(ctx));
  if (status == LURN_OK) lurn_archive_close(archive);
}

TEST(safetensors_rejects_faulty_headers) {
  static const struct {
    const char *header;
    size_t data;
    const char *message;
  } faults[] = {
      {"[]", 0, "the header does not begin with '{'"},
      {" {}", 0, "the header does not begin with '{'"},
      {"{", 0, "too short"},
      {"{ ", 0, "byte 2 of the header: the text ends too early"},
      {"{}x", 0, "byte 2 of the header: something after the end"},
      {"{,}", 0, "byte 1 of the header: expected a string"},
      {"{" TENSOR("a", "U8", "[1]", 0, 1) ",}", 1, "expected a string"},
      {"{\"a\":[]}", 0, "byte 5 of the header: expected '{'"},
      {"{\"a\":{}}", 0, "tensor \"a\": has no dtype"},
      {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,0]}}", 0, "tensor \"a\": has no shape"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[0]}}", 0, "tensor \"a\": has no data_offsets"},
      {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}", 0, "tensor \"a\": dtype comes twice"},
      {"{\"a\":{\"dtype\":\"U8\",\"d\\u0074ype\":\"U8\"}}", 0, "tensor \"a\": dtype comes twice"},
      {"{\"a\\n\":{\"color\":\"red\"}}", 0, "tensor \"a\\n\": unknown key \"color\""},
      {"{" TENSOR("a", "F33", "[]", 0, 4) "}", 4, "tensor \"a\": unknown dtype \"F33\""},
      {"{" TENSOR("a", "f32", "[]", 0, 4) "}", 4, "tensor \"a\": unknown dtype \"f32\""},
      {"{\"a\":{\"dtype\":4}}", 0, "expected a string"},
      {"{" TENSOR("a", "F32", "[2,3]", 0, 20) "}", 20,
       "tensor \"a\": shape (2, 3) of F32 takes 24 bytes, data_offsets [0, 20] hold 20"},
      {"{" TENSOR("a", "F32", "[2,3]", 0, 24) "}", 20, "data_offsets [0, 24], but the file holds only 20 bytes"},
      {"{" TENSOR("a", "U8", "[1]", 2, 1) "}", 2, "tensor \"a\": data_offsets [2, 1] run backwards"},
      {"{" TENSOR("a", "U8", "[-1]", 0, 1) "}", 1, "expected a non-negative integer"},
      {"{" TENSOR("a", "U8", "[1.0]", 0, 1) "}", 1, "expected an integer"},
      {"{" TENSOR("a", "U8", "[01]", 0, 1) "}", 1, "leading zero"},
      {"{" TENSOR("a", "U8", "[9223372036854775808]", 0, 1) "}", 1, "a size of 9223372036854775808 is too large"},
      {"{" TENSOR("a", "U8", "[4294967296,4294967296]", 0, 0) "}", 0, "is larger than memory can be"},
      {"{" TENSOR("a", "U8", "[0,9223372036854775807]", 0, 0) "}", 0, "is larger than memory can be"},
      {"{" TENSOR("a", "F64", "[2305843009213693952]", 0, 0) "}", 0, "is larger than memory can be"},
      {"{" TENSOR("a", "U8", "[1,1,1,1,1,1,1,1,1]", 0, 1) "}", 1, "tensor \"a\": more than 8 dimensions"},
      {"{\"a\":{\"data_offsets\":[0]}}", 0, "tensor \"a\": data_offsets needs two numbers"},
      {"{\"a\":{\"data_offsets\":[0,1,2]}}", 0, "tensor \"a\": data_offsets has more than two numbers"},
      {"{\"a\":{\"data_offsets\":{}}}", 0, "expected '['"},
      {"{\"a\":{\"shape\":3}}", 0, "expected '['"},
      {"{" TENSOR("a", "U8", "[1]", 18446744073709551615, 18446744073709551615) "}", 1, "takes 1 bytes"},
      {"{" TENSOR("a", "U8", "[1]", 18446744073709551615, 0) "}", 1, "run backwards"},
      {"{" TENSOR("a", "U8", "[1]", 0, 1) "," TENSOR("b", "U8", "[1]", 2, 3) "}", 3,
       "tensor \"b\" begins at byte 2 of the data, expected 1 (the bytes between belong to none)"},
      {"{" TENSOR("a", "U8", "[2]", 0, 2) "," TENSOR("b", "U8", "[2]", 1, 3) "}", 3,
       "tensor \"b\" begins at byte 1 of the data, expected 2 (it overlaps another)"},
      {"{" TENSOR("a", "U8", "[2]", 0, 2) "," TENSOR("b", "U8", "[2]", 0, 2) "}", 2, "it overlaps another"},
      {"{" TENSOR("a", "U8", "[2]", 0, 2) "," TENSOR("b", "U8", "[0]", 1, 1) "}", 2, "it overlaps another"},
      {"{" TENSOR("a", "U8", "[1]", 1, 2) "}", 2, "tensor \"a\" begins at byte 1 of the data, expected 0"},
      {"{" TENSOR("a", "U8", "[1]", 0, 1) "}", 3, "the tensors end at byte 1 of the data, the file at byte 3"},
      {"{}", 1, "the tensors end at byte 0 of the data, the file at byte 1"},
      {"{" TENSOR("a", "U8", "[1]", 0, 1) "," TENSOR("\\u0061", "U8", "[1]", 1, 2) "}", 2, "tensor \"a\" comes twice"},
      {"{" TENSOR("a\\u0000b", "U8", "[1]", 0, 1) "}", 1, "\"a\\u0000b\" contains a zero character"},
      {"{" TENSOR("\xFF", "U8", "[1]", 0, 1) "}", 1, "byte 2 of the header: invalid UTF-8"},
      {"{\"__metadata__\":{\"k\":1}}", 0, "byte 21 of the header: expected a string"},
      {"{\"__metadata__\":null}", 0, "expected '{'"},
      {"{\"__metadata__\":{\"k\":\"v\",\"\\u006b\":\"w\"}}", 0, "metadata key \"k\" comes twice"},
      {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ comes twice"},
      {"{\"__metadata__\":{\"k\":\"\\u0000\"}}", 0, "contains a zero character"},
      {"{\"__metadata__\":{\"\\u0000k\":\"v\"}}", 0, "\"\\u0000k\" contains a zero character"},
  };
  enter_place();
  lurn_ctx *ctx = new_ctx();
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
    write_parts(faults[i].header, strlen(faults[i].header), NULL, faults[i].data);
    rejects(ctx, faults[i].message);
  }
  lurn_ctx_free(ctx);
  leave_place();
}

TEST(safetensors_rejects_faulty_lengths) {
  enter_place();
  lurn_ctx *ctx = new_ctx();
  write_bytes("", 0);
  rejects(ctx, "0 bytes are too few");
  write_bytes("\0\0\0\0\0\0\0\0", 8);
  rejects(ctx, "a header of 0 bytes is too short");
  write_bytes("\x03\0\0\0\0\0\0\0{}", 10);
  rejects(ctx, "the header should have 3 bytes, only 2 follow");
  write_bytes("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}", 10);
  rejects(ctx, "should have 18446744073709551615 bytes, only 2 follow");
  write_bytes("hello, world", 12);
  rejects(ctx, "is this a safetensors file?");
  /* 100000001 bytes, which a file with holes has without taking the disk. */
  write_bytes("\x01\xE1\xF5\x05\0\0\0\0{}", 10);
  CHECK(truncate(place.path, 120000000) == 0);
  rejects(ctx, "a header of 100000001 bytes; the format allows 100000000");
  lurn_ctx_free(ctx);
  leave_place();
}

TEST(safetensors_rejects_every_truncation) {
  enter_place();
  lurn_ctx *ctx = new_ctx();
  size_t n;
  unsigned char *p = sound_file(ctx, &n);
  CHECK_EQ(read_all(ctx, &lurn__sys_real), LURN_OK);
  for (size_t cut = 0; cut < n; cut++) {
    write_bytes(p, cut);
    rejects(ctx, "m.safetensors: ");
  }
  free(p);
  lurn_ctx_free(ctx);
  leave_place();
}

/* Every byte changed in several ways: an error or another sound file, and never a crash. */
TEST(safetensors_survives_every_changed_byte) {
  static const unsigned char values[] = {0,   1,   '"', '\\', '{', '}',  '[',  ']',
                                         ',', ':', '0', '9',  'u', 0x7F, 0xC3, 0xFF};
  enter_place();
  lurn_ctx *ctx = new_ctx();
  size_t n;
  unsigned char *p = sound_file(ctx, &n);
  int rejected = 0;
  for (size_t i = 0; i < n; i++) {
    unsigned char kept = p[i];
    for (size_t v = 0; v < sizeof values; v++) {
      p[i] = values[v];
      write_bytes(p, n);
      lurn_status status = read_all(ctx, &lurn__sys_real);
      if (status == LURN_EFORMAT) rejected++;
      else if (status != LURN_OK && status != LURN_EDTYPE) CHECK_EQ(status, LURN_EFORMAT);
    }
    p[i] = kept;
  }
  CHECK(rejected > 1000);
  free(p);
  lurn_ctx_free(ctx);
  leave_place();
}

TEST(safetensors_rejects_bools_that_are_none) {
  static const char header[] = "{" TENSOR("flags", "BOOL", "[3]", 0, 3) "}";
  enter_place();
  lurn_ctx *ctx = new_ctx();
  write_parts(header, strlen(header), "\0\1\2", 3);
  lurn_archive *archive = NULL;
  lurn_tensor *t = NULL;
  CHECK_EQ(lurn_archive_open(ctx, place.path, &archive), LURN_OK);
  CHECK_EQ(lurn_archive_tensor(archive, 0, &t), LURN_EFORMAT);
  CHECK_HAS(lurn_error(ctx), "m.safetensors: tensor \"flags\": byte 2 is 2; a BOOL is 0 or 1");
  CHECK(t == NULL);
  lurn_archive_close(archive);
  lurn_ctx_free(ctx);
  leave_place();
}

TEST(safetensors_file_shrinks_while_open) {
  static const char header[] = "{" TENSOR("a", "U8", "[9]", 0, 9) "}";
  enter_place();
  lurn_ctx *ctx = new_ctx();
  write_parts(header, strlen(header), "123456789", 9);
  lurn_archive *archive = NULL;
  lurn_tensor *t = NULL;
  CHECK_EQ(lurn_archive_open(ctx, place.path, &archive), LURN_OK);
  CHECK(truncate(place.path, 30) == 0);
  CHECK_EQ(lurn_archive_tensor(archive, 0, &t), LURN_EFORMAT);
  CHECK_HAS(lurn_error(ctx), "it became shorter while it was read");
  lurn_archive_close(archive);
  lurn_ctx_free(ctx);
  leave_place();
}

/* ---- What the system refuses ------------------------------------------------------------------------------- */

TEST(safetensors_cannot_open) {
  enter_place();
  lurn_ctx *ctx = new_ctx();
  lurn_archive *archive = NULL;
  char expected[PATH_SIZE + 96];
  CHECK_EQ(lurn_archive_open(ctx, place.path, &archive), LURN_EIO);
  snprintf(expected, sizeof expected, "cannot read %s: No such file or directory", place.path);
  CHECK_STR(lurn_error(ctx), expected);
  CHECK_EQ(lurn_archive_open(ctx, place.directory, &archive), LURN_EIO);
  CHECK_HAS(lurn_error(ctx), ": Is a directory");
  CHECK(mkfifo(place.path, 0600) == 0);
  CHECK_EQ(lurn_archive_open(ctx, place.path, &archive), LURN_EIO);
  CHECK_HAS(lurn_error(ctx), ": Not a regular file");
  CHECK(archive == NULL);
  lurn_ctx_free(ctx);
  leave_place();
}
