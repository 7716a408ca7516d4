"""The finder: instructions of a TLS library at which its secrets can be read."""
