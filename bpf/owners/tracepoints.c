/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What tells the users of sockets where there are no kprobes: raw tracepoints
 * whose arguments the verifier knows by their types (BTF). As in hooks.c a user
 * is written down in system calls only. src/tccap/owners/tracepoints.py says what each
 * program is attached to.
 */

#define ARGUMENT(n) LOAD_U64(ctx, 8 * (n))

static __always_inline bool is_thread(u64 task)
{
	return LOAD_U32(task, TASK_STRUCT__PID) != LOAD_U32(task, TASK_STRUCT__TGID);
}

/* Sockets that the kernel made for itself have no file, and kernel threads act
 * for somebody else. */
static __always_inline void use_for_caller(u64 sk, bool listens)
{
	u64 socket = LOAD_U64(sk, SOCK__SK_SOCKET);
	u64 task = (u64)bpf_get_current_task_btf();

	if (LOAD_U32(task, TASK_STRUCT__FLAGS) & PF_KTHREAD)
		return;
	if (!socket || !LOAD_U64(socket, SOCKET__FILE))
		return;
	use((void *)sk, LOAD_U16(sk, SOCK__SK_PROTOCOL), task, listens, 0);
}

/* sock_send_length(sk, ...), sock_recv_length(sk, ...): just done.
 * tcp_sendmsg_locked(sk, ...): about to be done. */
int on_use(u64 *ctx)
{
	u64 sk = ARGUMENT(0);
	u16 family = LOAD_U16(sk, SOCK_COMMON__SKC_FAMILY);

	if (family == AF_INET || family == AF_INET6)
		use_for_caller(sk, false);
	return 0;
}

static __always_inline void load_address(u64 tcp, u8 *to, const u32 offset)
{
	((u64 *)to)[0] = LOAD_U64(tcp, offset);
	((u64 *)to)[1] = LOAD_U64(tcp, offset + 8);
}

static __always_inline void load_addresses(u64 tcp, struct flow *flow)
{
	const u64 *remote = (const u64 *)flow->remote;

	flow->family = LOAD_U16(tcp, SOCK_COMMON__SKC_FAMILY);
	if (flow->family == AF_INET6) {
		load_address(tcp, flow->remote, SOCK_COMMON__SKC_V6_DADDR);
		load_address(tcp, flow->local, SOCK_COMMON__SKC_V6_RCV_SADDR);
		if (remote[0] || (u32)remote[1] != bpf_htonl(0xffff))
			return;
		/* IPv4 in a socket of IPv6. */
		__builtin_memset(flow->remote, 0, 16);
		__builtin_memset(flow->local, 0, 16);
		flow->family = AF_INET;
	}
	*(u32 *)flow->local = LOAD_U32(tcp, SOCK_COMMON__SKC_RCV_SADDR);
	*(u32 *)flow->remote = LOAD_U32(tcp, SOCK_COMMON__SKC_DADDR);
}

/* The connection is over; packets of it may still be on their way. */
static __always_inline void remember_closed(u64 sk, u32 state)
{
	u64 tcp = (u64)bpf_skc_to_tcp_sock((void *)sk), net;
	struct held *known;
	struct process *process;
	struct owner *owner, copy;
	struct flow flow = {};

	if (!tcp)
		return;
	net = LOAD_U64(tcp, SOCK_COMMON__SKC_NET);
	if (!is_own_netns(LOAD_U32(net, NET__NS + NS_COMMON__INUM)))
		return;
	known = held.sk_storage_get((void *)sk, 0, 0);
	owner = known ? owner_held(known, state, NOT_KEPT, 0, &process) : NULL;
	flow.remote_port = LOAD_U16(tcp, SOCK_COMMON__SKC_DPORT);
	/* The other number of its port, skc_num, is zero by now. */
	flow.local_port = LOAD_U16(tcp, INET_SOCK__INET_SPORT);
	if (!owner || !flow.remote_port)
		return;
	load_addresses(tcp, &flow);
	copy = *owner;
	closed.update(&flow, &copy);
}

/* inet_sock_set_state(sk, old, new): connect(2) and listen(2), and the end of a
 * connection, where the current task may be anybody. */
int on_state(u64 *ctx)
{
	u64 sk = ARGUMENT(0);
	u32 old = ARGUMENT(1), new = ARGUMENT(2);

	if (new == TCP_SYN_SENT || new == TCP_LISTEN)
		use_for_caller(sk, new == TCP_LISTEN);
	else if (new == TCP_CLOSE)
		remember_closed(sk, old);
	return 0;
}

/* What is known of the process that a task is; NULL: nothing, or it is a thread. */
static __always_inline struct process *process_of(u64 task)
{
	struct process_id id = id_of_leader(task);

	return is_thread(task) ? NULL : processes.lookup(&id);
}

/* task_rename(task, ...) comes before the new name is there, and
 * sched_process_exec(task, ...) after the new program is. */
int on_change(u64 *ctx)
{
	struct process *known = process_of(ARGUMENT(0));
	u32 zero = 0, *change = changes.lookup(&zero);

	if (known && change) {
		known->outdated = 1;
		__sync_fetch_and_add(change, 1);
	}
	tables_changed();
	return 0;
}

/* sched_process_exit(task, ...): what it owned it has left behind, or closes. */
int on_exit(u64 *ctx)
{
	u64 task = ARGUMENT(0), signal = LOAD_U64(task, TASK_STRUCT__SIGNAL);
	struct process_id id = id_of_leader(LOAD_U64(task, TASK_STRUCT__GROUP_LEADER));
	struct process *known = processes.lookup(&id);

	/* The leader may end, or be replaced by exec(2), before its threads do. */
	if (known && !LOAD_U32(signal, SIGNAL_STRUCT__LIVE))
		known->dead = 1;
	tables_changed();
	return 0;
}

/* sched_process_fork(parent, child): the child has the parent's sockets. */
int on_fork(u64 *ctx)
{
	u64 parent = ARGUMENT(0), child = ARGUMENT(1);
	u64 leader = LOAD_U64(parent, TASK_STRUCT__GROUP_LEADER);
	struct process_id id = id_of_leader(leader), child_id = id_of_leader(child);
	struct process *known = processes.lookup(&id);
	struct comm comm;
	u32 zero = 0, one = 1, *round = seed_round.lookup(&zero);

	if (is_thread(child))
		return 0;
	if (known && round)
		known->forked = *round;
	tables_changed();
	if (!FOLLOW_CHILDREN)
		return 0;
	comm = comm_of_task(leader);
	if (is_wanted(&id, euid_of_task(leader), comm.text))
		descendants.update(&child_id, &one);
	return 0;
}
