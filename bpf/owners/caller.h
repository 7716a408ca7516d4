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

/* Whether only a system call about this socket can send the packet, or, if netfilter has
 * queued it, one by which it is let go (deciders.h). On devices other
 * than loopback, datagrams may have waited for address resolution; and the kernel sends
 * all ICMP messages but echo requests by itself. Others can reset a connection, as
 * `ss -K` does. */
static __always_inline bool is_sent_by_caller(struct bpf_sock *sk, u32 protocol,
					      const struct device *device,
					      const struct packet *packet)
{
	if (protocol == IPPROTO_TCP)
		return !(packet->tcp_flags & TCP_FLAG_RST) && is_locked_by_caller(sk);
	return device->is_loopback &&
	       (protocol == IPPROTO_UDP || is_ping(protocol, packet));
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

/* Records that the current task uses the socket of a packet that leaves, if it does.
 * `known` is a copy of the record so far. Returns the record if it was written, else
 * NULL. */
static __always_inline struct socket_record *
record_sender(const struct socket_record *known, struct bpf_sock *sk,
	      const struct device *device, const struct packet *packet)
{
	u32 protocol = protocol_of(known, sk);
	struct process_id id;
	u64 task;

	if (!protocol || !is_sent_by_caller(sk, protocol, device, packet))
		return NULL;
	task = CURRENT_TASK();
	if (is_kernel_thread(task))
		return NULL;
	id = id_of(leader_of(task));
	if (!same_process(&known->user.process, &id) && is_decider(&id))
		return NULL;
	return record_use(sk, protocol, task, false, CLASSIFIER_DRAFT);
}

/* A datagram on another device than lo usually leaves in a system call of its sender. So
 * if the socket's owner is another process than the current one, that one may have
 * handed it on, and the kernel has not reported the use yet. */
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
