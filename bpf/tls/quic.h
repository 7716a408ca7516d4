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

/* Fills `held` if the packet is one for the carrier. */
static __always_inline void look_for_quic(const struct reader *reader,
					  const struct frame_context *context,
					  const struct packet *packet,
					  const struct pids *pids,
					  struct held_message *held)
{
	u32 payload_at = packet->transport_at + UDP_HEADER_LEN;
	const struct quic_start *start;
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
	write_flow(&held->flow, packet, &context->device);
	mark = quic_mark(&held->flow, packet, initial);
	if (!mark)
		return;
	held->id = mark->id;
	held->sender_pid = pids->sender;
	held->receiver_pid = pids->receiver;
	held->payload_at = EPB_HEADER_LEN + payload_at;
	if (is_tagged(reader->skb, &context->device))
		held->payload_at += VLAN_TAG_LEN;
	held->from_client = is_first(packet) == mark->client_is_first;
	held->kind = MESSAGE_QUIC;
}

#endif
