"""The contract between the two processes: the Plan one way, status events the other."""
