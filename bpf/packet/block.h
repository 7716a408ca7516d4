/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A frame as an Enhanced Packet Block (pcapng section 4.3): header, data, options.
 */
#ifndef TCCAP_BLOCK_H
#define TCCAP_BLOCK_H

#include "abi.h"
#include "options.h"
#include "owners/endpoint.h"
#include "owners/label.h"
#include "packet/parse.h"
#include "packet/vlan.h"
#include "verifier.h"

/* Wall clock minus boot clock, in ns: the engine keeps it current. */
BPF_ARRAY(wall_offset, u64, 1);

static __always_inline u64 wall_clock_ns(void)
{
	u32 zero = 0;
	u64 *offset = wall_offset.lookup(&zero);

	return bpf_ktime_get_boot_ns() + (offset ? *offset : 0);
}

/* A power of two, with room for the longest label. */
#define OPTIONS_LEN (LABEL_MAX > 128 ? 2048 : 1024)

/* What is known of a frame and its block before the block has its place. The options are
 * among it: their length says how much room the block takes. In a map, so that the
 * verifier takes each field for any number. */
struct outline {
	u64 block_len;
	u64 original_len;
	u64 captured_len;
	u64 padded_len;
	u64 options_len; /* including the trailing length */
	u32 interface_id;
	u32 is_tagged;
	u32 start; /* offset of the frame in the skb */
	u32 unused;
	struct pids pids;
	struct held_message held;
	u8 head[HEAD_LEN]; /* for parse() */
	u8 options[OPTIONS_LEN];
};
BPF_PERCPU_ARRAY(outlines, struct outline, 1);

static __always_inline void outline_frame(struct outline *outline,
					  const struct reader *reader,
					  const struct device *device)
{
	u64 frame_len = (u64)reader->skb->len - reader->start;

	outline->start = reader->start;
	outline->is_tagged = is_tagged(reader->skb, device);
	outline->original_len = frame_len + (outline->is_tagged ? VLAN_TAG_LEN : 0);
	outline->captured_len = outline->original_len > SNAPLEN ? SNAPLEN :
								  outline->original_len;
	outline->padded_len = (outline->captured_len + 3) & ~3ull;
	outline->interface_id = device->interface_id;
}

/* Writes the frame with its VLAN tag. What a short block has no space for is in that of
 * its options, which are written later. */
static __always_inline int load_tagged(struct __sk_buff *skb, u8 *data, u64 len)
{
	u64 rest_len;

	if (bpf_skb_load_bytes(skb, 0, data, ETH_TYPE_AT))
		return -1;
	write_vlan_tag(skb, data);
	if (len <= TAGGED_HEAD_LEN)
		return 0;
	rest_len = len - TAGGED_HEAD_LEN;
	if (!IS_LENGTH(rest_len, SNAPLEN))
		return -1;
	return bpf_skb_load_bytes(skb, ETH_TYPE_AT, data + TAGGED_HEAD_LEN, rest_len);
}

/* Writes the frame. */
static __always_inline int load_plain(struct __sk_buff *skb, u32 start, u8 *data,
				      u64 len)
{
	if (!IS_LENGTH(len, SNAPLEN))
		return len ? -1 : 0;
	return bpf_skb_load_bytes(skb, start, data, len);
}

static __always_inline void copy_words(u8 *to, const char *text, const u32 from,
				       const u32 end)
{
#pragma unroll
	for (u32 i = from / 8; i < end / 8; i++)
		((u64 *)to)[i] = ((const u64 *)text)[i];
}

static __always_inline void copy_text(u8 *to, const char *text, u64 len, const u32 cap)
{
	copy_words(to, text, 0, USUAL_TEXT_LEN);
	if (len > USUAL_TEXT_LEN - 4)
		copy_words(to, text, USUAL_TEXT_LEN, cap);
}

/* The length of a text under construction, in a map as in struct label_draft. */
BPF_PERCPU_ARRAY(tid_lens, u64, 1);

/* Writes " tid=4242" if the thread is known; returns the length. */
static __always_inline u64 write_tid(u8 *at, u32 tid)
{
	u32 zero = 0;
	volatile u64 *len = tid_lens.lookup(&zero);
	char *text = (char *)at;
	u64 cap = TID_MAX;

	if (!len || !tid)
		return 0;
	*len = 0;
	PUT_WORD(" tid=");
	put_number(text, cap, len, tid);
	return *len;
}

/* Writes a receiver's part of a comment; returns its length. */
static __always_inline u64 write_peer(u8 *at, const struct process *peer)
{
	const struct cgroup_label *cgroup = cached_cgroup(peer);
	u64 peer_len = peer->peer_len, cgroup_len = cgroup->peer_len;
	u8 *behind = ADVANCE(at, peer_len, PEER_MAX);

	if (!behind)
		return 0;
	copy_text(at, peer->peer, peer_len, PEER_MAX);
	copy_text(behind, cgroup->peer, cgroup_len, CGROUP_TEXT_MAX);
	return peer_len + cgroup_len;
}

/* Writes the label as a comment; returns the length of the option. */
static __always_inline u64 write_label_option(u8 *at, const struct endpoint *endpoint,
					      const struct process *peer)
{
	const struct process *process = endpoint->process;
	const struct cgroup_label *cgroup = cached_cgroup(process);
	u64 label_len = process->label_len, cgroup_len = cgroup->text_len;
	u64 tid_len = 0, peer_len = 0;
	u8 *behind = ADVANCE(at + 4, label_len, LABEL_MAX);

	if (!behind)
		return 0;
	copy_text(at + 4, process->label, label_len, LABEL_MAX);
	copy_text(behind, cgroup->text, cgroup_len, CGROUP_TEXT_MAX);
	behind = ADVANCE(behind, cgroup_len, CGROUP_TEXT_MAX);
	if (!behind)
		return 0;
	if (LABEL_TIDS && (TIDS_ANY_USER || process->euid == TIDS_USER)) {
		tid_len = write_tid(behind, endpoint->tid);
		behind = ADVANCE(behind, tid_len, TID_MAX);
		if (!behind)
			return 0;
	}
	if (peer) {
		*behind = ' ';
		peer_len = 1 + write_peer(behind + 1, peer);
	}
	label_len += cgroup_len + tid_len + peer_len;
	*(u32 *)at = OPT_COMMENT | label_len << 16;
	return 4 + ((label_len + 3) & ~3ull);
}

/* Writes a comment that names the receiver only; returns the length of the option. */
static __always_inline u64 write_peer_option(u8 *at, const struct process *peer)
{
	u64 len = write_peer(at + 4, peer);

	*(u32 *)at = OPT_COMMENT | len << 16;
	return 4 + ((len + 3) & ~3ull);
}

/* Writes the sender's and the receiver's process; returns the length of the options. A
 * receiver is the peer of a sender on this host, even of an unknown one. */
static __always_inline u64 write_endpoints(u8 *at, const struct endpoint *sender,
					   const struct endpoint *receiver)
{
	const struct endpoint *first = sender->process ? sender : receiver;
	struct process *peer = sender->process ? receiver->process : NULL;
	u32 *word = (u32 *)at;
	u64 len = 12;

	if (!first->process)
		return 0;
	if (!sender->process && sender->is_here)
		return write_peer_option(at, first->process);
	word[0] = EPB_PROCESS_THREAD | 8 << 16;
	word[1] = first->id.tgid;
	word[2] = first->tid;
	if (first->process->block_number) {
		word[3] = EPB_DARWIN_PROCESS | 4 << 16;
		word[4] = first->process->block_number - 1;
		len = 20;
	}
	return len + write_label_option(at + len, first, peer);
}

#define BEFORE_LABELS_MAX 20 /* flags, and how many packets were lost */

/* Writes all options and the trailing length of the block; returns false if they do not
 * fit, which does not happen. */
static __always_inline bool write_options(struct outline *outline, u32 direction,
					  u64 lost, const struct endpoint *sender,
					  const struct endpoint *receiver)
{
	u8 *at = outline->options;
	u32 *word = (u32 *)at;
	u8 *labels;
	u64 len = 8;

	word[0] = EPB_FLAGS | 4 << 16;
	word[1] = direction;
	if (lost) {
		word[2] = EPB_DROPCOUNT | 8 << 16;
		word[3] = (u32)lost;
		word[4] = (u32)(lost >> 32);
		len = 20;
	}
	if (LABELS) {
		/* By way of memory the verifier takes the length for any number, and
		 * follows all that is written behind it once. */
		outline->options_len = len;
		FORGET();
		len = outline->options_len;
		labels = ADVANCE(at, len, BEFORE_LABELS_MAX);
		if (!labels)
			return false;
		len += write_endpoints(labels, sender, receiver);
	}
	word = (u32 *)ADVANCE(at, len, OPTIONS_LEN - 12);
	if (!word)
		return false;
	outline->options_len = len + 8;
	outline->block_len = EPB_HEADER_LEN + outline->padded_len + len + 8;
	word[0] = 0; /* opt_endofopt */
	word[1] = outline->block_len;
	return true;
}

/* Copies the options to their place: no byte more, because what follows belongs to the
 * next block, which another CPU may write. Each size is that of one bit of the length. */
static __always_inline void copy_options(u8 *to, const struct outline *outline)
{
#pragma unroll
	for (u64 size = OPTIONS_LEN / 2; size >= 4; size /= 2) {
		u64 len = *(volatile u64 *)&outline->options_len;
		u64 at = len & (OPTIONS_LEN - 2 * size);

		OPAQUE(at);
		if (!(len & size) || at > OPTIONS_LEN - 2 * size)
			continue;
		if (size == 4)
			*(u32 *)(to + at) = *(const u32 *)(outline->options + at);
		copy_words(to + at, (const char *)outline->options + at, 0, size);
	}
}

static __always_inline void write_header(struct epb_header *header,
					 const struct outline *outline)
{
	u64 now_ns = wall_clock_ns();

	header->block_type = EPB_TYPE;
	header->block_len = outline->block_len;
	header->interface_id = outline->interface_id;
	header->timestamp_high = now_ns >> 32;
	header->timestamp_low = (u32)now_ns;
	header->captured_len = outline->captured_len;
	header->original_len = outline->original_len;
}

/* Makes a block one that readers skip: its place in the ring cannot be given back. */
static __always_inline void write_filler(u8 *block)
{
	((struct epb_header *)block)->block_type = FILLER_TYPE;
}

/* Writes the block of a frame; returns false if the frame could not be read. */
static __always_inline bool write_block(struct __sk_buff *skb, u8 *block,
					const struct outline *outline)
{
	u8 *body = block + EPB_HEADER_LEN;
	u64 captured_len = outline->captured_len;
	u8 *behind = ADVANCE(body, outline->padded_len, SNAPLEN_PADDED);
	bool is_read;

	if (!behind)
		return false; /* never; for the verifier */
	write_header((struct epb_header *)block, outline);
	is_read = !(outline->is_tagged ?
			    load_tagged(skb, body, captured_len) :
			    load_plain(skb, outline->start, body, captured_len));
	/* Padding must not contain bytes of an earlier block, or of a truncated tag: keep
	 * only the first bytes of the last word. */
	if (outline->padded_len >= 4)
		*(__be32 *)(behind - 4) &=
			bpf_htonl(~0u << 8 * (outline->padded_len - captured_len));
	copy_options(behind, outline);
	return is_read;
}

#endif
