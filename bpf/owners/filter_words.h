/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the process words of a capture filter compare.
 */
#ifndef TCCAP_FILTER_WORDS_H
#define TCCAP_FILTER_WORDS_H

#include "owners/endpoint.h"
#include "packet/frame.h"

#define UNKNOWN (~0ULL)

static __always_inline void describe_process(struct filter_input *input, u32 which,
					     const struct endpoint *endpoint)
{
	const struct process *process = endpoint->process;

	input->pids[which] = endpoint->known ? endpoint->id.tgid : UNKNOWN;
	input->uids[which] = UNKNOWN;
	/* No name: the last byte of one is 0. */
	input->comms[which][0] = input->comms[which][1] = UNKNOWN;
	input->cgroups[which] = 0;
	if (!process)
		return;
	input->uids[which] = process->euid;
	input->comms[which][0] = ((const u64 *)process->comm)[0];
	input->comms[which][1] = ((const u64 *)process->comm)[1];
	input->cgroups[which] = cached_cgroup(process)->matches;
}

#endif
