/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a packet says about its two ends: addresses, ports, ICMP identifiers.
 */
#include "abi.h"
#include "kernel.h"

#define ETH_HEADER_LEN 14
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88a8
#define VLAN_TAG_LEN 4
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
#define TCP_FLAGS_AT 13
#define TCP_FLAG_SYN 2

struct packet {
	u8 source[16]; /* IPv4: the first four bytes */
	u8 destination[16];
	__be16 source_port;
	__be16 destination_port;
	u32 family; /* 0: neither IPv4 nor IPv6 */
	u32 protocol;
	u32 echo_id;	 /* ICMP echo: the identifier plus 1 */
	u32 fragment_id; /* of the datagram that this is a fragment of */
	u32 transport_at; /* where its protocol's header is in the frame */
	bool fragmented;
	bool later_fragment; /* without the header of its protocol */
	bool echo_request;
	bool about_inner; /* an ICMP error: the flow is that of the packet in it */
};

/* Lies in a map, where the verifier takes each field for any number: it then looks
 * at what follows once, and not at every way that parse() has. */
BPF_PERCPU_ARRAY(packets, struct packet, 1);

/* Where the parser is, from the start of the frame. */
struct cursor {
	u32 at;
};

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

static __always_inline bool parse_ipv4(struct __sk_buff *skb, struct cursor *cursor,
				       struct packet *packet)
{
	struct ipv4_header header;
	u16 fragment;

	if (bpf_skb_load_bytes(skb, cursor->at, &header, sizeof(header)))
		return false;
	packet->family = AF_INET;
	packet->protocol = header.protocol;
	__builtin_memcpy(packet->source, header.source, 4);
	__builtin_memcpy(packet->destination, header.destination, 4);
	fragment = bpf_ntohs(header.fragment);
	packet->fragmented = fragment & 0x3fff; /* more fragments, or an offset */
	packet->later_fragment = fragment & 0x1fff;
	packet->fragment_id = header.id;
	cursor->at += (header.version_ihl & 15) * 4;
	return true;
}

static __always_inline bool parse_ipv6(struct __sk_buff *skb, struct cursor *cursor,
				       struct packet *packet)
{
	struct ipv6_header header;
	struct {
		u8 next_header;
		u8 len;
		__be16 fragment;
		__be32 id;
	} extension;
	u8 next;

	if (bpf_skb_load_bytes(skb, cursor->at, &header, sizeof(header)))
		return false;
	packet->family = AF_INET6;
	__builtin_memcpy(packet->source, header.source, 16);
	__builtin_memcpy(packet->destination, header.destination, 16);
	cursor->at += sizeof(header);
	next = header.next_header;
#pragma unroll
	for (int i = 0; i < IPV6_EXTENSIONS_MAX; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING &&
		    next != IPPROTO_FRAGMENT && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_AH)
			break;
		if (bpf_skb_load_bytes(skb, cursor->at, &extension,
				       sizeof(extension)))
			return false;
		if (next == IPPROTO_FRAGMENT) {
			packet->fragmented = true;
			packet->later_fragment =
				bpf_ntohs(extension.fragment) & 0xfff8;
			packet->fragment_id = extension.id;
			cursor->at += 8;
		} else if (next == IPPROTO_AH) {
			cursor->at += (extension.len + 2) * 4;
		} else {
			cursor->at += (extension.len + 1) * 8;
		}
		next = extension.next_header;
		if (packet->later_fragment)
			break;
	}
	packet->protocol = next;
	return true;
}

static __always_inline bool parse_ip(struct __sk_buff *skb, struct cursor *cursor,
				     struct packet *packet)
{
	u8 version;

	if (bpf_skb_load_bytes(skb, cursor->at, &version, 1))
		return false;
	if (version >> 4 == 4)
		return parse_ipv4(skb, cursor, packet);
	return version >> 4 == 6 && parse_ipv6(skb, cursor, packet);
}

static __always_inline void parse_ports(struct __sk_buff *skb,
					const struct cursor *cursor,
					struct packet *packet)
{
	__be16 ports[2];

	if (bpf_skb_load_bytes(skb, cursor->at, ports, sizeof(ports)))
		return;
	packet->source_port = ports[0];
	packet->destination_port = ports[1];
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

/* The packet that an ICMP error quotes was sent from here: what gets the error
 * is what would get an answer to it. */
static __always_inline bool parse_quoted(struct __sk_buff *skb, struct cursor *cursor,
					 struct packet *packet)
{
	struct packet quoted = {};
	struct icmp_header icmp;

	cursor->at += sizeof(icmp);
	if (!parse_ip(skb, cursor, &quoted))
		return false;
	packet->about_inner = true;
	packet->fragmented = packet->later_fragment = false;
	packet->protocol = quoted.protocol;
	packet->family = quoted.family;
	__builtin_memcpy(packet->source, quoted.destination, 16);
	__builtin_memcpy(packet->destination, quoted.source, 16);
	if (is_icmp(&quoted)) {
		if (bpf_skb_load_bytes(skb, cursor->at, &icmp, sizeof(icmp)))
			return false;
		packet->echo_id = (u32)icmp.id + 1;
		return true;
	}
	parse_ports(skb, cursor, &quoted);
	packet->source_port = quoted.destination_port;
	packet->destination_port = quoted.source_port;
	return true;
}

static __always_inline bool parse_icmp(struct __sk_buff *skb, struct cursor *cursor,
				       struct packet *packet)
{
	struct icmp_header icmp;

	if (bpf_skb_load_bytes(skb, cursor->at, &icmp, sizeof(icmp)))
		return false;
	if (is_error(packet->protocol, icmp.type))
		return parse_quoted(skb, cursor, packet);
	packet->echo_request = is_echo_request(packet->protocol, icmp.type);
	if (packet->echo_request || is_echo_reply(packet->protocol, icmp.type))
		packet->echo_id = (u32)icmp.id + 1;
	return true;
}

/* Moves behind the Ethernet header and up to two VLAN tags; tells whether IP
 * follows. */
static __always_inline bool parse_ethernet(struct __sk_buff *skb,
					   struct cursor *cursor)
{
	__be16 type;

	cursor->at = ETH_HEADER_LEN - 2;
#pragma unroll
	for (int i = 0; i < 3; i++) {
		if (bpf_skb_load_bytes(skb, cursor->at, &type, sizeof(type)))
			return false;
		cursor->at += 2;
		if (type == bpf_htons(ETH_P_IP) || type == bpf_htons(ETH_P_IPV6))
			return true;
		if (type != bpf_htons(ETH_P_8021Q) &&
		    type != bpf_htons(ETH_P_8021AD))
			return false;
		cursor->at += 2;
	}
	return false;
}

/* Reads the flow of a frame; false if it has none that we know. */
static __always_inline bool parse(struct __sk_buff *skb, const struct device *device,
				  struct packet *packet)
{
	struct cursor cursor = {};

	__builtin_memset(packet, 0, sizeof(*packet));
	if (device->has_ethernet && !parse_ethernet(skb, &cursor))
		return false;
	if (!parse_ip(skb, &cursor, packet))
		return false;
	if (packet->later_fragment)
		return true;
	if (is_icmp(packet))
		return parse_icmp(skb, &cursor, packet);
	packet->transport_at = cursor.at;
	parse_ports(skb, &cursor, packet);
	return true;
}
