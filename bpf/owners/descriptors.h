/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The descriptors of the current process.
 */
#ifndef TCCAP_DESCRIPTORS_H
#define TCCAP_DESCRIPTORS_H

#include "abi.h"
#include "kernel.h"

#if KERNEL_OFFSETS && (HOOKS || READS_KERNEL)
/* So many of a process's first descriptors are looked at; no table is smaller. */
#define FIRST_DESCRIPTORS 32

/* Whether the current process has a file under one of its first descriptors. */
static __always_inline bool still_has(u64 file)
{
	u64 opened = READ(u64, CURRENT_TASK(), TASK_STRUCT__FILES);
	u64 table = READ(u64, opened, FILES_STRUCT__FDT);
	u64 files = READ(u64, table, FDTABLE__FD);
	bool found = false;

#pragma unroll
	for (u32 i = 0; i < FIRST_DESCRIPTORS; i++)
		found |= READ(u64, files, 8 * i) == file;
	return found;
}

#define NO_DESCRIPTOR (~0u)

/* Under which descriptor the current process has a file: one of its first, or of those around
 * the next one that it will get, if that is among them. */
static __always_inline u32 descriptor_of(u64 file)
{
	u64 opened = READ(u64, CURRENT_TASK(), TASK_STRUCT__FILES);
	u64 table = READ(u64, opened, FILES_STRUCT__FDT);
	u64 files = READ(u64, table, FDTABLE__FD);
	u32 next = READ(u32, opened, FILES_STRUCT__NEXT_FD);
	u32 from = next > FIRST_DESCRIPTORS ? next - FIRST_DESCRIPTORS : 0;

#pragma unroll
	for (u32 i = 0; i < FIRST_DESCRIPTORS; i++) {
		if (READ(u64, files, 8 * i) == file)
			return i;
		if (READ(u64, files, 8 * (u64)(from + i)) == file)
			return from + i;
		if (READ(u64, files, 8 * (u64)(next + i)) == file)
			return next + i;
	}
	return NO_DESCRIPTOR;
}
#endif

#endif
