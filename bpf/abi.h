/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The contract between the BPF programs and the engine (src/tccap/abi.py
 * mirrors it; tests/unit/test_abi.py compares the two).
 *
 * The ring holds finished pcapng blocks, which the engine passes on without
 * looking at them. A record whose length is not a multiple of four is not a
 * block but a message for the engine; pcapng blocks never have such a length,
 * so one test tells the two apart.
 *
 * The engine gives these constants as -D definitions:
 *   SNAPLEN        bytes kept of a frame, 1 .. CAPLEN_MAX
 *   SNAPLEN_PADDED the same, rounded up to a multiple of four
 *   RING_PAGES     pages of the ring, a power of two
 *   CPUS           possible processors
 *   INTERFACES     interfaces that one capture can describe
 */
#ifndef TCCAP_ABI_H
#define TCCAP_ABI_H

/* Wireshark 4.0 ends a capture on a block above 262144 bytes. */
#define BLOCK_MAX 262144
/* Room for all options of a packet block, the trailing length included. */
#define OPTIONS_MAX 2048
#define CAPLEN_MAX (BLOCK_MAX - EPB_HEADER_LEN - OPTIONS_MAX)

/* Enhanced Packet Block, pcapng section 4.3. */
#define EPB_TYPE 6
#define EPB_HEADER_LEN 28
#define EPB_FLAGS 2
#define EPB_DROPCOUNT 4
#define EPB_INBOUND 1
#define EPB_OUTBOUND 2

struct epb_header {
	u32 block_type;
	u32 block_len;
	u32 interface_id;
	u32 timestamp_high;
	u32 timestamp_low;
	u32 captured_len;
	u32 original_len;
};

/* Where a block is built before it goes into the ring: one for each CPU. */
struct scratch {
	struct epb_header header;
	u8 body[SNAPLEN_PADDED + OPTIONS_MAX];
};

/* What the classifier must know of a device, by its ifindex. */
struct device {
	u32 interface_id; /* of its Interface Description Block */
	u32 has_ethernet; /* frames begin with an Ethernet header */
};

/* For each interface and CPU; received = captured + dropped + filtered. */
struct counters {
	u64 received; /* seen by the classifier */
	u64 accepted; /* passed the filters */
	u64 dropped;  /* accepted, but the ring had no room */
	u64 untold;   /* of those dropped, not yet in an epb_dropcount */
};

#endif
