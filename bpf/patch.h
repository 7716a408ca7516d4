/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Places that get their content when a program is loaded (src/tccap/bpf/patch.py), so
 * that the compiler need not run again: numbers, which the verifier knows, and
 * functions, written in instructions.
 *
 *   PATCHED_NUMBER(key)                   the number; what it makes impossible is dropped.
 *                                         Each use loads it anew: where it is spilled to
 *                                         the stack, old verifiers forget it
 *   PATCHED_FUNCTION(name, key, argument) declares u64 name(argument)
 */
#ifndef TCCAP_PATCH_H
#define TCCAP_PATCH_H

#define PATCHED_NUMBER(key)                                         \
	({                                                          \
		u64 number_;                                        \
		asm volatile("%0 = %1 ll"                           \
			     : "=r"(number_)                        \
			     : "i"(0x7cca7cca00000000ULL | (key))); \
		number_;                                            \
	})

/* For the compiler it is one of the kernel's helpers. */
#define PATCHED_FUNCTION(name, key, argument) \
	static u64 (*name)(argument) = (void *)(0x7cca0000 | (key))

/* Keys of functions; src/tccap/filter/capturefilter.py has the same. */
#define PACKET_FILTER 1 /* called before the processes of a packet are known */
#define WHOLE_FILTER 2	/* called afterwards */

#endif
