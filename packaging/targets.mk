# The targets people call: dependencies, tests, checks, installation.

.PHONY: deps test spec run-tests check tidy sanitize sanitize-thread coverage demo bench bench-peers \
        docs format endurance fuzz fuzzers valgrind acceptance \
        install install-rock uninstall clean distclean help version

# What `make demo` runs.
DEMO = $(LURN) examples/char_lm.lua --max_minutes 2.3 --checkpoint_dir $(BUILD)/demo \
       --temperature 0.5 --sample_every 1000 --sample_length 300

deps: ## install the Debian packages that building, testing and checking need
	@packaging/deps.sh build edit scripts test demo check fuzz

# Packages may arrive while make runs, so the work is done by a second make that looks afresh.
test: ## install what the tests need, build, run the C tests and the specs
	@packaging/deps.sh build edit scripts test
	@$(MAKE) run-tests
spec: test ## the same as test
run-tests: all tests
	@BUILD='$(BUILD)' packaging/test.sh $(ONLY)

acceptance: all ## train on the published tasks of recurrent networks: [ONLY=reber] [FULL=1]; docs/acceptance.md
	@$(LURN) spec/acceptance/run.lua $(if $(FULL),--full) $(ONLY)

demo: ## install what the demo needs, build, train a small language model before your eyes
	@packaging/deps.sh build scripts demo
	@$(MAKE) all
	@$(DEMO)

# The programs of the benchmark; oneDNN's only where its header is (otherwise the benchmark says that it is missing).
BENCH     := $(BUILD)/bench/lurn_c $(BUILD)/bench/peaks
BENCH_OBJ := $(patsubst %,$(BUILD)/obj/spec/bench/%.o,lurn_c char_lm peaks dnnl)
$(BUILD)/obj/spec/bench/peaks.o: LEVEL = -O3 -ffp-contract=fast
$(BUILD)/obj/spec/bench/peaks.o: EXTRA = $(BLAS_INC)
$(BUILD)/bench/%: $(BUILD)/obj/spec/bench/%.o $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(link) -o $@ $(filter %.o,$^) $(LIB_A) $(LIBS)
$(BUILD)/bench/lurn_c: $(BUILD)/obj/spec/bench/char_lm.o
$(BUILD)/bench/dnnl: $(BUILD)/obj/spec/bench/dnnl.o
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(link) -o $@ $< -ldnnl $(LIBS)
HAS_DNNL = printf '\#include <dnnl.h>\n\#if DNNL_VERSION_MAJOR != 2\n\#error\n\#endif\n' | $(CC) -E - >/dev/null 2>&1
-include $(BENCH_OBJ:.o=.d)
.SECONDARY: $(BENCH_OBJ)
objects: $(filter-out %/dnnl.o,$(BENCH_OBJ))

bench: all $(BENCH) ## compare speed with PyTorch, oneDNN, ONNX Runtime (QUICK=1, ONLY=lstm, SAVE=1; spec/bench/README.md)
	@if $(HAS_DNNL); then $(MAKE) $(BUILD)/bench/dnnl; else rm -f $(BUILD)/bench/dnnl; fi
	@env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE BUILD='$(BUILD)' QUICK='$(QUICK)' SAVE='$(SAVE)' ROUNDS='$(ROUNDS)' \
	  BUDGET='$(BUDGET)' $(LURN) spec/bench/run.lua $(ONLY)

# Only when asked for: nothing else downloads from PyPI.
BENCH_VENV ?= $(HOME)/.cache/lurn-bench/venv
bench-peers: ## download PyTorch, ONNX Runtime and NumPy from PyPI into a virtual environment for `make bench`
	@BENCH_VENV='$(BENCH_VENV)' spec/bench/peers.sh

docs: all ## make docs/lua-reference.md from the sources
	$(Q)$(LURN) packaging/docs.lua reference docs/lua-reference.md

check: ## format, warnings (gcc, clang), layers, luacheck, clang-tidy, header, sizes, forbidden calls
	@LUA='$(LUA)' MAKE='$(MAKE)' packaging/check/all.sh $(ONLY)

# One stamp per source, so that clang-tidy runs in parallel and only on what changed.
TIDY := $(patsubst %.c,$(BUILD)/tidy/%.ok,$(ENGINE_SRC) $(BINDING_SRC) $(PROGRAM_SRC))
tidy: $(TIDY)
$(BUILD)/tidy/%.ok: EXTRA = $(BLAS_INC) $(LUA_INC)
$(BUILD)/tidy/engine/kernels/%_avx2.ok: ISA = -mavx2 -mfma -mf16c
$(BUILD)/tidy/engine/kernels/%_avx512.ok: ISA = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c
$(PROGRAM_SRC:%.c=$(BUILD)/tidy/%.ok): EXTRA = $(LUA_INC) -DLURN_PREFIX='"$(PREFIX)"' -DLURN_EDIT_$(EDIT)=1
$(BUILD)/tidy/%.ok: $(BUILD)/obj/%.o .clang-tidy
	@mkdir -p $(@D)
	$(call say,TIDY,$*.c)
	$(Q)clang-tidy --quiet $*.c -- $(BASE) $(ISA) $(EXTRA) 2>/dev/null
	@touch $@

format: ## reformat the C sources in place
	@clang-format -i $$(find engine bindings examples spec/c spec/bench spec/fuzz -name '*.[ch]')

sanitize: ## all tests under ASan and UBSan, the C tests under TSan
	@packaging/deps.sh build edit scripts test
	@$(MAKE) BUILD=build/asan SAN=address,undefined run-tests
	@$(MAKE) sanitize-thread
sanitize-thread: ## the C tests under TSan
	@$(MAKE) BUILD=build/tsan SAN=thread ONLY=c run-tests

endurance: all tests ## what takes many minutes: a million training steps, 100,000 errors in every callback, each allocation failing
	@BUILD='$(BUILD)' packaging/endurance.sh

# SECONDS or RUNS (inputs) end each target's run; none of the shell's own SECONDS.
# Instrumented loads part products from sums in some loops and not in others: without fusing any, all round alike.
fuzz: ## random inputs to readers and ops (libFuzzer); ONLY=json|safetensors|graph, SECONDS=60, RUNS=n inputs, SEED=n
	@packaging/deps.sh build fuzz
	@$(MAKE) BUILD=build/fuzz CC='$(filter ccache,$(CC)) clang' CFLAGS='-g1 -O2 -ffp-contract=off' SAN=fuzzer-no-link,address,undefined fuzzers
	@BUILD=build/fuzz packaging/fuzz.sh '$(or $(SECONDS),60)' '$(RUNS)' '$(SEED)' $(ONLY)
# spec/fuzz/fuzz_NAME.c, with spec/fuzz/NAME/*.c where there are more, is a target.
FUZZ_SRC := $(sort $(wildcard spec/fuzz/fuzz_*.c spec/fuzz/*/*.c))
FUZZ_OBJ := $(call objects,$(FUZZ_SRC))
FUZZERS  := $(patsubst spec/fuzz/%.c,$(BUILD)/test/%,$(wildcard spec/fuzz/fuzz_*.c))
fuzz_objects = $(call objects,spec/fuzz/fuzz_$(1).c $(wildcard spec/fuzz/$(1)/*.c))
objects: $(FUZZ_OBJ)
fuzzers: $(FUZZERS)
# The engine's branches are to be covered, not those of what looks after it.
$(BUILD)/obj/spec/fuzz/%.o: EXTRA = -Ispec/fuzz -UNDEBUG $(if $(findstring fuzzer,$(SAN)),-fno-sanitize=fuzzer-no-link)
.SECONDEXPANSION:
$(FUZZERS): $(BUILD)/test/fuzz_%: $$(call fuzz_objects,$$*) $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(link) -fsanitize=fuzzer -o $@ $(call fuzz_objects,$*) $(LIB_A) $(LIBS)
-include $(FUZZ_OBJ:%.o=%.d)

valgrind: ## C tests and specs under valgrind (packaging/valgrind.sh names them)
	@packaging/deps.sh build edit scripts test check
	@$(MAKE) all tests
	@BUILD='$(BUILD)' packaging/valgrind.sh $(ONLY)

# Programs as a whole: they reach nothing of the engine that the rest does not, and are slow without optimization.
COVERED_SPECS = $(filter-out spec/acceptance_spec.lua spec/bench_spec.lua spec/examples/%, \
                  $(sort $(shell find spec -name '*_spec.lua')))

coverage: ## line and branch coverage of every engine file under the tests
	@packaging/deps.sh build edit scripts test
	@rm -rf build/coverage/test; find build/coverage -name '*.gcda' -delete 2>/dev/null || true
	@$(MAKE) BUILD=build/coverage COVERAGE=1 ONLY=c run-tests
	@BUILD=build/coverage packaging/test.sh $(COVERED_SPECS)
	@$(LUA) packaging/coverage.lua build/coverage/obj

# --- installation -------------------------------------------------------------------------------

BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
LUA_CMOD   ?= $(PREFIX)/lib/lua/5.4
LUA_LMOD   ?= $(PREFIX)/share/lua/5.4

install: all ## install under PREFIX (below DESTDIR, if given)
	install -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(INCLUDEDIR)' \
	  '$(DESTDIR)$(LUA_CMOD)/lurn' '$(DESTDIR)$(LUA_LMOD)/lurn'
	install -m 755 $(LURN) '$(DESTDIR)$(BINDIR)/lurn'
	install -m 644 $(HEADER) '$(DESTDIR)$(INCLUDEDIR)/lurn.h'
	install -m 644 $(LIB_A) '$(DESTDIR)$(LIBDIR)/liblurn.a'
	install -m 755 $(LIB_SO).$(SOVERSION) '$(DESTDIR)$(LIBDIR)/liblurn.so.$(SOVERSION)'
	ln -sf liblurn.so.$(SOVERSION) '$(DESTDIR)$(LIBDIR)/liblurn.so'
	install -m 755 $(CORE_SO) '$(DESTDIR)$(LUA_CMOD)/lurn/core.so'
	@for f in $(SCRIPTS:scripts/%=%); do \
	  install -D -m 644 "scripts/$$f" "$(DESTDIR)$(LUA_LMOD)/$$f" || exit 1; done
	install -m 644 $(TYPES) '$(DESTDIR)$(LUA_LMOD)/lurn/types.lua'
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	  -e 's|@VERSION@|$(VERSION)|' packaging/lurn.pc.in >'$(DESTDIR)$(LIBDIR)/pkgconfig/lurn.pc'

# For luarocks, which names a directory for each kind of file.
install-rock: all
	install -D -m 755 $(LURN) '$(ROCK_BIN)/lurn'
	install -D -m 755 $(CORE_SO) '$(ROCK_LIB)/lurn/core.so'
	@for f in $(SCRIPTS:scripts/%=%); do install -D -m 644 "scripts/$$f" "$(ROCK_LUA)/$$f" || exit 1; done

uninstall: ## remove what install put there
	rm -f '$(DESTDIR)$(BINDIR)/lurn' '$(DESTDIR)$(INCLUDEDIR)/lurn.h' '$(DESTDIR)$(LIBDIR)/liblurn.a' \
	  '$(DESTDIR)$(LIBDIR)/liblurn.so' '$(DESTDIR)$(LIBDIR)/liblurn.so.$(SOVERSION)' \
	  '$(DESTDIR)$(LIBDIR)/pkgconfig/lurn.pc'
	rm -rf '$(DESTDIR)$(LUA_CMOD)/lurn' '$(DESTDIR)$(LUA_LMOD)/lurn'

clean: ## remove this build's products
	rm -rf '$(BUILD)/obj' '$(BUILD)/bin' '$(BUILD)/lib' '$(BUILD)/share' '$(BUILD)/include' '$(BUILD)/test' \
  '$(BUILD)/bench' \
	  '$(BUILD)/tidy' '$(BUILD)/flags' '$(BUILD)/flags.program' '$(BUILD)/sources'
distclean: ## remove everything that was built
	rm -rf build

version: ## print lurn's version
	@echo '$(VERSION)'

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
