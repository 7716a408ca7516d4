/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which packets have to wait for the secrets of their TLS connection.
 *
 * Wireshark decrypts only packets that follow the secrets in the stream, and a program
 * has its secrets a little later than the first packets that need them. So a connection
 * is marked at its ClientHello, and from its ServerHello on its packets are sent to the
 * engine as messages; src/tccap/tls/hold.py says when it releases them. If the random of
 * the ClientHello cannot be read here, the carrier reads the packets
 * (`read_by_carrier.h`).
 */
#ifndef TCCAP_MARKS_H
#define TCCAP_MARKS_H

#include "abi.h"
#include "messages.h"
#include "owners/endpoint.h"
#include "packet/parse.h"
#include "packet/stages.h"
#include "tls/flow.h"
#include "tls/read_by_carrier.h"

BPF_HASH(tls_marks, struct tls_flow, struct tls_mark, SIZED_LATER);

/* A HelloRetryRequest is a ServerHello whose random begins so (4.1.3). */
#define TLS_RETRY_RANDOM 0x11619ae574ad21cfull
#define TLS_ID_AT 8
/* What a handshake message has before the end of its random. */
#define HELLO_START_LEN (4 + 2 + TLS_RANDOM_LEN)

/* The begin of a PROXY header: "PROXY " and two bytes that are masked, or a signature
 * (HAProxy's proxy-protocol.txt, 2.1 and 2.2). */
#define PROXY_V1 0x2059584f5250ull
#define PROXY_V1_MASK 0xffffffffffffull
#define PROXY_V2 0x510a0d000a0d0a0dull

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

/* The type of the hello that a segment begins with; 0 if none. */
static __always_inline u32 hello_type(const struct tls_start *start)
{
	u32 type;

	if (start->record_type != TLS_HANDSHAKE || start->record_major != TLS_MAJOR ||
	    start->hello_major != TLS_MAJOR)
		return 0;
	type = start->handshake_type;
	if (type == TLS_SERVER_HELLO && *(const u64 *)start->random == TLS_RETRY_RANDOM)
		return 0;
	return type;
}

/* Whether a segment begins with a PROXY header, which may have a ClientHello behind it, or
 * with a record that holds a part of a ClientHello. */
static __always_inline bool begins_oddly(const struct tls_start *start)
{
	u64 first = *(const u64 *)start;
	u32 record_len = start->record_len[0] << 8 | start->record_len[1];

	if ((first & PROXY_V1_MASK) == PROXY_V1 || first == PROXY_V2)
		return true;
	return start->record_type == TLS_HANDSHAKE &&
	       start->record_major == TLS_MAJOR &&
	       start->handshake_type == TLS_CLIENT_HELLO &&
	       record_len < HELLO_START_LEN;
}

/* Whether a segment is too short for `struct tls_start`, and may be the begin of it. */
static __always_inline bool begins_short(struct __sk_buff *skb, u32 at)
{
	u8 record_type = 0;

	if (skb->len <= at || skb->len - at >= sizeof(struct tls_start))
		return false;
	bpf_skb_load_bytes(skb, at, &record_type, 1);
	return record_type == TLS_HANDSHAKE;
}

struct tls_record {
	u8 type;
	u8 version[2];
	u8 len[2];
};

/* Whether a record behind a ServerHello shows that its client has secrets: one whose
 * handshake has failed sends an alert, in TLS 1.3 perhaps encrypted. */
static __always_inline bool shows_keys(const struct tls_record *record)
{
	u32 len = record->len[0] << 8 | record->len[1];

	return record->type == TLS_HANDSHAKE ||
	       (record->type == TLS_APPLICATION_DATA && len >= TLS_FINISHED_LEN);
}

/* The kind of a client's segment. Behind one without data there may be padding of the
 * frame, which is zero. */
static __always_inline u8 answer_kind(struct __sk_buff *skb,
				      const struct packet *packet)
{
	struct tls_record record = {}, next = {};
	u32 at = data_at(skb, packet);

	bpf_skb_load_bytes(skb, at, &record, sizeof(record));
	if (record.type < TLS_CHANGE_CIPHER_SPEC || record.type > TLS_APPLICATION_DATA)
		return MESSAGE_HELD;
	if (record.type == TLS_CHANGE_CIPHER_SPEC)
		bpf_skb_load_bytes(skb, at + TLS_CHANGE_CIPHER_SPEC_LEN, &next,
				   sizeof(next));
	return shows_keys(&record) || shows_keys(&next) ? MESSAGE_HELD_KEYED :
							  MESSAGE_HELD_ANSWER;
}

/* The kind of a packet that has to wait. */
static __always_inline u8 held_kind(struct __sk_buff *skb, const struct packet *packet,
				    const struct tls_mark *mark, u32 hello)
{
	if (hello == TLS_SERVER_HELLO)
		return MESSAGE_HELD_SERVER_HELLO;
	if (is_end(packet))
		return MESSAGE_HELD_END;
	if (hello == TLS_CLIENT_HELLO || is_first(packet) != mark->client_is_first)
		return MESSAGE_HELD;
	return answer_kind(skb, packet);
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

/* Fills `held` if the carrier has to read the packet; returns whether it has to. */
static __always_inline bool look_for_odd_begin(struct __sk_buff *skb,
					       const struct frame_context *context,
					       const struct packet *packet,
					       const struct pids *pids,
					       struct tls_flow *flow, bool is_begin,
					       u32 at, struct held_message *held)
{
	struct tls_mark *mark;

	if (is_begin && tls_marks.lookup(flow))
		is_begin = false;
	if (!is_begin && !any_quic_marks())
		return false;
	mark = quic_mark(flow, packet, is_begin);
	if (!mark)
		return false;
	held->flow = *flow;
	write_held(held, skb, context, packet, pids, mark, at - packet->frame_at);
	return true;
}

/* Fills `held` if the packet has to wait. */
static __always_inline void look_for_tls(struct __sk_buff *skb,
					 const struct frame_context *context,
					 const struct packet *packet,
					 const struct pids *pids,
					 struct held_message *held)
{
	u32 zero = 0, hello = 0, at;
	struct tls_work *work;
	struct tls_mark *mark;
	bool is_odd;

	if (packet->protocol != IPPROTO_TCP || packet->fragmented ||
	    packet->about_inner)
		return;
	work = tls_works.lookup(&zero);
	if (!work)
		return;
	write_flow(&work->flow, packet, &context->device);
	at = data_at(skb, packet);
	if (bpf_skb_load_bytes(skb, at, &work->start, sizeof(work->start))) {
		is_odd = begins_short(skb, at);
	} else {
		is_odd = begins_oddly(&work->start);
		hello = hello_type(&work->start);
	}
	if (QUIC && look_for_odd_begin(skb, context, packet, pids, &work->flow, is_odd,
				       at, held))
		return;
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
