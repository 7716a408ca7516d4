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

/* Deletes the record that was made from a draft if it may not be right. The process may
 * have changed before the record was there, which is what on_new_identity looks for. And
 * since Linux 7.0 programs may be interrupted by those of another task, which may have
 * left its own process in the draft. */
static __always_inline void forget_if_changed(struct process_id *id, u64 leader,
					      const struct label_draft *draft)
{
	struct comm comm = comm_of(leader);

	if (!same_process(&draft->id, id) ||
	    !looks_like(&draft->process, euid_of(leader), &comm, cgroup_of(leader)))
		processes.delete(id);
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
	if (HOOKS)
		record_process(draft);
	else
		record_unlabelled(draft, id);
	forget_if_changed(id, leader, draft);
}
#endif

#endif
