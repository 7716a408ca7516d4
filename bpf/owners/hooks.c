/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The kprobes and raw tracepoints that keep the owners of sockets.
 *
 * An owner is recorded only where the current task is the one that uses the socket,
 * that is, in system calls. In softirq context the current task is arbitrary: programs
 * there only copy an owner from socket to socket (to a connection from its listener, to
 * a TIME_WAIT socket from its connection) or delete it. src/tccap/owners/hooks.py lists
 * the kernel functions that each program is attached to.
 */
#include "abi.h"
#include "kernel.h"
#include "owners/descriptors.h"
#include "owners/owner_table.h"
#include "owners/process.h"
#include "owners/process_refresh.h"
#include "owners/sharing.h"
#include "owners/socket.h"
#include "owners/task.h"
#include "packet/parse.h"

/* The kernel skips the program of a kprobe on a processor that is running another one,
 * or is in a system call about a map. A softirq may interrupt either, so functions that
 * are called there have fentry programs, where the kernel supports them; and so have
 * those that are called often, as fentry costs less, and those that nothing else would
 * make up for. */
#if FENTRY
#define FENTRY_CONTEXT u64
#define PARAMETER(n) READ(u64, (u64)ctx, 8 * ((n)-1))
#else
#define FENTRY_CONTEXT struct pt_regs
#define PARAMETER(n) PT_REGS_PARM##n(ctx)
#endif

/* The long program that records a process is compiled once; hooks end in a tail call to
 * it. */
BPF_PROG_ARRAY(tails, 1);
#define RECORD 0

int on_record(struct pt_regs *ctx)
{
	u32 place = HOOK_DRAFT;
	struct label_draft *draft = label_drafts.lookup(&place);
	struct process_id id;

	if (!draft)
		return 0;
	id = draft->id;
	record_process(draft);
	forget_if_changed(&id, leader_of(CURRENT_TASK()), draft);
	return 0;
}

/* Records a process; does not return. */
static __always_inline void record_at_end(struct pt_regs *ctx,
					  const struct process_id *id, u32 euid,
					  const struct comm *comm, u64 cgroup)
{
	u32 place = HOOK_DRAFT;
	struct label_draft *draft = label_drafts.lookup(&place);

	if (!draft)
		return;
	begin_draft(draft, id, euid, comm, cgroup);
	tails.call(ctx, RECORD);
}

/* commit_creds(...) and __set_task_comm(...) have returned: a process has other ids or
 * another name. What it was called before they did, another program may be about to
 * record; it looks again afterwards (refresh_process). Only a process itself can change
 * either; a thread may have ids of its own, and those of the process are the group
 * leader's. */
int on_new_identity(FENTRY_CONTEXT *ctx)
{
	u64 leader = leader_of(CURRENT_TASK());
	struct process_id id = id_of(leader);

	if (processes.lookup(&id))
		refresh_process(&id, leader, IDENTITY_DRAFT);
	return 0;
}

/* Makes the current task the owner of the socket; does not return if its process has to
 * be recorded. */
static __always_inline void record_caller(struct pt_regs *ctx, u64 sk)
{
	u64 task = CURRENT_TASK();
	u64 leader = leader_of(task);
	struct owner *known = owners.lookup(&sk);
	struct owner now = {};
	struct comm comm;

	now.process = id_of(leader);
	now.tid = (u32)bpf_get_current_pid_tgid();
	if (known && known->tid == now.tid && !known->ambiguous &&
	    same_process(&known->process, &now.process) &&
	    processes.lookup(&now.process))
		return;
	/* A kernel thread acts for an owner that is already known. */
	if (known && is_kernel_thread(task))
		return;
	set_owner(sk, &now);
	if (processes.lookup(&now.process))
		return;
	comm = comm_of(leader);
	record_at_end(ctx, &now.process, euid_of(leader), &comm, cgroup_of(leader));
}

/* The sock of a socket. Sockets that the kernel created for itself have no file, and no
 * owner. */
static __always_inline u64 user_sk(u64 socket)
{
	if (!READ(u64, socket, SOCKET__FILE))
		return 0;
	return READ(u64, socket, SOCKET__SK);
}

/* inet_bind, inet_listen, inet_sendmsg, ...: (struct socket *, ...) */
int on_socket_call(struct pt_regs *ctx)
{
	u64 sk = user_sk(PT_REGS_PARM1(ctx));

	if (sk)
		record_caller(ctx, sk);
	return 0;
}

#define TCP_NODELAY 1
#define TCP_CORK 3
#define UDP_CORK 1

/* sock_common_setsockopt(struct socket *, level, option, ...): some options send what was
 * held back. */
int on_setsockopt(struct pt_regs *ctx)
{
	u32 level = PT_REGS_PARM2(ctx), option = PT_REGS_PARM3(ctx);
	u64 sk;

	if (!(level == IPPROTO_TCP && (option == TCP_NODELAY || option == TCP_CORK)) &&
	    !(level == IPPROTO_UDP && option == UDP_CORK))
		return 0;
	sk = user_sk(PT_REGS_PARM1(ctx));
	if (sk)
		record_caller(ctx, sk);
	return 0;
}

#define TCP_ZEROCOPY_RECEIVE 35

/* sock_common_getsockopt(struct socket *, level, option, ...): one option receives. */
int on_getsockopt(struct pt_regs *ctx)
{
	u32 level = PT_REGS_PARM2(ctx), option = PT_REGS_PARM3(ctx);
	u64 sk;

	if (level != IPPROTO_TCP || option != TCP_ZEROCOPY_RECEIVE)
		return 0;
	sk = user_sk(PT_REGS_PARM1(ctx));
	if (sk)
		record_caller(ctx, sk);
	return 0;
}

/* inet_accept(listening socket, ...): if the listener's owner has exited or closed it,
 * the process that calls accept(2) becomes its owner. */
int on_accept_call(struct pt_regs *ctx)
{
	u64 sk = user_sk(PT_REGS_PARM1(ctx));
	struct owner *known = owners.lookup(&sk);
	struct process *process = known ? processes.lookup(&known->process) : NULL;

	if (sk && (!process || process->exited || known->ambiguous))
		record_caller(ctx, sk);
	return 0;
}

/* Where the kernel skips the kprobe of a call, nobody would be told that another process
 * uses the socket now. So these calls have an fentry program, too, after which the owner
 * is in doubt unless it is the caller: a kprobe program that runs records the caller. */
static __always_inline void doubt_owner(u64 sk)
{
	struct owner *known = owners.lookup(&sk);
	u32 tgid = bpf_get_current_pid_tgid() >> 32;

	if (known && known->process.tgid != tgid && !is_kernel_thread(CURRENT_TASK()))
		known->ambiguous = 1;
}

/* inet_sendmsg, inet_recvmsg, ...: (struct socket *, ...) */
int on_unseen_call(FENTRY_CONTEXT *ctx)
{
	u64 sk = user_sk(PARAMETER(1));

	if (sk)
		doubt_owner(sk);
	return 0;
}

/* security_sock_graft(sk, socket) */
int on_unseen_accept(FENTRY_CONTEXT *ctx)
{
	u64 sk = PARAMETER(1);

	if (is_inet(sk))
		doubt_owner(sk);
	return 0;
}

/* The socket that processes use, where the kernel has another one for each path. */
static __always_inline u64 used_socket(u64 sk)
{
#if KERNEL_OFFSETS && HAS_MPTCP
	u64 connection = multipath_of(sk);

	if (connection)
		return connection;
#endif
	return sk;
}

static __always_inline void copy_owner(u64 from, u64 to)
{
	struct owner *known = owners.lookup(&from);
	struct owner copy;

	if (known) {
		copy = *known;
		set_owner(to, &copy);
	} else {
		owners.delete(&to);
	}
}

/* Where a connection may get to another listener, none owns it until it is accepted: the
 * compiler may have inlined what moves it. */
static __always_inline void hand_to_connection(u64 listener, u64 connection)
{
	u64 used = used_socket(connection);

#if KERNEL_OFFSETS
	if (may_migrate(read_sharing(listener))) {
		owners.delete(&used);
		return;
	}
#endif
	copy_owner(used_socket(listener), used);
}

/* inet_csk_reqsk_queue_add(listener, request, child): the connection belongs to the
 * listener's owner until a process accepts it. */
int on_connection(FENTRY_CONTEXT *ctx)
{
	hand_to_connection(PARAMETER(1), PARAMETER(3));
	return 0;
}

/* inet_csk_complete_hashdance(listener, child, ...): the same, where the compiler has
 * inlined that function into this one. */
int on_handshake(FENTRY_CONTEXT *ctx)
{
	hand_to_connection(PARAMETER(1), PARAMETER(2));
	return 0;
}

/* security_sock_graft(sk, socket): accept(2) hands the connection over. */
int on_accept(struct pt_regs *ctx)
{
	u64 sk = PT_REGS_PARM1(ctx);

	if (is_inet(sk))
		record_caller(ctx, sk);
	return 0;
}

/* inet_csk_accept() returned the connection. */
int on_accept_return(struct pt_regs *ctx)
{
	u64 sk = PT_REGS_RC(ctx);

	if (sk)
		record_caller(ctx, sk);
	return 0;
}

/* The socket that a file is, as both refer to each other; 0: it is none. */
static __always_inline u64 sk_of_file(u64 file)
{
	u64 socket = READ(u64, file, FILE__PRIVATE_DATA);

	if (!socket || READ(u64, socket, SOCKET__FILE) != file)
		return 0;
	return READ(u64, socket, SOCKET__SK);
}

/* sock_splice_read(file, ...) */
int on_splice_call(struct pt_regs *ctx)
{
	u64 sk = sk_of_file(PT_REGS_PARM1(ctx));

	if (sk && is_inet(sk))
		record_caller(ctx, sk);
	return 0;
}

/* security_file_receive(file): a process receives a descriptor from another one, which
 * may keep its own. A socket is ambiguous until one of them uses it; the connections of
 * a listener still belong to the process that listened. */
int on_fd_received(FENTRY_CONTEXT *ctx)
{
	u64 sk = sk_of_file(PARAMETER(1));
	struct owner *known = sk ? owners.lookup(&sk) : NULL;

	if (known && READ(u8, sk, SOCK_COMMON__SKC_STATE) != TCP_LISTEN)
		known->ambiguous = 1;
	return 0;
}

/* locks_remove_posix(file, ...): a process closes a descriptor, which it has no more, or
 * ends. If it is the owner of a socket that others have open, too, it may not have it any
 * more. */
int on_fd_closed(FENTRY_CONTEXT *ctx)
{
	u64 file = PARAMETER(1), sk = sk_of_file(file);
	struct owner *known = sk ? owners.lookup(&sk) : NULL;
	u32 tgid = bpf_get_current_pid_tgid() >> 32;

	if (known && known->process.tgid == tgid &&
	    READ(u64, file, FILE__COUNT) > FILE__COUNT_OF_ONE && !still_has(file))
		known->ambiguous = 1;
	return 0;
}

/* inet_twsk_hashdance(timewait, sk, ...): a connection enters TIME_WAIT. */
int on_timewait(FENTRY_CONTEXT *ctx)
{
	u64 timewait = PARAMETER(1), sk = PARAMETER(2);
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

/* inet_sock_set_state(sk, old, new): a packet's addresses no longer find the socket of
 * a connection that has ended. It may stay open for long after that. */
int on_close(u64 *ctx)
{
	u64 sk = ARGUMENT(0);
	struct owner *known = owners.lookup(&sk);

	if ((u32)ARGUMENT(2) == TCP_CLOSE)
		remember_closed(sk, known);
	return 0;
}

/* inet_sock_destruct(sk): the address may soon be that of another socket. */
int on_destruct(FENTRY_CONTEXT *ctx)
{
	u64 sk = PARAMETER(1);
	struct owner *known = owners.lookup(&sk);

	if (!known)
		return 0;
	remember_closed(sk, known);
	owners.delete(&sk);
	return 0;
}
