/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The sockets that were there before the hooks: an iterator over the open files
 * of all tasks, in all namespaces (bpf_iter__task_file, Linux 5.8). Reading it
 * once from user space runs it over all files.
 *
 * Everything is read through pointers that the verifier knows, without
 * bpf_probe_read_kernel: this works on kernels that are locked down, too.
 */

struct task_struct;
struct file;
struct seq_file;

/* struct bpf_iter__task_file */
#define ITERATOR__TASK 8
#define ITERATOR__FILE 24

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

/* Counts the runs; what an earlier run found is out of date. */
BPF_ARRAY(seed_round, u32, 1);

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

/* Up to its end, as comm_at(), and without a branch for each character. */
static __always_inline struct comm comm_of_task(u64 task)
{
	struct comm comm = {};
	u64 c, goes_on = 1;

#pragma unroll
	for (int i = 0; i < COMM_LEN - 1; i++) {
		c = LOAD_U8(task, TASK_STRUCT__COMM + i);
		goes_on &= -c >> 63; /* 0 from the first zero on */
		OPAQUE(goes_on);
		comm.text[i] = c * goes_on;
	}
	return comm;
}

static __always_inline struct process_id id_of_leader(u64 leader)
{
	struct process_id id = {};

	id.start_ns = LOAD_U64(leader, TASK_STRUCT__START_BOOTTIME);
	id.tgid = LOAD_U32(leader, TASK_STRUCT__TGID);
	return id;
}

static __always_inline u32 euid_of_task(u64 task)
{
	u64 cred = LOAD_U64(task, TASK_STRUCT__CRED);

	return LOAD_U32(cred, CRED__EUID);
}

static __always_inline bool looks_like(const struct process *process, u32 euid,
				       const struct comm *comm)
{
	const u64 *a = (const u64 *)process->comm, *b = (const u64 *)comm->text;

	return process->euid == euid && a[0] == b[0] && a[1] == b[1];
}

static __always_inline void keep_described(struct process_id *id, u64 leader)
{
	struct process *process = processes.lookup(id);
	struct comm comm = comm_of_task(leader);
	u32 euid = euid_of_task(leader), zero = 0;
	struct draft *draft = drafts.lookup(&zero);

	if (!draft || (process && looks_like(process, euid, &comm)))
		return;
	begin_draft(draft, id, euid, &comm);
	describe(draft);
}

/* Several processes may have the same socket open. A listening one is the
 * eldest's, from whom the others have it; of another one it is not known who
 * uses it until somebody does. */
static __always_inline void settle(struct owner *known, const struct owner *found,
				   u64 state)
{
	if (same_process(&known->process, &found->process))
		return;
	if (state != TCP_LISTEN)
		known->doubtful = 1;
	else if (found->process.start_ns < known->process.start_ns)
		known->process = found->process;
}

static __always_inline void seed(u64 sk, struct owner *found, u64 state)
{
	struct owner *known;

	if (HOOKS) {
		known = owners.lookup(&sk);
		if (!known)
			own(sk, found);
		else if (known->seeded == found->seeded)
			settle(known, found, state);
		return;
	}
	known = polled.sk_storage_get((void *)sk, found, BPF_SK_STORAGE_GET_F_CREATE);
	if (!known)
		return;
	if (known->seeded == found->seeded)
		settle(known, found, state);
	else
		*known = *found;
}

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
	keep_described(&found.process, leader);
	seed(sk, &found, state_of(sk));
	return 0;
}
