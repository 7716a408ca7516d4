# Everything a contributor runs. test and test-vm install what they need.
PYTHON = .venv/bin/python
PARTS = test-captures test-programs test-modules

.PHONY: deps requirements lint unit test $(PARTS) tls-matrix quic-matrix truth-programs containers many-containers test-vm vm-shell cycles faults suites attack fuzz soak bench \
	bench-vm ground-truth label-model filters screenshots finder-matrix finder-census finder-go finder-rustls finder-lto fuzz-elf

deps:
	tests/deps.sh

# The newest versions of what install.sh takes from PyPI, with the hashes of their files
requirements:
	requirements/refresh.sh

# Python, the order of imports, shell scripts, and the style of the C
SHELL_SCRIPTS = install.sh requirements/refresh.sh sbin/tccap-engine .ci/run docs/images/make.sh \
	$(wildcard tests/*.sh tests/*/*.sh)
BPF_SOURCES = $(wildcard bpf/*.[ch] bpf/*/*.[ch])
lint:
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports --no-cache
	.venv/bin/mypy
	shellcheck $(SHELL_SCRIPTS)
	clang-format --dry-run --Werror $(BPF_SOURCES)

unit:
	$(PYTHON) -m pytest tests/unit tests/golden

# The README's test command: sudo make test. Some tests set the clock, which all see, or
# need a processor. The others run in two processes: each has its own network namespaces,
# or its own machines to install on. Those of TLS stay in one: captures learn of programs
# from each other. Each part prints its output at its end; the short one fills the gap.
TLS_TESTS = $(wildcard tests/e2e/test_tls*.py tests/e2e/test_quic.py)
test: deps lint
	$(PYTHON) -m pytest -m alone tests/kernel tests/faults
	@echo "Three parts of the tests run now, two at a time. That takes some minutes."
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target $(PARTS)

test-captures:
	$(PYTHON) -m pytest -m "not alone" tests/kernel tests/faults $(TLS_TESTS)

test-programs:
	$(PYTHON) -m pytest -m "not alone" tests/install tests/attack \
		$(filter-out $(TLS_TESTS), $(wildcard tests/e2e/test_*.py))

test-modules:
	$(PYTHON) -m pytest -m "not alone" tests/unit tests/golden tests/finder

# TLS of real programs, 200 connections a library. It installs Chromium and fetches wheels.
tls-matrix: deps
	tests/deps.sh chromium
	TCCAP_TLS_MANY=200 $(PYTHON) -m pytest -s tests/e2e/test_tls*.py

# Who serves whom in nginx, haproxy and others, by what they say themselves. It installs
# nothing; servers that are not there are named
truth-programs:
	TCCAP_TRUTH_PROGRAMS=1 $(PYTHON) -m pytest -s tests/e2e/test_truth_programs.py

# The same by QUIC, 200 connections a library; it fetches packages of Debian and wheels
quic-matrix: deps
	TCCAP_QUIC_MANY=200 $(PYTHON) -m pytest -s tests/e2e/test_quic.py

# Labels of packets of Docker, Podman and containerd, in a table, and captures from inside,
# here or on one kernel: make containers KERNEL=6.1. It installs them; what cannot be
# installed is a line that says so. Their services are not needed.
CONTAINERS = $(PYTHON) -m pytest -q -s --timeout 7200 tests/containers
RUNTIMES = docker.io containerd runc podman slirp4netns passt uidmap containernetworking-plugins
containers: deps
	for package in $(RUNTIMES); do tests/deps.sh $$package || true; done
ifdef KERNEL
	tests/vm/run.sh shell $(KERNEL) -- $(CONTAINERS)
else
	$(CONTAINERS)
endif

# 500 containers that come and go during a capture; the test says what stands for Docker
many-containers:
	TCCAP_CONTAINERS=500 $(PYTHON) -m pytest -q -s tests/faults/test_many_containers.py

# Tests on every kernel of tests/vm/kernels.toml, or on one: make test-vm KERNEL=6.1, or
# more of them, for some hours: make test-vm FULL=1
test-vm:
	TCCAP_VM_FULL=$(FULL) tests/vm/run.sh test $(KERNEL)

# A shell in a guest, or one command there: make vm-shell KERNEL=6.1 CMD='uname -a'
vm-shell:
	tests/vm/run.sh shell $(KERNEL) -- $(CMD)

# 1000 starts and stops, 100 SIGKILLs of the front and of the engine
cycles:
	TCCAP_CYCLES=1000 TCCAP_KILLS=100 $(PYTHON) -m pytest -s tests/e2e/test_cycles.py

# Other Debian releases, with other versions of Wireshark, bcc, LLVM and Python
SUITES = bookworm trixie sid
suites:
	TCCAP_SUITES="$(SUITES)" $(PYTHON) -m pytest -s tests/install/test_suites.py

# A table of what happens in each fault: readers stopped for 30 s, and a SIGKILL at each
# system call of a start that matters. In a virtual machine a start takes long; there, one
# call in EVERY, beginning with the call FIRST: make faults KERNEL=6.1 EVERY=4 FIRST=2
EVERY = 1
FIRST = 1
FAULTS = env TCCAP_STOP_S=30 TCCAP_KILL_EVERY=$(EVERY) TCCAP_KILL_FIRST=$(FIRST) \
	$(PYTHON) -m pytest -q tests/faults
faults:
ifdef KERNEL
	tests/vm/run.sh shell $(KERNEL) -- $(FAULTS)
else
	$(FAULTS)
endif

# What ordinary users, and somebody inside each sandbox, could try; prints the counts
attack:
	$(PYTHON) -m pytest -q tests/attack

# A million cases of bad input for everything that parses, and the counts; other ones, or
# ten million: make fuzz SEED=2 CASES=10000000
CASES = 1000000
FUZZ = env TCCAP_FUZZ_CASES=$(CASES) TCCAP_FUZZ_SEED=$(SEED) $(PYTHON) -m pytest -q -s
fuzz:
	$(FUZZ) tests/unit/test_fuzz.py tests/kernel/test_fuzz_packets.py

# An hour of traffic and churn, or another time: make soak SOAK_S=600
SOAK_S = 3600
soak:
	TCCAP_SOAK_S=$(SOAK_S) $(PYTHON) -m pytest -q -s tests/faults/test_soak.py

# Prints tables and checks nothing: sudo make bench, or SHORT=1 for a quick look,
# or TABLES="throughput tls" for some of them; TABLES=devices BEFORE=CHECKOUT compares
BENCH = env SHORT=$(SHORT) BEFORE=$(BEFORE) PYTHONPATH=src:tests:. $(PYTHON) -m bench
bench:
	$(BENCH) $(TABLES)

# What attribution by kprobes costs: make bench-vm KERNEL=6.1
bench-vm:
	tests/vm/run.sh shell $(KERNEL) -- $(BENCH) attribution

# Right, wrong and missing process labels of every kind of traffic, and of 10,000
# short-lived processes: here, or on one kernel: make ground-truth KERNEL=6.1
TRUTH = env TCCAP_TRUTH_MANY=10000 $(PYTHON) -m pytest -s --timeout 7200
ground-truth:
ifdef KERNEL
	tests/vm/run.sh shell $(KERNEL) -- $(TRUTH) tests/vm/guest/test_ground_truth.py
else
	$(TRUTH) tests/kernel/test_ground_truth.py
endif

# Labels on random schedules of processes and sockets, against a model:
# make label-model SEED=7 STEPS=20000, also with KERNEL=
SEED = 1
STEPS = 20000
MODEL = env TCCAP_MODEL_STEPS=$(STEPS) TCCAP_MODEL_SEED=$(SEED) $(PYTHON) -m pytest -s \
	--timeout 7200 tests/kernel/test_label_model.py
label-model:
ifdef KERNEL
	tests/vm/run.sh shell $(KERNEL) -- $(MODEL)
else
	$(MODEL)
endif

# Capture filters: the kernel's verdicts against libpcap's, here or make filters KERNEL=6.1
FILTERS = env TCCAP_SAMPLE=1 $(PYTHON) -m pytest -s tests/kernel/test_filter_equivalence.py
filters:
ifdef KERNEL
	tests/vm/run.sh shell $(KERNEL) -- $(FILTERS)
else
	$(FILTERS)
endif

# TLS libraries that others have built, also large ones: the first run fetches some 400 MB
finder-matrix:
	TCCAP_FINDER_MATRIX=1 $(PYTHON) -m pytest -s --timeout 7200 tests/finder/test_builds.py

# Every ELF file of this machine: no other file may be taken for a TLS library
finder-census:
	TCCAP_FINDER_CENSUS=/ $(PYTHON) -m pytest -s --timeout 72000 tests/finder/test_census.py

# Go programs whose tables are shifted, or not: no probe at a place that is not proven
finder-go:
	TCCAP_GO_CASES=100000 $(PYTHON) -m pytest -s --timeout 7200 \
		tests/unit/tls/finder/test_golang.py

# The same for programs with rustls
finder-rustls:
	TCCAP_FINDER_RUSTLS=10000 $(PYTHON) -m pytest -s --timeout 36000 \
		tests/unit/tls/finder/test_rustls.py

# Programs whose key log is merged into its callers, in all ways that gcc finds: what is
# read is what they have
finder-lto:
	TCCAP_LTO_CASES=50 $(PYTHON) -m pytest -s --timeout 36000 tests/finder/test_lto.py

# Damaged ELF files: a refusal, never a crash or a hang
fuzz-elf:
	TCCAP_FUZZ=100000 $(PYTHON) -m pytest -s --timeout 72000 tests/finder/test_fuzz.py

# The pictures of the README, taken again
screenshots:
	docs/images/make.sh
