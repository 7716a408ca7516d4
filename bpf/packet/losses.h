/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Lost packets, until a block of their interface reports them (epb_dropcount). They are
 * counted over all CPUs: the sender may never send from the same one again.
 *
 * Linux 5.10 has no atomic exchange for BPF programs. So the block that reports takes an
 * entry in a hash table meanwhile: adding one with BPF_NOEXIST succeeds on one CPU only.
 */
#ifndef TCCAP_LOSSES_H
#define TCCAP_LOSSES_H

#include "abi.h"

struct losses {
	u64 dropped;
	u64 reported; /* of these; written by the CPU that reports */
};
BPF_ARRAY(losses, struct losses, INTERFACES);
BPF_HASH(reporters, u32, u32, CPUS); /* interfaces whose losses a CPU reports */

struct loss_report {
	struct losses *losses;
	u32 interface_id;
	bool is_mine; /* the entry in `reporters` */
	u64 count;    /* for this block */
};

static __always_inline void begin_report(struct loss_report *report, u32 interface_id)
{
	struct losses *losses = report->losses;
	u32 one = 1;

	report->interface_id = interface_id;
	if (losses->dropped == losses->reported)
		return;
	if (reporters.insert(&report->interface_id, &one))
		return; /* another CPU reports them */
	report->is_mine = true;
	report->count = losses->dropped - losses->reported;
}

/* Counts the block as reported, or as lost, too. */
static __always_inline void end_report(struct loss_report *report, bool stored)
{
	if (!stored)
		__sync_fetch_and_add(&report->losses->dropped, 1);
	if (!report->is_mine)
		return;
	if (stored)
		report->losses->reported += report->count;
	reporters.delete(&report->interface_id);
}

#endif
