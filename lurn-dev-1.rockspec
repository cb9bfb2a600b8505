-- For `luarocks make`: builds with the Makefile (which needs OpenBLAS, see `make deps`) and installs into the rock's
-- directories.
rockspec_format = "3.0"
package = "lurn"
version = "dev-1"
source = {
  url = "git+file://.",
}
description = {
  summary = "Neural networks for sequences: RNN, LSTM, GRU",
  detailed = "A C11 engine with tensors, gradients and fused recurrent layers; models and training loops are Lua.",
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = {
  "lua ~> 5.4",
  "argparse",
}
external_dependencies = {
  OPENBLAS = { library = "openblas" },
}
build = {
  type = "make",
  build_variables = {
    CFLAGS = "$(CFLAGS)",
    LUA = "$(LUA)",
  },
  install_target = "install-rock",
  install_variables = {
    ROCK_BIN = "$(BINDIR)",
    ROCK_LUA = "$(LUADIR)",
    ROCK_LIB = "$(LIBDIR)",
    CFLAGS = "$(CFLAGS)",
    LUA = "$(LUA)",
  },
}
