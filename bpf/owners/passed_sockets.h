/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Sockets that another process may have got, where there are no kprobes: it has received
 * them as a message (SCM_RIGHTS), or inherited them. Who used them before may not have
 * them any more.
 *
 * Receipts and forks are counted. The record of a socket says how many there were at its
 * last use, so that the table is asked only if there was one since.
 */
#ifndef TCCAP_PASSED_SOCKETS_H
#define TCCAP_PASSED_SOCKETS_H

#include "abi.h"
#include "kernel.h"
#include "owners/hand_ons.h"
#include "owners/process.h"
#include "owners/task.h"

#if !HOOKS
/* A process that has received a socket; number 0: none. */
struct receipt {
	u32 number;
	u32 zero;
	struct process_id receiver;
};
/* The last one, and the last one before it by another process. A process that receives any
 * message may be taken for one that has received what it had, and may close that then. */
struct receipts {
	struct receipt last;
	struct receipt other;
};
BPF_TABLE("lru_hash", u64, struct receipts, passed_sockets, SIZED_LATER);

static __always_inline bool is_by_another(const struct receipt *receipt,
					  const struct process_id *user, u32 used_after)
{
	return receipt->number && (s32)(receipt->number - used_after) > 0 &&
	       !same_process(&receipt->receiver, user);
}

/* Whether another process has received the socket since its user used it, which was
 * after so many. */
static __always_inline bool was_passed(u64 sk, const struct process_id *user,
				       u32 used_after)
{
	struct receipts *known;

	if (used_after == hand_ons())
		return false;
	known = passed_sockets.lookup(&sk);
	return known && (is_by_another(&known->last, user, used_after) ||
			 is_by_another(&known->other, user, used_after));
}
#endif

#if !HOOKS && READS_KERNEL && KERNEL_OFFSETS
/* So many of a process's last descriptors are examined, up to the second that is not an
 * inet socket: a message may pass other descriptors as well. */
#define RECEIVED_MAX 16
#define OTHERS_MAX 2

/* The inet socket that a file is; 0: it is none. Sockets and their files refer to each
 * other. */
static __always_inline u64 inet_socket_of(u64 file)
{
	u64 socket = READ(u64, file, FILE__PRIVATE_DATA);
	u64 sk;
	u16 family;

	if (!socket || READ(u64, socket, SOCKET__FILE) != file)
		return 0;
	sk = READ(u64, socket, SOCKET__SK);
	family = READ(u16, sk, SOCK_COMMON__SKC_FAMILY);
	return family == AF_INET || family == AF_INET6 ? sk : 0;
}

static __always_inline void record_receipt(u64 sk, const struct process_id *receiver)
{
	struct receipts now = { .last.receiver = *receiver };
	struct receipts *before = passed_sockets.lookup(&sk);

	now.last.number = count_hand_on();
	if (before && same_process(&before->last.receiver, receiver))
		now.other = before->other;
	else if (before)
		now.other = before->last;
	passed_sockets.update(&sk, &now);
}

/* The descriptor that a process, by its tgid, got last when it last received a message:
 * the number after it, and the inode of its file, which sockets do not share. */
struct last_descriptor {
	u64 inode;
	u32 next;
	u32 zero;
};
BPF_TABLE("lru_hash", u32, struct last_descriptor, last_descriptors, SIZED_LATER);

/* The lowest number of a descriptor that a process can have got since it last received
 * a message, as far as is known; `next` if it has got none. */
static __always_inline u32 first_new_descriptor(u32 tgid, u64 files, u32 next)
{
	u64 file = READ(u64, files, 8 * (u64)(next - 1));
	u64 inode = READ(u64, file, FILE__F_INODE);
	struct last_descriptor now = { .next = next }, *known;
	u32 from = 0;

	now.inode = READ(u64, inode, INODE__I_INO);
	known = last_descriptors.lookup(&tgid);
	if (known && known->inode == now.inode && known->next == next)
		return next;
	if (known && known->next < next)
		from = known->next;
	last_descriptors.update(&tgid, &now);
	return from;
}

/* The current task has received a message. Descriptors that came with it, if any, are
 * the last ones before the number that the next one will probably get. A socket that
 * the process had before is recorded as well. */
static __always_inline void record_message(u64 task)
{
	u64 opened = READ(u64, task, TASK_STRUCT__FILES);
	u64 table = READ(u64, opened, FILES_STRUCT__FDT);
	u64 files = READ(u64, table, FDTABLE__FD), sk;
	u32 next = READ(u32, opened, FILES_STRUCT__NEXT_FD), from, others = 0;
	struct process_id receiver = id_of(leader_of(task));

	if (!next)
		return;
	from = first_new_descriptor(receiver.tgid, files, next);
	if (from < next)
		count_hand_on(); /* of one that is not found below, too */
#pragma unroll
	for (u32 i = 1; i <= RECEIVED_MAX; i++) {
		if (from + i > next || others == OTHERS_MAX)
			return;
		sk = inet_socket_of(READ(u64, files, 8 * (u64)(next - i)));
		if (sk)
			record_receipt(sk, &receiver);
		else
			others++;
	}
}
#endif

#endif
