"""BPF, whatever it is used for: bpf(2), maps, programs, BTF and the compiler."""
