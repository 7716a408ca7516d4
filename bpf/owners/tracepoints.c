/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Raw tracepoints that see the users of sockets where there are no kprobes. The
 * verifier knows the types of their arguments (BTF). As in hooks.c, a user is recorded
 * in system calls only. src/tccap/owners/tracepoints.py lists the tracepoint that each
 * program is attached to.
 */
#include "abi.h"
#include "kernel.h"
#include "lookup_generation.h"
#include "owners/deciders.h"
#include "owners/multipath.h"
#include "owners/process.h"
#include "owners/process_cache.h"
#include "owners/sharing.h"
#include "owners/socket.h"
#include "owners/socket_storage.h"
#include "owners/task.h"

/* Records that the current task uses the socket. Sockets that the kernel created for
 * itself have no file, and no user. */
static __always_inline void record_caller_in_socket(u64 sk, bool listens)
{
	u64 socket = FIELD(u64, sk, SOCK__SK_SOCKET), file;
	u64 task = CURRENT_TASK();
	struct socket_record *known;
	struct process_id id;
	bool is_news;

	if (is_kernel_thread(task) || !socket)
		return;
	file = FIELD(u64, socket, SOCKET__FILE);
	if (!file)
		return;
	known = record_use((void *)sk, FIELD(u16, sk, SOCK__SK_PROTOCOL), task, listens,
			   HOOK_DRAFT);
	is_news = known;
	if (known)
		known->sharing = read_sharing(sk) | (known->sharing & SHARING_SETTLED);
	known = socket_records.sk_storage_get((void *)sk, 0, 0);
	if (known) {
		known->references = references_of(file, task);
#if READS_KERNEL
		if (is_news || !known->files)
			note_descriptor(known, file, task);
#endif
	}
#if READS_KERNEL && HAS_MPTCP
	if (FIELD(u16, sk, SOCK__SK_PROTOCOL) == IPPROTO_MPTCP) {
		id = id_of(leader_of(task));
		note_multipath_user(sk, &id);
	}
#endif
}

/* sock_send_length(sk, ...): just done. tcp_sendmsg_locked(sk, ...): about to be done. */
int on_socket_use(u64 *ctx)
{
	u64 sk = ARGUMENT(0);

	if (is_inet(sk))
		record_caller_in_socket(sk, false);
	else
		note_decider(sk);
	return 0;
}

/* sock_recv_length(sk, ...): just done. A message may have brought descriptors. */
int on_socket_receive(u64 *ctx)
{
	u64 sk = ARGUMENT(0);

	if (is_inet(sk))
		record_caller_in_socket(sk, false);
	else
		note_decider(sk);
#if READS_KERNEL
	if (FIELD(u16, sk, SOCK_COMMON__SKC_FAMILY) == AF_UNIX)
		record_message(CURRENT_TASK());
#endif
	return 0;
}

/* tcp_rcv_space_adjust(sk): just done, also by splice(2), which nothing else reports. In
 * softirq context no process has locked the socket. */
int on_tcp_receive(u64 *ctx)
{
	u64 sk = ARGUMENT(0), task = bpf_get_current_pid_tgid();
	struct socket_record *known = socket_records.sk_storage_get((void *)sk, 0, 0);

	/* This comes more often than the others, for each segment. */
	if (known && known->user.tid == (u32)task &&
	    known->user.process.tgid == task >> 32)
		return 0;
	if (FIELD(u32, sk, SOCK__SK_LOCK__OWNED))
		record_caller_in_socket(sk, false);
	return 0;
}

/* Remembers the owner of a connection that was in a state and has ended, or that it is not
 * known. */
static __always_inline void remember_owner(u64 sk, u32 state)
{
	u64 tcp = (u64)bpf_skc_to_tcp_sock((void *)sk);
	struct socket_record *known;
	struct owner *owner = NULL;

	if (!tcp)
		return;
	known = socket_records.sk_storage_get((void *)sk, 0, 0);
	if (known && !is_passed_on(sk, known))
		owner = stored_owner(known, state, NOT_CACHED, 0);
	remember_closed(tcp, owner);
}

/* A FIN is about to be sent. Nothing here tells shutdown(2), which is a use of the socket,
 * from the last close(2), which is none: a process that only shared the socket may do
 * that when it ends. So another one than the user puts the owner in doubt. */
static __always_inline void doubt_user_at_fin(u64 sk)
{
	struct socket_record *known = socket_records.sk_storage_get((void *)sk, 0, 0);
	u64 task = CURRENT_TASK();
	struct process_id id;

	if (!known || is_kernel_thread(task))
		return;
	id = id_of(leader_of(task));
	if (!same_process(&known->user.process, &id))
		known->user.process.tgid = 0;
}

/* inet_sock_set_state(sk, old, new): connect(2) and listen(2); shutdown(2), and the last
 * close(2), before the FIN is sent; and the end of a connection, where the current task is
 * arbitrary. */
int on_socket_state(u64 *ctx)
{
	u64 sk = ARGUMENT(0);
	u32 old = ARGUMENT(1), new = ARGUMENT(2);

	if (new == TCP_SYN_SENT || new == TCP_LISTEN)
		record_caller_in_socket(sk, new == TCP_LISTEN);
	else if (new == TCP_FIN_WAIT1 || new == TCP_LAST_ACK)
		doubt_user_at_fin(sk);
	else if (new == TCP_CLOSE)
		remember_owner(sk, old);
	return 0;
}

/* The record of the process that a group leader represents; NULL for a thread, and if
 * there is none. */
static __always_inline struct process *process_of(u64 task)
{
	struct process_id id = id_of(task);

	return is_thread(task) ? NULL : processes.lookup(&id);
}

/* task_rename(task, ...) comes before the task has the new name, and
 * sched_process_exec(task, ...) after it has the new program. */
int on_new_identity(u64 *ctx)
{
	struct process *known = process_of(ARGUMENT(0));
	u32 zero = 0, *change = process_changes.lookup(&zero);

	if (known && change) {
		known->stale = 1;
		__sync_fetch_and_add(change, 1);
	}
	invalidate_lookups();
	return 0;
}
