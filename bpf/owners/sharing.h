/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * How a socket shares its port with others. Where it does, the kernel's choice among
 * them may differ from that of a lookup.
 */
#ifndef TCCAP_SHARING_H
#define TCCAP_SHARING_H

#include "abi.h"
#include "kernel.h"

/* The byte of struct sock_common that holds the bit fields skc_reuse (SO_REUSEADDR) and
 * skc_reuseport (SO_REUSEPORT), on little-endian processors. */
#define SHARES_ADDRESS 0x0f
#define SHARES_LOAD 0x10
#define SHARES_PORT (SHARES_ADDRESS | SHARES_LOAD)
/* A BPF program chooses among the sockets; lookups by programs do not run it. */
#define CHOSEN_BY_PROGRAM 0x100
#define SHARING_KNOWN 0x200
/* Read when the socket had been there for a while (socket_storage.h). */
#define SHARING_SETTLED 0x400
/* If a listener closes, its connections get to another one (tcp_migrate_req). */
#define MIGRATES 0x800

/* Whether connections that nobody has accepted may get to another listener than the one
 * that shares its port so. A program that chooses may do that, too. */
static __always_inline bool may_migrate(u32 sharing)
{
	return sharing & (MIGRATES | CHOSEN_BY_PROGRAM);
}

#if KERNEL_OFFSETS
static __always_inline u32 read_sharing(u64 sk)
{
	u32 sharing = SHARING_KNOWN |
		      (FIELD(u8, sk, SOCK_COMMON__SKC_REUSE) & SHARES_PORT);
	u64 group = FIELD(u64, sk, SOCK__SK_REUSEPORT_CB);

	/* The socket stays in its group if the option is switched off later. */
	if (group) {
		sharing |= SHARES_LOAD;
		if (FIELD(u64, group, SOCK_REUSEPORT__PROG))
			sharing |= CHOSEN_BY_PROGRAM;
	}
	if (!(sharing & SHARES_LOAD))
		return sharing;
#if HAS_MIGRATION
	if (FIELD(u8, FIELD(u64, sk, SOCK_COMMON__SKC_NET),
		  NET__IPV4__SYSCTL_TCP_MIGRATE_REQ))
		sharing |= MIGRATES;
#endif
	return sharing;
}
#endif

#endif
