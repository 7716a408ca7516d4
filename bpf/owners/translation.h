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

/* The hooks that a packet passes before its routing; 0: none. */
static __always_inline u64 hooks_before_routing(u64 net, const struct packet *packet)
{
	/* NF_INET_PRE_ROUTING is the first place. */
	u32 at = packet->family == AF_INET ? NET__NF__HOOKS_IPV4 : NET__NF__HOOKS_IPV6;

	return READ(u64, net, at);
}

static __always_inline s32 hook_priority(u64 entries, u32 number, u32 hooks)
{
	u64 ops = READ(u64, entries,
		       NF_HOOK_ENTRIES__HOOKS + hooks * HOOK_LEN + number * 8);

	return READ(s32, ops, NF_HOOK_OPS__PRIORITY);
}

/* Whether a hook that a packet passes before its routing may change its destination or
 * its receiver: any but those of bridges (ip_sabotage_in), of reassembly, and of tracked
 * connections. All chains that translate share one hook, which is there if there is any
 * such chain. Where sources alone are translated it translates answers back: datagrams,
 * and a SYN that crosses that of a connection from here (simultaneous open). */
static __always_inline bool hook_changes(u64 entries, u32 number, u32 hooks)
{
	s32 priority = hook_priority(entries, number, hooks);

	return priority != NF_IP_PRI_FIRST && priority != NF_IP_PRI_CONNTRACK_DEFRAG &&
	       priority != NF_IP_PRI_CONNTRACK;
}

static __always_inline bool is_changed_in(u64 net, const struct packet *packet)
{
	u64 entries = hooks_before_routing(net, packet);
	u32 hooks;

	if (!entries)
		return false;
	hooks = READ(u16, entries, NF_HOOK_ENTRIES__NUM_HOOK_ENTRIES);
#pragma unroll
	for (u32 i = 0; i < HOOKS_MAX; i++) {
		if (i >= hooks)
			return false;
		if (hook_changes(entries, i, hooks))
			return true;
	}
	return hooks > HOOKS_MAX;
}

/* Whether anything is translated in a network namespace: without any chain of type nat
 * nothing is, though the entries of connections that were stay. */
static __always_inline bool translates(u64 net, const struct packet *packet)
{
	u64 entries = hooks_before_routing(net, packet);
	u32 hooks;

	if (!entries)
		return false;
	hooks = READ(u16, entries, NF_HOOK_ENTRIES__NUM_HOOK_ENTRIES);
#pragma unroll
	for (u32 i = 0; i < SOUGHT_MAX; i++) {
		if (i >= hooks)
			return false;
		if (hook_priority(entries, i, hooks) == NF_IP_PRI_NAT_DST)
			return true;
	}
	return true;
}
#endif

#endif
