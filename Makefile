# ngx_tailnet: nginx as a node of a tailnet.  "make help" lists what there is.

SHELL = /bin/bash
CC ?= cc

BUILD ?= build
SAN ?=

PKGS = libsodium libnghttp2 jansson libzstd libcares libcurl openssl \
       libargon2
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
# libcurl is loaded when it is needed; of port mapping's Debian 12 has no .pc
LIBS := $(shell pkg-config --libs $(filter-out libcurl,$(PKGS)) \
       2>/dev/null) -lminiupnpc -lnatpmp \
       -lpthread

WARN = -Wall -Wextra -Werror -Wpointer-arith -Wstrict-prototypes \
       -Wmissing-prototypes -Wwrite-strings
OPT ?= -O2 -g
CORE_CFLAGS = -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 $(WARN) $(OPT) \
       -fPIC -fvisibility=hidden -fstack-protector-strong $(SAN) -Icore \
       $(PKG_CFLAGS) $(CFLAGS)

CORE_DIRS = base crypto wire lock cert control path wg filter stack node host \
       proc data run
CORE_SRCS := $(foreach d,$(CORE_DIRS),$(wildcard core/$d/*.c))
PROGRAM_SRCS := core/run/tn_main.c
SUPER_SRCS := core/proc/tn_super_main.c
LIB_SRCS := $(filter-out $(PROGRAM_SRCS) $(SUPER_SRCS),$(CORE_SRCS))
LIB_OBJS := $(LIB_SRCS:%.c=$(BUILD)/obj/%.o)
PROGRAM_OBJS := $(PROGRAM_SRCS:%.c=$(BUILD)/obj/%.o)
SUPER_OBJS := $(SUPER_SRCS:%.c=$(BUILD)/obj/%.o)
GLUE_SRCS := $(wildcard ngx_tailnet_module/*.[ch])

# lwIP, by its own source and our options; without it there is no such stack.
# A build into a directory inside of build/ shares the source of build/.
# Fetched by what builds; those named here install what that needs and call
# make again.
ifndef LWIP
ifneq ($(filter-out help deps dev-deps peers test run bench format clean, \
       $(or $(MAKECMDGOALS),all)),)
LWIP := $(shell core/stack/lwip/fetch $(abspath build)/lwip)
endif
endif

ifneq ($(wildcard $(LWIP)/src/core/tcp.c),)
CORE_CFLAGS += -DTN_HAVE_LWIP
LWIP_CFLAGS = -Icore/stack/lwip -isystem $(LWIP)/src/include
LWIP_SRCS := $(addprefix $(LWIP)/src/core/, def.c inet_chksum.c init.c ip.c \
       mem.c memp.c netif.c pbuf.c tcp.c tcp_in.c tcp_out.c timeouts.c \
       ipv4/icmp.c ipv4/ip4.c ipv4/ip4_addr.c ipv6/icmp6.c ipv6/inet6.c \
       ipv6/ip6.c ipv6/ip6_addr.c ipv6/nd6.c)
LWIP_OBJS := $(LWIP_SRCS:$(LWIP)/src/core/%.c=$(BUILD)/obj/lwip/%.o)
LIB_OBJS += $(LWIP_OBJS)
else
NO_LWIP := $(wildcard core/stack/tn_lwip*.c)
LIB_OBJS := $(filter-out $(NO_LWIP:%.c=$(BUILD)/obj/%.o),$(LIB_OBJS))
endif

LIB = $(BUILD)/libtailnet.a
PROGRAM = $(BUILD)/ngx_tailnet_core
SUPER = $(BUILD)/ngx_tailnet_super
MODULE = $(BUILD)/ngx_tailnet_module.so
STREAM_MODULE = $(BUILD)/ngx_stream_tailnet_module.so

UNIT_SRCS := $(filter-out $(if $(NO_LWIP),t/unit/lwip%), \
       $(wildcard t/unit/*.c))
UNITS := $(UNIT_SRCS:t/unit/%.c=$(BUILD)/t/unit/%)
LAB_SRCS := $(wildcard t/lab/*.c)
LAB_PROGRAMS := $(LAB_SRCS:t/lab/%.c=$(BUILD)/t/%)
BENCH_SRCS := $(wildcard t/bench/*.c)
BENCH_PROGRAMS := $(BENCH_SRCS:t/bench/%.c=$(BUILD)/t/bench/%)
FUZZ_SRCS := $(filter-out $(if $(NO_LWIP),t/fuzz/lwip%), \
       $(wildcard t/fuzz/*.c))
FUZZERS := $(FUZZ_SRCS:t/fuzz/%.c=$(BUILD)/fuzz/%)

# The nginx to build for: Debian's source with its configure flags
# (package nginx-dev), or any source tree, configured like the binary.
NGINX_SRC ?= /usr/share/nginx/src
NGINX_MODULES ?= $(shell nginx -V 2>&1 \
       | sed -n 's/.*--modules-path=\([^ ]*\).*/\1/p')

.PHONY: all
all: $(PROGRAM) $(SUPER) $(MODULE)

.PHONY: help
help:
	@sed -n 's/^## //p' Makefile

## make             the modules and the two programs, into build/
## make run         set up everything and run a private tailnet with nginx on
##                  it; ONCE=1: check, end; with TS_AUTHKEY: join that
##                  tailnet (TS_CONTROL_URL=url: not Tailscale's control)
## make test        set up everything, run all tests
## make bench       figures beside those of the rivals, as ratios of one run;
##                  QUICK=1: less of everything; ROUNDS=n
## make install     put the modules and the programs where nginx looks
## make unit        the C unit tests only
## make asan        unit tests, and lab tests of the core, under ASan and UBSan
## make fuzz        every fuzz target, FUZZ_SECONDS each (default 10)
## make lint        clang-tidy, cppcheck and the house rules
## make format      show what clang-format would change in the files you touch
## make deps        install the Debian packages that building and tests need
## make dev-deps    and those of lint, fuzz, asan and format
## make peers       build the real peers the tests talk to (cached)
## make LWIP=DIR    with lwIP from DIR; otherwise Debian's source is fetched
## make clean       remove build/

# What is being made in one line each; V=1 shows the commands.
V ?=
ifeq ($(V),)
Q = @
SAY = @printf '  %-6s %s\n'
else
Q =
SAY = @:
endif

# --- the core: a static library and the programs around it

.PHONY: lib
lib: $(LIB) $(PROGRAM) $(SUPER)

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) $(CORE_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/obj/core/stack/tn_lw%.o: PKG_CFLAGS += $(LWIP_CFLAGS)

# not ours to mend: without our warnings
$(BUILD)/obj/lwip/%.o: $(LWIP)/src/core/%.c $(wildcard core/stack/lwip/*.h)
	@mkdir -p $(@D)
	$(SAY) CC lwip/$*.c
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(OPT) -w -fPIC -fvisibility=hidden \
	    -fstack-protector-strong $(SAN) $(LWIP_CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(LIB_OBJS)
	@rm -f $@
	$(SAY) AR $@
	$(Q)ar rcs $@ $^

$(PROGRAM): $(PROGRAM_OBJS) $(LIB)
	$(SAY) LINK $@
	$(Q)$(CC) $(SAN) -pie -Wl,-z,relro -Wl,--as-needed -o $@ $(PROGRAM_OBJS) \
	    $(LIB) $(LIBS)

# without a library: what would need one does not link
$(SUPER): $(SUPER_OBJS) $(LIB)
	$(SAY) LINK $@
	$(Q)$(CC) $(SAN) -pie -Wl,-z,relro -o $@ $(SUPER_OBJS) $(LIB)

# --- the module, by nginx's own configure and make

# what was built for another nginx, or for another version, is of no use
NGINX_IS := $(NGINX_SRC) $(shell sed -n 's/^.define NGINX_VERSION *//p' \
       $(NGINX_SRC)/src/core/nginx.h 2>/dev/null)

ifneq ($(NGINX_IS),$(shell cat $(BUILD)/nginx/built-for 2>/dev/null))
.PHONY: $(BUILD)/nginx/objs/Makefile
endif

$(BUILD)/nginx/objs/Makefile: config config.make
	@rm -rf $(BUILD)/nginx
	@mkdir -p $(BUILD)/nginx
	cp -a $(NGINX_SRC)/. $(BUILD)/nginx/
	cd $(BUILD)/nginx && TAILNET_BUILD=$(abspath $(BUILD)) ./configure \
	    --with-cc=$(CC) --with-compat $$(t=$(CURDIR); \
	    sh $$t/ngx_tailnet_module/configure-flags $(NGINX_SRC)) \
	    --add-dynamic-module=$(CURDIR) > configure.log \
	    || { tail -20 configure.log; exit 1; }
	@echo '$(NGINX_IS)' > $(BUILD)/nginx/built-for

$(MODULE): $(LIB) $(GLUE_SRCS) $(BUILD)/nginx/objs/Makefile
	$(MAKE) -C $(BUILD)/nginx -f objs/Makefile modules
	@rm -f $(STREAM_MODULE)
	cp $(BUILD)/nginx/objs/ngx_tailnet_module.so $@
	if [ -f $(BUILD)/nginx/objs/ngx_stream_tailnet_module.so ]; then \
	    cp $(BUILD)/nginx/objs/ngx_stream_tailnet_module.so \
	        $(STREAM_MODULE); \
	fi

.PHONY: install
install: all
	install -d $(DESTDIR)$(NGINX_MODULES)
	install -m 644 $(MODULE) $(wildcard $(STREAM_MODULE)) \
	    $(DESTDIR)$(NGINX_MODULES)/
	install -m 755 $(PROGRAM) $(SUPER) $(DESTDIR)$(NGINX_MODULES)/

# --- tests

$(BUILD)/t/unit/%: t/unit/%.c t/unit/tap.h $(LIB)
	@mkdir -p $(@D)
	$(SAY) CC $@
	$(Q)$(CC) $(CORE_CFLAGS) -It/unit -MMD -MP -o $@ $< $(LIB) $(LIBS)

$(BUILD)/t/procclient: t/lab/procclient.c $(LIB)
	@mkdir -p $(@D)
	$(SAY) CC $@
	$(Q)$(CC) $(CORE_CFLAGS) -o $@ $< $(LIB) $(LIBS)

$(BUILD)/t/%: t/lab/%.c $(LIB)
	@mkdir -p $(@D)
	$(SAY) CC $@
	$(Q)$(CC) $(CORE_CFLAGS) -o $@ $< $(LIB) -Wl,--as-needed $(LIBS)

.PHONY: units
units: $(UNITS)

.PHONY: unit
unit: $(UNITS)
	prove -e '' $(UNITS)

.PHONY: deps
deps:
	t/lab/deps

.PHONY: dev-deps
dev-deps:
	t/lab/deps dev

.PHONY: peers
peers: deps
	t/peers/build

.PHONY: test
test: deps peers
	$(MAKE) -j2 all units $(LAB_PROGRAMS) $(BUILD)/t/bench/cost
	BUILD=$(BUILD) t/lab/tests

.PHONY: run
run: deps $(if $(TS_AUTHKEY),,peers)
	@$(MAKE) --no-print-directory -j2 all $(LAB_PROGRAMS)
	@ONCE=$(ONCE) t/lab/run

$(BUILD)/t/bench/%: t/bench/%.c $(LIB)
	@mkdir -p $(@D)
	$(SAY) CC $@
	$(Q)$(CC) $(CORE_CFLAGS) -Wl,--as-needed -o $@ $< $(LIB) $(LIBS)

.PHONY: bench
bench: deps peers
	@$(MAKE) --no-print-directory -j2 all $(LAB_PROGRAMS) $(BENCH_PROGRAMS)
	@rm -f $(addprefix $(BUILD)/,bench.json map.json gateway.json \
		scaling.json idle.json)
	@export TAILNET_BUILD=$(abspath $(BUILD)) BENCH_BEGIN=$$(date +%s); \
	trap 'exit 130' INT; failed=0; \
	t/bench/run || failed=1; \
	t/bench/map || failed=1; \
	t/bench/gateway || failed=1; \
	t/bench/scaling || failed=1; \
	PEERS=100 ACTIVE=0 LIMIT=0.1 SECONDS=$(if $(QUICK),5,60) t/bench/idle \
		|| failed=1; \
	t/bench/summary || failed=1; \
	exit $$failed

# The unit tests, and lab tests with a core built so: the one process that
# parses what the network sends.
ASAN = $(BUILD)/asan
ASAN_LAB ?= t/first_node.t t/core_kill.t t/paths.t t/trouble.t \
       t/relay_client.t t/peerapi.t t/lwip_http.t

.PHONY: asan
asan: all $(LAB_PROGRAMS)
	$(MAKE) BUILD=$(ASAN) OPT="-O1 -g -fno-omit-frame-pointer" \
	    SAN="-fsanitize=address,undefined -fno-sanitize-recover=undefined" \
	    unit lib
	@mkdir -p $(ASAN)/lab/t
	@cp $(ASAN)/ngx_tailnet_core $(ASAN)/ngx_tailnet_super $(BUILD)/*.so \
	    $(ASAN)/lab/
	@cp $(LAB_PROGRAMS) $(ASAN)/lab/t/
	TAILNET_BUILD=$(abspath $(ASAN)/lab) prove --timer -It/lib $(ASAN_LAB)

# The core once more, by clang and instrumented; the targets link it.
FUZZ_LIB = $(BUILD)/fuzz/core/libtailnet.a
FUZZ_SAN = -fsanitize=address,undefined -fno-sanitize-recover=undefined

.PHONY: fuzz-lib
fuzz-lib: dev-deps
	@$(MAKE) --no-print-directory CC=clang BUILD=$(BUILD)/fuzz/core \
	    OPT="-O1 -g" SAN="-fsanitize=fuzzer-no-link $(FUZZ_SAN)" \
	    $(BUILD)/fuzz/core/libtailnet.a

$(BUILD)/fuzz/%: t/fuzz/%.c fuzz-lib
	$(SAY) FUZZ $@
	$(Q)clang $(CORE_CFLAGS) -O1 -fsanitize=fuzzer $(FUZZ_SAN) -It/fuzz \
	    -Wno-missing-prototypes -o $@ $< $(FUZZ_LIB) $(LIBS)

FUZZ_SECONDS ?= 10

.PHONY: fuzz
fuzz: $(FUZZERS)
	@for f in $(FUZZERS); do \
	    echo "== $$f"; mkdir -p $$f.corpus; \
	    $$f -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=512 \
	        -artifact_prefix=$$f. -print_final_stats=0 -verbosity=0 \
	        $$f.corpus $$(ls -d t/fuzz/$$(basename $$f).seeds 2>/dev/null) \
	        || exit 1; \
	done

.PHONY: lint
lint: dev-deps
	clang-tidy --quiet $(CORE_SRCS) -- $(CORE_CFLAGS) $(LWIP_CFLAGS)
	cppcheck --quiet --std=c11 --enable=warning,portability,performance \
	    --inline-suppr --suppress=missingInclude --error-exitcode=1 -Icore \
	    $(CORE_SRCS)
	prove t/layers.t

.PHONY: format
format: dev-deps
	git diff -U0 --no-color HEAD -- '*.c' '*.h' \
	    | clang-format-diff -p1 -style=file

.PHONY: clean
clean:
	rm -rf $(BUILD)

-include $(LIB_OBJS:.o=.d) $(PROGRAM_OBJS:.o=.d) $(SUPER_OBJS:.o=.d) $(UNITS:=.d)
