"""TLS secrets: where they come from, and the packets that wait for them."""
