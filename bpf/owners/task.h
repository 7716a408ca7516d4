/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a kernel's task tells of its process: to probes, for which addresses are
 * numbers, and where the verifier knows the pointer's type.
 */
#ifndef TCCAP_TASK_H
#define TCCAP_TASK_H

static __always_inline struct process_id id_of(u64 leader)
{
	struct process_id id = {};

	id.start_ns = READ(u64, leader, TASK_STRUCT__START_BOOTTIME);
	id.tgid = READ(u32, leader, TASK_STRUCT__TGID);
	return id;
}

/* Up to its end: older kernels leave the rest of a longer name behind it. */
static __always_inline struct comm comm_at(u64 address)
{
	struct comm comm = {};

	bpf_probe_read_kernel_str(comm.text, COMM_LEN, (void *)address);
	return comm;
}

static __always_inline u32 euid_of(u64 task)
{
	u64 cred = READ(u64, task, TASK_STRUCT__CRED);

	return READ(u32, cred, CRED__EUID);
}

/* All bits below the first byte that is zero, and some of that byte. */
static __always_inline u64 up_to_zero(u64 chars)
{
	u64 zeros = (chars - 0x0101010101010101) & ~chars & 0x8080808080808080;

	return (zeros & -zeros) - 1;
}

/* Up to its end, as comm_at(), and without a branch for each character. */
static __always_inline struct comm comm_of_task(u64 task)
{
	struct comm comm __attribute__((aligned(8)));
	u64 *words = (u64 *)comm.text;
	u64 first = LOAD_U64(task, TASK_STRUCT__COMM);
	u64 second = LOAD_U64(task, TASK_STRUCT__COMM + 8);
	u64 kept = up_to_zero(first);
	u64 goes_on = kept + 1 ? 0 : ~0ull;

	words[0] = first & kept;
	words[1] = second & up_to_zero(second) & goes_on & ~0ull >> 8;
	return comm;
}

static __always_inline struct process_id id_of_leader(u64 leader)
{
	struct process_id id = {};

	id.start_ns = LOAD_U64(leader, TASK_STRUCT__START_BOOTTIME);
	id.tgid = LOAD_U32(leader, TASK_STRUCT__TGID);
	return id;
}

static __always_inline u32 euid_of_task(u64 task)
{
	u64 cred = LOAD_U64(task, TASK_STRUCT__CRED);

	return LOAD_U32(cred, CRED__EUID);
}

#endif
