/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Who sends a packet, without kprobes: it goes out in a system call of its
 * sender, where nothing else can send it. So the first packet of a socket has its
 * process, and the first one of another process has that one's.
 */

/* A socket of TCP is locked by whoever works on it in a system call, also while
 * that is about packets which have come in. What is sent while it closes does
 * not count as use. */
static __always_inline bool works_on(struct bpf_sock *sk)
{
	u32 state = sk->state;
	u64 tcp;

	if (state != TCP_ESTABLISHED && state != TCP_SYN_SENT &&
	    state != TCP_SYN_RECV && state != TCP_CLOSE_WAIT)
		return false;
	tcp = (u64)bpf_skc_to_tcp_sock(sk);
	return tcp && LOAD_U32(tcp, SOCK__SK_LOCK__OWNED);
}

static __always_inline bool is_ping(u32 protocol, const struct packet *packet)
{
	return (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) &&
	       packet->echo_request;
}

/* Whether only a system call about this socket can send the packet. On other
 * devices than the loopback one, datagrams may have waited for an address to be
 * resolved; what else there is of ICMP the kernel sends by itself. */
static __always_inline bool is_sent_by_caller(struct bpf_sock *sk, u32 protocol,
					      const struct device *device,
					      const struct packet *packet)
{
	if (protocol == IPPROTO_TCP)
		return works_on(sk);
	return device->is_loopback &&
	       (protocol == IPPROTO_UDP || is_ping(protocol, packet));
}

/* The protocol of a socket; 0: it is none that a process could have. */
static __always_inline u32 protocol_of(const struct held *known, struct bpf_sock *sk)
{
	if (known->protocol)
		return known->protocol;
	sk = bpf_sk_fullsock(sk);
	return sk ? sk->protocol : 0;
}

/* Writes down that the current task uses the socket of a packet on its way out, where
 * it does; returns what is known then, or NULL if nothing had to be written. `known` is
 * what has been written down so far. */
static __always_inline struct held *note_caller(const struct held *known,
						struct bpf_sock *sk,
						const struct device *device,
						const struct packet *packet)
{
	u32 protocol = protocol_of(known, sk);
	u64 task;

	if (!protocol || !is_sent_by_caller(sk, protocol, device, packet))
		return NULL;
	task = (u64)bpf_get_current_task_btf();
	if (LOAD_U32(task, TASK_STRUCT__FLAGS) & PF_KTHREAD)
		return NULL;
	return use(sk, protocol, task, false, CLASSIFYING);
}
