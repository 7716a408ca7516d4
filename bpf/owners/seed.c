/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The sockets that are open, used or not: an iterator over the open files
 * of all tasks, in all namespaces (bpf_iter__task_file, Linux 5.8). Reading it
 * once from user space runs it over all files.
 */

struct task_struct;
struct file;
struct seq_file;

/* struct bpf_iter__task_file */
#define ITERATOR__TASK 8
#define ITERATOR__FILE 24

#if HAS_SOCK_FROM_FILE
/* bpf_sock_from_file, Linux 5.11; not in the headers of bcc 0.26. */
static void *(*sock_from_file)(void *file) = (void *)162;

static __always_inline u64 socket_of(u64 file)
{
	return (u64)sock_from_file((void *)file);
}

static __always_inline u64 sk_of(u64 socket)
{
	return LOAD_U64(socket, SOCKET__SK);
}

static __always_inline u16 family_of(u64 sk)
{
	return LOAD_U16(sk, SOCK_COMMON__SKC_FAMILY);
}

static __always_inline u8 state_of(u64 sk)
{
	return LOAD_U8(sk, SOCK_COMMON__SKC_STATE);
}
#else
static __always_inline u64 socket_of(u64 file)
{
	if (LOAD_U64(file, FILE__F_OP) != SOCKET_FILE_OPS)
		return 0;
	return LOAD_U64(file, FILE__PRIVATE_DATA);
}

static __always_inline u64 sk_of(u64 socket)
{
	return READ(u64, socket, SOCKET__SK);
}

static __always_inline u16 family_of(u64 sk)
{
	return READ(u16, sk, SOCK_COMMON__SKC_FAMILY);
}

static __always_inline u8 state_of(u64 sk)
{
	return READ(u8, sk, SOCK_COMMON__SKC_STATE);
}
#endif

int bpf_iter__task_file(u64 *ctx)
{
	u64 task = LOAD_U64(ctx, ITERATOR__TASK);
	u64 file = LOAD_U64(ctx, ITERATOR__FILE);
	u64 leader, socket, sk;
	struct owner found = {};
	u32 zero = 0, *round = seed_round.lookup(&zero);
	u16 family;

	if (!task || !file || !round)
		return 0;
	socket = socket_of(file);
	if (!socket)
		return 0;
	sk = sk_of(socket);
	if (!sk)
		return 0;
	family = family_of(sk);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	leader = LOAD_U64(task, TASK_STRUCT__GROUP_LEADER);
	found.process = id_of_leader(leader);
	found.seeded = *round;
	keep_known(&found.process, leader, SEEDING);
	seed(sk, &found, state_of(sk));
	return 0;
}
