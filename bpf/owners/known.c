/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Having processes recorded as they are at the moment.
 */
#include "owners/task.h"

static __always_inline bool looks_like(const struct process *process, u32 euid,
				       const struct comm *comm)
{
	const u64 *a = (const u64 *)process->comm, *b = (const u64 *)comm->text;

	return process->euid == euid && a[0] == b[0] && a[1] == b[1];
}

static __always_inline void keep_known(struct process_id *id, u64 leader, u32 place)
{
	struct process *process = processes.lookup(id);
	struct comm comm = comm_of_task(leader);
	u32 euid = euid_of_task(leader);
	struct draft *draft = drafts.lookup(&place);

	if (!draft || (process && !process->outdated &&
		       looks_like(process, euid, &comm)))
		return;
	begin_draft(draft, id, euid, &comm);
	if (HOOKS) {
		describe(draft);
		return;
	}
	note(draft, id);
	/* Programs at tracepoints may be interrupted by another task's since Linux 7.0:
	 * what it left in the draft is not known of this process. */
	if (!same_process(&draft->id, id) || !looks_like(&draft->process, euid, &comm))
		processes.delete(id);
}
