/* The program `lurn`: command line, protected calls, interrupts. */
#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lurn.h"
#include "program.h"

int luaopen_lurn_core(lua_State *L);

/* ---- Interrupts --------------------------------------------------------------------------------------------- */

/* The only process-wide state: a signal handler has no other way to find the state it interrupts. */
static lua_State *interrupted_state;
static pthread_t main_thread;

/* True while lurn switches back what it had switched for the time of a call, see core.shield. */
static bool is_shielded(lua_State *L) {
  enum { LEVELS = 32 };
  lua_Debug info;
  bool found = false;
  if (lua_getfield(L, LUA_REGISTRYINDEX, "lurn.shielded") == LUA_TTABLE) {
    for (int level = 0; !found && level < LEVELS && lua_getstack(L, level, &info); level++) {
      lua_getinfo(L, "f", &info);
      found = lua_rawget(L, -2) != LUA_TNIL;
      lua_pop(L, 1);
    }
  }
  lua_pop(L, 1);
  return found;
}

static void raise_interrupt(lua_State *L, lua_Debug *ar) {
  (void)ar;
  if (is_shielded(L)) return; /* the hook stays */
  lua_sethook(L, NULL, 0, 0);
  luaL_error(L, "interrupted!");
}

/* Lua may not be touched here but for setting a hook, and that only in its own thread: a library's worker thread that
 * happens to receive the signal passes it on. */
static void on_interrupt(int signal_number) {
  if (!pthread_equal(pthread_self(), main_thread)) {
    pthread_kill(main_thread, signal_number);
    return;
  }
  signal(signal_number, SIG_DFL);
  lua_sethook(interrupted_state, raise_interrupt, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

/* ---- Protected calls ---------------------------------------------------------------------------------------- */

static int add_traceback(lua_State *L) {
  const char *message = lua_tostring(L, 1);
  if (!message) {
    if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING) return 1;
    message = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
  }
  luaL_traceback(L, L, message, 1);
  return 1;
}

/* Ctrl-C, and what asks a program to end: both leave a script the time to save. */
static const int interrupts[] = {SIGINT, SIGTERM};
enum { INTERRUPTS = sizeof interrupts / sizeof interrupts[0] };

int program_call(lua_State *L, int nargs, int nresults) {
  int handler = lua_gettop(L) - nargs;
  lua_pushcfunction(L, add_traceback);
  lua_insert(L, handler);
  /* Without SA_RESTART, so that a script waiting for input is interrupted too. */
  struct sigaction action = {.sa_handler = on_interrupt}, former[INTERRUPTS];
  sigemptyset(&action.sa_mask);
  interrupted_state = L;
  main_thread = pthread_self();
  for (int i = 0; i < INTERRUPTS; i++) sigaction(interrupts[i], &action, &former[i]);
  int status = lua_pcall(L, nargs, nresults, handler);
  for (int i = 0; i < INTERRUPTS; i++) sigaction(interrupts[i], &former[i], NULL);
  lua_remove(L, handler);
  return status;
}

bool program_report(lua_State *L, int status) {
  if (status == LUA_OK) return true;
  const char *message = lua_tostring(L, -1);
  fflush(stdout);
  fprintf(stderr, "lurn: %s\n", message ? message : "(error message is not a string)");
  fflush(stderr);
  lua_pop(L, 1);
  return false;
}

/* ---- Command line ------------------------------------------------------------------------------------------- */

typedef struct options {
  int script; /* index of the script in argv; argc when there is none */
  bool interactive, version, run_statements, ignore_environment;
} options;

static const char usage[] =
    "usage: lurn [options] [script [arguments]]\n"
    "       lurn info [file.safetensors]   about this installation, or about a file of tensors\n"
    "\n"
    "An interpreter for Lua 5.4 with the neural-network library lurn built in.\n"
    "Without a script: interactive at a terminal, otherwise the script is read from standard input.\n"
    "\n"
    "  -e stat          run the string stat\n"
    "  -i               enter interactive mode after running the script\n"
    "  -l mod           require mod into a global of that name; -l g=mod into the global g\n"
    "  -v, --version    print the version\n"
    "  -E               ignore environment variables\n"
    "  -W               turn warnings on\n"
    "  --help           this text\n"
    "  --               end of the options\n"
    "  -                read the script from standard input\n";

/* Fills *o from the command line.  Returns the option that is wrong, or NULL. */
static const char *parse_options(int argc, char **argv, options *o) {
  int i = 1;
  for (; i < argc && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
    const char *arg = argv[i];
    bool single = arg[2] == '\0';
    if (strcmp(arg, "--") == 0) {
      i++;
      break;
    }
    if (strcmp(arg, "--version") == 0 || strcmp(arg, "-v") == 0) o->version = true;
    else if (arg[1] == 'i' && single) o->interactive = true;
    else if (arg[1] == 'E' && single) o->ignore_environment = true;
    else if (arg[1] == 'W' && single) continue; /* its turn comes in run_statements */
    else if (arg[1] == 'e' || arg[1] == 'l') {
      o->run_statements = o->run_statements || arg[1] == 'e';
      if (single && (i + 1 >= argc || argv[i + 1][0] == '-')) return arg;
      if (single) i++; /* the statement is the next argument */
    } else return arg;
  }
  o->script = i;
  return NULL;
}

static bool run_string(lua_State *L, const char *code, const char *name) {
  int status = luaL_loadbuffer(L, code, strlen(code), name);
  return program_report(L, status == LUA_OK ? program_call(L, 0, 0) : status);
}

static bool run_file(lua_State *L, const char *path) {
  int status = luaL_loadfile(L, path);
  return program_report(L, status == LUA_OK ? program_call(L, 0, 0) : status);
}

/* -l mod or -l global=mod; a version suffix as in mod-v2 is no part of the global's name. */
static bool run_require(lua_State *L, const char *what) {
  const char *equals = strchr(what, '=');
  const char *module = equals ? equals + 1 : what;
  size_t name_size = equals ? (size_t)(equals - what) : strcspn(what, "-");
  lua_getglobal(L, "require");
  lua_pushstring(L, module);
  int status = program_call(L, 1, 1);
  if (status == LUA_OK) {
    lua_pushglobaltable(L);
    lua_pushlstring(L, what, name_size);
    lua_rotate(L, -3, -1); /* value, globals, name -> globals, name, value */
    lua_rawset(L, -3);
    lua_pop(L, 1);
  }
  return program_report(L, status);
}

/* Runs what -e, -l and -W say, in their order. */
static bool run_statements(lua_State *L, char **argv, int end) {
  for (int i = 1; i < end; i++) {
    char option = argv[i][1];
    if (option == 'W') lua_warning(L, "@on", 0);
    if (option != 'e' && option != 'l') continue;
    const char *text = argv[i][2] != '\0' ? argv[i] + 2 : argv[++i];
    if (!(option == 'e' ? run_string(L, text, "=(command line)") : run_require(L, text))) return false;
  }
  return true;
}

static bool run_init(lua_State *L) {
  const char *name = "=LUA_INIT_5_4";
  const char *init = getenv(name + 1);
  if (!init) init = getenv((name = "=LUA_INIT") + 1);
  if (!init) return true;
  return init[0] == '@' ? run_file(L, init + 1) : run_string(L, init, name);
}

/* The global `arg`: the script at 0, its arguments from 1, the interpreter and its options below. */
static void set_arg(lua_State *L, int argc, char **argv, int script) {
  if (script == argc) script = 0; /* without a script the interpreter is at 0 */
  lua_createtable(L, argc - script, script + 1);
  for (int i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i - script);
  }
  lua_setglobal(L, "arg");
}

/* Pushes arg[1] ... as the script may have them changed by LUA_INIT; returns their number. */
static int push_args(lua_State *L) {
  if (lua_getglobal(L, "arg") != LUA_TTABLE) luaL_error(L, "'arg' is not a table");
  int n = (int)luaL_len(L, -1);
  luaL_checkstack(L, n + 3, "too many arguments to script");
  for (int i = 1; i <= n; i++) lua_rawgeti(L, -i, i);
  lua_remove(L, -n - 1);
  return n;
}

static bool run_script(lua_State *L, const char *path, bool from_stdin) {
  int status = luaL_loadfile(L, from_stdin ? NULL : path);
  if (status == LUA_OK) status = program_call(L, push_args(L), 0);
  return program_report(L, status);
}

/* `lurn info ...`: runs the function that the module lurn.cli.info returns.  Its `nil, message` is a failure. */
static bool run_command(lua_State *L, const char *name) {
  lua_getglobal(L, "require");
  lua_pushfstring(L, "lurn.cli.%s", name);
  int status = program_call(L, 1, 1);
  if (status == LUA_OK) status = program_call(L, push_args(L), 2);
  if (status != LUA_OK) return program_report(L, status);
  bool failed = !lua_toboolean(L, -2) && lua_isstring(L, -1);
  if (failed) fprintf(stderr, "lurn %s: %s\n", name, lua_tostring(L, -1));
  lua_pop(L, 2);
  return !failed;
}

static bool is_command(const char *word) { return strcmp(word, "info") == 0 && access(word, F_OK) != 0; }

/* ---- End ---------------------------------------------------------------------------------------------------- */

/* Whether the process is about to end with status 0. */
static bool succeeds;

/* os.exit: Lua's own, the upvalue, which does not return. */
static int exit_process(lua_State *L) {
  succeeds = lua_isboolean(L, 1) ? lua_toboolean(L, 1) : luaL_optinteger(L, 1, EXIT_SUCCESS) == EXIT_SUCCESS;
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 0);
  return 0;
}

static void watch_exit(lua_State *L) {
  lua_getglobal(L, LUA_OSLIBNAME);
  lua_getfield(L, -1, "exit");
  lua_pushcclosure(L, exit_process, 1);
  lua_setfield(L, -2, "exit");
  lua_pop(L, 1);
}

/* At the end of the process, whoever ends it: what was printed and reached nobody, as on a full disk, is no success.  Scripts cannot
 * close standard output. */
static void check_output(void) {
  bool failed = ferror(stdout) != 0;
  errno = 0;
  fflush(NULL); /* other files too: nothing is written after _exit */
  if (!succeeds || (!failed && ferror(stdout) == 0)) return;
  if (errno != 0) perror("lurn: cannot write to standard output");
  else fprintf(stderr, "lurn: cannot write to standard output\n");
  _exit(EXIT_FAILURE);
}

/* ---- Start -------------------------------------------------------------------------------------------------- */

void program_print_version(void) {
  printf("lurn %s (%s)\n", lurn_version(), LUA_RELEASE);
  fflush(stdout);
}

static void open_libraries(lua_State *L, const char *argv0, bool ignore_environment) {
  luaL_checkversion(L);
  if (ignore_environment) {
    lua_pushboolean(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV"); /* the package library asks for it */
  }
  luaL_openlibs(L);
  watch_exit(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_lurn_core);
  lua_setfield(L, -2, "lurn.core");
  lua_pop(L, 1);
  program_set_path(L, argv0);
  lua_gc(L, LUA_GCGEN, 0, 0); /* as lua5.4 does */
}

/* What remains when the options are done: the script, a command, standard input or a conversation. */
static bool run_rest(lua_State *L, int argc, char **argv, const options *o) {
  bool terminal = isatty(STDIN_FILENO);
  if (o->script < argc) {
    const char *script = argv[o->script];
    bool after_dashes = o->script > 1 && strcmp(argv[o->script - 1], "--") == 0;
    bool from_stdin = strcmp(script, "-") == 0 && !after_dashes;
    if (is_command(script) ? !run_command(L, script) : !run_script(L, script, from_stdin)) return false;
    if (o->interactive) program_repl(L);
  } else if (o->interactive || (terminal && !o->run_statements && !o->version)) {
    if (!o->version) program_print_version();
    program_repl(L);
  } else if (!o->run_statements && !o->version) {
    return run_file(L, NULL);
  }
  return true;
}

typedef struct invocation {
  int argc;
  char **argv;
  options options;
} invocation;

static int run_program(lua_State *L) {
  const invocation *call = lua_touserdata(L, 1);
  const options *o = &call->options;
  open_libraries(L, call->argv[0], o->ignore_environment);
  set_arg(L, call->argc, call->argv, o->script);
  if (o->version) program_print_version();
  bool ok = (o->ignore_environment || run_init(L)) && run_statements(L, call->argv, o->script) &&
            run_rest(L, call->argc, call->argv, o);
  lua_pushboolean(L, ok);
  return 1;
}

int main(int argc, char **argv) {
  static char *nameless[] = {"lurn", NULL}; /* a caller may pass no argv[0] at all */
  atexit(check_output);
  invocation call = {.argc = argc > 0 ? argc : 1, .argv = argc > 0 ? argv : nameless};
  if (argc == 2 && strcmp(argv[1], "--help") == 0) {
    fputs(usage, stdout);
    succeeds = true;
    return EXIT_SUCCESS;
  }
  const char *wrong = parse_options(call.argc, call.argv, &call.options);
  if (wrong) {
    bool lacks = (wrong[1] == 'e' || wrong[1] == 'l') && wrong[2] == '\0';
    fprintf(stderr, lacks ? "lurn: '%s' needs an argument\n%s" : "lurn: unrecognized option '%s'\n%s", wrong, usage);
    return EXIT_FAILURE;
  }
  /* The engine brings its own threads; those of the BLAS library would only fight them. */
  lurn_blas_set_threads(1);
  lua_State *L = luaL_newstate();
  if (!L) {
    fprintf(stderr, "lurn: not enough memory\n");
    return EXIT_FAILURE;
  }
  lua_pushcfunction(L, run_program);
  lua_pushlightuserdata(L, &call);
  int status = lua_pcall(L, 1, 1, 0);
  bool ok = program_report(L, status) && lua_toboolean(L, -1);
  lua_close(L);
  succeeds = ok;
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
