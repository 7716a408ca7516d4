/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A cache of processes on each CPU (lookup_generation.h). The two endpoints of a packet
 * have separate slots, so that neither evicts the other while it is in use.
 */
#ifndef TCCAP_PROCESS_CACHE_H
#define TCCAP_PROCESS_CACHE_H

#include "abi.h"
#include "owners/process.h"

struct cached_process {
	struct process_id id;
	u64 generation;
	struct process process;
	struct cgroup_label cgroup;
};

#define SENDER 0
#define RECEIVER 1
#define NOT_CACHED 2 /* for programs that a classifier may interrupt */
#define SLOTS 8	     /* for each endpoint */
BPF_PERCPU_ARRAY(cached_processes, struct cached_process, 2 * SLOTS);

static __always_inline void copy_process(struct process *to, const struct process *from)
{
#pragma unroll
	for (u32 i = 0; i < sizeof(*to) / 4; i++)
		((u32 *)to)[i] = ((const u32 *)from)[i];
}

BPF_TABLE("lru_hash", struct process_id, struct completion, completions, SIZED_LATER);

static __always_inline bool is_completion_of(const struct completion *known,
					     const struct process *process)
{
	const u64 *a = (const u64 *)known->comm, *b = (const u64 *)process->comm;

	return known->version == process->version && known->euid == process->euid &&
	       a[0] == b[0] && a[1] == b[1];
}

/* Adds what the engine has written; returns false if that was replaced meanwhile. */
static __always_inline bool add_completion(struct process *process,
					   struct process_id *id)
{
	struct completion *known = completions.lookup(id);

	if (!known || !is_completion_of(known, process))
		return true;
	process->block_number = known->block_number;
	if (known->label_len) {
		process->label_len = known->label_len;
#pragma unroll
		for (u32 i = 0; i < LABEL_MAX / 8; i++)
			((u64 *)process->label)[i] = ((const u64 *)known->label)[i];
	}
	return completions.lookup(id) == known;
}

/* Most texts, with the zero bytes that pad the option, are no longer. */
#define USUAL_TEXT_LEN 48

/* Adds what is known of the cgroup; returns false if that was replaced meanwhile. */
static __always_inline bool add_cgroup(struct cgroup_label *to, u64 number)
{
	const struct cgroup_label *known = cgroup_labels.lookup(&number);

	if (!known) {
		to->matches = to->chosen = to->text_len = to->peer_len = 0;
		__builtin_memset(to->text, 0, USUAL_TEXT_LEN);
		__builtin_memset(to->peer, 0, USUAL_TEXT_LEN);
		return true;
	}
#pragma unroll
	for (u32 i = 0; i < sizeof(*to) / 8; i++)
		((u64 *)to)[i] = ((const u64 *)known)[i];
	return cgroup_labels.lookup(&number) == known;
}

/* What is known of the cgroup of a process that is in this cache. */
static __always_inline const struct cgroup_label *
cached_cgroup(const struct process *process)
{
	const u8 *cached = (const u8 *)process -
			   __builtin_offsetof(struct cached_process, process);

	return &((const struct cached_process *)cached)->cgroup;
}

static __always_inline bool is_current(const struct cached_process *cached,
				       const struct process_id *id, u64 generation)
{
	return cached->generation == generation && same_process(&cached->id, id);
}

static __always_inline struct cached_process *slot_of(const struct process_id *id,
						      u32 endpoint)
{
	u32 slot = endpoint * SLOTS + id->tgid % SLOTS;

	return cached_processes.lookup(&slot);
}

/* The record of a process, for a look at it; NULL if there is none. It is not copied, as
 * known_process() does: that is hundreds of instructions, which the verifier follows for
 * each call. */
static __always_inline const struct process *seen_process(struct process_id *id,
							  u32 endpoint, u64 generation)
{
	struct cached_process *cached;

	if (endpoint != NOT_CACHED) {
		cached = slot_of(id, endpoint);
		if (cached && is_current(cached, id, generation))
			return &cached->process;
	}
	return processes.lookup(id);
}

/* The record of a process as of a lookup generation, valid while this packet is
 * handled; NULL if there is none. */
static __always_inline struct process *known_process(struct process_id *id,
						     u32 endpoint, u64 generation)
{
	struct cached_process *cached = slot_of(id, endpoint);
	struct process *process;

	if (!cached)
		return NULL;
	if (is_current(cached, id, generation))
		return &cached->process;
	process = processes.lookup(id);
	if (!process)
		return NULL;
	cached->id = *id;
	cached->generation = generation;
	copy_process(&cached->process, process);
	/* An entry may have been reused for another process during the copy. */
	if (processes.lookup(id) != process || !add_completion(&cached->process, id) ||
	    !add_cgroup(&cached->cgroup, cached->process.cgroup)) {
		cached->generation = 0;
		return NULL;
	}
	return &cached->process;
}

#endif
