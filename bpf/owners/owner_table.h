/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which process uses which socket, where there are kprobes.
 *
 * The key is the address of the kernel's struct sock, so that one mechanism serves
 * every protocol, address family and network namespace: hooks.c records the process
 * that uses a socket, socket_iterator.c those of sockets that existed before, and
 * socket_lookup.h finds the same address for a packet.
 *
 * Without kprobes nothing would report that a socket is gone and that its address
 * belongs to another one: then socket_storage.h keeps the owner in the socket itself.
 */
#ifndef TCCAP_OWNER_TABLE_H
#define TCCAP_OWNER_TABLE_H

#include "abi.h"
#include "kernel.h"
#include "owners/overflows.h"
#include "owners/process.h"
#include "owners/socket.h"

#if HOOKS
BPF_HASH(owners, u64, struct owner, SIZED_LATER);
/* Owners of connections in TIME_WAIT. Nothing reports the end of that state, so the
 * oldest entries are evicted. */
BPF_TABLE("lru_hash", u64, struct owner, timewaits, SIZED_LATER);

static __always_inline void set_owner(u64 sk, struct owner *owner)
{
	if (owners.update(&sk, owner))
		count_socket_overflow();
}

/* The owner of a connection in TIME_WAIT, or of another socket. */
static __always_inline struct owner *owner_in_state(u64 sk, u32 state)
{
	return state == TCP_TIME_WAIT ? timewaits.lookup(&sk) : owners.lookup(&sk);
}

#if KERNEL_OFFSETS && HAS_MPTCP
/* The owner of the multipath connection to which a TCP socket belongs. */
static __always_inline struct owner *multipath_owner(u64 sk, u32 state)
{
	u64 connection = state == TCP_TIME_WAIT ? 0 : multipath_of(sk);

	return connection ? owners.lookup(&connection) : NULL;
}
#endif

/* Several processes may have a socket open. A listening socket belongs to the eldest,
 * from which the others inherited it. The owner of any other socket is ambiguous until
 * a process uses it. */
static __always_inline void add_holder(struct owner *known, const struct owner *found,
				       u64 state)
{
	if (same_process(&known->process, &found->process))
		return;
	if (state != TCP_LISTEN)
		known->ambiguous = 1;
	else if (found->process.start_ns < known->process.start_ns)
		known->process = found->process;
}

#if KERNEL_OFFSETS
/* Records a process that the iterator found to have the socket open. What a hook has
 * recorded takes precedence: it is newer. */
static __always_inline void add_to_owner_table(u64 sk, struct owner *found, u64 state)
{
	struct owner *known = owners.lookup(&sk);

	if (!known)
		set_owner(sk, found);
	else if (known->found_in_round == found->found_in_round)
		add_holder(known, found, state);
}
#endif
#endif

#endif
