/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Reading kernel structures at the offsets that BTF states (src/tccap/bpf/btf.py
 * defines STRUCT__MEMBER for each).
 */
#ifndef TCCAP_KERNEL_H
#define TCCAP_KERNEL_H

#include <linux/ptrace.h>

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_RAW 3
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_FIN_WAIT1 4
#define TCP_TIME_WAIT 6
#define TCP_CLOSE 7
#define TCP_CLOSE_WAIT 8
#define TCP_LAST_ACK 9
#define TCP_LISTEN 10
#define TCP_NEW_SYN_RECV 12
#define PF_KTHREAD 0x00200000

/* These helpers by their numbers. For each call by name, bcc looks in /proc/kallsyms
 * whether the kernel has the helper, and takes an older one, which classifiers may not
 * call, where the compiler's sandbox cannot read that file. */
static long (*read_kernel)(void *to, u32 len,
			   const void *from) = (void *)BPF_FUNC_probe_read_kernel;
static long (*read_kernel_str)(void *to, u32 len, const void *from) = (void *)
	BPF_FUNC_probe_read_kernel_str;

/* The value at an offset from a kernel address; 0 if unreadable. */
#define READ(type, address, offset)                                                   \
	({                                                                            \
		type value_ = 0;                                                      \
		read_kernel(&value_, sizeof(value_), (void *)((address) + (offset))); \
		value_;                                                               \
	})

/* The value at an offset from a pointer whose type the verifier knows: a context, or
 * a pointer described by BTF. The type is u8, u16, u32 or u64, as the assembler names
 * them, too; the offset is a constant. */
#define LOAD(type, base, offset)                            \
	({                                                  \
		u64 value_;                                 \
		asm volatile("%0 = *(" #type " *)(%1 + %2)" \
			     : "=r"(value_)                 \
			     : "r"(base), "i"(offset));     \
		(type) value_;                              \
	})

/* The member of a kernel structure at an offset, and the task that runs. In builds
 * for kprobes any address can be read. The others must also work where the kernel is
 * locked down (lockdown=confidentiality refuses bpf_probe_read_kernel): there each
 * base has been loaded from a pointer that the verifier knows. */
#if HOOKS
#define FIELD(type, base, offset) READ(type, base, offset)
#define CURRENT_TASK() bpf_get_current_task()
#else
#define FIELD(type, base, offset) LOAD(type, base, offset)
#define CURRENT_TASK() ((u64)bpf_get_current_task_btf())
#endif

/* An argument, from 0 on, of a raw tracepoint or of an iterator: `ctx` is an array. */
#define ARGUMENT(n) LOAD(u64, ctx, 8 * (n))

#endif
