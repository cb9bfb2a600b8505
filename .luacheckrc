std = "lua54"
max_line_length = 120
-- Methods may leave self unused, callbacks their arguments.
unused_args = false
files["spec/**/*_spec.lua"] = { std = "+busted" }
files[".busted"] = { std = "lua54" }
