/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Whether a socket has joined a multicast group. The kernel's lookup of sockets does not
 * ask; a datagram for a group goes to members, and to no other socket for sure.
 */
#ifndef TCCAP_MEMBERSHIP_H
#define TCCAP_MEMBERSHIP_H

#include "abi.h"
#include "kernel.h"
#include "packet/parse.h"

static __always_inline bool is_multicast(const struct packet *packet)
{
	if (packet->family == AF_INET)
		return packet->destination[0] >> 4 == 14;
	return packet->destination[0] == 0xff;
}

#if READS_KERNEL
/* Others of a socket are not looked at. */
#define MEMBERSHIPS_MAX 8
#define ALL_SOURCES 0 /* MCAST_EXCLUDE; which ones is in a list */

/* Where a list of memberships has what: offsets in its entries. */
struct membership_layout {
	u32 next;
	u32 group;
	u32 ifindex;
	u32 mode;
	u32 sources;
};

static __always_inline bool is_in_group(u64 entry, const struct membership_layout *at,
					const struct packet *packet)
{
	const u64 *group = (const u64 *)packet->destination;
	bool is_ipv4 = packet->family == AF_INET;
	u64 other = READ(u64, entry, at->group) ^ group[0];

	if (is_ipv4)
		return !(u32)other;
	return !other && READ(u64, entry, at->group + 8) == group[1];
}

enum membership { OTHER, JOINED, REFUSED };

/* The kernel compares no more than this (ip_mc_sf_allow, inet6_mc_check), but for IPv6
 * the first entry for the group decides about sources. */
static __always_inline u32 membership(u64 entry, const struct membership_layout *at,
				      const struct packet *packet, u32 ifindex)
{
	if (!is_in_group(entry, at, packet))
		return OTHER;
	if (READ(u32, entry, at->mode) != ALL_SOURCES || READ(u64, entry, at->sources))
		return REFUSED;
	return READ(u32, entry, at->ifindex) == ifindex ? JOINED : OTHER;
}

/* Whether one of the memberships is in the packet's group, on the device by which it
 * comes, and takes all sources. */
static __always_inline bool has_joined(u64 entry, const struct membership_layout *at,
				       const struct packet *packet, u32 ifindex)
{
	u32 found = OTHER;

#pragma unroll
	for (u32 i = 0; i < MEMBERSHIPS_MAX; i++) {
		if (found == OTHER && entry) {
			found = membership(entry, at, packet, ifindex);
			entry = READ(u64, entry, at->next);
		}
	}
	return found == JOINED;
}

static __always_inline u64 memberships_of(u64 sk, u32 family,
					  struct membership_layout *at)
{
	if (family == AF_INET) {
		at->next = IP_MC_SOCKLIST__NEXT_RCU;
		at->group = IP_MC_SOCKLIST__MULTI__IMR_MULTIADDR;
		at->ifindex = IP_MC_SOCKLIST__MULTI__IMR_IFINDEX;
		at->mode = IP_MC_SOCKLIST__SFMODE;
		at->sources = IP_MC_SOCKLIST__SFLIST;
		return READ(u64, sk, INET_SOCK__MC_LIST);
	}
#if HAS_GROUPS6
	at->next = IPV6_MC_SOCKLIST__NEXT;
	at->group = IPV6_MC_SOCKLIST__ADDR;
	at->ifindex = IPV6_MC_SOCKLIST__IFINDEX;
	at->mode = IPV6_MC_SOCKLIST__SFMODE;
	at->sources = IPV6_MC_SOCKLIST__SFLIST;
	return READ(u64, READ(u64, sk, INET_SOCK__PINET6), IPV6_PINFO__IPV6_MC_LIST);
#else
	return 0;
#endif
}

static __always_inline bool is_member(u64 sk, const struct packet *packet, u32 ifindex)
{
	struct membership_layout at;
	u64 first = memberships_of(sk, packet->family, &at);

	return has_joined(first, &at, packet, ifindex);
}
#else
static __always_inline bool is_member(u64 sk, const struct packet *packet, u32 ifindex)
{
	return false;
}
#endif

#endif
