-- Runs busted inside the interpreter that runs this script, so that the specs see that build of lurn:
--
--   build/bin/lurn packaging/busted.lua [busted's arguments]
--
-- It ends in os.exit(code, true), which closes the Lua state: leak checkers see everything freed.

-- .busted names lua5.4 for the plain command; here the interpreter is chosen already.
table.insert(arg, 1, "--ignore-lua")

local ok, runner = pcall(require, "busted.runner")
if not ok then
  io.stderr:write("busted for Lua 5.4 is missing, run `make deps` (", runner:match "^[^\n]*", ")\n")
  os.exit(2)
end

-- On some systems `say`, `term` or penlight leave globals; busted itself protects each spec file from the others.
runner { standalone = false }
