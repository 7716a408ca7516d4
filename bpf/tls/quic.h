/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which packets may belong to the begin of a QUIC connection.
 *
 * QUIC encrypts its ClientHello, with keys that everybody can make but no BPF program. So
 * a flow is marked at a client's Initial packet, and then its packets are sent to the
 * carrier as messages until that removes the mark: src/tccap/tls/quic/flows.py says which
 * of them wait. While nothing is marked, other UDP packets cost a comparison.
 */
#ifndef TCCAP_QUIC_H
#define TCCAP_QUIC_H

#include "abi.h"
#include "owners/endpoint.h"
#include "packet/parse.h"
#include "packet/stages.h"
#include "tls/marks.h"

BPF_HASH(quic_marks, struct tls_flow, struct tls_mark, SIZED_LATER);
BPF_ARRAY(quic_counts, u64, 2);
/* Filled for a packet whose held_tail is of the kind MESSAGE_QUIC. */
BPF_PERCPU_ARRAY(quic_tails, struct quic_tail, 1);

/* RFC 9000, 17.2 and 14.1; RFC 9369, 3.2. */
#define QUIC_LONG 0x80
#define QUIC_KIND 0x30
#define QUIC_V1 0x00000001
#define QUIC_V1_INITIAL 0x00
#define QUIC_V2 0x6b3343cf
#define QUIC_V2_INITIAL 0x10
#define QUIC_INITIAL_LEN_MIN 1200
#define UDP_HEADER_LEN 8

struct quic_start {
	u8 first;
	__be32 version;
} __attribute__((packed));

/* Whether a datagram may be a client's first one. */
static __always_inline bool is_initial(const struct quic_start *start, u32 len)
{
	u8 kind = start->first & QUIC_KIND;

	if (!(start->first & QUIC_LONG) || len < QUIC_INITIAL_LEN_MIN)
		return false;
	if (start->version == bpf_htonl(QUIC_V1))
		return kind == QUIC_V1_INITIAL;
	return start->version == bpf_htonl(QUIC_V2) && kind == QUIC_V2_INITIAL;
}

static __always_inline u64 *quic_count(u32 which)
{
	return quic_counts.lookup(&which);
}

static __always_inline bool any_quic_marks(void)
{
	u64 *marked = quic_count(QUIC_MARKED), *unmarked = quic_count(QUIC_UNMARKED);

	if (!marked)
		return false;
	return unmarked && *marked != *unmarked;
}

/* Marks the flow. It is counted before: a packet that follows must find the count. */
static __always_inline void mark_quic_flow(const struct tls_flow *flow,
					   const struct packet *packet)
{
	u64 *marked = quic_count(QUIC_MARKED);
	struct tls_mark mark = {};

	if (!marked)
		return;
	mark.id = bpf_ktime_get_ns();
	mark.client_is_first = is_first(packet);
	__sync_fetch_and_add(marked, 1);
	if (quic_marks.insert((struct tls_flow *)flow, &mark))
		__sync_fetch_and_add(marked, -1);
}

static __always_inline struct tls_mark *
quic_mark(const struct tls_flow *flow, const struct packet *packet, bool initial)
{
	struct tls_mark *mark = quic_marks.lookup((struct tls_flow *)flow);

	if (mark || !initial)
		return mark;
	mark_quic_flow(flow, packet);
	return quic_marks.lookup((struct tls_flow *)flow);
}

/* Fills `tail` and the quic_tail if the packet is one for the carrier. */
static __always_inline void
look_for_quic(const struct reader *reader, const struct frame_context *context,
	      const struct packet *packet, const struct endpoint *sender,
	      const struct endpoint *receiver, struct held_tail *tail)
{
	u32 zero = 0, payload_at = packet->transport_at + UDP_HEADER_LEN;
	const struct quic_start *start;
	struct quic_tail *quic;
	struct tls_mark *mark;
	bool initial;
	u32 frame_len = reader->skb->len - packet->frame_at;

	if (packet->protocol != IPPROTO_UDP || packet->fragmented ||
	    packet->about_inner)
		return;
	reader->cursor->at = payload_at;
	start = field_at(reader, sizeof(*start));
	if (!start)
		return;
	initial = is_initial(start, frame_len - payload_at);
	if (!initial && !any_quic_marks())
		return;
	quic = quic_tails.lookup(&zero);
	if (!quic)
		return;
	write_flow(&quic->flow, packet, &context->device);
	mark = quic_mark(&quic->flow, packet, initial);
	if (!mark)
		return;
	quic->id = mark->id;
	quic->sender_pid = sender_pid(context, sender);
	quic->receiver_pid = receiver_pid(context, receiver);
	quic->payload_at = EPB_HEADER_LEN + payload_at;
	if (is_tagged(reader->skb, &context->device))
		quic->payload_at += VLAN_TAG_LEN;
	quic->from_client = is_first(packet) == mark->client_is_first;
	quic->kind = tail->kind = MESSAGE_QUIC;
}

/* Appends the quic_tail to a block. */
static __always_inline u64 with_quic_tail(struct scratch *block, u64 block_len)
{
	u64 room = SCRATCH_LEN - sizeof(struct quic_tail);
	u32 zero = 0;
	struct quic_tail *quic = quic_tails.lookup(&zero);
	u8 *at;

	if (!quic || !IS_LENGTH(block_len, room))
		return block_len;
	at = (u8 *)block + block_len;
#pragma unroll
	for (u32 i = 0; i < sizeof(*quic) / 4; i++)
		((u32 *)at)[i] = ((u32 *)quic)[i];
	at[sizeof(*quic) - 2] = quic->from_client;
	at[sizeof(*quic) - 1] = quic->kind;
	return block_len + sizeof(*quic);
}

#endif
