/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * In which network namespace the socket of an endpoint is, and which addresses it has
 * there.
 *
 * A device leads to a container if it is the end of a veth pair, or a bridge with such
 * ends. The engine keeps which address is behind which device.
 */
#ifndef TCCAP_PLACES_H
#define TCCAP_PLACES_H

#include "abi.h"
#include "owners/arrival.h"
#include "owners/connection_tracking.h"
#include "owners/endpoint.h"
#include "owners/local_addresses.h"
#include "packet/parse.h"
#include "packet/stages.h"

/* include/uapi/linux/if_packet.h */
#define PACKET_HOST 0
#define PACKET_OTHERHOST 3

BPF_F_TABLE("hash", struct container_address, struct place, container_addresses, 16384,
	    BPF_F_NO_PREALLOC);

/* Whether a packet that leaves has arrived on another device before. */
static __always_inline bool is_forwarded(struct __sk_buff *skb,
					 const struct device *device)
{
	return !device->is_loopback && skb->ingress_ifindex;
}

/* Whether the packet is one of a VRF, or may be: a lookup finds sockets of no VRF. */
static __always_inline bool is_of_vrf(struct __sk_buff *skb,
				      const struct device *device)
{
	return device->vrf || device->below_vrf == BELOW ||
	       (device->below_vrf && skb->vlan_present);
}

/* Whether it is a bridge with containers, or a VLAN of one. */
static __always_inline bool is_bridge(const struct device *device)
{
	return device->from_here && device->far_namespace < 0;
}

static __always_inline void look_here(struct endpoint_lookup *lookup,
				      const struct device *device)
{
	lookup->place.namespace_id = lookup->fragments_in = device->namespace_id;
	lookup->place.netns = device->netns;
	lookup->place.translation = device->translation;
}

/* Looks at the other end of a container's veth pair. A lookup there finds sockets of no
 * VRF. */
static __always_inline bool look_there(struct endpoint_lookup *lookup,
				       const struct device *device)
{
	if (device->far_namespace < 0 || device->far_in_vrf)
		return false;
	lookup->place.namespace_id = lookup->fragments_in = device->far_namespace;
	lookup->place.netns = device->far_netns;
	lookup->place.ifindex = device->far_ifindex;
	lookup->place.translation = device->far_translation;
	return true;
}

/* Looks in the container behind a device that has the address. What is behind the devices
 * of a container is not known. */
static __always_inline bool look_behind(struct endpoint_lookup *lookup,
					const struct device *device, u32 ifindex,
					const u8 *address, u32 family)
{
	struct container_address *key = &lookup->key.address;
	struct place *place;

	if (is_inside(device))
		return false;
	key->ifindex = ifindex;
	key->family = family;
	__builtin_memcpy(key->address, address, 16);
	place = container_addresses.lookup(key);
	if (place)
		lookup->place = *place;
	return place;
}

/* Whether nothing can have changed the addresses of a packet from its sender to here. A
 * packet that was forwarded was translated, if at all, as its entry says. */
static __always_inline bool is_as_sent(const struct endpoint_lookup *lookup,
				       bool outbound)
{
	return !outbound || lookup->is_tracked;
}

/* Where the packet was sent; false if that is another host, or unknown. */
static __always_inline bool find_sending_place(struct __sk_buff *skb,
					       struct endpoint_lookup *lookup,
					       const struct packet *answer,
					       const struct device *device,
					       bool outbound)
{
	bool forwarded = outbound && is_forwarded(skb, device);
	u32 arrived =
		LOAD(u32, skb, __builtin_offsetof(struct __sk_buff, ingress_ifindex));
	u32 ifindex = forwarded ? arrived : IFINDEX_OF(skb);

	if (!outbound && look_there(lookup, device))
		return true;
	if (forwarded || (!outbound && device->from_here)) {
		lookup->only_connected = !is_as_sent(lookup, outbound);
		return look_behind(lookup, device, ifindex, answer->destination,
				   answer->family);
	}
	return answer->protocol == IPPROTO_TCP &&
	       ((outbound && !is_of_vrf(skb, device) && !is_inside(device)) ||
		device->is_loopback);
}

/* Where a packet that arrives is received; false if that is another host. Its addresses
 * may become those of another socket, except where that is connected to just these. */
static __always_inline bool find_place_ahead(struct endpoint_lookup *lookup,
					     struct packet *packet,
					     const struct device *device)
{
	u32 ifindex;

	if (may_be_tracked(packet, device))
		follow_arriving(lookup, packet);
	ifindex = lookup->is_tracked ? lookup->is_behind : device->master;
	if (!ifindex || (!lookup->is_tracked &&
			 is_for_host(packet, device->namespace_id, lookup->generation)))
		return true; /* a container may have given itself our address, too */
	if (look_behind(lookup, device, ifindex, packet->destination, packet->family)) {
		lookup->only_connected = !lookup->is_tracked;
		return true;
	}
	return !lookup->is_tracked;
}

/* Whether nobody receives what arrives in such a frame: it is for another host. The kernel
 * takes TCP only from frames for this host alone. On a device below another one only that
 * one knows. */
static __always_inline bool is_in_foreign_frame(struct __sk_buff *skb,
						const struct packet *packet,
						const struct device *device)
{
	u32 type = LOAD(u32, skb, __builtin_offsetof(struct __sk_buff, pkt_type));

	if (device->is_lower)
		return false;
	return type == PACKET_OTHERHOST ||
	       (packet->protocol == IPPROTO_TCP && type != PACKET_HOST);
}

/* Whether the packet is for an address of lo, which the kernel takes from no other device,
 * unless a setting (route_localnet) says so. */
static __always_inline bool is_for_loopback(const struct packet *packet)
{
	const u64 *words = (const u64 *)packet->destination;

	if (packet->family == AF_INET)
		return packet->destination[0] == 127;
	return !words[0] && words[1] == (u64)bpf_htonl(1) << 32;
}

/* Where the packet is received; false if that is another host, or unknown. */
static __always_inline bool
find_receiving_place(struct __sk_buff *skb, struct endpoint_lookup *lookup,
		     struct packet *packet, const struct device *device, bool outbound)
{
	if (!outbound && is_of_vrf(skb, device))
		return false;
	if (!outbound && is_in_foreign_frame(skb, packet, device))
		return false;
	if (!device->is_loopback && is_for_loopback(packet))
		return false;
	if (!outbound || device->is_loopback)
		return find_place_ahead(lookup, packet, device);
	return look_there(lookup, device) ||
	       (device->from_here && look_behind(lookup, device, IFINDEX_OF(skb),
						 packet->destination, packet->family));
}

#endif
