"""The machine around us: processes, users, devices and files, without BPF."""
