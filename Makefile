.PHONY: test-vm vm-shell

# Tests on every kernel of tests/vm/kernels.toml, or on one: make test-vm KERNEL=6.1
test-vm:
	tests/vm/run.sh test $(KERNEL)

# A shell in a guest, or one command there: make vm-shell KERNEL=6.1 CMD='uname -a'
vm-shell:
	tests/vm/run.sh shell $(KERNEL) -- $(CMD)
