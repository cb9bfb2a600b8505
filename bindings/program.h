/* The parts of the program `lurn`: an interpreter that behaves as lua5.4, with the module lurn built in. */
#ifndef LURN_PROGRAM_H
#define LURN_PROGRAM_H

#include <lua.h>
#include <stdbool.h>

/* program.c */

/* Calls the function below its nargs arguments as lua_pcall does, with a traceback added to errors.  While it runs,
 * Ctrl-C raises the Lua error "interrupted!"; a second Ctrl-C ends the process. */
int program_call(lua_State *L, int nargs, int nresults);
/* Prints and pops the error on top of the stack unless status is LUA_OK; returns whether it was. */
bool program_report(lua_State *L, int status);
/* "lurn 0.1.0 (Lua 5.4.4)" */
void program_print_version(void);

/* program_path.c */

/* Puts the scripts that belong to this program in front of package.path. */
void program_set_path(lua_State *L, const char *argv0);

/* program_repl.c */

/* Reads, evaluates and prints until the input ends. */
void program_repl(lua_State *L);

/* program_edit.c: line editing, history and completion at a terminal; plain reading elsewhere */

typedef enum edit_result { EDIT_LINE, EDIT_END, EDIT_INTERRUPTED } edit_result;

void edit_open(lua_State *L);
/* Reads a line, without its newline, into *line, which is freed by the caller. */
edit_result edit_read(const char *prompt, char **line);
void edit_close(void);

#endif
