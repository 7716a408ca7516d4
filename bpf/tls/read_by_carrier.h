/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which packets may belong to the begin of a connection that only the carrier can read.
 *
 * QUIC encrypts its ClientHello, with keys that everybody can make but no BPF program. So
 * a flow is marked at a client's Initial packet, and then its packets are sent to the
 * carrier as messages until that removes the mark: src/tccap/tls/flows.py says which
 * of them wait. DTLS goes the same way from its ClientHello on, which may be in pieces,
 * and so does TLS where `marks.h` cannot read the ClientHello. While nothing is marked,
 * other packets cost a few comparisons.
 */
#ifndef TCCAP_READ_BY_CARRIER_H
#define TCCAP_READ_BY_CARRIER_H

#include "abi.h"
#include "owners/endpoint.h"
#include "packet/parse.h"
#include "packet/stages.h"
#include "tls/flow.h"

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

/* A record of DTLS 1.2 or 1.3 in epoch 0, with a handshake message (RFC 6347, 4.1). The
 * version is followed by the epoch; that of a first ClientHello may be 1.0. */
#define DTLS_1_0 0xfeff0000
#define DTLS_1_2 0xfefd0000
#define DTLS_MESSAGE_AT 13

struct udp_start {
	u8 first;
	__be32 version; /* DTLS: and the epoch */
} __attribute__((packed));

/* Whether a datagram may be a client's first one of QUIC. */
static __always_inline bool is_initial(const struct udp_start *start, u32 len)
{
	u8 kind = start->first & QUIC_KIND;

	if (!(start->first & QUIC_LONG) || len < QUIC_INITIAL_LEN_MIN)
		return false;
	if (start->version == bpf_htonl(QUIC_V1))
		return kind == QUIC_V1_INITIAL;
	return start->version == bpf_htonl(QUIC_V2) && kind == QUIC_V2_INITIAL;
}

static __always_inline bool has_dtls_handshake(const struct udp_start *start)
{
	return start->first == TLS_HANDSHAKE &&
	       (start->version == bpf_htonl(DTLS_1_0) ||
		start->version == bpf_htonl(DTLS_1_2));
}

/* Whether a datagram may begin a connection; `start` is used up. */
static __always_inline bool begins(const struct reader *reader,
				   const struct udp_start *start, u32 payload_at,
				   u32 len)
{
	const u8 *message_type;

	if (!has_dtls_handshake(start))
		return is_initial(start, len);
	reader->cursor->at = payload_at + DTLS_MESSAGE_AT;
	message_type = field_at(reader, sizeof(*message_type));
	return message_type && *message_type == TLS_CLIENT_HELLO;
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
quic_mark(const struct tls_flow *flow, const struct packet *packet, bool is_begin)
{
	struct tls_mark *mark = quic_marks.lookup((struct tls_flow *)flow);

	if (mark || !is_begin)
		return mark;
	mark_quic_flow(flow, packet);
	return quic_marks.lookup((struct tls_flow *)flow);
}

/* Fills `held`, which has the flow: the packet is one for the carrier. */
static __always_inline void write_held(struct held_message *held, struct __sk_buff *skb,
				       const struct frame_context *context,
				       const struct packet *packet,
				       const struct pids *pids,
				       const struct tls_mark *mark, u32 payload_at)
{
	held->id = mark->id;
	held->sender_pid = pids->sender;
	held->receiver_pid = pids->receiver;
	held->payload_at = EPB_HEADER_LEN + payload_at;
	if (is_tagged(skb, &context->device))
		held->payload_at += VLAN_TAG_LEN;
	held->from_client = is_first(packet) == mark->client_is_first;
	held->is_end = packet->protocol == IPPROTO_TCP && is_end(packet);
	held->kind = MESSAGE_QUIC;
}

/* Fills `held` if the packet is one for the carrier. */
static __always_inline void look_for_quic(const struct reader *reader,
					  const struct frame_context *context,
					  const struct packet *packet,
					  const struct pids *pids,
					  struct held_message *held)
{
	u32 payload_at = packet->transport_at + UDP_HEADER_LEN;
	const struct udp_start *start;
	struct tls_mark *mark;
	bool is_begin;
	u32 frame_len = reader->skb->len - packet->frame_at;

	if (packet->protocol != IPPROTO_UDP || packet->fragmented ||
	    packet->about_inner)
		return;
	reader->cursor->at = payload_at;
	start = field_at(reader, sizeof(*start));
	if (!start)
		return;
	is_begin = begins(reader, start, payload_at, frame_len - payload_at);
	if (!is_begin && !any_quic_marks())
		return;
	write_flow(&held->flow, packet, &context->device);
	mark = quic_mark(&held->flow, packet, is_begin);
	if (mark)
		write_held(held, reader->skb, context, packet, pids, mark, payload_at);
}

#endif
