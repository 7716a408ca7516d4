/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The ring: finished packet blocks, one behind the other without gaps, in memory that the
 * carrier maps (src/tccap/stream/ring.py reads it). Each block is built where it stays,
 * and any number of them is written to the stream at once.
 *
 * A position counts all bytes since the capture began. The memory is made of chunks,
 * because Linux 5.10 takes no map value of more than 4 MiB. The byte at a position is in
 * chunk position / RING_CHUNK_LEN, counted round, at the remainder of that division. A
 * block that begins in a chunk ends there, too: behind its RING_CHUNK_LEN bytes there is
 * space for the longest block. Each chunk gets the memory that was released last: while
 * the carrier keeps up, all is in a few chunks, which stay in the processors' caches.
 *
 * A block is unfinished until it is written. The carrier takes what is before the first
 * unfinished block. So it must not see the new end of the ring before the block's mark, nor
 * the mark taken back before the block's bytes. x86 makes the writes of a processor
 * visible in their order; for others there is WEAK_ORDER.
 */
#ifndef TCCAP_RING_H
#define TCCAP_RING_H

#include "abi.h"
#include "options.h"
#include "verifier.h"

struct ring_chunk {
	u8 data[RING_CHUNK_LEN_MAX + BLOCK_MAX];
};
BPF_F_TABLE("array", u32, struct ring_chunk, ring_chunks, SIZED_LATER, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct ring_control, ring_control, 1, BPF_F_MMAPABLE);

/* In a map of its own: a map with a lock cannot be mapped, nor be used by programs at
 * kprobes and tracepoints. */
struct ring_lock {
	struct bpf_spin_lock lock;
};
BPF_ARRAY(ring_lock, struct ring_lock, 1);

/* Lets others see the writes before it before those in the next locked section: what is
 * written before a lock is released is seen by who takes it next. BPF has no cheaper
 * barrier before Linux 6.16. */
static __always_inline void order_writes(struct ring_lock *lock)
{
	asm volatile("" : : : "memory");
	if (WEAK_ORDER) {
		bpf_spin_lock(&lock->lock);
		bpf_spin_unlock(&lock->lock);
	}
}

/* The position behind all blocks that have begun. */
static __always_inline u64 ring_end(void)
{
	u32 zero = 0;
	struct ring_control *control = ring_control.lookup(&zero);

	return control ? *(volatile u64 *)&control->end : 0;
}

/* The place of a block in the ring. */
struct slot {
	u64 position;
	u8 *at;
	struct unfinished *unfinished;
	struct ring_lock *lock;
	bool wakes; /* the carrier sleeps until there is this block */
};

/* The number, in memory, of a chunk. */
static __always_inline u64 chunk_memory(const struct ring_control *control, u64 chunk)
{
	chunk &= RING_CHUNKS - 1;
	return chunk ^ control->moved[chunk];
}

/* Gives the chunk that comes next the memory of the one released last, which is the one
 * before `first`, where the carrier reads. */
static __always_inline void place_chunk(struct ring_control *control, u64 next,
					u64 first)
{
	u64 released = first - 1, own = chunk_memory(control, next);

	if (next - first >= RING_CHUNKS) /* it is the rest of the first one */
		return;
	next &= RING_CHUNKS - 1;
	control->moved[next] = next ^ chunk_memory(control, released);
	released &= RING_CHUNKS - 1;
	control->moved[released] = released ^ own;
}

/* Takes `len` bytes for a block. */
static __always_inline bool take_place(struct slot *slot, struct ring_control *control,
				       u64 len)
{
	u64 position, end, released;
	bool fits;

	if (WEAK_ORDER) /* its place, or one before it */
		slot->unfinished->position = *(volatile u64 *)&control->end + 1;
	order_writes(slot->lock);
	bpf_spin_lock(&slot->lock->lock);
	position = control->end;
	end = position + len;
	released = *(volatile u64 *)&control->released;
	fits = end - released <= RING_LEN;
	if (fits) {
		slot->unfinished->position = position + 1;
		if (position / RING_GRANULE_LEN != end / RING_GRANULE_LEN)
			control->starts[end / RING_GRANULE_LEN &
					(RING_LEN / RING_GRANULE_LEN - 1)] = end;
		if (position >> RING_CHUNK_SHIFT != end >> RING_CHUNK_SHIFT)
			place_chunk(control, end >> RING_CHUNK_SHIFT,
				    released >> RING_CHUNK_SHIFT);
		asm volatile("" : : : "memory");
		*(volatile u64 *)&control->end = end;
		/* The carrier may see the new end some nanoseconds after this look, and
		 * fall asleep in between: it looks again after a while. An atomic
		 * operation instead would cost each packet more than that. */
		slot->wakes = end > *(volatile u64 *)&control->wakes_at;
		if (slot->wakes)
			control->wakes_at = ~0ull;
	}
	bpf_spin_unlock(&slot->lock->lock);
	slot->position = position;
	if (WEAK_ORDER && !fits)
		slot->unfinished->position = 0;
	return fits;
}

/* Begins a block; returns false if there is no room for it. */
static __always_inline bool begin_block(struct slot *slot, u64 len)
{
	u32 zero = 0, number;
	u64 cpu = bpf_get_smp_processor_id();
	struct ring_control *control = ring_control.lookup(&zero);
	struct ring_lock *lock = ring_lock.lookup(&zero);
	struct ring_chunk *chunk;

	OPAQUE(cpu);
	if (!control || !lock || cpu >= CPUS)
		return false;
	slot->unfinished = &control->unfinished[cpu];
	slot->lock = lock;
	if (!take_place(slot, control, len))
		return false;
	number = chunk_memory(control, slot->position >> RING_CHUNK_SHIFT);
	chunk = ring_chunks.lookup(&number);
	if (!chunk) /* never: the number is below that of the chunks */
		return false;
	slot->at = chunk->data + (slot->position & (RING_CHUNK_LEN - 1));
	return true;
}

/* Lets the carrier have the block. */
static __always_inline void finish_block(struct slot *slot)
{
	order_writes(slot->lock);
	if (WEAK_ORDER)
		bpf_spin_lock(&slot->lock->lock);
	*(volatile u64 *)&slot->unfinished->position = 0;
	if (WEAK_ORDER)
		bpf_spin_unlock(&slot->lock->lock);
}

#endif
