/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The frame as the capture file will show it, for the capture filter.
 *
 * An skb differs from that frame in two ways: a VLAN tag may be kept beside the data
 * instead of at offset 12, and only a helper reaches the data behind the linear part.
 * `head` hides both for the first bytes, where nearly all loads of a filter go;
 * frame_read() serves the rest.
 *
 * FRAME_HEAD is the number of bytes that `head` holds; generated filters define it as
 * what they need. FRAME_ROOM is the stack space, in words, that the caller provides
 * for them; it is used only if the bytes are not contiguous in the skb.
 */
#ifndef TCCAP_FRAME_H
#define TCCAP_FRAME_H

#include "packet/vlan.h"
#include "verifier.h"

#define FRAME_ROOM ((FRAME_HEAD + 2 + 7) / 8)

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

struct frame {
	struct __sk_buff *skb;
	const u8 *head;
	u32 start;	   /* where the frame begins in the skb */
	u32 len;	   /* of the whole frame, including its tag */
	u32 tag_len;	   /* VLAN_TAG_LEN if the tag is beside the data, else 0 */
	u64 around_tag[2]; /* then the frame's bytes 8 to 15 and 12 to 19 */
};

static __always_inline u32 frame_u8(const u8 *at)
{
	return *at;
}

static __always_inline u32 frame_u16(const u8 *at)
{
	return __builtin_bswap16(*(const u16 *)at);
}

static __always_inline u32 frame_u32(const u8 *at)
{
	return __builtin_bswap32(*(const u32 *)at);
}

/* Copies up to `max` bytes of the skb from `at`; leaves `to` as it is behind them. */
static __always_inline void frame_copy(struct __sk_buff *skb, u32 at, u8 *to, u64 max)
{
	u64 last = (u64)skb->len - at;

	if (last > max)
		last = max;
	/* Linux 5.10 learns no lower bound from "!= 0", so count from one below. */
	last--;
	OPAQUE(last);
	if (last < max)
		bpf_skb_load_bytes(skb, at, to, last + 1);
}

static __always_inline void frame_insert_tag(struct frame *f, u8 *head)
{
	bpf_skb_load_bytes(f->skb, 0, head, ETH_TYPE_AT);
	write_vlan_tag(f->skb, head);
	frame_copy(f->skb, ETH_TYPE_AT, head + TAGGED_HEAD_LEN,
		   FRAME_HEAD - TAGGED_HEAD_LEN);
	f->around_tag[0] = (u64)frame_u16(head + 8) << 48 |
			   (u64)frame_u32(head + 10) << 16 | frame_u16(head + 14);
	f->around_tag[1] = (u64)frame_u16(head + 12) << 48 |
			   (u64)frame_u32(head + 14) << 16 | frame_u16(head + 18);
}

/* Prepares to read a frame; `copy` is FRAME_HEAD bytes on the caller's stack.
 *
 * The verifier accepts one load instruction through a pointer that is the packet on
 * one path and the stack on the other. The alternatives are worse: a helper for each
 * load makes six calls for "tcp port 443", and bpf_skb_pull_data() would change the
 * packet. */
static __always_inline void frame_open(struct frame *f, struct __sk_buff *skb,
				       u32 start, bool tagged, u8 *copy)
{
	const u8 *data = (const u8 *)skb_field(skb, data) + start;

	f->skb = skb;
	f->start = start;
	f->tag_len = tagged ? VLAN_TAG_LEN : 0;
	f->len = skb->len - start + f->tag_len;
	f->around_tag[0] = f->around_tag[1] = 0;
	f->head = data;
	if (!tagged && FRAME_IN_LINE(skb, data, FRAME_HEAD))
		return;
	/* The verifier must see that every byte is set. */
	__builtin_memset(copy, 0, FRAME_HEAD);
	f->head = copy;
	if (tagged)
		frame_insert_tag(f, copy);
	else
		frame_copy(skb, start, copy, FRAME_HEAD);
}

/* Reads bytes that overlap the tag: one of the two windows holds all of them. */
static __always_inline u32 frame_near_tag(const struct frame *f, u64 at, u32 size)
{
	u64 window = f->around_tag[0];
	u32 end = 16;

	if (at + size > end) {
		window = f->around_tag[1];
		end = 20;
	}
	window >>= ((end - at - size) * 8) & 63;
	return window & (0xffffffffU >> (32 - 8 * size));
}

/* Reads a big-endian number of 1, 2 or 4 bytes at any offset. Returns false outside the
 * frame: the filter then rejects the packet, as the interpreter of classic BPF does. */
static __always_inline bool frame_read(const struct frame *f, u64 at, u32 size,
				       u32 *value)
{
	const u8 *data, *from;
	u32 word = 0;

	if (at + size > f->len)
		return false;
	if (f->tag_len && at >= 8) {
		if (at < TAGGED_HEAD_LEN) {
			*value = frame_near_tag(f, at, size);
			return true;
		}
		at -= VLAN_TAG_LEN;
	}
	at += f->start;
	data = (const u8 *)skb_field(f->skb, data);
	OPAQUE(at);
	from = data + (at & 0x7fff);
	OPAQUE(from);
	if (at <= 0x7fff && FRAME_IN_LINE(f->skb, from, size)) {
		*value = size == 1 ? frame_u8(from) :
			 size == 2 ? frame_u16(from) :
				     frame_u32(from);
		return true;
	}
	if (bpf_skb_load_bytes(f->skb, at, &word, size))
		return false;
	*value = __builtin_bswap32(word) >> (32 - 8 * size);
	return true;
}

#endif
