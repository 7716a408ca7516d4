/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Who sends a packet, without kprobes: the packet leaves in a system call of its
 * sender, and nothing else can send it there. So the first packet of a socket has its
 * process, and so has the first packet of each process that shares the socket.
 */
#ifndef TCCAP_CALLER_H
#define TCCAP_CALLER_H

#include "abi.h"
#include "kernel.h"
#include "owners/deciders.h"
#include "owners/descriptors.h"
#include "owners/sharing.h"
#include "owners/socket_lookup.h"
#include "owners/socket_storage.h"
#include "owners/task.h"
#include "packet/parse.h"

#if CALLERS
/* A TCP socket is locked by the process that works on it in a system call, even while
 * that is about packets that have arrived. What is sent while the socket closes does
 * not count as use. */
static __always_inline bool is_locked_by_caller(struct bpf_sock *sk)
{
	u32 state = sk->state;
	u64 tcp;

	if (state != TCP_ESTABLISHED && state != TCP_SYN_SENT &&
	    state != TCP_SYN_RECV && state != TCP_CLOSE_WAIT)
		return false;
	tcp = (u64)bpf_skc_to_tcp_sock(sk);
	return tcp && FIELD(u32, tcp, SOCK__SK_LOCK__OWNED);
}

static __always_inline bool is_ping(u32 protocol, const struct packet *packet)
{
	return (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) &&
	       packet->echo_request;
}

#if READS_KERNEL && KERNEL_OFFSETS
/* A copy of the current process's first descriptors, and of as many that it got last. It
 * is for the classifier alone, whose stack has no room for that many reads. */
struct some_descriptors {
	u64 first[FIRST_DESCRIPTORS];
	u64 last[FIRST_DESCRIPTORS];
};
BPF_PERCPU_ARRAY(some_descriptors, struct some_descriptors, 1);

/* Whether the current process has a file under one of those descriptors. */
static __always_inline bool caller_has(u64 file)
{
	u64 opened = READ(u64, CURRENT_TASK(), TASK_STRUCT__FILES);
	u64 table = READ(u64, opened, FILES_STRUCT__FDT);
	u64 files = READ(u64, table, FDTABLE__FD);
	u32 next = READ(u32, opened, FILES_STRUCT__NEXT_FD), zero = 0;
	u64 from = next > FIRST_DESCRIPTORS ? next - FIRST_DESCRIPTORS : 0;
	struct some_descriptors *copy = some_descriptors.lookup(&zero);

	if (!copy || read_kernel(copy->first, sizeof(copy->first), (void *)files) ||
	    read_kernel(copy->last, sizeof(copy->last), (void *)(files + 8 * from)))
		return false;
#pragma unroll
	for (u32 i = 0; i < FIRST_DESCRIPTORS; i++)
		if (copy->first[i] == file || copy->last[i] == file)
			return true;
	return false;
}
#endif

/* Whether the current process has a socket that nobody else has, nor is in a system call
 * about. A call of one of several threads counts as another one that has it, so of those
 * this is never known. */
static __always_inline bool has_alone(struct bpf_sock *sk)
{
#if READS_KERNEL && KERNEL_OFFSETS
	u64 socket = READ(u64, address_of(sk), SOCK__SK_SOCKET);
	u64 file = READ(u64, socket, SOCKET__FILE);

	return file && READ(u64, file, FILE__COUNT) == FILE__COUNT_OF_ONE &&
	       caller_has(file);
#else
	return false;
#endif
}

/* Whether the current task is the sender of a packet. */
#define ANY_TASK 0     /* it is an arbitrary one, or nothing shows more */
#define MAYBE_SENDER 1 /* somebody is in a system call about the socket */
#define IS_SENDER 2

static __always_inline bool is_multipath(struct bpf_sock *sk)
{
#if HAS_MPTCP
	u64 tcp = (u64)bpf_skc_to_tcp_sock(sk);

	return tcp && FIELD(u8, tcp, TCP_SOCK__IS_MPTCP);
#else
	return false;
#endif
}

/* A system call about the socket sends the packet, or, if netfilter has queued it, one by
 * which it is let go (deciders.h). On devices other than loopback, a packet may have waited
 * for address resolution, or in the queue of a device above, and leave in anybody's system
 * call, while its own process is in another one. Only for a path of multipath TCP nothing
 * else reports who uses it. A datagram's use is reported behind it: a socket of which no use
 * is known has sent its first one, and by whom but the only one that has it? The kernel sends
 * all ICMP messages but echo requests by itself. Others can reset a connection, as `ss -K`
 * does. */
static __always_inline u32 caller_role(const struct socket_record *known,
				       struct bpf_sock *sk, u32 protocol,
				       const struct device *device,
				       const struct packet *packet, bool outbound)
{
	if (protocol == IPPROTO_TCP) {
		if ((packet->tcp_flags & TCP_FLAG_RST) || !is_locked_by_caller(sk))
			return ANY_TASK;
		return device->is_loopback || is_multipath(sk) ? IS_SENDER :
								 MAYBE_SENDER;
	}
	if (protocol != IPPROTO_UDP && !is_ping(protocol, packet))
		return ANY_TASK;
	return (device->is_loopback && outbound) ||
			       (!known->user.process.tgid && has_alone(sk)) ?
		       IS_SENDER :
		       ANY_TASK;
}

/* The protocol of a socket; 0 if no process can have such a socket. */
static __always_inline u32 protocol_of(const struct socket_record *known,
				       struct bpf_sock *sk)
{
	if (known->protocol)
		return known->protocol;
	sk = bpf_sk_fullsock(sk);
	return sk ? sk->protocol : 0;
}

/* Whether the kernel has made a socket for itself: for a file system of the network, or
 * for a path of multipath TCP that does not belong to the connection yet. It sends in the
 * system calls of any process. */
static __always_inline bool is_of_kernel(struct bpf_sock *sk)
{
#if READS_KERNEL
	return !has_file(sk);
#else
	return false; /* nothing shows it */
#endif
}

/* Records that the current task, which has sent a packet, uses its socket. `known` is a copy
 * of the record so far. Returns the record if it was written, else NULL. */
static __always_inline struct socket_record *
record_sender(const struct socket_record *known, struct bpf_sock *sk, u32 protocol)
{
	u64 task = CURRENT_TASK();
	struct process_id id;

	if (is_kernel_thread(task))
		return NULL;
	id = id_of(leader_of(task));
	if (!same_process(&known->user.process, &id) &&
	    (is_decider(&id) || is_of_kernel(sk)))
		return NULL;
	return record_use(sk, protocol, task, false, CLASSIFIER_DRAFT);
}

/* What is to be recorded of how a socket shares its port, if that is not known yet: that it
 * does not, or still nothing. */
static __always_inline u32 sharing_of_unshared(struct bpf_sock *sk)
{
#if READS_KERNEL && KERNEL_OFFSETS
	u64 address = address_of(sk);

	return (READ(u8, address, SOCK_COMMON__SKC_REUSE) & SHARES_PORT) ||
			       READ(u64, address, SOCK__SK_REUSEPORT_CB) ?
		       0 :
		       SHARING_KNOWN;
#else
	return 0;
#endif
}

/* A datagram on another device than lo usually leaves in a system call of its sender, and
 * so does a segment while somebody is in a system call about its socket. So if the socket's
 * owner is another process than the current one, that one may have handed it on, and the
 * kernel has not reported the use yet. */
static __always_inline void drop_others(struct socket_record *record)
{
	struct process_id now = id_of(leader_of(CURRENT_TASK()));

	if (!same_process(&record->user.process, &now))
		record->user.process.tgid = 0;
	if (!same_process(&record->holder.process, &now))
		record->holder.process.tgid = 0;
}
#endif

#endif
