/* Hooks: functions of the host that backward calls with the gradient of a tensor; and results that keep theirs.
 *
 * Hooks belong to a leaf, or to the node whose output the tensor is: they live as long as a gradient can come, also without the
 * tensor.  A keeper belongs to its tensor, and stands in the list of the node that made it. */
#ifndef LURN_CORE_HOOK_H
#define LURN_CORE_HOOK_H

#include "core/context.h"

typedef struct lurn__keeper lurn__keeper;

/* In the order in which they were added.  A hook that is removed while some of the list run goes when these have ended. */
typedef struct lurn__hooks {
  lurn_hook *first;
  int running;
} lurn__hooks;

struct lurn_hook {
  int64_t refs; /* the list's and the handle's */
  lurn_ctx *ctx;
  lurn__hooks *list;        /* NULL once it is out of it */
  lurn_hook *next, *before; /* before the first stands the last */
  int output;               /* of the node */
  bool removed;
  lurn_hook_fn fn;
  void (*free_ud)(void *ud);
  void *ud;
};

struct lurn__keeper {
  lurn__keeper *next;
  lurn_tensor *tensor; /* whose keeper it is */
  lurn_tensor *kept;   /* the gradient of the sweep in progress, owned, or NULL */
};

/* Appends a hook.  *out, unless out is NULL, is a reference of the caller's. */
lurn_status lurn__hooks_add(lurn_ctx *ctx, lurn__hooks *list, int output, lurn_hook_fn fn, void (*free_ud)(void *ud),
                            void *ud, lurn_hook **out);
/* Lets the hooks of an output see *grad, each what the one before made of it; those that are added meanwhile are not run. */
lurn_status lurn__hooks_run(lurn_ctx *ctx, const char *who, lurn__hooks *list, int output, lurn_tensor **grad);
/* Gives back all of a list that does not run. */
void lurn__hooks_clear(lurn__hooks *list);

/* A keeper for t, which a node made. */
lurn_status lurn__keeper_new(lurn_tensor *t);
/* Puts t's keeper into the list of the node that t has now, from that of the former one. */
void lurn__keeper_move(lurn_tensor *t, lurn__node *former);
void lurn__keeper_free(lurn_tensor *t);

#endif
