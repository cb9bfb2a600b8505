/* Lines from the user: with editing, history and completion where stdin and stdout are a terminal and the build found
 * libedit or readline; by plain reading elsewhere. */
#include <errno.h>
#include <lauxlib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "program.h"

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number) {
  (void)signal_number;
  interrupted = 1;
}

static edit_result read_plain(const char *prompt, char **line) {
  fputs(prompt, stdout);
  fflush(stdout);
  size_t capacity = 0;
  ssize_t n = getline(line, &capacity, stdin);
  if (n < 0) {
    clearerr(stdin);
    return EDIT_END;
  }
  if (n > 0 && (*line)[n - 1] == '\n') (*line)[n - 1] = '\0';
  return EDIT_LINE;
}

#if defined(LURN_EDIT_libedit) || defined(LURN_EDIT_readline)

#include <locale.h>
#include <wchar.h>
#if defined(LURN_EDIT_libedit)
#include <editline/readline.h>
#else
#include <readline/history.h>
#include <readline/readline.h>
#endif

enum { HISTORY_LINES = 1000 };

static bool editing;
static lua_State *completion_state; /* completion callbacks carry no data of their own */
static char *history_path;

/* ---- Completion --------------------------------------------------------------------------------------------- */

/* Replaces the value on top of the stack by the table in which its fields are looked up; false when there is none.
 * Metamethods are never called: completion must not compute. */
static bool field_table(lua_State *L) {
  if (lua_istable(L, -1)) return true;
  if (!luaL_getmetafield(L, -1, "__index")) return false;
  lua_remove(L, -2);
  return lua_istable(L, -1);
}

/* Pushes the value of a path such as "lurn.nn", of the given size; false, with something pushed, when it has none. */
static bool push_path(lua_State *L, const char *path, size_t size) {
  lua_pushglobaltable(L);
  while (size > 0) {
    size_t n = 0;
    while (n < size && path[n] != '.' && path[n] != ':') n++;
    if (!field_table(L)) return false;
    for (int depth = 0;; depth++) { /* the table itself, then what it inherits */
      lua_pushlstring(L, path, n);
      lua_rawget(L, -2);
      if (!lua_isnil(L, -1)) break;
      lua_pop(L, 1);
      if (depth == 10 || !luaL_getmetafield(L, -1, "__index")) return false;
      lua_remove(L, -2);
      if (!lua_istable(L, -1)) return false;
    }
    lua_remove(L, -2);
    path += n;
    size -= n;
    if (size > 0) path++, size--; /* the dot */
  }
  return true;
}

/* Appends to the list at `list` the names in the table on top of the stack that begin with the last part of text. */
static void collect_names(lua_State *L, int list, const char *text, size_t stem) {
  const char *start = text + stem;
  size_t n = strlen(start);
  for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) continue;
    const char *name = lua_tostring(L, -2);
    if (strncmp(name, start, n) != 0 || (n == 0 && strncmp(name, "__", 2) == 0)) continue;
    lua_pushlstring(L, text, stem);
    lua_pushstring(L, name);
    lua_concat(L, 2);
    lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
  }
}

/* text -> list of completions */
static int list_completions(lua_State *L) {
  const char *text = lua_tostring(L, 1);
  const char *last = strrchr(text, '.'), *colon = strrchr(text, ':');
  if (!last || (colon && colon > last)) last = colon;
  size_t stem = last ? (size_t)(last - text) + 1 : 0;
  lua_newtable(L);
  if (!push_path(L, text, stem > 0 ? stem - 1 : 0)) {
    lua_settop(L, 2);
    return 1;
  }
  for (int depth = 0; depth < 10 && field_table(L); depth++) {
    collect_names(L, 2, text, stem);
    if (!luaL_getmetafield(L, -1, "__index")) break;
  }
  lua_settop(L, 2);
  return 1;
}

/* Gives the completions out one by one; state 0 starts afresh.  The list waits on Lua's stack meanwhile. */
static char *next_completion(const char *text, int state) {
  static lua_Integer position;
  lua_State *L = completion_state;
  if (state == 0) {
    position = 0;
    lua_pushcfunction(L, list_completions);
    lua_pushstring(L, text);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
      lua_pop(L, 1);
      return NULL;
    }
  }
  char *result = NULL;
  if (lua_rawgeti(L, -1, ++position) == LUA_TSTRING) result = strdup(lua_tostring(L, -1));
  lua_pop(L, 1);
  if (!result) lua_pop(L, 1); /* the list */
  return result;
}

static char **complete(const char *text, int start, int end) {
  (void)start, (void)end;
  rl_completion_append_character = '\0';
  rl_attempted_completion_over = 1; /* no file names */
  return rl_completion_matches(text, next_completion);
}

/* ---- Editing ------------------------------------------------------------------------------------------------ */

/* Reads a key; unlike the libraries' own functions it gives up on Ctrl-C. */
static int read_key(FILE *in) {
  char bytes[8];
  for (size_t n = 0; n < sizeof bytes;) {
    ssize_t got = read(fileno(in), bytes + n, 1);
    if (got < 0 && errno == EINTR && !interrupted) continue;
    if (got <= 0) return EOF;
#if defined(LURN_EDIT_libedit)
    /* libedit takes what this returns for a wide character. */
    mbstate_t state = {0};
    wchar_t wide;
    size_t used = mbrtowc(&wide, bytes, ++n, &state);
    if (used != (size_t)-1 && used != (size_t)-2) return (int)wide;
    if (used == (size_t)-1) return '?';
#else
    return (unsigned char)bytes[0];
#endif
  }
  return '?';
}

static void save_history(void) {
  if (history_path) write_history(history_path);
}

static void open_history(void) {
  const char *home = getenv("HOME");
  static const char name[] = "/.lurn_history";
  if (!home || history_path) return;
  size_t size = strlen(home) + sizeof name;
  history_path = malloc(size);
  if (!history_path) return;
  snprintf(history_path, size, "%s%s", home, name);
  stifle_history(HISTORY_LINES);
  read_history(history_path);
  atexit(save_history); /* os.exit() leaves by that way */
}

void edit_open(lua_State *L) {
  editing = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
  if (!editing) return;
  static char word_breaks[] = " \t\n\"\\'><=;,+-*/%^~#(){}[]|&!@$?"; /* all but dot, colon and underscore */
  setlocale(LC_CTYPE, ""); /* for the width of characters on the line; scripts run elsewhere keep the C locale */
  completion_state = L;
  rl_readline_name = "lurn";
  rl_getc_function = read_key;
  rl_attempted_completion_function = complete;
  rl_completer_word_break_characters = word_breaks;
#if defined(LURN_EDIT_readline)
  rl_catch_signals = 0;
  rl_basic_word_break_characters = word_breaks;
#endif
  using_history();
  open_history();
}

static void remember(const char *line) {
  static char *last;
  if (line[0] == '\0' || (last && strcmp(last, line) == 0)) return;
  add_history(line);
  free(last);
  last = strdup(line);
}

static edit_result read_edited(const char *prompt, char **line) {
  char *text = readline(prompt);
  if (interrupted) {
    free(text);
    putchar('\n');
    return EDIT_INTERRUPTED;
  }
  if (!text) return EDIT_END;
  remember(text);
  *line = text;
  return EDIT_LINE;
}

void edit_close(void) {
  save_history();
  clear_history();
  free(history_path);
  history_path = NULL; /* for save_history at exit */
}

#else /* neither library */

enum { editing = 0 };
#define read_edited read_plain
void edit_open(lua_State *L) { (void)L; }
void edit_close(void) {}

#endif

/* At the prompt Ctrl-C drops the line; where lines are read plainly it ends the program as usual. */
edit_result edit_read(const char *prompt, char **line) {
  if (!editing) return read_plain(prompt, line);
  struct sigaction action = {.sa_handler = on_interrupt}, former;
  sigemptyset(&action.sa_mask);
  interrupted = 0;
  sigaction(SIGINT, &action, &former);
  edit_result result = read_edited(prompt, line);
  sigaction(SIGINT, &former, NULL);
  return result;
}
