/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The ring buffer of messages for the carrier (abi.h), and what it sleeps on.
 */
#ifndef TCCAP_MESSAGES_H
#define TCCAP_MESSAGES_H

#include "abi.h"
#include "ring.h"

BPF_RINGBUF_OUTPUT(messages, SIZED_LATER);

/* Sends a message that belongs before the next block; returns 0 if there was room. */
static __always_inline int send_message(struct message_head *message, u32 len)
{
	message->position = ring_end();
	message->block_len = 0;
	return messages.ringbuf_output(message, len, 0);
}

/* Wakes the carrier up. Without room for a record, it has something to read anyway. */
static __always_inline void wake_carrier(void)
{
	void *record = messages.ringbuf_reserve(sizeof(u64));

	if (record)
		messages.ringbuf_discard(record, BPF_RB_FORCE_WAKEUP);
}

#endif
