/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which packets have to wait for the secrets of their TLS connection.
 *
 * Wireshark decrypts only packets that follow the secrets in the stream, and a program
 * has its secrets a little later than the first packets that need them. So a connection
 * is marked at its ClientHello, and from its ServerHello on its packets are sent to the
 * engine as messages; src/tccap/tls/hold.py says when it releases them.
 */
#ifndef TCCAP_MARKS_H
#define TCCAP_MARKS_H

#include "abi.h"
#include "messages.h"
#include "owners/endpoint.h"
#include "packet/parse.h"
#include "packet/stages.h"

BPF_HASH(tls_marks, struct tls_flow, struct tls_mark, SIZED_LATER);

/* TLS record (RFC 8446, 5.1) and the handshake message in it (4.1). */
#define TLS_CHANGE_CIPHER_SPEC 20
#define TLS_HANDSHAKE 22
#define TLS_APPLICATION_DATA 23
#define TLS_MAJOR 3
#define TLS_CLIENT_HELLO 1
#define TLS_SERVER_HELLO 2
/* A HelloRetryRequest is a ServerHello whose random begins so (4.1.3). */
#define TLS_RETRY_RANDOM 0x11619ae574ad21cfull
#define TLS_ID_AT 8

struct tls_start {
	u8 record_type;
	u8 record_major;
	u8 record_minor;
	u8 record_len[2];
	u8 handshake_type;
	u8 handshake_len[3];
	u8 hello_major;
	u8 hello_minor;
	u8 random[TLS_RANDOM_LEN];
};

struct tls_work {
	struct tls_flow flow;
	struct tls_start start;
	struct hello_message message;
};
BPF_PERCPU_ARRAY(tls_works, struct tls_work, 1);

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

/* The type of the hello that the segment begins with; 0 if none. */
static __always_inline u32 read_hello(struct __sk_buff *skb,
				      const struct packet *packet,
				      struct tls_start *start)
{
	u32 type;

	if (bpf_skb_load_bytes(skb, data_at(skb, packet), start, sizeof(*start)))
		return 0;
	if (start->record_type != TLS_HANDSHAKE || start->record_major != TLS_MAJOR ||
	    start->hello_major != TLS_MAJOR)
		return 0;
	type = start->handshake_type;
	if (type == TLS_SERVER_HELLO && *(u64 *)start->random == TLS_RETRY_RANDOM)
		return 0;
	return type;
}

#define TCP_FIN 1
#define TCP_RST 4

/* Whether the segment ends a direction of the connection, or all of it. */
static __always_inline bool is_end(const struct packet *packet)
{
	return packet->tcp_flags & (TCP_FIN | TCP_RST);
}

/* Whether the segment is from the client and holds a record. Behind a segment without
 * data there may be padding of the frame, which is zero. */
static __always_inline bool is_answer(struct __sk_buff *skb,
				      const struct packet *packet,
				      const struct tls_mark *mark)
{
	u8 record_type = 0;

	if (is_first(packet) != mark->client_is_first)
		return false;
	bpf_skb_load_bytes(skb, data_at(skb, packet), &record_type, 1);
	return record_type >= TLS_CHANGE_CIPHER_SPEC &&
	       record_type <= TLS_APPLICATION_DATA;
}

/* The kind of a packet that has to wait. */
static __always_inline u8 held_kind(struct __sk_buff *skb, const struct packet *packet,
				    const struct tls_mark *mark, u32 hello)
{
	if (hello == TLS_SERVER_HELLO)
		return MESSAGE_HELD_SERVER_HELLO;
	if (is_end(packet))
		return MESSAGE_HELD_END;
	return is_answer(skb, packet, mark) ? MESSAGE_HELD_ANSWER : MESSAGE_HELD;
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

/* Reports a connection to the engine and then marks it, so that the engine knows every
 * mark. A hello that is retransmitted, or seen on another device, changes nothing. */
static __always_inline void
mark_flow(struct tls_work *work, const struct packet *packet, const struct pids *pids)
{
	struct tls_mark *known = tls_marks.lookup(&work->flow);
	struct hello_message *message = &work->message;
	struct tls_mark mark = {};

	mark.id = *(u64 *)(work->start.random + TLS_ID_AT);
	mark.client_is_first = is_first(packet);
	if (known && known->id == mark.id)
		return;
	message->flow = work->flow;
	__builtin_memcpy(message->client_random, work->start.random, TLS_RANDOM_LEN);
	message->sender_pid = pids->sender;
	message->receiver_pid = pids->receiver;
	message->kind = MESSAGE_HELLO;
	if (send_message(&message->head, sizeof(*message)) == 0)
		tls_marks.update(&work->flow, &mark);
}

/* Fills `held` if the packet has to wait. */
static __always_inline void look_for_tls(struct __sk_buff *skb,
					 const struct frame_context *context,
					 const struct packet *packet,
					 const struct pids *pids,
					 struct held_message *held)
{
	u32 zero = 0, hello;
	struct tls_work *work;
	struct tls_mark *mark;

	if (packet->protocol != IPPROTO_TCP || packet->fragmented ||
	    packet->about_inner)
		return;
	work = tls_works.lookup(&zero);
	if (!work)
		return;
	write_flow(&work->flow, packet, &context->device);
	hello = read_hello(skb, packet, &work->start);
	if (hello == TLS_CLIENT_HELLO)
		mark_flow(work, packet, pids);
	mark = tls_marks.lookup(&work->flow);
	if (!mark)
		return;
	if (hello == TLS_SERVER_HELLO)
		mark->held = 1;
	if (!mark->held)
		return;
	held->id = mark->id;
	held->kind = held_kind(skb, packet, mark, hello);
	held->sender_pid = held->receiver_pid = 0;
	if (hello == TLS_SERVER_HELLO) {
		held->sender_pid = pids->sender;
		held->receiver_pid = pids->receiver;
	}
}

#endif
