"""The front: the unprivileged process that speaks the extcap protocol."""
