"""The engine: the privileged process that captures."""
