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

/* Where a frame has the addresses of stations. */
#define RECEIVING_STATION 0
#define SENDING_STATION 6
#define STATION_LEN 6
/* The frame is not that of the network on which the container is. */
#define NO_STATION 14

/* Whether the frame names the station that is in a place. A container may have given itself
 * the address of another one on its bridge, which gets what is meant for that. */
static __always_inline bool is_station(struct __sk_buff *skb, const struct place *place,
				       u32 at)
{
	u64 station = 0;

	if (at == NO_STATION)
		return place->is_alone;
	if (bpf_skb_load_bytes(skb, at, &station, STATION_LEN))
		return false;
	return station == place->station;
}

/* The container behind a device that has the address; NULL: none. What is behind the
 * devices of a container is not known. */
static __always_inline struct place *place_behind(struct endpoint_lookup *lookup,
						  const struct device *device,
						  u32 ifindex, const u8 *address,
						  u32 family)
{
	struct container_address *key = &lookup->key.address;

	if (is_inside(device))
		return NULL;
	key->ifindex = ifindex;
	key->family = family;
	__builtin_memcpy(key->address, address, 16);
	return container_addresses.lookup(key);
}

/* Looks in the container behind a device that has the address; `at` says where the frame
 * has that of its station. */
static __always_inline bool look_behind(struct __sk_buff *skb,
					struct endpoint_lookup *lookup,
					const struct device *device, u32 ifindex,
					const u8 *address, u32 family, u32 at)
{
	struct place *place = place_behind(lookup, device, ifindex, address, family);

	if (!place || !is_station(skb, place, at))
		return false;
	lookup->place = *place;
	return true;
}

/* Whether a bridge sends a frame to the container behind one of its ports, though that is
 * for another station: it does not know yet where that one is. */
static __always_inline bool is_flooded(struct __sk_buff *skb,
				       struct endpoint_lookup *lookup,
				       const struct packet *packet,
				       const struct device *device)
{
	struct place *place;

	if (!device->master)
		return false;
	place = place_behind(lookup, device, IFINDEX_OF(skb), packet->destination,
			     packet->family);
	return place && !is_station(skb, place, RECEIVING_STATION);
}

/* Whether a bridge passes a frame straight on to the container that has the packet's
 * destination. Only where netfilter sees bridged packets (br_netfilter) is that
 * translated on its way, and nothing shows that. */
static __always_inline bool goes_straight(struct __sk_buff *skb,
					  struct endpoint_lookup *lookup,
					  const struct packet *packet,
					  const struct device *device)
{
	struct place *place;

	if (!device->master)
		return false;
	place = place_behind(lookup, device, device->master, packet->destination,
			     packet->family);
	return place && is_station(skb, place, RECEIVING_STATION);
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
		return look_behind(skb, lookup, device, ifindex, answer->destination,
				   answer->family,
				   forwarded ? NO_STATION : SENDING_STATION);
	}
	return answer->protocol == IPPROTO_TCP &&
	       ((outbound && !is_of_vrf(skb, device) && !is_inside(device)) ||
		device->is_loopback);
}

/* Where a packet that arrives is received; false if that is another host. Its addresses
 * may become those of another socket, except where that is connected to just these. */
static __always_inline bool find_place_ahead(struct __sk_buff *skb,
					     struct endpoint_lookup *lookup,
					     struct packet *packet,
					     const struct device *device)
{
	u32 ifindex, by = IFINDEX_OF(skb);

	if (may_be_tracked(packet, device) &&
	    !goes_straight(skb, lookup, packet, device))
		follow_arriving(lookup, packet);
	ifindex = lookup->is_tracked ? lookup->is_behind : device->master;
	if (!ifindex ||
	    (!lookup->is_tracked &&
	     is_for_host(packet, device->namespace_id, by, lookup->generation)))
		return true; /* a container may have given itself our address, too */
	if (look_behind(skb, lookup, device, ifindex, packet->destination,
			packet->family,
			lookup->is_tracked ? NO_STATION : RECEIVING_STATION)) {
		lookup->only_connected = !lookup->is_tracked;
		return true;
	}
	return !lookup->is_tracked;
}

static __always_inline bool is_for_others(struct __sk_buff *skb)
{
	return LOAD(u32, skb, __builtin_offsetof(struct __sk_buff, pkt_type)) ==
	       PACKET_OTHERHOST;
}

#define VLAN_ID 0xfff /* in a tag; the rest is a priority */

/* Whether nobody receives what arrives in such a frame: it is for another host, or for a
 * VLAN of which there is no device. The kernel takes TCP only from frames for this host
 * alone. On a device below another one only that one knows. */
static __always_inline bool is_in_foreign_frame(struct __sk_buff *skb,
						const struct packet *packet,
						const struct device *device)
{
	u32 type = LOAD(u32, skb, __builtin_offsetof(struct __sk_buff, pkt_type));

	if (device->is_lower)
		return false;
	if (skb->vlan_present && (skb->vlan_tci & VLAN_ID))
		return true;
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

/* Whether the kernel takes a packet from nobody that has such a source. It has been checked
 * on lo, if at all, before the packet was sent. */
static __always_inline bool is_impossible_source(const struct packet *packet)
{
	const u64 *words = (const u64 *)packet->source;

	if (packet->family == AF_INET)
		return packet->source[0] == 127 || packet->source[0] >= 224 ||
		       *(const u32 *)packet->source ==
			       *(const u32 *)packet->destination;
	return packet->source[0] == 0xff ||
	       (!words[0] && words[1] == (u64)bpf_htonl(1) << 32);
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
	if (!device->is_loopback &&
	    (is_for_loopback(packet) || is_impossible_source(packet)))
		return false;
	if (!outbound || device->is_loopback)
		return find_place_ahead(skb, lookup, packet, device);
	if (device->far_namespace >= 0)
		return !is_flooded(skb, lookup, packet, device) &&
		       look_there(lookup, device);
	return device->from_here &&
	       look_behind(skb, lookup, device, IFINDEX_OF(skb), packet->destination,
			   packet->family, RECEIVING_STATION);
}

#endif
