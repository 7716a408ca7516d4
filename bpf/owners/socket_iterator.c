/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The sockets that are open, used or not: an iterator over the open files of all tasks
 * in all namespaces (bpf_iter__task_file, Linux 5.8). User space runs it over all files
 * by reading it once to its end.
 */
#include "abi.h"
#include "kernel.h"
#include "owners/iterator_round.h"
#include "owners/owner_table.h"
#include "owners/process.h"
#include "owners/process_refresh.h"
#include "owners/socket.h"
#include "owners/socket_storage.h"
#include "owners/task.h"

/* Types of the iterator's context, known to the kernel. */
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
#else
static __always_inline u64 socket_of(u64 file)
{
	if (FIELD(u64, file, FILE__F_OP) != SOCKET_FILE_OPS)
		return 0;
	return FIELD(u64, file, FILE__PRIVATE_DATA);
}
#endif

static __always_inline void record_holder(u64 sk, struct owner *found)
{
	u8 state = FIELD(u8, sk, SOCK_COMMON__SKC_STATE);

#if HOOKS
	add_to_owner_table(sk, found, state);
#else
	add_to_socket(sk, found, state);
#endif
}

int bpf_iter__task_file(u64 *ctx)
{
	u64 task = LOAD(u64, ctx, ITERATOR__TASK),
	    file = LOAD(u64, ctx, ITERATOR__FILE);
	u64 leader, socket, sk;
	struct owner found = {};
	u32 zero = 0, *round = iterator_round.lookup(&zero);

	if (!task || !file || !round)
		return 0;
	socket = socket_of(file);
	if (!socket)
		return 0;
	sk = FIELD(u64, socket, SOCKET__SK);
	if (!sk || !is_inet(sk))
		return 0;
	leader = leader_of(task);
	found.process = id_of(leader);
	found.found_in_round = *round;
	refresh_process(&found.process, leader, ITERATOR_DRAFT);
	record_holder(sk, &found);
	return 0;
}
