/* The frame as the capture file will show it, for the capture filter.
 *
 * An skb differs from that frame in two ways: a VLAN tag may sit beside the
 * data instead of at offset 12, and the data behind the linear part can only
 * be reached through a helper. `head` hides both for the first bytes, which is
 * where nearly all loads of a filter go; frame_read() serves the rest.
 *
 * FRAME_HEAD is how many bytes `head` is good for; the generated filters
 * define it as what they need. FRAME_ROOM is the caller's stack space for
 * them, used only for the packets whose bytes are not in line already.
 */
#ifndef TCCAP_FRAME_H
#define TCCAP_FRAME_H

#define ETH_TYPE_AT 12
#define TAG_LEN 4
#define FRAME_ROOM ((FRAME_HEAD + 2 + 7) / 8)

/* Reads a field of the context. clang would otherwise keep the address of a
 * field that many places read, and the verifier refuses such a pointer. */
#define skb_field(skb, field)                                                  \
	({                                                                     \
		u64 value_;                                                    \
		asm volatile("%0 = *(u32 *)(%1 + %2)"                          \
			     : "=r"(value_)                                    \
			     : "r"(skb),                                       \
			       "i"(__builtin_offsetof(struct __sk_buff, field))); \
		value_;                                                        \
	})

/* Whether bytes are in the linear part. Tests deny it, to run what follows. */
#ifndef FRAME_IN_LINE
#define FRAME_IN_LINE(skb, from, size)                                         \
	((from) + (size) <= (const u8 *)skb_field(skb, data_end))
#endif

/* Keeps clang from replacing a value that the verifier has seen checked by an
 * equal one that it has not. */
#define as_checked(value) asm volatile("" : "+r"(value))

struct frame {
	struct __sk_buff *skb;
	const u8 *head;
	u32 start;	/* where the frame begins in the skb */
	u32 len;	/* of the whole frame, its tag included */
	u32 tag_len;	/* TAG_LEN when the tag is beside the data, else 0 */
	u64 around_tag[2]; /* then: the frame's bytes 8 to 15 and 12 to 19 */
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

/* At most `max` bytes of the skb from `at`; `to` keeps what is not there. */
static __always_inline void frame_copy(struct __sk_buff *skb, u32 at, u8 *to,
				       u64 max)
{
	u64 last = (u64)skb->len - at;

	if (last > max)
		last = max;
	/* 5.10 learns no lower bound from "!= 0", so count from one below. */
	last--;
	as_checked(last);
	if (last < max)
		bpf_skb_load_bytes(skb, at, to, last + 1);
}

static __always_inline void frame_insert_tag(struct frame *f, u8 *head)
{
	struct __sk_buff *skb = f->skb;

	bpf_skb_load_bytes(skb, 0, head, ETH_TYPE_AT);
	*(u16 *)(head + ETH_TYPE_AT) = skb->vlan_proto;
	*(u16 *)(head + ETH_TYPE_AT + 2) = __builtin_bswap16(skb->vlan_tci);
	frame_copy(skb, ETH_TYPE_AT, head + ETH_TYPE_AT + TAG_LEN,
		   FRAME_HEAD - ETH_TYPE_AT - TAG_LEN);
	f->around_tag[0] = (u64)frame_u16(head + 8) << 48 |
			   (u64)frame_u32(head + 10) << 16 |
			   frame_u16(head + 14);
	f->around_tag[1] = (u64)frame_u16(head + 12) << 48 |
			   (u64)frame_u32(head + 14) << 16 |
			   frame_u16(head + 18);
}

/* Two forms that this is not: one load helper a load costs six calls for
 * "tcp port 443"; bpf_skb_pull_data() would change the packet.
 * The verifier accepts one load instruction through a pointer that is the
 * packet on one path and the stack on the other.
 * `copy` is FRAME_HEAD bytes in the caller's stack. */
static __always_inline void frame_open(struct frame *f, struct __sk_buff *skb,
				       u32 start, bool tagged, u8 *copy)
{
	const u8 *data = (const u8 *)skb_field(skb, data) + start;

	f->skb = skb;
	f->start = start;
	f->tag_len = tagged ? TAG_LEN : 0;
	f->len = skb->len - start + f->tag_len;
	f->around_tag[0] = f->around_tag[1] = 0;
	f->head = data;
	if (!tagged && FRAME_IN_LINE(skb, data, FRAME_HEAD))
		return;
	/* The verifier has to see that no byte is left unset. */
	__builtin_memset(copy, 0, FRAME_HEAD);
	f->head = copy;
	if (tagged)
		frame_insert_tag(f, copy);
	else
		frame_copy(skb, start, copy, FRAME_HEAD);
}

/* The bytes that touch the tag: all of them are in one of the two windows. */
static __always_inline u32 frame_near_tag(const struct frame *f, u64 at,
					  u32 size)
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

/* A big-endian number of 1, 2 or 4 bytes at any offset; false outside the
 * frame, and then the filter rejects, as the interpreter does. */
static __always_inline bool frame_read(const struct frame *f, u64 at, u32 size,
				       u32 *value)
{
	const u8 *data, *from;
	u32 word = 0;

	if (at + size > f->len)
		return false;
	if (f->tag_len && at >= 8) {
		if (at < ETH_TYPE_AT + TAG_LEN) {
			*value = frame_near_tag(f, at, size);
			return true;
		}
		at -= TAG_LEN;
	}
	at += f->start;
	data = (const u8 *)skb_field(f->skb, data);
	as_checked(at);
	from = data + (at & 0x7fff);
	as_checked(from);
	if (at <= 0x7fff && FRAME_IN_LINE(f->skb, from, size)) {
		*value = size == 1 ? frame_u8(from) :
			 size == 2 ? frame_u16(from) : frame_u32(from);
		return true;
	}
	if (bpf_skb_load_bytes(f->skb, at, &word, size))
		return false;
	*value = __builtin_bswap32(word) >> (32 - 8 * size);
	return true;
}

#endif
