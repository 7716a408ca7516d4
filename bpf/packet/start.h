/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Where a frame without a link-layer header begins: at its network header.
 *
 * Devices that make a header of their own (dev->header_ops) put it before the packet, in
 * both directions: GRE without one remote address has the outer IP header there. Before
 * Linux 5.14, what arrives by any tunnel has it, too. AF_PACKET's taps skip it. Only the
 * packet itself shows whether it is there, as some are redirected to the device without
 * it.
 */
#ifndef TCCAP_START_H
#define TCCAP_START_H

#include "packet/frame.h"

/* The farthest offset that is found; one less than a power of two. */
#define START_MAX 0xff

/* Whether the linear part of the skb has a byte at an offset from the network header. */
static __always_inline bool reaches(struct __sk_buff *skb, u32 at)
{
	u8 byte;

	return !bpf_skb_load_bytes_relative(skb, at, &byte, 1, BPF_HDR_START_NET);
}

/* The offset of the network header in the skb. No field of the context has it, and
 * kernel memory may not be readable. But the linear part ends `len` bytes behind the
 * begin of the skb, and `len` minus that offset behind the network header: a search for
 * the end finds the offset. */
static __always_inline u32 network_offset(struct __sk_buff *skb)
{
	u32 len = skb_field(skb, data_end) - skb_field(skb, data), start = 0;

	if (!len || reaches(skb, len - 1))
		return 0;
#pragma unroll
	for (u32 step = (START_MAX + 1) / 2; step; step /= 2) {
		if (start + step <= len && !reaches(skb, len - start - step))
			start += step;
	}
	return start;
}

#endif
