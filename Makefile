# lurn: build, test, install.  `make help` lists the targets.
#
#   make                                   build everything into build/
#   make BUILD=build/asan SAN=address,undefined      a second, instrumented build next to it
#   make V=1                               show the commands
#
# Overridable: CC CFLAGS CPPFLAGS LDFLAGS PREFIX DESTDIR LUA BUILD SAN EDIT.

BUILD  ?= build
PREFIX ?= /usr/local
CFLAGS ?= -g1
# The level of warnings in the user's build; `make check` raises it and adds -Werror.
WARN   ?= -Wall -Wextra

# All cores, unless the user chose a number of jobs, which make shows too late: ask the system.
CHOSEN := $(MAKELEVEL:0=)$(filter -j%,$(MAKEFLAGS))$(shell \
  tr '\0' '\n' 2>/dev/null </proc/$$PPID/cmdline | grep -E '^(-[a-zA-Z]*j|--jobs)')
ifeq ($(CHOSEN),)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 1)
endif
MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all
Q := $(if $(V),,@)
say = @printf '  %-4s %s\n' '$(1)' '$(2)'

# --- what the machine has -----------------------------------------------------------------------

first_pkg = $(firstword $(foreach p,$(1),$(shell pkg-config --exists $(p) 2>/dev/null && echo $(p))))
pkg       = $(if $(2),$(shell pkg-config --$(1) $(2)))
first_cmd = $(firstword $(foreach p,$(1),$(if $(shell command -v $(p)),$(p))))

LUA     ?= $(call first_cmd,lua5.4 lua54 lua-5.4 lua)
LUA_PKG := $(or $(call first_pkg,lua5.4 lua54 lua-5.4), \
  $(shell pkg-config --exists 'lua >= 5.4 lua < 5.5' 2>/dev/null && echo lua))
LUA_INC := $(call pkg,cflags,$(LUA_PKG))
LUA_LIB := $(call pkg,libs,$(LUA_PKG))
BLAS_PKG := $(call first_pkg,openblas)
BLAS_INC := $(call pkg,cflags,$(BLAS_PKG))
BLAS_LIB := $(call pkg,libs,$(BLAS_PKG))
# Line editing of the program `lurn`: libedit, readline or none.
EDIT     ?= $(or $(call first_pkg,libedit readline),none)
EDIT_PKG := $(filter-out none,$(EDIT))
EDIT_LIB := $(call pkg,libs,$(EDIT_PKG))

MISSING := $(strip $(if $(shell command -v $(firstword $(CC))),,$(CC)) \
  $(if $(shell command -v pkg-config),,pkg-config) $(if $(LUA),,lua5.4) \
  $(if $(LUA_PKG),,liblua5.4-dev) $(if $(BLAS_PKG),,libopenblas-dev))

VERSION := $(shell sed -n 's/^ *\# *define *LURN_VERSION *"\(.*\)".*/\1/p' engine/lurn.h 2>/dev/null)
SOVERSION := 0
MACHINE := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine 2>/dev/null)))

# --- sources ------------------------------------------------------------------------------------

# Kernel files named *_<isa>.c belong to one kind of machine; elsewhere they are left out.
ISA_ALL     := avx2 avx512 neon
ISA_x86_64  := avx2 avx512
ISA_amd64   := $(ISA_x86_64)
ISA_aarch64 := neon
ISA_OTHER   := $(filter-out $(ISA_$(MACHINE)),$(ISA_ALL))

ENGINE_SRC  := $(filter-out $(ISA_OTHER:%=\%_%.c),$(sort $(wildcard engine/*/*.c)))
PROGRAM_SRC := $(sort $(wildcard bindings/program*.c))
BINDING_SRC := $(filter-out $(PROGRAM_SRC),$(sort $(wildcard bindings/*.c)))
CTEST_SRC   := $(sort $(wildcard spec/c/test_*.c))
# Hosts of Lua: linked with the bindings too.
LTEST_SRC   := $(sort $(wildcard spec/c/lua/test_*.c))
SCRIPTS     := $(shell find scripts/lurn -name '*.lua' 2>/dev/null | sort)

objects      = $(1:%.c=$(BUILD)/obj/%.o)
ENGINE_OBJ  := $(call objects,$(ENGINE_SRC))
PROGRAM_OBJ := $(call objects,$(PROGRAM_SRC))
BINDING_OBJ := $(call objects,$(BINDING_SRC))
CTEST_OBJ   := $(call objects,$(CTEST_SRC))
LTEST_OBJ   := $(call objects,$(LTEST_SRC))

# --- products -----------------------------------------------------------------------------------

LURN    := $(BUILD)/bin/lurn
LIB_A   := $(BUILD)/lib/liblurn.a
LIB_SO  := $(BUILD)/lib/liblurn.so
CORE_SO := $(BUILD)/lib/lua/5.4/lurn/core.so
LUA_DIR := $(BUILD)/share/lua/5.4/lurn
HEADER  := $(BUILD)/include/lurn.h
TYPES   := $(BUILD)/share/lurn/types.lua
CTESTS  := $(CTEST_SRC:spec/c/%.c=$(BUILD)/test/%)
LTESTS  := $(LTEST_SRC:spec/c/lua/%.c=$(BUILD)/test/%)

# --- flags --------------------------------------------------------------------------------------

# errno and FP traps are not used, which frees the compiler to vectorise; what changes results
# (-ffast-math and its parts) is never allowed.  One set of position-independent objects serves
# the archive, the shared library, the Lua module and the program.
BASE := -std=c11 -D_GNU_SOURCE -Iengine -fPIC -pthread -fno-math-errno -fno-trapping-math \
        -fvisibility=hidden
# Contraction to fused multiply-add only where the kernels decide about it.
LEVEL = -O2 -ffp-contract=off
ISA   =
EXTRA =
ifdef SAN
  MODE := -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g
  MODE_LINK := -fsanitize=$(SAN)
else ifdef COVERAGE
  # Without assertions, which are branches that no test can take; the sanitizers' builds run them.
  # Every copy of an inlined function would count as branches of its own.
  MODE := --coverage -O0 -g -DNDEBUG -Dalways_inline=unused
  MODE_LINK := --coverage
else
  # Assertions guard internal invariants: the instrumented builds and the C tests have them.
  MODE := -DNDEBUG
endif

$(BUILD)/obj/engine/kernels/%.o: LEVEL = -O3 -ffp-contract=fast
$(BUILD)/obj/engine/kernels/%_avx2.o: ISA = -mavx2 -mfma -mf16c
$(BUILD)/obj/engine/kernels/%_avx512.o: ISA = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma \
                                              -mf16c -mprefer-vector-width=512
$(BUILD)/obj/engine/%.o: EXTRA = $(BLAS_INC)
# core.so exports one name (packaging/core.map), whatever the visibility of the others.
$(BUILD)/obj/bindings/%.o: EXTRA = $(LUA_INC) -fvisibility=default
$(PROGRAM_OBJ): EXTRA = $(LUA_INC) -DLURN_PREFIX='"$(PREFIX)"' -DLURN_EDIT_$(EDIT)=1
$(BUILD)/obj/spec/%.o: EXTRA = -Ispec/c -UNDEBUG
$(LTEST_OBJ): EXTRA = -Ispec/c -UNDEBUG -Ibindings $(LUA_INC)

compile = $(CC) $(BASE) $(LEVEL) $(ISA) $(MODE) $(EXTRA) $(WARN) $(CPPFLAGS) $(CFLAGS)
link    = $(CC) $(MODE_LINK) -pthread $(CFLAGS) $(LDFLAGS)
LIBS    = $(BLAS_LIB) -lm

# --- rules --------------------------------------------------------------------------------------

.PHONY: all objects tests FORCE
all: $(LURN) $(LIB_A) $(LIB_SO) $(CORE_SO) $(LUA_DIR) $(HEADER) $(TYPES) ## build everything (default)
objects: $(ENGINE_OBJ) $(BINDING_OBJ) $(PROGRAM_OBJ) $(CTEST_OBJ) $(LTEST_OBJ)
tests: $(CTESTS) $(LTESTS)

# A stamp changes only when its text does; what depends on it is then made anew.
stamp = $(if $(MISSING),$(error lurn cannot be built yet, missing: $(MISSING). Run `make deps`)) \
	@mkdir -p $(@D); printf '%s\n' '$(subst ','\'',$(1))' >$@.new; \
	if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
$(BUILD)/flags: FORCE
	$(call stamp,$(CC) $(BASE) $(MODE) $(LUA_INC) $(BLAS_INC) $(WARN) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) $(MACHINE))
$(BUILD)/flags.program: FORCE
	$(call stamp,$(PREFIX) $(EDIT))
$(BUILD)/sources: FORCE
	$(call stamp,$(ENGINE_SRC) $(BINDING_SRC) $(PROGRAM_SRC))
FORCE:

$(BUILD)/obj/%.o: %.c $(BUILD)/flags Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(compile) -MMD -MP -c -o $@ $<
$(PROGRAM_OBJ): $(BUILD)/flags.program

$(LIB_A): $(ENGINE_OBJ) $(BUILD)/sources
	@mkdir -p $(@D)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $(ENGINE_OBJ)

$(LIB_SO): $(ENGINE_OBJ) $(BUILD)/sources
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(link) -shared -Wl,-soname,liblurn.so.$(SOVERSION) -Wl,-Bsymbolic-functions \
	  $(if $(SAN),,-Wl,-z,defs) -o $@.$(SOVERSION) $(ENGINE_OBJ) $(LIBS)
	$(Q)ln -sf liblurn.so.$(SOVERSION) $@

# Not linked with Lua: the host program brings it, and a second copy would not know the first.
$(CORE_SO): $(BINDING_OBJ) $(LIB_A) packaging/core.map
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(link) -shared -Wl,--version-script=packaging/core.map -o $@ $(BINDING_OBJ) $(LIB_A) $(LIBS)

$(LURN): $(PROGRAM_OBJ) $(BINDING_OBJ) $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(link) -rdynamic -o $@ $(PROGRAM_OBJ) $(BINDING_OBJ) $(LIB_A) $(LIBS) $(LUA_LIB) $(EDIT_LIB) -ldl

$(LUA_DIR):
	@mkdir -p $(@D)
	$(call say,LN,$@)
	$(Q)ln -sfn '$(CURDIR)/scripts/lurn' $@

# The op prototypes come from the registry of the program just built.
$(HEADER): engine/lurn.h packaging/header.lua $(LURN)
	@mkdir -p $(@D)
	$(call say,GEN,$@)
	$(Q)$(LURN) packaging/header.lua engine/lurn.h >$@

# Annotations of the ops, for editors: they are not in the scripts.
$(TYPES): packaging/docs.lua $(LURN)
	@mkdir -p $(@D)
	$(call say,GEN,$@)
	$(Q)$(LURN) packaging/docs.lua types $@

$(CTESTS): $(BUILD)/test/%: $(BUILD)/obj/spec/c/%.o $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(link) $(WRAP_$(*F)) -o $@ $< $(LIB_A) $(LIBS)
# It counts these calls.
WRAP_test_endurance := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc

$(LTESTS): $(BUILD)/test/%: $(BUILD)/obj/spec/c/lua/%.o $(BINDING_OBJ) $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(link) -o $@ $< $(BINDING_OBJ) $(LIB_A) $(LIBS) $(LUA_LIB) -ldl

-include $(patsubst %.o,%.d,$(ENGINE_OBJ) $(BINDING_OBJ) $(PROGRAM_OBJ) $(CTEST_OBJ) $(LTEST_OBJ))

include packaging/targets.mk
