/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The frame as the capture file will show it, for the capture filter.
 *
 * An skb differs from that frame in two ways: a VLAN tag may be kept beside the data
 * instead of at offset 12, and only a helper reaches the data behind the linear part.
 * `head` hides both for the first bytes, where nearly all loads of a filter go; behind
 * them a filter calls the helper.
 *
 * A filter is not C: its instructions (src/tccap/filter/ebpf.py) take a struct frame and
 * know its members, and those of struct filter_input, by their offsets.
 */
#ifndef TCCAP_FRAME_H
#define TCCAP_FRAME_H

#include "packet/vlan.h"
#include "patch.h"
#include "verifier.h"

/* Reads a field of the context. Otherwise clang keeps the address of a field that is
 * read in many places, and the verifier refuses such a pointer. */
#define skb_field(skb, field)                                                     \
	({                                                                        \
		u64 value_;                                                       \
		asm volatile("%0 = *(u32 *)(%1 + %2)"                             \
			     : "=r"(value_)                                       \
			     : "r"(skb),                                          \
			       "i"(__builtin_offsetof(struct __sk_buff, field))); \
		value_;                                                           \
	})

/* Whether bytes are in the linear part. Tests define it as 0 to run the other path. */
#ifndef FRAME_IN_LINE
#define FRAME_IN_LINE(skb, from, size) \
	((from) + (size) <= (const u8 *)skb_field(skb, data_end))
#endif

/* HEAD_REACH of ebpf.py: the verifier knows offsets in the head as less than this. */
#define FRAME_ROOM 256
/* Bytes that are copied where the head is not in the linear part; tests take fewer. */
#ifndef FRAME_COPIED
#define FRAME_COPIED FRAME_ROOM
#endif

/* Numbers that a filter reads, and room for what it loads. */
struct filter_input {
	u64 len;   /* of the whole frame, including its tag */
	u64 shift; /* from an offset behind the head to one in the skb; may be negative */
	u64 is_ethernet;
	u64 is_inbound;
	u64 ifindex;
	/* Of sender and receiver; all bits are set where the process is not known. */
	u64 pids[2];
	u64 uids[2];
	u64 comms[2][2];
	u64 cgroups[2]; /* which conditions on the cgroup are true, a bit each */
	u32 words[16];
	u64 loaded;
	u8 verdicts[64]; /* on the packet, from the first stage for the second one */
	u8 copy[FRAME_ROOM];
};
BPF_PERCPU_ARRAY(filter_inputs, struct filter_input, 1);

/* Pointers that a filter reads. */
struct frame {
	u64 saved[4]; /* for the filter's use */
	struct __sk_buff *skb;
	const u8 *head;
	const u8 *end; /* of the head */
	struct filter_input *input;
};

PATCHED_FUNCTION(packet_filter, PACKET_FILTER, const struct frame *);
PATCHED_FUNCTION(whole_filter, WHOLE_FILTER, const struct frame *);

static __always_inline struct filter_input *filter_input(void)
{
	u32 zero = 0;

	return filter_inputs.lookup(&zero);
}

/* Copies up to `max` bytes of the skb from `at`, and returns how many. */
static __always_inline u64 frame_copy(struct __sk_buff *skb, u32 at, u8 *to, u64 max)
{
	u64 last = (u64)skb->len - at;

	if (last > max)
		last = max;
	/* Linux 5.10 learns no lower bound from "!= 0", so count from one below. */
	last--;
	OPAQUE(last);
	if (last >= max)
		return 0;
	bpf_skb_load_bytes(skb, at, to, last + 1);
	return last + 1;
}

/* Lets the head be a copy, which has the tag in its place. */
static __always_inline void frame_open_copy(struct frame *f, u32 start, bool tagged)
{
	u8 *copy = f->input->copy;
	u64 len;

	if (tagged) {
		bpf_skb_load_bytes(f->skb, 0, copy, ETH_TYPE_AT);
		write_vlan_tag(f->skb, copy);
		len = frame_copy(f->skb, ETH_TYPE_AT, copy + TAGGED_HEAD_LEN,
				 FRAME_COPIED - TAGGED_HEAD_LEN);
		len += TAGGED_HEAD_LEN;
	} else {
		len = frame_copy(f->skb, start, copy, FRAME_COPIED);
	}
	f->head = copy;
	f->end = copy + len;
}

/* Prepares to read a frame, and at least `head` bytes of it, or all, by its head.
 *
 * The verifier accepts one load instruction through a pointer that is the packet on
 * one path and a map's value on the other. The alternatives are worse: a helper for each
 * load makes six calls for "tcp port 443", and bpf_skb_pull_data() would change the
 * packet. */
static __always_inline void frame_open(struct frame *f, struct __sk_buff *skb,
				       struct filter_input *input, u32 start,
				       bool tagged, u64 head)
{
	const u8 *data = (const u8 *)skb_field(skb, data) + start;
	u64 tag_len = tagged ? VLAN_TAG_LEN : 0;

	input->len = (u64)skb->len - start + tag_len;
	input->shift = (u64)start - tag_len;
	f->skb = skb;
	f->input = input;
	f->head = data;
	f->end = (const u8 *)skb_field(skb, data_end);
	if (tagged || !FRAME_IN_LINE(skb, data, head))
		frame_open_copy(f, start, tagged);
}

#endif
