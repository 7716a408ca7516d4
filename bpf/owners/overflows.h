/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Counts what attribution could not record for lack of space.
 */
#ifndef TCCAP_OVERFLOWS_H
#define TCCAP_OVERFLOWS_H

#include "abi.h"

BPF_PERCPU_ARRAY(overflows, struct overflows, 1);

static __always_inline void count_socket_overflow(void)
{
	u32 zero = 0;
	struct overflows *counts = overflows.lookup(&zero);

	if (counts)
		counts->sockets++;
}

static __always_inline void count_process_overflow(void)
{
	u32 zero = 0;
	struct overflows *counts = overflows.lookup(&zero);

	if (counts)
		counts->processes++;
}

#endif
