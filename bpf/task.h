/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a kernel's task tells of its process, for probes.
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

#endif
