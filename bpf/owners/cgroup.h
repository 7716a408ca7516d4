/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The cgroup of a process, which says its container, pod and unit. Programs know it by
 * its number, from the first moment on; the engine turns its path into names
 * (src/tccap/owners/cgroups.py).
 */
#ifndef TCCAP_CGROUP_H
#define TCCAP_CGROUP_H

#include "abi.h"
#include "kernel.h"

BPF_HASH(cgroup_labels, u64, struct cgroup_label, CGROUPS);
BPF_RINGBUF_OUTPUT(cgroup_events, CGROUP_EVENT_PAGES);

#if KERNEL_OFFSETS && HAS_CGROUPS
static __always_inline u64 number_of_cgroup(u64 cgroup)
{
	return FIELD(u64, FIELD(u64, cgroup, CGROUP__KN), KERNFS_NODE__ID);
}

/* The cgroup that a task is in; 0: unknown. */
static __always_inline u64 cgroup_of(u64 task)
{
	u64 set = FIELD(u64, task, TASK_STRUCT__CGROUPS);
#if CGROUP_SUBSYS < 0
	return number_of_cgroup(FIELD(u64, set, CSS_SET__DFL_CGRP));
#else
	u64 state = FIELD(u64, set, CSS_SET__SUBSYS + 8 * CGROUP_SUBSYS);

	return number_of_cgroup(FIELD(u64, state, CGROUP_SUBSYS_STATE__CGROUP));
#endif
}
#else
static __always_inline u64 cgroup_of(u64 task)
{
	return 0;
}
#endif

/* Reports a cgroup to the engine; `path` is an address in the kernel, or 0. Returns false
 * if the ring is full: a process in the cgroup has it reported again. */
static __always_inline bool report_cgroup(u64 number, u64 path)
{
	struct cgroup_event *event = cgroup_events.ringbuf_reserve(sizeof(*event));

	if (!event)
		return false;
	event->id = number;
	event->path[0] = 0;
#if HOOKS || READS_KERNEL
	if (path)
		read_kernel_str(event->path, CGROUP_PATH_MAX, (void *)path);
#endif
	cgroup_events.ringbuf_submit(event, 0);
	return true;
}

static __always_inline void report_unknown_cgroup(u64 number)
{
	if (number && !cgroup_labels.lookup(&number))
		report_cgroup(number, 0);
}

#endif
