"""The pcapng stream: the kernel's ring, the blocks in it, and the reader's FIFO."""
