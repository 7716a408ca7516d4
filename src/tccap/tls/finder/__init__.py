"""Finding where a TLS library can be read for its secrets."""
