/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The device by which a packet comes, as sockets see it. What this host sends to itself
 * by another device passes lo, too. A socket that is bound to that device receives it,
 * and one that is bound to lo does not.
 */
#ifndef TCCAP_ARRIVAL_H
#define TCCAP_ARRIVAL_H

#include "abi.h"
#include "kernel.h"

/* The compiler must not choose between the addresses of two fields: the verifier refuses
 * that. */
#define IFINDEX_OF(skb) LOAD(u32, skb, __builtin_offsetof(struct __sk_buff, ifindex))

#define SKB_DST_NOREF 1ull /* include/linux/skbuff.h */

/* Whether a packet on lo comes by another device: inet_iif() and, for IPv6,
 * ip6_rcv_core() take that of its route. */
static __always_inline bool comes_by_other_device(struct __sk_buff *skb, u32 family)
{
#if READS_KERNEL && HAS_ROUTES
	u64 route = READ(u64, (u64)skb, SK_BUFF___SKB_REFDST) & ~SKB_DST_NOREF;
	u64 settings;
	u32 ifindex;

	if (family == AF_INET) {
		ifindex = READ(u32, route, RTABLE__RT_IIF);
	} else {
		settings = READ(u64, route, RT6_INFO__RT6I_IDEV);
		ifindex = READ(u32, READ(u64, settings, INET6_DEV__DEV),
			       NET_DEVICE__IFINDEX);
	}
	return ifindex && ifindex != IFINDEX_OF(skb);
#else
	return true; /* nothing shows that it does not */
#endif
}

#endif
