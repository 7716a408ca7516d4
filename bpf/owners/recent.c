/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Processes as they were looked up last, on each CPU: stages.c says why, and until
 * when they are good. The two ends of a packet have places of their own, so that
 * neither takes the other's while it is needed.
 */

struct recent {
	struct process_id id;
	u64 version; /* of the tables */
	struct process process;
};

#define SENDER 0
#define RECEIVER 1
#define NOT_KEPT 2 /* for programs that a classifier may interrupt */
#define PLACES 8 /* for each end */
BPF_PERCPU_ARRAY(recents, struct recent, 2 * PLACES);

static __always_inline bool same_process(const struct process_id *a,
					 const struct process_id *b)
{
	return a->tgid == b->tgid && a->start_ns == b->start_ns;
}

static __always_inline void copy_process(struct process *to, const struct process *from)
{
#pragma unroll
	for (u32 i = 0; i < sizeof(*to) / 4; i++)
		((u32 *)to)[i] = ((const u32 *)from)[i];
}

/* What is known of a process, with the tables of that version; NULL: nothing. Good for
 * this packet. */
static __always_inline struct process *known_process(struct process_id *id, u32 end,
						     u64 version)
{
	u32 place = end * PLACES + id->tgid % PLACES;
	struct recent *recent = recents.lookup(&place);
	struct process *process;

	if (end == NOT_KEPT)
		return processes.lookup(id);
	if (!recent)
		return NULL;
	if (recent->version == version && same_process(&recent->id, id))
		return &recent->process;
	process = processes.lookup(id);
	if (!process)
		return NULL;
	recent->id = *id;
	recent->version = version;
	copy_process(&recent->process, process);
	/* Meanwhile the entry may have been given to another process. */
	if (processes.lookup(id) != process) {
		recent->version = 0;
		return NULL;
	}
	return &recent->process;
}
