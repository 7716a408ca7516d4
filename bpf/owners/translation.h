/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Whether a packet may get another destination behind the classifier, so that the
 * socket of its present addresses may not receive it.
 *
 * The network namespace itself says so, at the packet: rules that were made a moment
 * ago count, also in containers. Where programs may not read kernel memory, the engine
 * says it (src/tccap/owners/translation.py), a moment late.
 */
#ifndef TCCAP_TRANSLATION_H
#define TCCAP_TRANSLATION_H

#include "abi.h"
#include "kernel.h"
#include "packet/parse.h"

#if READS_KERNEL && HAS_NETFILTER
/* include/uapi/linux/netfilter_ipv4.h, and the same in netfilter_ipv6.h */
#define NF_IP_PRI_FIRST (-2147483647 - 1)
#define NF_IP_PRI_CONNTRACK_DEFRAG -400
#define NF_IP_PRI_CONNTRACK -200
#define NF_IP_PRI_NAT_DST -100
/* Of struct nf_hook_entries: the hooks, which are functions, each with its own data;
 * behind the last one, as many pointers to struct nf_hook_ops. */
#define HOOK_LEN 16
/* More than the four that are known below may change destinations. */
#define HOOKS_MAX 4
/* The one that translates is looked for among so many. */
#define SOUGHT_MAX 8

static __always_inline s32 hook_priority(u64 entries, u32 number, u32 hooks)
{
	u64 ops = READ(u64, entries,
		       NF_HOOK_ENTRIES__HOOKS + hooks * HOOK_LEN + number * 8);

	return READ(s32, ops, NF_HOOK_OPS__PRIORITY);
}

/* What a hook may do: translate; or, more than that, change a packet's destination or its
 * receiver. All do the latter but those of bridges (ip_sabotage_in), of reassembly, and of
 * tracked connections. All chains that translate share one hook, which is there if there is
 * any such chain. Where sources alone are translated it translates answers back: datagrams,
 * and a SYN that crosses that of a connection from here (simultaneous open). */
#define TRANSLATES 0
#define CHANGES 1

static __always_inline bool is_hook_that(const u32 does, s32 priority)
{
	if (does == TRANSLATES)
		return priority == NF_IP_PRI_NAT_DST;
	return priority != NF_IP_PRI_FIRST && priority != NF_IP_PRI_CONNTRACK_DEFRAG &&
	       priority != NF_IP_PRI_CONNTRACK;
}

/* Whether a packet passes a hook of a kind before its routing, or so many that the rest is
 * not looked at. */
static __always_inline bool passes_hook_that(const u32 does, const u32 looked_at,
					     u64 net, const struct packet *packet)
{
	/* NF_INET_PRE_ROUTING is the first place. */
	u32 at = packet->family == AF_INET ? NET__NF__HOOKS_IPV4 : NET__NF__HOOKS_IPV6;
	u64 entries = READ(u64, net, at);
	u32 hooks;

	if (!entries)
		return false;
	hooks = READ(u16, entries, NF_HOOK_ENTRIES__NUM_HOOK_ENTRIES);
#pragma unroll
	for (u32 i = 0; i < looked_at; i++) {
		if (i >= hooks)
			return false;
		if (is_hook_that(does, hook_priority(entries, i, hooks)))
			return true;
	}
	return hooks > looked_at;
}

/* Whether a packet may get another destination or receiver before its routing. */
static __always_inline bool is_changed_in(u64 net, const struct packet *packet)
{
	return passes_hook_that(CHANGES, HOOKS_MAX, net, packet);
}

/* Whether anything is translated in a network namespace: without any chain of type nat
 * nothing is, though the entries of connections that were stay. */
static __always_inline bool translates(u64 net, const struct packet *packet)
{
	return passes_hook_that(TRANSLATES, SOUGHT_MAX, net, packet);
}
#endif

#endif
