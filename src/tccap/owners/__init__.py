"""Which process owns which socket, and the label that says so."""
