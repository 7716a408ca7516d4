/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a task says about its process. A process is represented by its group leader.
 */
#ifndef TCCAP_TASK_H
#define TCCAP_TASK_H

#include "abi.h"
#include "kernel.h"

#if KERNEL_OFFSETS
static __always_inline u64 leader_of(u64 task)
{
	return FIELD(u64, task, TASK_STRUCT__GROUP_LEADER);
}

/* Whether a task is another one than its group leader. */
static __always_inline bool is_thread(u64 task)
{
	return FIELD(u32, task, TASK_STRUCT__PID) !=
	       FIELD(u32, task, TASK_STRUCT__TGID);
}

/* Kernel threads act for somebody else. */
static __always_inline bool is_kernel_thread(u64 task)
{
	return FIELD(u32, task, TASK_STRUCT__FLAGS) & PF_KTHREAD;
}

static __always_inline struct process_id id_of(u64 leader)
{
	struct process_id id = {};

	id.start_ns = FIELD(u64, leader, TASK_STRUCT__START_BOOTTIME);
	id.tgid = FIELD(u32, leader, TASK_STRUCT__TGID);
	return id;
}

static __always_inline u32 euid_of(u64 task)
{
	u64 cred = FIELD(u64, task, TASK_STRUCT__CRED);

	return FIELD(u32, cred, CRED__EUID);
}

#if HOOKS
/* Up to its end: older kernels leave the rest of a longer name behind it. */
static __always_inline struct comm comm_at(u64 address)
{
	struct comm comm = {};

	read_kernel_str(comm.text, COMM_LEN, (void *)address);
	return comm;
}

static __always_inline struct comm comm_of(u64 task)
{
	return comm_at(task + TASK_STRUCT__COMM);
}
#else
/* Selects the bytes before the first zero byte, and some bits of that byte. */
static __always_inline u64 mask_before_zero(u64 chars)
{
	u64 zeros = (chars - 0x0101010101010101) & ~chars & 0x8080808080808080;

	return (zeros & -zeros) - 1;
}

/* Up to its end, as with kprobes, and without a branch for each character. */
static __always_inline struct comm comm_of(u64 task)
{
	struct comm comm __attribute__((aligned(8)));
	u64 *words = (u64 *)comm.text;
	u64 first = FIELD(u64, task, TASK_STRUCT__COMM);
	u64 second = FIELD(u64, task, TASK_STRUCT__COMM + 8);
	u64 kept = mask_before_zero(first);
	u64 goes_on = kept + 1 ? 0 : ~0ull;

	words[0] = first & kept;
	words[1] = second & mask_before_zero(second) & goes_on & ~0ull >> 8;
	return comm;
}
#endif
#endif

#endif
