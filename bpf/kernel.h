/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Reading kernel structures at offsets that BTF told (src/tccap/bpf/btf.py defines
 * STRUCT__MEMBER for each), and what both the hooks and the classifier use.
 */
#ifndef TCCAP_KERNEL_H
#define TCCAP_KERNEL_H

#include <linux/ptrace.h>

#define AF_INET 2
#define AF_INET6 10
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_TIME_WAIT 6
#define TCP_CLOSE 7
#define TCP_CLOSE_WAIT 8
#define TCP_LISTEN 10
#define TCP_NEW_SYN_RECV 12
#define PF_KTHREAD 0x00200000

/* Hides where a value came from. Without it the compiler checks the bounds of
 * one copy of a value and uses another, and the verifier refuses the program.
 * For the same reason lengths are u64: a u32 is compared by way of a shifted
 * copy. */
#define OPAQUE(x) asm volatile("" : "+r"(x))

/* Is a length, a u64 variable, 1 .. max, and so that older verifiers see it?
 * They learn nothing from a comparison with zero for inequality. */
#define IS_LENGTH(len, max)                                                    \
	({                                                                     \
		bool positive_;                                                \
		OPAQUE(len);                                                   \
		positive_ = (s64)(len) > 0;                                    \
		OPAQUE(len);                                                   \
		positive_ && (len) <= (max);                                   \
	})

/* A pointer moved on by a length, a u64 of at most max; else NULL. Both are in
 * registers of their own, so that the verifier, which forgets what it knows of a
 * length when that is put by on the stack, sees the very copy that was checked. */
#define ADVANCE(pointer, len, max)                                             \
	({                                                                     \
		u64 len_ = (len);                                              \
		u8 *moved_ = NULL;                                             \
		OPAQUE(len_);                                                  \
		if (len_ <= (max)) {                                           \
			moved_ = (u8 *)(pointer) + len_;                       \
			OPAQUE(moved_);                                        \
		}                                                              \
		moved_;                                                        \
	})

/* The value of a type at an offset from a kernel address; 0 if unreadable. */
#define READ(type, address, offset)                                            \
	({                                                                     \
		type value_ = 0;                                               \
		bpf_probe_read_kernel(&value_, sizeof(value_),                 \
				      (void *)((address) + (offset)));         \
		value_;                                                        \
	})

/* The same through a pointer that the verifier knows (BTF), without
 * bpf_probe_read_kernel: this works on kernels that are locked down, too. */
#define LOAD(type, size, base, offset)                                         \
	({                                                                     \
		u64 value_;                                                    \
		asm volatile("%0 = *(" size " *)(%1 + %2)"                     \
			     : "=r"(value_)                                    \
			     : "r"(base), "i"(offset));                        \
		(type)value_;                                                  \
	})
#define LOAD_U8(base, offset) LOAD(u8, "u8", base, offset)
#define LOAD_U16(base, offset) LOAD(u16, "u16", base, offset)
#define LOAD_U32(base, offset) LOAD(u32, "u32", base, offset)
#define LOAD_U64(base, offset) LOAD(u64, "u64", base, offset)

#endif
