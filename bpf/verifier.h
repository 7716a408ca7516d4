/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Keeps the compiler from hiding bounds checks from the verifier.
 */
#ifndef TCCAP_VERIFIER_H
#define TCCAP_VERIFIER_H

/* Hides where a value came from. Without it the compiler checks the bounds of one
 * copy of a value and uses another, and the verifier refuses the program. For the
 * same reason lengths are u64: a u32 is compared through a shifted copy. */
#define OPAQUE(x) asm volatile("" : "+r"(x))

/* Has the compiler read memory again from here on. What it keeps of before, in registers
 * and on the stack, makes paths differ for the verifier, which then follows each of them
 * through all the rest. */
#define FORGET() asm volatile("" : : : "memory")

/* Whether a length, a u64 variable, is 1 .. max. Older verifiers (Linux 5.10) learn
 * no lower bound from "!= 0", so this compares with "> 0". */
#define IS_LENGTH(len, max)                  \
	({                                   \
		bool positive_;              \
		OPAQUE(len);                 \
		positive_ = (s64)(len) > 0;  \
		OPAQUE(len);                 \
		positive_ && (len) <= (max); \
	})

/* A pointer advanced by a length, a u64; NULL if the length exceeds max. The
 * verifier forgets the bounds of a length that is spilled to the stack, so the copy
 * that is checked and the result each stay in a register. */
#define ADVANCE(pointer, len, max)                       \
	({                                               \
		u64 len_ = (len);                        \
		u8 *moved_ = NULL;                       \
		OPAQUE(len_);                            \
		if (len_ <= (max)) {                     \
			moved_ = (u8 *)(pointer) + len_; \
			OPAQUE(moved_);                  \
		}                                        \
		moved_;                                  \
	})

#endif
