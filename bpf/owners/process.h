/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The table of processes: identity, whether they are wanted, and the label that is
 * stamped on their packets. A label is written once per process, in the context of
 * that process, and not for each packet.
 */
#ifndef TCCAP_PROCESS_H
#define TCCAP_PROCESS_H

#include "abi.h"
#include "lookup_generation.h"
#include "messages.h"
#include "owners/cgroup.h"
#include "owners/hand_ons.h"
#include "owners/iterator_round.h"
#include "owners/label.h"
#include "owners/process_filter.h"

BPF_TABLE("lru_hash", struct process_id, struct process, processes, SIZED_LATER);

static __always_inline bool same_process(const struct process_id *a,
					 const struct process_id *b)
{
	return a->tgid == b->tgid && a->start_ns == b->start_ns;
}

/* A draft for each context that can interrupt another one. */
BPF_PERCPU_ARRAY(label_drafts, struct label_draft, 4);
#define HOOK_DRAFT 0
#define ITERATOR_DRAFT 1
#define CLASSIFIER_DRAFT 2
#define IDENTITY_DRAFT 3

/* Reports a process to the engine. Without room for the message, packets are labelled anyway. */
static __always_inline void announce(const struct process_id *id,
				     const struct process *process)
{
	struct process_message message = {};

	message.id = *id;
	message.euid = process->euid;
	message.version = process->version;
	__builtin_memcpy(message.comm, process->comm, COMM_LEN);
	send_message(&message.head, sizeof(message));
}

static __always_inline void begin_draft(struct label_draft *draft,
					const struct process_id *id, u32 euid,
					const struct comm *comm, u64 cgroup)
{
	draft->id = *id;
	draft->process.euid = euid;
	draft->process.cgroup = cgroup;
	__builtin_memcpy(draft->process.comm, comm->text, COMM_LEN);
}

/* Notes that a process has a child, which has copies of its descriptors. */
static __always_inline void set_forked(struct process *process)
{
	u32 zero = 0, *round = iterator_round.lookup(&zero);

	if (process && round) {
		process->fork_round = *round;
		process->fork_number = hand_ons();
	}
}

static __always_inline void complete_draft(struct label_draft *draft)
{
	struct process *process = &draft->process;
	struct process *known = processes.lookup(&draft->id);

	process->block_number = 0;
	process->version = known ? known->version + 1 : 0;
	process->exited = known ? known->exited : 0;
	process->fork_round = known ? known->fork_round : 0;
	process->fork_number = known ? known->fork_number : 0;
	process->stale = 0;
	process->wanted = wanted_as(&draft->id, process->euid, process->comm);
	report_unknown_cgroup(process->cgroup);
}

/* Writes the record. A fork since `forks` was read may have been noted in the record
 * before, so the process may have had a child. */
static __always_inline void store_process(struct process_id *id,
					  struct process *process, u32 forks)
{
	processes.update(id, process);
	if (hand_ons() != forks)
		set_forked(processes.lookup(id));
	invalidate_lookups();
}

/* Records the process of the draft, which has its euid, comm and cgroup. */
static __always_inline void record_process(struct label_draft *draft)
{
	struct process_id id = draft->id;
	u32 forks = hand_ons();

	complete_draft(draft);
	write_texts(draft, id.tgid);
	store_process(&id, &draft->process, forks);
	announce(&id, &draft->process);
}

/* The same without the texts: the classifier writes them when it first needs them. */
static __always_inline void record_unlabelled(struct label_draft *draft,
					      struct process_id *id)
{
	u32 forks = hand_ons();

	complete_draft(draft);
	draft->process.label_len = 0;
	store_process(id, &draft->process, forks);
}

#endif
