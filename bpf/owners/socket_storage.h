/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which process uses which socket, where there are no kprobes: the record is kept in
 * the socket itself (sk_storage). It disappears with the socket, and an accepted
 * connection starts with a copy of its listener's record.
 *
 * Two kinds of evidence are recorded. Tracepoints and the classifier see a process use
 * a socket: it is the owner until another process uses the socket. The iterator finds,
 * round after round, the processes that have the socket open: this counts where no use
 * was seen, and only while no other process can have the socket.
 */
#ifndef TCCAP_SOCKET_STORAGE_H
#define TCCAP_SOCKET_STORAGE_H

#include "abi.h"
#include "kernel.h"
#include "owners/descriptors.h"
#include "owners/iterator_round.h"
#include "owners/overflows.h"
#include "owners/passed_sockets.h"
#include "owners/process.h"
#include "owners/process_cache.h"
#include "owners/process_refresh.h"
#include "owners/sharing.h"
#include "owners/task.h"

#if !HOOKS
struct socket_record {
	struct owner user;   /* tgid 0: no use was seen */
	struct owner holder; /* found in the last round, or the eldest of those */
	u32 shared;	     /* this round found others, too */
	u32 alone_in_round;  /* the last complete round that found one; 0: none */
	u32 listened;	     /* by the user; others may accept connections */
	u32 euid;	     /* of the user when it was recorded, */
	u32 round;	     /* in this round, */
	u32 changes;	     /* after so many process_changes */
	u32 protocol;	     /* of the socket; 0: not read yet */
	u32 sharing;	     /* read_sharing() at the last use; 0: not read yet */
	u32 hand_ons;	     /* hand_ons() at the last use */
	u32 references;	     /* to the socket's file, then; see references_of() */
	u32 descriptor;	     /* of the user at its last use, or NO_DESCRIPTOR, */
	u64 files;	     /* in this struct files_struct; 0: not read yet */
	u64 found_ns;	     /* when the iterator first found it; 0: not yet */
	u64 listener; /* if it was used to listen, the address of the socket that did */
};

/* Counts how often records of processes became stale. */
BPF_ARRAY(process_changes, u32, 1);

/* BPF_SK_STORAGE without its lack of flags. */
struct socket_records_table_t {
	int key;
	struct socket_record leaf;
	void *(*sk_storage_get)(void *, void *, int);
	int (*sk_storage_delete)(void *);
	u32 flags;
};
__attribute__((
	section("maps/sk_storage"))) struct socket_records_table_t socket_records = {
	.flags = BPF_F_NO_PREALLOC | BPF_F_CLONE
};
BPF_ANNOTATE_KV_PAIR(socket_records, int, struct socket_record);

/* Whether nobody can have received a copy of the descriptor since the socket was last
 * found in one process only. */
static __always_inline bool is_unshared(const struct socket_record *known,
					const struct process *process)
{
	return !known->shared &&
	       (!process->fork_round || known->alone_in_round > process->fork_round);
}

/* Whether the owner of a listener is also that of its accepted connections: not if
 * other processes may accept. */
static __always_inline bool inherits(const struct socket_record *known,
				     const struct process *user)
{
	if (!user || user->exited || !is_unshared(known, user))
		return false;
	return !known->holder.process.tgid ||
	       same_process(&known->holder.process, &known->user.process);
}

static __always_inline bool is_sole_holder(const struct socket_record *known,
					   const struct process *holder)
{
	return holder && known->alone_in_round && is_unshared(known, holder);
}

/* Whether one other process has the socket now: the user has exited, or has closed it
 * since it used it. */
static __always_inline bool is_handed_on(struct socket_record *known,
					 const struct process *user)
{
	if (!user || !known->alone_in_round ||
	    same_process(&known->holder.process, &known->user.process))
		return false;
	if (!user->exited && known->alone_in_round <= known->round)
		return false;
	return is_sole_holder(known, processes.lookup(&known->holder.process));
}

/* Whether the user of a socket has had a child since. It may have closed the socket,
 * which nothing reports, unless polling has found it there alone. */
static __always_inline bool may_have_closed(const struct socket_record *known,
					    const struct process *user)
{
	if (!user || (s32)(user->fork_number - known->hand_ons) <= 0)
		return false;
	return !same_process(&known->holder.process, &known->user.process) ||
	       !is_sole_holder(known, user);
}

/* Whether another process than the one that polling found has used the socket since. */
static __always_inline bool was_used_by_other(const struct socket_record *known)
{
	return known->user.process.tgid && known->alone_in_round <= known->round &&
	       !same_process(&known->holder.process, &known->user.process);
}

/* The owner of a socket in a state of TCP; NULL if unknown or ambiguous. */
static __always_inline struct owner *
stored_owner(struct socket_record *known, u32 state, u32 endpoint, u64 generation)
{
	bool accepted = known->listened && state != TCP_LISTEN;
	const struct process *process;

	if (accepted && may_migrate(known->sharing))
		return NULL;
	if (known->user.process.tgid) {
		process = seen_process(&known->user.process, endpoint, generation);
		if ((!accepted || inherits(known, process)) &&
		    !is_handed_on(known, process) &&
		    (state == TCP_LISTEN || !may_have_closed(known, process)))
			return &known->user;
	}
	if (known->holder.process.tgid) {
		process = seen_process(&known->holder.process, endpoint, generation);
		if (state == TCP_LISTEN ||
		    (is_sole_holder(known, process) && !was_used_by_other(known)))
			return &known->holder;
	}
	return NULL;
}

#if KERNEL_OFFSETS
/* The references to a socket's file, while its user is in a system call: descriptor
 * tables, and calls of threads. A task that shares its descriptor table holds one more
 * for its own call. */
static __always_inline u32 references_of(u64 file, u64 task)
{
	u64 table = FIELD(u64, task, TASK_STRUCT__FILES);
	u32 references = FIELD(u64, file, FILE__COUNT) + 1 - FILE__COUNT_OF_ONE;

	return references - (FIELD(u32, table, FILES_STRUCT__COUNT) > 1);
}
#endif

#if READS_KERNEL && KERNEL_OFFSETS
/* More means that the last one has been given up (include/linux/file_ref.h). */
#define MOST_REFERENCES 0x40000000u

static __always_inline bool is_at_descriptor(u64 file,
					     const struct socket_record *known)
{
	u64 table = READ(u64, known->files, FILES_STRUCT__FDT);
	u64 files = READ(u64, table, FDTABLE__FD);

	return READ(u64, files, 8 * (u64)known->descriptor) == file;
}

/* Notes where the current task, which is the user of a socket, has its file. Processes that
 * have inherited it have it under one number. */
static __always_inline void note_descriptor(struct socket_record *known, u64 file,
					    u64 task)
{
	known->files = FIELD(u64, task, TASK_STRUCT__FILES);
	if (known->descriptor == NO_DESCRIPTOR || !is_at_descriptor(file, known))
		known->descriptor = descriptor_of(file);
}
#endif

#if CALLERS && READS_KERNEL && KERNEL_OFFSETS
/* Whether the current task's process is the user of a socket, and has its file. */
static __always_inline bool is_with_user(u64 file, const struct socket_record *known)
{
	struct process_id now = id_of(leader_of(CURRENT_TASK()));

	return same_process(&now, &known->user.process) && still_has(file);
}
#else
static __always_inline bool is_with_user(u64 file, const struct socket_record *known)
{
	return false;
}
#endif

#if READS_KERNEL && KERNEL_OFFSETS
/* Whether the descriptor of a socket's user is to be looked at: others may have got one since
 * the last use, of this socket and not of the listener that it is a connection of. */
static __always_inline bool may_be_in_other_hands(u64 sk,
						  const struct socket_record *known)
{
	return known->files && known->descriptor != NO_DESCRIPTOR &&
	       known->hand_ons != hand_ons() &&
	       !(known->listened && known->listener != sk);
}

/* Whether anybody has a file, unlike one that is being closed by the last one that had it. */
static __always_inline bool is_held(u64 file, u64 references)
{
	return file && references && references < MOST_REFERENCES;
}
#endif

/* Whether the user of a socket has closed it since it used it, or several processes had it
 * then and one of them has closed it: that may be the user. Who looks at the file of a
 * descriptor has it for a moment, too, as polling does. */
static __always_inline bool was_closed(u64 sk, const struct socket_record *known)
{
#if READS_KERNEL && KERNEL_OFFSETS
	bool is_doubtful = may_be_in_other_hands(sk, known);
	u64 socket, file, references;

	if (known->references <= 1 && !is_doubtful)
		return false;
	socket = READ(u64, sk, SOCK__SK_SOCKET);
	file = READ(u64, socket, SOCKET__FILE);
	references = READ(u64, file, FILE__COUNT) + 1 - FILE__COUNT_OF_ONE;
	if (is_doubtful && is_held(file, references) && !is_at_descriptor(file, known))
		return true;
	return known->references > 1 && references < known->references &&
	       !is_with_user(file, known);
#else
	return false;
#endif
}

/* Whether another process may have the socket instead of the one that used it. */
static __always_inline bool is_passed_on(u64 sk, const struct socket_record *known)
{
	const struct process_id *user = &known->user.process;

	if (user->tgid)
		return was_passed(sk, user, known->hand_ons) || was_closed(sk, known) ||
		       (known->listened &&
			was_passed(known->listener, user, known->hand_ons));
	return was_passed(sk, &known->holder.process, known->hand_ons);
}

static __always_inline struct socket_record *record_of(void *sk)
{
	struct socket_record *known =
		socket_records.sk_storage_get(sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!known) /* another processor may have made it at the same moment */
		known = socket_records.sk_storage_get(sk, 0,
						      BPF_SK_STORAGE_GET_F_CREATE);
	if (!known)
		count_socket_overflow();
	return known;
}

/* A program is attached to a group of sockets shortly after these are made, which
 * nothing reports. */
#define SETTLING_NS 2000000000ull

static __always_inline u32 settled_sharing(u64 sk, struct socket_record *known)
{
	u64 now_ns = bpf_ktime_get_ns();

	if (!known->found_ns)
		known->found_ns = now_ns;
	if (now_ns - known->found_ns < SETTLING_NS)
		return read_sharing(sk);
	return read_sharing(sk) | SHARING_SETTLED;
}

/* Records a process that the iterator found to have the socket open. Of several holders
 * of a listening socket the eldest counts: the others inherited it. */
static __always_inline void add_to_socket(u64 sk, struct owner *found, u64 state)
{
	struct socket_record *known = record_of((void *)sk);
	struct owner *holder;
	bool same;

	if (!known)
		return;
	known->sharing = settled_sharing(sk, known);
	holder = &known->holder;
	same = same_process(&holder->process, &found->process);
	if (holder->found_in_round != found->found_in_round) {
		known->alone_in_round =
			same && !known->shared ? holder->found_in_round : 0;
		known->shared = 0;
		*holder = *found;
	} else if (!same) {
		known->shared = 1;
		if (state == TCP_LISTEN &&
		    found->process.start_ns < holder->process.start_ns)
			holder->process = found->process;
	}
}

/* Records that the task uses the socket. Returns the record if it was written, or NULL
 * if nothing has changed: changes of names and programs are counted, and each round of
 * the iterator refreshes all processes that have a socket. */
static __always_inline struct socket_record *
record_use(void *sk, u32 protocol, u64 task, u32 listens, u32 place)
{
	u64 leader = leader_of(task);
	u32 zero = 0, *round = iterator_round.lookup(&zero);
	u32 *change = process_changes.lookup(&zero);
	struct socket_record *known = record_of(sk);
	struct process_id id = id_of(leader);
	u32 tid = FIELD(u32, task, TASK_STRUCT__PID), euid = euid_of(leader);
	u32 in_round, after_changes, after_hand_ons = hand_ons();

	if (!known || !round || !change)
		return NULL;
	in_round = *round;
	after_changes = *change;
	if (known->user.tid == tid && same_process(&known->user.process, &id) &&
	    known->listened == listens && known->euid == euid &&
	    known->round == in_round && known->changes == after_changes &&
	    known->protocol && known->sharing) {
		if (known->hand_ons == after_hand_ons)
			return NULL;
		known->hand_ons = after_hand_ons;
		return known;
	}
	refresh_process(&id, leader, place);
	known->user.process = id;
	known->user.tid = tid;
	known->listened = listens;
	known->listener = listens ? (u64)sk : 0;
	known->files = 0;
	known->euid = euid;
	known->round = in_round;
	known->changes = after_changes;
	known->protocol = protocol;
	known->hand_ons = after_hand_ons;
	return known;
}
#endif

#endif
