/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The process words of a capture filter: each is true if it is true of either endpoint.
 * The generated C of the filter calls them.
 */
#ifndef TCCAP_FILTER_WORDS_H
#define TCCAP_FILTER_WORDS_H

#include "owners/endpoint.h"

static __always_inline bool has_pid(const struct endpoint *sender,
				    const struct endpoint *receiver, u32 pid)
{
	return (sender->known && sender->id.tgid == pid) ||
	       (receiver->known && receiver->id.tgid == pid);
}

static __always_inline bool has_uid(const struct endpoint *sender,
				    const struct endpoint *receiver, u32 uid)
{
	return (sender->process && sender->process->euid == uid) ||
	       (receiver->process && receiver->process->euid == uid);
}

static __always_inline bool is_named(const struct process *process, u64 first,
				     u64 second)
{
	const u64 *comm = (const u64 *)process->comm;

	return comm[0] == first && comm[1] == second;
}

static __always_inline bool has_comm(const struct endpoint *sender,
				     const struct endpoint *receiver, u64 first,
				     u64 second)
{
	return (sender->process && is_named(sender->process, first, second)) ||
	       (receiver->process && is_named(receiver->process, first, second));
}

#endif
