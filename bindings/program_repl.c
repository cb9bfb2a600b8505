/* The conversation: read, evaluate, print. */
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

/* The prompt: the global _PROMPT or _PROMPT2 (for continuation lines), as in lua. */
static const char *push_prompt(lua_State *L, bool first) {
  if (lua_getglobal(L, first ? "_PROMPT" : "_PROMPT2") == LUA_TNIL) lua_pushstring(L, first ? "> " : ">> ");
  const char *prompt = luaL_tolstring(L, -1, NULL);
  return prompt;
}

/* Reads a line and leaves it on the stack, or leaves nothing. */
static edit_result read_line(lua_State *L, bool first) {
  int top = lua_gettop(L);
  char *line = NULL;
  edit_result result = edit_read(push_prompt(L, first), &line);
  lua_settop(L, top);
  if (result == EDIT_LINE) lua_pushstring(L, line);
  free(line);
  return result;
}

/* Whether the message on top of the stack says that the code so far only lacks its end. */
static bool is_incomplete(lua_State *L, int status) {
  static const char mark[] = "<eof>";
  if (status != LUA_ERRSYNTAX) return false;
  size_t size, mark_size = sizeof mark - 1;
  const char *message = lua_tolstring(L, -1, &size);
  /* The token is quoted in some messages: near '<eof>'. */
  if (size > 0 && message[size - 1] == '\'') size--;
  return size >= mark_size && memcmp(message + size - mark_size, mark, mark_size) == 0;
}

/* Compiles the text on top of the stack, first as an expression, then as statements, and leaves the function or the
 * message above it.  *more tells that another line may complete it. */
static int compile(lua_State *L, bool *more) {
  const char *text = lua_tostring(L, -1);
  const char *expression = lua_pushfstring(L, "return %s", text);
  int status = luaL_loadbufferx(L, expression, strlen(expression), "=stdin", "t");
  lua_remove(L, -2);
  if (status == LUA_OK) {
    *more = false;
    return status;
  }
  *more = is_incomplete(L, status);
  lua_pop(L, 1);
  status = luaL_loadbufferx(L, text, strlen(text), "=stdin", "t");
  *more = status != LUA_OK && (*more || is_incomplete(L, status));
  return status;
}

/* Reads lines until they make a chunk, or a mistake, and leaves that on the stack with its status. */
static edit_result read_chunk(lua_State *L, int *status) {
  edit_result result = read_line(L, true);
  if (result != EDIT_LINE) return result;
  if (lua_tostring(L, -1)[0] == '=') { /* "=x", an old way to print x */
    lua_pushstring(L, lua_tostring(L, -1) + 1);
    lua_remove(L, -2);
  }
  for (;;) {
    bool more;
    *status = compile(L, &more);
    if (!more) break;
    result = read_line(L, false);
    if (result == EDIT_INTERRUPTED) return result;
    if (result == EDIT_END) break; /* the message about <eof> is the answer */
    lua_remove(L, -2);             /* text, message, line -> text, line */
    lua_pushstring(L, "\n");
    lua_insert(L, -2);
    lua_concat(L, 3);
  }
  lua_remove(L, -2);
  return EDIT_LINE;
}

/* Prints everything on the stack with the global print, whatever the user made of it. */
static void print_results(lua_State *L) {
  int n = lua_gettop(L);
  if (n == 0) return;
  luaL_checkstack(L, LUA_MINSTACK, "too many results to print");
  lua_getglobal(L, "print");
  lua_insert(L, 1);
  program_report(L, program_call(L, n, 0));
}

/* In a conversation the library is at hand; without it, plain Lua still is. */
static void load_library(lua_State *L) {
  lua_getglobal(L, "require");
  lua_pushstring(L, "lurn");
  if (lua_pcall(L, 1, 1, 0) == LUA_OK) {
    lua_setglobal(L, "lurn");
    return;
  }
  fprintf(stderr, "lurn: the library could not be loaded: %s\n", lua_tostring(L, -1));
  lua_pop(L, 1);
}

void program_repl(lua_State *L) {
  lua_settop(L, 0);
  load_library(L);
  edit_open(L);
  for (;;) {
    int status;
    edit_result result = read_chunk(L, &status);
    if (result == EDIT_END) break;
    if (result == EDIT_LINE) {
      if (status == LUA_OK) status = program_call(L, 0, LUA_MULTRET);
      if (program_report(L, status)) print_results(L);
    }
    lua_settop(L, 0);
  }
  edit_close();
  putchar('\n');
  fflush(stdout);
}
