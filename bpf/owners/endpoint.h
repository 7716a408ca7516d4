/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The two endpoints of a packet: the state of their lookup, and the processes found.
 */
#ifndef TCCAP_ENDPOINT_H
#define TCCAP_ENDPOINT_H

#include "abi.h"
#include "owners/closed_connections.h"
#include "owners/overflows.h"
#include "owners/process.h"
#include "owners/process_cache.h"
#include "owners/socket_storage.h"
#include "packet/parse.h"
#include "verifier.h"

/* A process at an endpoint of a packet. */
struct endpoint {
	struct process *process; /* NULL: unknown */
	/* Whether it is known, as a number: the compiler joins tests of two pointers
	 * into one of (a | b), which the verifier refuses. */
	u64 known;
	struct process_id id;
	u32 tid;
	u32 is_here; /* it is on this host, whether its process is known or not */
};

/* The processes at both endpoints, as messages name them: 0 or ELSEWHERE if unknown. */
struct pids {
	u32 sender;
	u32 receiver;
};

/* A sender of ICMP echo requests. */
struct echo {
	u8 remote[16];
	u32 echo_id;
	s32 namespace_id;
};

/* A datagram, for its later fragments. */
struct fragments {
	u8 source[16];
	u8 destination[16];
	u32 id;
	s32 namespace_id;
	u32 ifindex; /* of the device that carries them */
	u16 sent;
	u16 protocol; /* of IPv4: each has identifiers of its own */
};

/* Space for one key at a time. On the stack, what keys leave behind would make paths
 * differ for the verifier. */
union lookup_key {
	struct container_address address;
	struct bpf_sock_tuple tuple;
	struct flow flow;
	struct echo echo;
	struct fragments fragments;
};

/* The lookup of an endpoint. It is kept in a map, where the verifier takes each field
 * for any number: all ways of finding an owner end in one state, from which the process
 * is looked up. */
struct endpoint_lookup {
	u64 generation; /* lookup_generation() when the frame came */
	u32 found;
	u32 tid;
	u32 is_here;	      /* struct endpoint */
	struct process_id id; /* tgid 0: unknown */
	/* The socket, unlike one that is closing, has a process: if the owner has
	 * exited, another process has the socket and has not used it yet. */
	u32 left_if_exited;
	u32 fragmented;		/* to be remembered for the later fragments, */
	s32 fragments_in;	/* by this namespace, */
	u32 fragments_by;	/* and by the packet's device */
	volatile u32 is_sought; /* by its socket, in this place */
	struct place place;
	/* Nothing shows that the packet's addresses are those of the socket: only one
	 * that is connected to just these can be the packet's. */
	volatile u32 only_connected;
	/* The kernel's connection tracking says the addresses, and behind which device
	 * the receiver is; 0: here. */
	volatile u32 is_tracked;
	volatile u32 is_behind;
	u32 state; /* of the socket */
	/* The network namespace (struct net) of a socket that is not connected, which
	 * receives the packet only if its destination stays; 0: it surely does. */
	u64 net;
	/* A socket that receives the packet only if it has joined the group; 0: none. */
	u64 member;
#if !HOOKS
	u64 sk;			     /* 0: its user is the current task */
	struct socket_record record; /* a copy */
#endif
	union lookup_key key;
};
struct endpoint_lookups {
	struct endpoint_lookup sender;
	struct endpoint_lookup receiver;
	/* The packet as the socket of the receiver knows it, and the answer to it as that
	 * of the sender does. */
	struct packet arriving;
	struct packet answer;
	/* Here rather than in variables: a later part reads them again, so that the
	 * verifier need not follow it for each of their values. */
	u32 outbound; /* the packet leaves */
	u32 forged;   /* is_forged() */
	u32 known;    /* the sender is found, or will not be */
	u32 forwarded;
};
BPF_PERCPU_ARRAY(endpoint_lookups, struct endpoint_lookups, 1);

static __always_inline void take_owner(struct endpoint_lookup *lookup,
				       const struct owner *owner)
{
	lookup->found = 1;
	lookup->id = owner->process;
	lookup->tid = owner->tid;
}

/* Forgets the owner of a socket that is not surely the packet's. */
static __always_inline void drop_owner(struct endpoint_lookup *lookup)
{
	lookup->found = 0;
	lookup->id.tgid = 0;
	lookup->tid = 0;
#if !HOOKS
	lookup->record.user.process.tgid = 0;
	lookup->record.holder.process.tgid = 0;
#endif
}

#if !HOOKS
static __always_inline void take_record(struct endpoint_lookup *lookup,
					const struct socket_record *known, u32 state)
{
	lookup->found = 1;
	lookup->record = *known;
	lookup->state = state;
}
#endif

/* Whether the record of the process may be stale, or cannot be the owner's. */
static __always_inline bool is_unsure(const struct endpoint_lookup *lookup,
				      const struct process *process)
{
	return (!HOOKS && process->stale) ||
	       (lookup->left_if_exited && process->exited);
}

/* Decides who of a socket's record is the owner; `which` is SENDER or RECEIVER. */
static __always_inline void choose_owner(struct endpoint_lookup *lookup, u32 which,
					 u64 generation)
{
#if !HOOKS
	struct owner *owner =
		stored_owner(&lookup->record, lookup->state, which, generation);

	if (owner)
		take_owner(lookup, owner);
#endif
}

/* Writes the process of an endpoint. */
static __always_inline void resolve(struct endpoint *endpoint,
				    struct endpoint_lookup *lookup, u32 which,
				    u64 generation)
{
	struct process *process;

	if (!lookup->id.tgid)
		return;
	process = known_process(&lookup->id, which, generation);
	if (!process) {
		count_process_overflow();
		return;
	}
	if (is_unsure(lookup, process))
		return;
	endpoint->process = process;
	endpoint->id = lookup->id;
	endpoint->tid = lookup->tid;
	endpoint->known = 1;
	OPAQUE(endpoint->known);
}

#endif
