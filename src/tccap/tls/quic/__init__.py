"""QUIC: the client random of a connection, out of its first packets."""
