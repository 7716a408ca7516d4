/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Who sends a packet, without kprobes: it goes out in a system call of its
 * sender, where nothing else can send it. So the first packet of a socket has its
 * process, and the first one of another process has that one's.
 */

#define LOOPBACK_IFINDEX 1 /* in every network namespace */

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

static __always_inline bool asks_for_echo(struct __sk_buff *skb, u32 protocol)
{
	u8 first = 0, type = 0;
	u32 at = sizeof(struct ipv6_header);

	if (protocol != IPPROTO_ICMP && protocol != IPPROTO_ICMPV6)
		return false;
	bpf_skb_load_bytes_relative(skb, 0, &first, 1, BPF_HDR_START_NET);
	if (first >> 4 == 4)
		at = (first & 15) * 4;
	bpf_skb_load_bytes_relative(skb, at, &type, 1, BPF_HDR_START_NET);
	return is_echo_request(protocol, type);
}

/* Whether only a system call about this socket can send the packet. On other
 * devices than the loopback one, datagrams may have waited for an address to be
 * resolved; what else there is of ICMP the kernel sends by itself. */
static __always_inline bool is_sent_by_caller(struct __sk_buff *skb,
					      struct bpf_sock *sk)
{
	u32 protocol = sk->protocol;

	if (protocol == IPPROTO_TCP)
		return works_on(sk);
	return skb->ifindex == LOOPBACK_IFINDEX &&
	       (protocol == IPPROTO_UDP || asks_for_echo(skb, protocol));
}

/* Writes down that the current task uses the socket of a packet on its way out,
 * where it does. */
static __always_inline void note_caller(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	u64 task;

	sk = sk ? bpf_sk_fullsock(sk) : NULL;
	if (!sk || !is_sent_by_caller(skb, sk))
		return;
	task = (u64)bpf_get_current_task_btf();
	if (!(LOAD_U32(task, TASK_STRUCT__FLAGS) & PF_KTHREAD))
		use(sk, task, false, CLASSIFYING);
}
