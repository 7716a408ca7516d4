/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * How many times a process may have got a socket of another one, by a fork or as a
 * message, where there are no kprobes.
 */
#ifndef TCCAP_HAND_ONS_H
#define TCCAP_HAND_ONS_H

#if !HOOKS
BPF_ARRAY(hand_on_count, u32, 1);

static __always_inline u32 hand_ons(void)
{
	u32 zero = 0, *count = hand_on_count.lookup(&zero);

	return count ? *(volatile u32 *)count : 0;
}

/* Counts one more, and returns its number, or that of another one at the same time. */
static __always_inline u32 count_hand_on(void)
{
	u32 zero = 0, *count = hand_on_count.lookup(&zero), number;

	if (!count)
		return 0;
	number = *count + 1;
	__sync_fetch_and_add(count, 1); /* not for its result: that takes BPF v3 */
	return number;
}
#else
static __always_inline u32 hand_ons(void)
{
	return 0; /* hooks see who closes a socket */
}
#endif

#endif
