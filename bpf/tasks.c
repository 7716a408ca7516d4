/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Processes as their task_struct tells of them, through pointers that the
 * verifier knows.
 */

/* Up to its end, as comm_at(), and without a branch for each character. */
static __always_inline struct comm comm_of_task(u64 task)
{
	struct comm comm = {};
	u64 c, goes_on = 1;

#pragma unroll
	for (int i = 0; i < COMM_LEN - 1; i++) {
		c = LOAD_U8(task, TASK_STRUCT__COMM + i);
		goes_on &= -c >> 63; /* 0 from the first zero on */
		OPAQUE(goes_on);
		comm.text[i] = c * goes_on;
	}
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

static __always_inline bool looks_like(const struct process *process, u32 euid,
				       const struct comm *comm)
{
	const u64 *a = (const u64 *)process->comm, *b = (const u64 *)comm->text;

	return process->euid == euid && a[0] == b[0] && a[1] == b[1];
}

/* Has a process recorded as it is now. */
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
	if (HOOKS)
		describe(draft);
	else
		note(draft);
}
