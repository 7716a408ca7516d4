/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Processes that may decide on the packets of others: netfilter queues these for them
 * (NFQUEUE), and they leave in the system call of who lets them go. To get any, a process
 * has to use the netlink protocol of netfilter.
 */
#ifndef TCCAP_DECIDERS_H
#define TCCAP_DECIDERS_H

#include "abi.h"
#include "kernel.h"
#include "owners/task.h"

#if !HOOKS
BPF_TABLE("lru_hash", struct process_id, u32, deciders, 1024);

#define AF_NETLINK 16	     /* include/linux/socket.h */
#define NETLINK_NETFILTER 12 /* include/uapi/linux/netlink.h */

/* Remembers the current process if the socket that it uses is one of netfilter. */
static __always_inline void note_decider(u64 sk)
{
	struct process_id id;
	u32 one = 1;

	if (FIELD(u16, sk, SOCK_COMMON__SKC_FAMILY) != AF_NETLINK ||
	    FIELD(u16, sk, SOCK__SK_PROTOCOL) != NETLINK_NETFILTER)
		return;
	id = id_of(leader_of(CURRENT_TASK()));
	deciders.update(&id, &one);
}

static __always_inline bool is_decider(struct process_id *id)
{
	return deciders.lookup(id) != NULL;
}
#endif

#endif
