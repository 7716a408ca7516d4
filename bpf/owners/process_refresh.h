/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Keeps the record of a process up to date with its task.
 */
#ifndef TCCAP_PROCESS_REFRESH_H
#define TCCAP_PROCESS_REFRESH_H

#include "owners/process.h"
#include "owners/task.h"

#if KERNEL_OFFSETS
static __always_inline bool looks_like(const struct process *process, u32 euid,
				       const struct comm *comm, u64 cgroup)
{
	const u64 *a = (const u64 *)process->comm, *b = (const u64 *)comm->text;

	return process->euid == euid && process->cgroup == cgroup && a[0] == b[0] &&
	       a[1] == b[1];
}

/* Records a process unless its record is current; `place` is the draft to use. */
static __always_inline void refresh_process(struct process_id *id, u64 leader,
					    u32 place)
{
	struct process *process = processes.lookup(id);
	struct comm comm = comm_of(leader);
	u32 euid = euid_of(leader);
	u64 cgroup = cgroup_of(leader);
	struct label_draft *draft = label_drafts.lookup(&place);

	if (!draft ||
	    (process && !process->stale && looks_like(process, euid, &comm, cgroup)))
		return;
	begin_draft(draft, id, euid, &comm, cgroup);
	if (HOOKS) {
		record_process(draft);
		return;
	}
	record_unlabelled(draft, id);
	/* Since Linux 7.0 programs at tracepoints may be interrupted by those of
	 * another task, which may have left its own process in the draft. */
	if (!same_process(&draft->id, id) ||
	    !looks_like(&draft->process, euid, &comm, cgroup))
		processes.delete(id);
}
#endif

#endif
