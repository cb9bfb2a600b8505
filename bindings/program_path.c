/* Where the Lua half of the library lies: beside the program, wherever that was moved to. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "program.h"

#ifndef LURN_PREFIX
#define LURN_PREFIX "/usr/local"
#endif
#define SCRIPTS "/share/lua/5.4"

/* Writes the path of the running program to buffer; false when it cannot be told. */
static bool find_program(const char *argv0, char buffer[PATH_MAX]) {
  ssize_t n = readlink("/proc/self/exe", buffer, PATH_MAX - 1);
  if (n > 0 && n < PATH_MAX - 1) {
    buffer[n] = '\0';
    return true;
  }
  return strchr(argv0, '/') && realpath(argv0, buffer) != NULL;
}

/* Cuts the last component off: "/usr/bin/lurn" becomes "/usr/bin". */
static bool cut_name(char *path) {
  char *slash = strrchr(path, '/');
  if (slash) *slash = '\0';
  return slash != NULL;
}

void program_set_path(lua_State *L, const char *argv0) {
  char root[PATH_MAX];
  bool found = find_program(argv0, root) && cut_name(root) && cut_name(root);
  if (found) {
    const char *module = lua_pushfstring(L, "%s" SCRIPTS "/lurn/init.lua", root);
    found = access(module, R_OK) == 0;
    lua_pop(L, 1);
  }
  const char *prefix = found ? root : LURN_PREFIX;
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "path");
  const char *path = lua_tostring(L, -1);
  lua_pushfstring(L, "%s" SCRIPTS "/?.lua;%s" SCRIPTS "/?/init.lua;%s", prefix, prefix, path ? path : "");
  lua_setfield(L, -3, "path");
  lua_pop(L, 2);
}
