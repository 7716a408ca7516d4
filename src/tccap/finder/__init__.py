"""Finding where a TLS library can be read for its secrets; docs/tls-finder.md."""
