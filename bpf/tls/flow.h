/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The flow of a packet, the processes at its ends, and where its TLS begins.
 */
#ifndef TCCAP_FLOW_H
#define TCCAP_FLOW_H

#include "abi.h"
#include "owners/endpoint.h"
#include "packet/parse.h"
#include "packet/stages.h"

/* TLS record (RFC 8446, 5.1) and the handshake message in it (4.1). */
#define TLS_CHANGE_CIPHER_SPEC 20
#define TLS_HANDSHAKE 22
#define TLS_APPLICATION_DATA 23
#define TLS_MAJOR 3
/* A record with a ChangeCipherSpec, and the least content of one with a Finished of TLS
 * 1.3, which is encrypted (5.2, 4.4.4). An alert has less. */
#define TLS_CHANGE_CIPHER_SPEC_LEN 6
#define TLS_FINISHED_LEN (4 + 32 + 1 + 16)
#define TLS_CLIENT_HELLO 1
#define TLS_SERVER_HELLO 2

static __always_inline bool is_first(const struct packet *packet)
{
	const u64 *source = (const u64 *)packet->source;
	const u64 *destination = (const u64 *)packet->destination;

	if (packet->source_port != packet->destination_port)
		return packet->source_port < packet->destination_port;
	if (source[0] != destination[0])
		return source[0] < destination[0];
	return source[1] < destination[1];
}

/* Keeps connections of 127.0.0.1 in several namespaces apart; 0 for the engine's. */
static __always_inline u16 namespace_bits(const struct device *device)
{
	return (u16)(OWN_NAMESPACE - device->namespace_id) << 4;
}

static __always_inline void write_flow(struct tls_flow *flow,
				       const struct packet *packet,
				       const struct device *device)
{
	bool first = is_first(packet);

	__builtin_memcpy(first ? flow->first : flow->second, packet->source, 16);
	__builtin_memcpy(first ? flow->second : flow->first, packet->destination, 16);
	flow->first_port = first ? packet->source_port : packet->destination_port;
	flow->second_port = first ? packet->destination_port : packet->source_port;
	flow->family = packet->family + namespace_bits(device);
	flow->protocol = packet->protocol;
}

#define TCP_DATA_OFFSET_AT 12

/* Where the segment's data begins in the skb. */
static __always_inline u32 data_at(struct __sk_buff *skb, const struct packet *packet)
{
	u32 transport_at = packet->frame_at + packet->transport_at;
	u8 offset = 0;

	bpf_skb_load_bytes(skb, transport_at + TCP_DATA_OFFSET_AT, &offset, 1);
	return transport_at + (offset >> 4) * 4;
}

#define TCP_FIN 1
#define TCP_RST 4

/* Whether the segment ends a direction of the connection, or all of it. */
static __always_inline bool is_end(const struct packet *packet)
{
	return packet->tcp_flags & (TCP_FIN | TCP_RST);
}

static __always_inline u32 pid_of(const struct endpoint *endpoint, bool elsewhere)
{
	if (endpoint->known)
		return endpoint->id.tgid;
	return elsewhere ? ELSEWHERE : 0;
}

static __always_inline void write_pids(struct pids *pids,
				       const struct frame_context *context,
				       const struct endpoint *sender,
				       const struct endpoint *receiver)
{
	bool outbound = context->direction == EPB_OUTBOUND;
	bool away = context->device.leads_away;

	pids->sender = pid_of(sender, away && !outbound);
	pids->receiver = pid_of(receiver, away && outbound);
}

#endif
