/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a packet says about its two endpoints: addresses, ports, ICMP identifiers.
 */
#ifndef TCCAP_PARSE_H
#define TCCAP_PARSE_H

#include "abi.h"
#include "kernel.h"
#include "packet/vlan.h"
#include "verifier.h"

#define ETH_HEADER_LEN 14
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88a8
#define IPPROTO_HOPOPTS 0
#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_AH 51
#define IPPROTO_ICMPV6 58
#define IPPROTO_DSTOPTS 60
#define IPV6_EXTENSIONS_MAX 6
#define TCP_FLAG_FIN 1
#define TCP_FLAG_SYN 2
#define TCP_FLAG_RST 4
#define TCP_FLAG_ACK 16

struct packet {
	u8 source[16]; /* IPv4: the first four bytes */
	u8 destination[16];
	__be16 source_port;
	__be16 destination_port;
	u32 family; /* 0: neither IPv4 nor IPv6 */
	u32 protocol;
	u32 echo_id;	  /* ICMP echo: the identifier plus 1 */
	u32 fragment_id;  /* of the datagram that this is a fragment of */
	u32 frame_at;	  /* offset of the frame in the skb */
	u32 transport_at; /* offset of the transport header in the frame */
	u8 tcp_flags;	  /* 0 in a quoted packet */
	bool fragmented;
	bool later_fragment; /* without the transport header */
	bool last_fragment;
	bool echo_request;
	bool about_inner; /* an ICMP error: the flow is that of the packet it quotes */
	bool is_read;	  /* parse() could read the packet */
} __attribute__((aligned(8)));

/* The segment that begins a connection, or answers that one. */
static __always_inline bool has_syn(const struct packet *packet)
{
	return packet->protocol == IPPROTO_TCP && (packet->tcp_flags & TCP_FLAG_SYN);
}

static __always_inline bool asks_for_connection(const struct packet *packet)
{
	u8 flags = packet->tcp_flags &
		   (TCP_FLAG_SYN | TCP_FLAG_ACK | TCP_FLAG_RST | TCP_FLAG_FIN);

	return flags == TCP_FLAG_SYN;
}

/* Kept in a map, where the verifier takes each field for any number: it then checks the
 * code that follows once, and not for every path through parse(). */
BPF_PERCPU_ARRAY(packets, struct packet, 1);

/* The parser copies the first bytes of a frame once and reads that copy: calling a
 * helper for each field costs more than everything else in the parser. */
#define HEAD_LEN 128
#define FIELD_MAX 40 /* the longest that is read at once: an IPv6 header */

/* The position of the parser, and the field it reads there. Kept in a map, too: the
 * verifier must not follow every length that a header may have. */
struct cursor {
	volatile u32 at;       /* from the start of the frame */
	volatile u32 head_len; /* bytes of the frame in the head */
	u64 field[FIELD_MAX / 8];
};
BPF_PERCPU_ARRAY(cursors, struct cursor, 1);

struct reader {
	struct __sk_buff *skb;
	const u8 *head; /* HEAD_LEN bytes */
	struct cursor *cursor;
	u64 start; /* offset of the frame in the skb: START_MAX at most */
};

/* The progress of a copy from the linear part of a frame. */
struct copying {
	const u8 *from;
	const u8 *end;
	u8 *to;
	u32 len; /* copied so far */
};

/* Copies `size` more bytes, a power of two, if the frame has that many. */
static __always_inline void copy_more(struct copying *copy, const u32 size)
{
	if (copy->from + size > copy->end)
		return;
	if (size == 1)
		*copy->to = *copy->from;
	else if (size == 2)
		*(u16 *)copy->to = *(const u16 *)copy->from;
	else if (size == 4)
		*(u32 *)copy->to = *(const u32 *)copy->from;
#pragma unroll
	for (u32 i = 0; i < size / 8; i++)
		((u64 *)copy->to)[i] = ((const u64 *)copy->from)[i];
	copy->from += size;
	OPAQUE(copy->from);
	copy->to += size;
	copy->len += size;
}

/* Copies the first bytes of a frame, as far as they are linear, which takes no helper.
 * Fields behind them are read one by one. */
static __always_inline void read_head(const struct reader *reader)
{
	const u8 *data = (const u8 *)(u64)reader->skb->data;
	struct copying copy = { .from = data + reader->start,
				.end = (const u8 *)(u64)reader->skb->data_end,
				.to = (u8 *)reader->head };

	copy_more(&copy, HEAD_LEN);
	if (!copy.len) {
#pragma unroll
		for (u32 size = HEAD_LEN / 2; size; size /= 2)
			copy_more(&copy, size);
	}
	reader->cursor->at = 0;
	reader->cursor->head_len = copy.len;
}

/* The field at the cursor; NULL if the frame ends before the field does. Valid until
 * the next call. */
static __always_inline const void *field_at(const struct reader *reader, const u32 size)
{
	const u32 words = (size + 7) / 8;
	struct cursor *cursor = reader->cursor;
	u64 at = cursor->at;

	OPAQUE(at);
	if (at <= HEAD_LEN - 8 * words && at + size <= cursor->head_len) {
#pragma unroll
		for (u32 i = 0; i < words; i++)
			cursor->field[i] = *(const u64 *)(reader->head + at + 8 * i);
	} else if (bpf_skb_load_bytes(reader->skb, reader->start + at, cursor->field,
				      size)) {
		return NULL;
	}
	return cursor->field;
}

struct ipv4_header {
	u8 version_ihl;
	u8 tos;
	__be16 len;
	__be16 id;
	__be16 fragment;
	u8 ttl;
	u8 protocol;
	__be16 checksum;
	u8 source[4];
	u8 destination[4];
};

struct ipv6_header {
	__be32 version_class_flow;
	__be16 payload_len;
	u8 next_header;
	u8 hop_limit;
	u8 source[16];
	u8 destination[16];
};

#define IPV4_OPTIONS_MAX 40
#define LOOSE_SOURCE_ROUTE 131
#define STRICT_SOURCE_ROUTE 137

/* Whether one of the eight bytes has a value. */
static __always_inline bool has_byte(u64 word, u8 value)
{
	u64 differ = word ^ value * 0x0101010101010101ull;

	return (differ - 0x0101010101010101ull) & ~differ & 0x8080808080808080ull;
}

/* Whether the options of a header, so many bytes, may name another destination (RFC 791,
 * section 3.1). Any byte with such a value counts. */
static __always_inline bool may_be_routed(const struct reader *reader, u32 len)
{
	const u64 *words = field_at(reader, IPV4_OPTIONS_MAX);
	bool found = false;

	if (!words)
		return true;
#pragma unroll
	for (u32 i = 0; i < IPV4_OPTIONS_MAX / 8; i++) {
		u64 kept = len >= 8 * (i + 1) ? ~0ull : len > 8 * i ? ~0u : 0;

		found |= has_byte(words[i] & kept, LOOSE_SOURCE_ROUTE) ||
			 has_byte(words[i] & kept, STRICT_SOURCE_ROUTE);
	}
	return found;
}

static __always_inline bool parse_ipv4(const struct reader *reader,
				       struct packet *packet)
{
	const struct ipv4_header *header = field_at(reader, sizeof(*header));
	u32 options_len;
	u16 fragment;

	if (!header)
		return false;
	packet->family = AF_INET;
	packet->protocol = header->protocol;
	*(u32 *)packet->source = *(const u32 *)header->source;
	*(u32 *)packet->destination = *(const u32 *)header->destination;
	fragment = bpf_ntohs(header->fragment);
	packet->fragmented = fragment & 0x3fff; /* more fragments, or an offset */
	packet->later_fragment = fragment & 0x1fff;
	packet->last_fragment = !(fragment & 0x2000);
	packet->fragment_id = header->id;
	options_len = (header->version_ihl & 15) * 4 - sizeof(*header);
	reader->cursor->at += sizeof(*header);
	/* The destination is not the last one yet. */
	if (options_len && may_be_routed(reader, options_len))
		return false;
	reader->cursor->at += options_len;
	return true;
}

static __always_inline void copy_ipv6_address(u8 *to, const u8 *from)
{
	((u64 *)to)[0] = ((const u64 *)from)[0];
	((u64 *)to)[1] = ((const u64 *)from)[1];
}

struct ipv6_extension {
	u8 next_header;
	u8 len;
	__be16 fragment; /* of a routing header: the type, and how many hops are left */
	__be32 id;
};

static __always_inline bool is_extension(u8 header)
{
	return header == IPPROTO_HOPOPTS || header == IPPROTO_ROUTING ||
	       header == IPPROTO_FRAGMENT || header == IPPROTO_DSTOPTS ||
	       header == IPPROTO_AH;
}

static __always_inline bool parse_ipv6(const struct reader *reader,
				       struct packet *packet)
{
	const struct ipv6_header *header = field_at(reader, sizeof(*header));
	const struct ipv6_extension *extension;
	u8 next;

	if (!header)
		return false;
	packet->family = AF_INET6;
	copy_ipv6_address(packet->source, header->source);
	copy_ipv6_address(packet->destination, header->destination);
	next = header->next_header;
	reader->cursor->at += sizeof(*header);
#pragma unroll
	for (int i = 0; i < IPV6_EXTENSIONS_MAX; i++) {
		if (!is_extension(next))
			break;
		extension = field_at(reader, sizeof(*extension));
		if (!extension)
			return false;
		/* The destination is not the last one yet. */
		if (next == IPPROTO_ROUTING && (bpf_ntohs(extension->fragment) & 0xff))
			return false;
		if (next == IPPROTO_FRAGMENT) {
			packet->fragmented = true;
			packet->later_fragment = bpf_ntohs(extension->fragment) &
						 0xfff8;
			packet->last_fragment = !(bpf_ntohs(extension->fragment) & 1);
			packet->fragment_id = extension->id;
			reader->cursor->at += 8;
		} else if (next == IPPROTO_AH) {
			reader->cursor->at += (extension->len + 2) * 4;
		} else {
			reader->cursor->at += (extension->len + 1) * 8;
		}
		next = extension->next_header;
		if (packet->later_fragment)
			break;
	}
	packet->protocol = next;
	return true;
}

static __always_inline bool parse_ip(const struct reader *reader, struct packet *packet)
{
	const u8 *version = field_at(reader, sizeof(*version));

	if (!version)
		return false;
	if (*version >> 4 == 4)
		return parse_ipv4(reader, packet);
	return *version >> 4 == 6 && parse_ipv6(reader, packet);
}

static __always_inline void parse_ports(const struct reader *reader,
					struct packet *packet)
{
	const __be16 *ports = field_at(reader, 2 * sizeof(*ports));

	if (!ports)
		return;
	packet->source_port = ports[0];
	packet->destination_port = ports[1];
}

/* The header of TCP (RFC 9293, 3.1), up to its window. */
struct tcp_start {
	__be16 source_port;
	__be16 destination_port;
	__be32 sequence;
	__be32 acknowledgement;
	u8 offset;
	u8 flags;
	__be16 window;
};

static __always_inline void parse_tcp(const struct reader *reader,
				      struct packet *packet)
{
	const struct tcp_start *start = field_at(reader, sizeof(*start));

	if (!start)
		return;
	packet->source_port = start->source_port;
	packet->destination_port = start->destination_port;
	packet->tcp_flags = start->flags;
}

/* ICMP (RFC 792) and ICMPv6 (RFC 4443) message types. */
static __always_inline bool is_echo_request(u32 protocol, u8 type)
{
	return type == (protocol == IPPROTO_ICMP ? 8 : 128);
}

static __always_inline bool is_echo_reply(u32 protocol, u8 type)
{
	return type == (protocol == IPPROTO_ICMP ? 0 : 129);
}

static __always_inline bool is_error(u32 protocol, u8 type)
{
	if (protocol == IPPROTO_ICMP)
		return type == 3 || type == 11 || type == 12;
	return type >= 1 && type <= 4;
}

static __always_inline bool is_icmp(const struct packet *packet)
{
	return (packet->family == AF_INET && packet->protocol == IPPROTO_ICMP) ||
	       (packet->family == AF_INET6 && packet->protocol == IPPROTO_ICMPV6);
}

struct icmp_header {
	u8 type;
	u8 code;
	__be16 checksum;
	__be16 id;
	__be16 sequence;
};

/* The packet that an ICMP error quotes was sent from here: the receiver of the error is
 * the receiver of an answer to that packet. */
static __always_inline bool parse_quoted(const struct reader *reader,
					 struct packet *packet)
{
	struct packet quoted = {};
	const struct icmp_header *icmp;

	reader->cursor->at += sizeof(*icmp);
	if (!parse_ip(reader, &quoted))
		return false;
	packet->about_inner = true;
	packet->fragmented = packet->later_fragment = false;
	packet->protocol = quoted.protocol;
	packet->family = quoted.family;
	__builtin_memcpy(packet->source, quoted.destination, 16);
	__builtin_memcpy(packet->destination, quoted.source, 16);
	if (is_icmp(&quoted)) {
		icmp = field_at(reader, sizeof(*icmp));
		if (!icmp)
			return false;
		packet->echo_id = (u32)icmp->id + 1;
		return true;
	}
	parse_ports(reader, &quoted);
	packet->source_port = quoted.destination_port;
	packet->destination_port = quoted.source_port;
	return true;
}

static __always_inline bool parse_icmp(const struct reader *reader,
				       struct packet *packet)
{
	const struct icmp_header *icmp = field_at(reader, sizeof(*icmp));

	if (!icmp)
		return false;
	if (is_error(packet->protocol, icmp->type))
		return parse_quoted(reader, packet);
	packet->echo_request = is_echo_request(packet->protocol, icmp->type);
	if (packet->echo_request || is_echo_reply(packet->protocol, icmp->type))
		packet->echo_id = (u32)icmp->id + 1;
	return true;
}

/* Moves past the Ethernet header and up to two VLAN tags; returns whether IP
 * follows. */
static __always_inline bool parse_ethernet(const struct reader *reader)
{
	const __be16 *type;

	reader->cursor->at = ETH_HEADER_LEN - 2;
#pragma unroll
	for (int i = 0; i < 3; i++) {
		type = field_at(reader, sizeof(*type));
		if (!type)
			return false;
		reader->cursor->at += 2;
		if (*type == bpf_htons(ETH_P_IP) || *type == bpf_htons(ETH_P_IPV6))
			return true;
		if (*type != bpf_htons(ETH_P_8021Q) && *type != bpf_htons(ETH_P_8021AD))
			return false;
		reader->cursor->at += 2;
	}
	return false;
}

/* Reads the flow of a frame; returns false if the frame has none that is supported. */
static __always_inline bool parse(const struct reader *reader,
				  const struct device *device, struct packet *packet)
{
	__builtin_memset(packet, 0, sizeof(*packet));
	packet->frame_at = reader->start;
	read_head(reader);
	if (device->first_header == FIRST_UNREAD)
		return false;
	if (device->first_header == FIRST_ETHERNET && !parse_ethernet(reader))
		return false;
	if (!parse_ip(reader, packet))
		return false;
	if (packet->later_fragment)
		return true;
	if (is_icmp(packet))
		return parse_icmp(reader, packet);
	packet->transport_at = reader->cursor->at;
	if (packet->protocol == IPPROTO_TCP)
		parse_tcp(reader, packet);
	else
		parse_ports(reader, packet);
	return true;
}

#endif
