/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Who uses connections of Multipath TCP, where there are no kprobes. Packets carry the
 * socket of a path, and the record of that says who was seen sending. A process that
 * receives uses the connection's own socket, so that both are compared.
 */
#ifndef TCCAP_MULTIPATH_H
#define TCCAP_MULTIPATH_H

#include "abi.h"
#include "kernel.h"
#include "owners/passed_sockets.h"
#include "owners/process.h"
#include "owners/socket.h"

#if !HOOKS && READS_KERNEL && KERNEL_OFFSETS && HAS_MPTCP
#define IPPROTO_MPTCP 262 /* include/uapi/linux/in.h */

/* The last users, by the address of the connection's socket. */
BPF_TABLE("lru_hash", u64, struct process_id, multipath_users, 8192);
/* Whether there was one: most hosts have none, and ask for nothing else. */
BPF_ARRAY(multipath_is_used, u32, 1);

static __always_inline void note_multipath_user(u64 sk, struct process_id *id)
{
	u32 zero = 0, one = 1;

	multipath_users.update(&sk, id);
	multipath_is_used.update(&zero, &one);
}

/* Whether another process than the user of a path may have the connection by now. */
static __always_inline bool is_multipath_of_other(u64 sk, const struct process_id *user,
						  u32 used_after)
{
	u32 zero = 0, *is_used = multipath_is_used.lookup(&zero);
	struct process_id *known;
	u64 connection;

	if (!is_used || !*is_used)
		return false;
	connection = multipath_of(sk);
	if (!connection)
		return false;
	known = multipath_users.lookup(&connection);
	return (known && !same_process(known, user)) ||
	       was_passed(connection, user, used_after);
}
#endif

#endif
