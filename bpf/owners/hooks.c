/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The kprobes and raw tracepoints that keep the owners of sockets.
 *
 * An owner is written only where the current task is the one that uses the
 * socket, that is in system calls. What happens in softirq context, where the
 * current task is anybody, only copies an owner from socket to socket (a
 * connection from its listener, a TIME_WAIT remnant from its connection) or
 * removes it. src/tccap/owners/hooks.py says what each is attached to.
 */
#include "owners/task.h"

/* The kernel passes over a kprobe's program on a processor that is just running
 * another one, or is in a system call about a map. Softirqs may come in between,
 * so what is called there has fentry programs, where the kernel has these. */
#if FENTRY
#define SOFTIRQ_CONTEXT u64
#define ARGUMENT(n) READ(u64, (u64)ctx, 8 * ((n) - 1))
#else
#define SOFTIRQ_CONTEXT struct pt_regs
#define ARGUMENT(n) PT_REGS_PARM##n(ctx)
#endif

/* The one long program is compiled once, and the hooks end in a call to it. */
BPF_PROG_ARRAY(tails, 1);
#define RECORD 0

int on_record(struct pt_regs *ctx)
{
	u32 zero = 0;
	struct draft *draft = drafts.lookup(&zero);

	if (draft)
		describe(draft);
	return 0;
}

/* Records a process. The last thing that a hook does. */
static __always_inline void record(struct pt_regs *ctx, const struct process_id *id,
				   u32 euid, u64 comm_address)
{
	u32 zero = 0;
	struct draft *draft = drafts.lookup(&zero);
	struct comm comm = comm_at(comm_address);

	if (!draft)
		return;
	begin_draft(draft, id, euid, &comm);
	tails.call(ctx, RECORD);
}

/* __set_task_comm(task, comm, exec): a new name. */
int on_rename(struct pt_regs *ctx)
{
	u64 task = PT_REGS_PARM1(ctx);
	struct process_id id = id_of(task);

	if (READ(u32, task, TASK_STRUCT__PID) == id.tgid && processes.lookup(&id))
		record(ctx, &id, euid_of(task), PT_REGS_PARM2(ctx));
	return 0;
}

/* commit_creds(struct cred *new): other ids from now on. */
int on_commit_creds(struct pt_regs *ctx)
{
	u64 leader = READ(u64, bpf_get_current_task(), TASK_STRUCT__GROUP_LEADER);
	u32 euid = READ(u32, PT_REGS_PARM1(ctx), CRED__EUID);
	struct process_id id = id_of(leader);
	struct process *known = processes.lookup(&id);

	if (known && known->euid != euid)
		record(ctx, &id, euid, leader + TASK_STRUCT__COMM);
	return 0;
}

/* What it owned it has left behind, or closes. */
int on_process_exit(struct bpf_raw_tracepoint_args *ctx)
{
	u64 task = ctx->args[0];
	u64 signal = READ(u64, task, TASK_STRUCT__SIGNAL);
	struct process_id id = id_of(READ(u64, task, TASK_STRUCT__GROUP_LEADER));
	struct process *known = processes.lookup(&id);

	/* The leader may end, or be replaced by exec(2), before its threads do. */
	if (known && !READ(u32, signal, SIGNAL_STRUCT__LIVE))
		known->dead = 1;
	tables_changed();
	return 0;
}

/* A child of a wanted process is wanted. */
int on_process_fork(struct bpf_raw_tracepoint_args *ctx)
{
	u64 leader = READ(u64, ctx->args[0], TASK_STRUCT__GROUP_LEADER);
	u64 child = ctx->args[1];
	struct process_id parent_id = id_of(leader), child_id = id_of(child);
	struct comm comm = comm_at(leader + TASK_STRUCT__COMM);
	u32 one = 1;

	if (READ(u32, child, TASK_STRUCT__PID) != child_id.tgid)
		return 0; /* a thread */
	if (is_wanted(&parent_id, euid_of(leader), comm.text))
		descendants.update(&child_id, &one);
	return 0;
}

/* The current task uses the socket. The last thing that a hook does. */
static __always_inline void use(struct pt_regs *ctx, u64 sk)
{
	u64 task = bpf_get_current_task();
	u64 leader = READ(u64, task, TASK_STRUCT__GROUP_LEADER);
	struct owner *known = owners.lookup(&sk);
	struct owner now = {};

	now.process = id_of(leader);
	now.tid = (u32)bpf_get_current_pid_tgid();
	if (known && known->tid == now.tid && !known->doubtful &&
	    same_process(&known->process, &now.process) &&
	    processes.lookup(&now.process))
		return;
	/* A worker thread of the kernel acts for somebody who is known. */
	if (known && READ(u32, task, TASK_STRUCT__FLAGS) & PF_KTHREAD)
		return;
	own(sk, &now);
	if (!processes.lookup(&now.process))
		record(ctx, &now.process, euid_of(task),
		       leader + TASK_STRUCT__COMM);
}

/* Sockets that the kernel made for itself have no file, and no owner. */
static __always_inline u64 users_sk(u64 socket)
{
	if (!READ(u64, socket, SOCKET__FILE))
		return 0;
	return READ(u64, socket, SOCKET__SK);
}

/* inet_bind, inet_listen, inet_sendmsg, ...: (struct socket *, ...) */
int on_use(struct pt_regs *ctx)
{
	u64 sk = users_sk(PT_REGS_PARM1(ctx));

	if (sk)
		use(ctx, sk);
	return 0;
}

/* inet_accept(listening socket, ...): a server that was started by a process
 * that is gone. */
int on_accept_call(struct pt_regs *ctx)
{
	u64 sk = users_sk(PT_REGS_PARM1(ctx));
	struct owner *known = owners.lookup(&sk);
	struct process *process = known ? processes.lookup(&known->process) : NULL;

	if (sk && (!process || process->dead))
		use(ctx, sk);
	return 0;
}

static __always_inline void inherit(u64 heir, u64 from)
{
	struct owner *known = owners.lookup(&from);
	struct owner copy;

	if (known) {
		copy = *known;
		own(heir, &copy);
	} else {
		owners.delete(&heir);
	}
}

/* inet_csk_reqsk_queue_add(listener, request, child): the connection is the
 * listener's until somebody accepts it. */
int on_connection(SOFTIRQ_CONTEXT *ctx)
{
	inherit(ARGUMENT(3), ARGUMENT(1));
	return 0;
}

/* inet_csk_complete_hashdance(listener, child, ...): the same, where compilers
 * put that function into this one. */
int on_handshake(SOFTIRQ_CONTEXT *ctx)
{
	inherit(ARGUMENT(2), ARGUMENT(1));
	return 0;
}

static __always_inline bool is_inet(u64 sk)
{
	u16 family = READ(u16, sk, SOCK_COMMON__SKC_FAMILY);

	return family == AF_INET || family == AF_INET6;
}

/* security_sock_graft(sk, socket): accept(2) hands the connection over. */
int on_accept(struct pt_regs *ctx)
{
	u64 sk = PT_REGS_PARM1(ctx);

	if (is_inet(sk))
		use(ctx, sk);
	return 0;
}

/* inet_csk_accept() returned the connection. */
int on_accept_return(struct pt_regs *ctx)
{
	u64 sk = PT_REGS_RC(ctx);

	if (sk)
		use(ctx, sk);
	return 0;
}

/* inet_twsk_hashdance(timewait, sk, ...): what is left of a connection. */
int on_timewait(SOFTIRQ_CONTEXT *ctx)
{
	u64 timewait = ARGUMENT(1), sk = ARGUMENT(2);
	struct owner *known = owners.lookup(&sk);
	struct owner copy;

	if (known) {
		copy = *known;
		timewaits.update(&timewait, &copy);
	} else {
		timewaits.delete(&timewait);
	}
	return 0;
}

static __always_inline bool is_mapped(const u8 *address)
{
	const u32 *word = (const u32 *)address;

	return !word[0] && !word[1] && word[2] == bpf_htonl(0xffff);
}

static __always_inline void read_addresses(u64 sk, struct flow *flow)
{
	flow->family = READ(u16, sk, SOCK_COMMON__SKC_FAMILY);
	if (flow->family == AF_INET6) {
		bpf_probe_read_kernel(flow->remote, 16,
				      (void *)(sk + SOCK_COMMON__SKC_V6_DADDR));
		if (!is_mapped(flow->remote)) {
			bpf_probe_read_kernel(
				flow->local, 16,
				(void *)(sk + SOCK_COMMON__SKC_V6_RCV_SADDR));
			return;
		}
		__builtin_memset(flow->remote, 0, 16);
		flow->family = AF_INET;
	}
	*(u32 *)flow->local = READ(u32, sk, SOCK_COMMON__SKC_RCV_SADDR);
	*(u32 *)flow->remote = READ(u32, sk, SOCK_COMMON__SKC_DADDR);
}

static __always_inline bool is_in_own_netns(u64 sk)
{
	u64 net = READ(u64, sk, SOCK_COMMON__SKC_NET);

	return is_own_netns(READ(u32, net, NET__NS + NS_COMMON__INUM));
}

static __always_inline void remember_closed(u64 sk, const struct owner *known)
{
	struct owner copy;
	struct flow flow = {};

	flow.remote_port = READ(u16, sk, SOCK_COMMON__SKC_DPORT);
	if (!flow.remote_port || !is_in_own_netns(sk))
		return;
	flow.local_port = READ(u16, sk, INET_SOCK__INET_SPORT);
	read_addresses(sk, &flow);
	copy = *known;
	closed.update(&flow, &copy);
}

/* inet_sock_set_state(sk, old, new): at its end a connection's socket can no
 * longer be found by a packet's addresses. It may be open for long after that. */
int on_state(struct bpf_raw_tracepoint_args *ctx)
{
	u64 sk = ctx->args[0];
	struct owner *known = owners.lookup(&sk);

	if (known && (u32)ctx->args[2] == TCP_CLOSE)
		remember_closed(sk, known);
	return 0;
}

/* inet_sock_destruct(sk): the address may soon be another socket's. */
int on_destruct(SOFTIRQ_CONTEXT *ctx)
{
	u64 sk = ARGUMENT(1);
	struct owner *known = owners.lookup(&sk);

	if (!known)
		return 0;
	remember_closed(sk, known);
	owners.delete(&sk);
	return 0;
}
