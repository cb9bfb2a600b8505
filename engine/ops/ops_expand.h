/* Prototypes of all ops, made from ops.def.  Part of lurn.h: the installed header has them written out. */
#ifndef LURN_OPS_EXPAND_H
#define LURN_OPS_EXPAND_H

/* LURN__EACH(P, a(..), b(..)) is P##a(..) P##b(..): one list of parameters read in different ways. */
#define LURN__E1(P, x) P##x
#define LURN__E2(P, x, ...) P##x LURN__E1(P, __VA_ARGS__)
#define LURN__E3(P, x, ...) P##x LURN__E2(P, __VA_ARGS__)
#define LURN__E4(P, x, ...) P##x LURN__E3(P, __VA_ARGS__)
#define LURN__E5(P, x, ...) P##x LURN__E4(P, __VA_ARGS__)
#define LURN__E6(P, x, ...) P##x LURN__E5(P, __VA_ARGS__)
#define LURN__E7(P, x, ...) P##x LURN__E6(P, __VA_ARGS__)
#define LURN__E8(P, x, ...) P##x LURN__E7(P, __VA_ARGS__)
#define LURN__E9(P, x, ...) P##x LURN__E8(P, __VA_ARGS__)
#define LURN__E10(P, x, ...) P##x LURN__E9(P, __VA_ARGS__)
#define LURN__E11(P, x, ...) P##x LURN__E10(P, __VA_ARGS__)
#define LURN__E12(P, x, ...) P##x LURN__E11(P, __VA_ARGS__)
#define LURN__E13(P, x, ...) P##x LURN__E12(P, __VA_ARGS__)
#define LURN__E14(P, x, ...) P##x LURN__E13(P, __VA_ARGS__)
#define LURN__E15(P, x, ...) P##x LURN__E14(P, __VA_ARGS__)
#define LURN__E16(P, x, ...) P##x LURN__E15(P, __VA_ARGS__)
#define LURN__E17(P, x, ...) P##x LURN__E16(P, __VA_ARGS__)
#define LURN__E18(P, x, ...) P##x LURN__E17(P, __VA_ARGS__)
#define LURN__PICK(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, name, ...) name
#define LURN__EACH(P, ...)                                                                                             \
  LURN__PICK(__VA_ARGS__, LURN__E18, LURN__E17, LURN__E16, LURN__E15, LURN__E14, LURN__E13, LURN__E12, LURN__E11,      \
             LURN__E10, LURN__E9, LURN__E8, LURN__E7, LURN__E6, LURN__E5, LURN__E4, LURN__E3, LURN__E2, LURN__E1, )    \
  (P, __VA_ARGS__)

/* A parameter in a prototype. */
#define LURN__DECL_T(name) , lurn_tensor *name
#define LURN__DECL_S(name) , lurn_tensor *name
#define LURN__DECL_OT(name) , lurn_tensor *name
#define LURN__DECL_TL(name) , lurn_tensor *const *name, int64_t n_##name
#define LURN__DECL_INT(name) , int64_t name
#define LURN__DECL_INTO(name, preset) , int64_t name
#define LURN__DECL_R(name) , double name
#define LURN__DECL_RO(name, preset) , double name
#define LURN__DECL_F(name, preset) , bool name
#define LURN__DECL_DIM(name) , int64_t name
#define LURN__DECL_DIMO(name, preset) , int64_t name
#define LURN__DECL_DIMS(name) , const int64_t *name, int64_t n_##name
#define LURN__DECL_SIZES(name) , const int64_t *name, int64_t n_##name
#define LURN__DECL_PERM(name) , const int64_t *name, int64_t n_##name
#define LURN__DECL_POS(name) , int64_t name
#define LURN__DECL_BASE(name) , int64_t name
#define LURN__DECL_CHOICE(name, preset, words) , int64_t name
#define LURN__DECL_DT(name) , int64_t name
#define LURN__DECL_REC(name) , lurn_record *name
#define LURN__DECL_O(name) , lurn_tensor **name

/* The inputs of an in-place variant: the same without outputs. */
#define LURN__INPLACE_0(name, ...)
#define LURN__INPLACE_1(name, ...)                                                                                     \
  LURN_API LURN_CHECKED lurn_status lurn_##name##_(lurn_ctx *ctx LURN__EACH(LURN__IN_, __VA_ARGS__));
#define LURN__IN_T LURN__DECL_T
#define LURN__IN_S LURN__DECL_S
#define LURN__IN_R LURN__DECL_R
#define LURN__IN_RO LURN__DECL_RO
#define LURN__IN_OT LURN__DECL_OT
#define LURN__IN_TL LURN__DECL_TL
#define LURN__IN_INT LURN__DECL_INT
#define LURN__IN_INTO LURN__DECL_INTO
#define LURN__IN_F LURN__DECL_F
#define LURN__IN_DIM LURN__DECL_DIM
#define LURN__IN_DIMO LURN__DECL_DIMO
#define LURN__IN_BASE LURN__DECL_BASE
#define LURN__IN_CHOICE LURN__DECL_CHOICE
#define LURN__IN_O(name)

#define OP(name, inplace, ...)                                                                                         \
  LURN_API LURN_CHECKED lurn_status lurn_##name(lurn_ctx *ctx LURN__EACH(LURN__DECL_, __VA_ARGS__));                   \
  LURN__INPLACE_##inplace(name, __VA_ARGS__)
#include "ops/ops.def"
#undef OP

#endif
