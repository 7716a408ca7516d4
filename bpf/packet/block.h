/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A frame as an Enhanced Packet Block (pcapng section 4.3): header, data, options.
 */
#ifndef TCCAP_BLOCK_H
#define TCCAP_BLOCK_H

#include "abi.h"
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

/* Writes the frame with its VLAN tag. */
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

/* Writes the rest of the frame: parse() has left its head there already. */
static __always_inline int load_plain(const struct reader *reader, u8 *data, u64 len)
{
	if (len <= reader->cursor->head_len)
		return 0;
	if (!IS_LENGTH(len, SNAPLEN))
		return -1;
	return bpf_skb_load_bytes(reader->skb, reader->start, data, len);
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

/* Writes all options and the trailing length of the block; returns their length. */
static __always_inline u64 write_options(u8 *at, u32 direction, u64 head_len, u64 lost,
					 const struct endpoint *sender,
					 const struct endpoint *receiver)
{
	u32 *word = (u32 *)at;
	u64 len = 8;

	word[0] = EPB_FLAGS | 4 << 16;
	word[1] = direction;
	if (lost) {
		word[2] = EPB_DROPCOUNT | 8 << 16;
		word[3] = (u32)lost;
		word[4] = (u32)(lost >> 32);
		len = 20;
	}
	if (LABELS)
		len += write_endpoints(at + len, sender, receiver);
	word = (u32 *)ADVANCE(at, len, OPTIONS_MAX - 8);
	if (!word)
		return 0;
	word[0] = 0; /* opt_endofopt */
	word[1] = head_len + len + 8;
	return len + 8;
}

/* Builds the block of a frame; returns its length, or 0 on failure. */
static __always_inline u64 build_block(const struct reader *reader,
				       const struct device *device,
				       struct scratch *block, u32 direction, u64 lost,
				       const struct endpoint *sender,
				       const struct endpoint *receiver)
{
	struct __sk_buff *skb = reader->skb;
	bool tagged = is_tagged(skb, device);
	u64 frame_len = (u64)skb->len - reader->start;
	u64 original_len = frame_len + (tagged ? VLAN_TAG_LEN : 0);
	u64 captured_len = original_len > SNAPLEN ? SNAPLEN : original_len;
	u64 padded_len = (captured_len + 3) & ~3ull;
	u64 now_ns = wall_clock_ns();
	u64 block_len, options_len;
	u8 *options = ADVANCE(block->body, padded_len, SNAPLEN_PADDED);

	if (!options)
		return 0;
	block->header.block_type = EPB_TYPE;
	block->header.interface_id = device->interface_id;
	block->header.timestamp_high = now_ns >> 32;
	block->header.timestamp_low = (u32)now_ns;
	block->header.captured_len = captured_len;
	block->header.original_len = original_len;

	if (tagged ? load_tagged(skb, block->body, captured_len) :
		     load_plain(reader, block->body, captured_len))
		return 0;
	/* Padding must not contain bytes of an earlier frame, or of a truncated tag:
	 * keep only the first bytes of the last word. */
	if (padded_len >= 4)
		*(__be32 *)(options - 4) &=
			bpf_htonl(~0u << 8 * (padded_len - captured_len));

	block_len = EPB_HEADER_LEN + padded_len;
	options_len =
		write_options(options, direction, block_len, lost, sender, receiver);
	if (!options_len)
		return 0;
	block_len += options_len;
	block->header.block_len = block_len;
	return block_len;
}

/* In a map, so that the verifier does not follow each kind through the block. */
BPF_PERCPU_ARRAY(held_tails, struct held_tail, 1);

/* Appends the held_tail to a block that has to wait; returns the length then. */
static __always_inline u64 with_tail(struct scratch *block, u64 block_len,
				     const struct held_tail *tail)
{
	u64 room = sizeof(*block) - sizeof(*tail);
	u8 *at;

	if (!tail->kind || !IS_LENGTH(block_len, room))
		return block_len;
	at = (u8 *)block + block_len;
	*(u32 *)at = (u32)tail->id;
	*(u32 *)(at + 4) = (u32)(tail->id >> 32);
	*(u32 *)(at + 8) = tail->sender_pid;
	*(u32 *)(at + 12) = tail->receiver_pid;
	at[16] = tail->kind;
	return block_len + sizeof(*tail);
}

#endif
