/* The types that bcc's own headers use; names and widths as in the kernel. */
#ifndef TCCAP_STUB_TYPES_H
#define TCCAP_STUB_TYPES_H

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;

typedef __s8 s8;
typedef __u8 u8;
typedef __s16 s16;
typedef __u16 u16;
typedef __s32 s32;
typedef __u32 u32;
typedef __s64 s64;
typedef __u64 u64;

typedef __u16 __be16, __le16, __sum16;
typedef __u32 __be32, __le32, __wsum;
typedef __u64 __be64, __le64;
typedef __u64 __aligned_u64 __attribute__((aligned(8)));

typedef _Bool bool;
enum { false, true };

typedef unsigned long size_t;
typedef unsigned long uintptr_t;
typedef long loff_t;
typedef int pid_t;

#define NULL ((void *)0)
#define TASK_COMM_LEN 16
#define __user
#define __inline inline
/* nodebug: describing inlined variables takes an eighth of the compiler's time,
 * and nobody reads it; the types of maps, which the kernel wants, stay. */
#define __always_inline inline __attribute__((always_inline, nodebug))

#endif
