/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The probes in TLS libraries: each hit is a secret of a connection.
 *
 * A table has a row for each probe, which says where the secret is when the probe is
 * hit (site.h). Kernels before 5.15 do not tell a program which probe was hit, so each
 * row has a copy of a small program, and one does the work. Another thread may run on
 * this CPU between the two, so what they share is kept by thread.
 */
#include "abi.h"
#include "kernel.h"
#include "messages.h"
#include "options.h"
#include "owners/process_filter.h"
#include "owners/task.h"
#include "tls/site.h"
#include "verifier.h"

/* For each call of these helpers by name, bcc reads /proc/kallsyms to see whether the
 * kernel has them: a quarter of the compile time. */
static int (*read_user)(void *to, u32 len,
			const void *from) = (void *)BPF_FUNC_probe_read_user;
static int (*read_user_str)(void *to, u32 len,
			    const void *from) = (void *)BPF_FUNC_probe_read_user_str;

BPF_ARRAY(tls_sites, struct tls_site, TLS_SLOTS);
BPF_HASH(tls_labels, struct tls_label_place, struct tls_label, TLS_LABELS_MAX);

#if defined(__aarch64__)
#define REGISTERS 32
#else
#define REGISTERS 16
#endif

/* Kept in a map: registers on the stack could not be indexed by a variable. */
struct tls_hit {
	u64 slot;
	u64 instruction; /* its address */
	u64 registers[REGISTERS];
};
BPF_HASH(tls_hits, u64, struct tls_hit, 1024);

static __always_inline u64 follow(const struct tls_hit *hit,
				  const struct tls_path *path)
{
	u64 value = hit->registers[path->reg & (REGISTERS - 1)];

#pragma unroll
	for (int i = 0; i < DEREFERENCES_MAX; i++) {
		u64 next = 0;

		if (i < path->dereferences) {
			read_user(&next, sizeof(next),
				  (void *)(value + path->offsets[i]));
			value = next;
		}
	}
	return value + path->last;
}

static __always_inline u64 number(const struct tls_hit *hit,
				  const struct tls_number *number)
{
	u64 value, found = 0;

	if (!number->width)
		return number->constant;
	value = follow(hit, &number->path);
	if (!number->constant) {
		read_user(&found, sizeof(found), (void *)value);
		value = found;
	}
	return number->width == 4 ? (u32)value : value;
}

/* The label of the file at a distance, or of a number; or NULL. The program may not have
 * touched its page yet, and then nobody can read it here. */
static __always_inline const struct tls_label *known_label(const struct tls_hit *hit,
							   u64 distance)
{
	struct tls_label_place place = {};

	place.slot = hit->slot;
	place.distance = distance;
	return tls_labels.lookup(&place);
}

/* Writes the label; the zero bytes behind it stay. */
static __always_inline void read_label(const struct tls_hit *hit,
				       const struct tls_site *site, char *label)
{
	u64 at = follow(hit, &site->label);
	u64 len = 0, distance = at - hit->instruction;
	const struct tls_label *known;

	if (site->label_kind >= LABEL_IS_COUNTED)
		len = number(hit, &site->label_len);
	if (site->label_kind == LABEL_IS_NUMBERED) {
		distance = len;
		len = 0;
	}
	known = known_label(hit, distance);
	if (site->label_kind == LABEL_IS_CONSTANT)
		__builtin_memcpy(label, site->constant_label, TLS_LABEL_MAX);
	else if (known && (!len || len == known->len))
		__builtin_memcpy(label, known->text, TLS_LABEL_MAX);
	else if (site->label_kind == LABEL_ENDS_WITH_NUL)
		read_user_str(label, TLS_LABEL_MAX, (void *)at);
	else if (IS_LENGTH(len, TLS_LABEL_MAX - 1))
		read_user(label, len, (void *)at);
}

/* Whether all user ids are the user's. Secrets of set-user-ID processes are never
 * read. */
static __always_inline bool has_only_ids_of_user(u64 cred)
{
	return FIELD(u32, cred, CRED__UID) == TLS_USER &&
	       FIELD(u32, cred, CRED__EUID) == TLS_USER &&
	       FIELD(u32, cred, CRED__SUID) == TLS_USER &&
	       FIELD(u32, cred, CRED__FSUID) == TLS_USER;
}

static __always_inline bool has_only_group_of_user(u64 cred)
{
	return FIELD(u32, cred, CRED__GID) == TLS_GROUP &&
	       FIELD(u32, cred, CRED__EGID) == TLS_GROUP &&
	       FIELD(u32, cred, CRED__SGID) == TLS_GROUP &&
	       FIELD(u32, cred, CRED__FSGID) == TLS_GROUP;
}

/* In task_exec_state.dumpable, or in the low bits of mm_struct.flags
 * (include/linux/sched/coredump.h). */
#define SUID_DUMP_USER 1
#define MMF_DUMPABLE_MASK 3

static __always_inline bool is_dumpable(u64 task)
{
#if defined(TASK_STRUCT__EXEC_STATE)
	u64 state = FIELD(u64, task, TASK_STRUCT__EXEC_STATE);

	return FIELD(u32, state, TASK_EXEC_STATE__DUMPABLE) == SUID_DUMP_USER;
#elif defined(MM_STRUCT__FLAGS)
	u64 mm = FIELD(u64, task, TASK_STRUCT__MM);
	u64 flags = FIELD(u64, mm, MM_STRUCT__FLAGS);

	return (flags & MMF_DUMPABLE_MASK) == SUID_DUMP_USER;
#else
	return false;
#endif
}

#define NAMESPACES_MAX 4

/* Whether the namespace is in a child of the user's namespace that the user made. */
static __always_inline bool is_namespace_of_user(u64 namespace)
{
#pragma unroll
	for (int i = 0; i < NAMESPACES_MAX; i++) {
		u64 parent = FIELD(u64, namespace, USER_NAMESPACE__PARENT);

		if (FIELD(u32, parent, USER_NAMESPACE__NS__INUM) == TLS_USER_NAMESPACE)
			return FIELD(u32, namespace, USER_NAMESPACE__OWNER) == TLS_USER;
		namespace = parent;
	}
	return false;
}

/* Whether the process has no capability that its user lacks. In a user namespace that
 * the user has made it may have any (cap_ptrace_access_check). */
static __always_inline bool is_in_reach(u64 cred)
{
	u64 namespace = FIELD(u64, cred, CRED__USER_NS);

	if (FIELD(u32, namespace, USER_NAMESPACE__NS__INUM) == TLS_USER_NAMESPACE)
		return !FIELD(u32, cred, CRED__CAP_PERMITTED) &&
		       !FIELD(u32, cred, CRED__CAP_PERMITTED + 4);
	return is_namespace_of_user(namespace);
}

/* Whether the process is the user's own: by its user ids and, unless the user may read
 * everybody's secrets, by the rule of ptrace(2) (__ptrace_may_access, kernel/ptrace.c). */
static __always_inline bool is_own(u64 task)
{
	u64 cred = FIELD(u64, task, TASK_STRUCT__CRED);

	if (!has_only_ids_of_user(cred))
		return false;
	return !TLS_PTRACE_RULE ||
	       (has_only_group_of_user(cred) && is_dumpable(task) && is_in_reach(cred));
}

static __always_inline bool is_traced(void)
{
	struct process_id id;
	struct comm comm;
	u64 leader;

	if (!TLS_ANY_USER && !is_own(CURRENT_TASK()))
		return false;
	if (!FILTER_PROCESSES)
		return true;
	leader = leader_of(CURRENT_TASK());
	id = id_of(leader);
	comm = comm_of(leader);
	return is_wanted(&id, euid_of(leader), comm.text, cgroup_of(leader));
}

/* Secrets that were lost, by the reasons of site.h. */
BPF_ARRAY(tls_lost, u64, LOST_REASONS);

static __always_inline void count_lost(u32 reason)
{
	u64 *count = tls_lost.lookup(&reason);

	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline void send_secret(const struct tls_hit *hit)
{
	u32 slot = hit->slot;
	struct tls_site *site = tls_sites.lookup(&slot);
	struct secret_message message = {};
	u64 len;

	if (!site)
		return;
	len = number(hit, &site->secret_len);
	if (!IS_LENGTH(len, TLS_SECRET_MAX))
		return;
	message.site_kind = site->kind;
	message.secret_len = len;
	if (read_user(message.secret, len, (void *)follow(hit, &site->secret)) ||
	    read_user(message.client_random, TLS_RANDOM_LEN,
		      (void *)follow(hit, &site->client_random))) {
		count_lost(LOST_UNREADABLE);
		return;
	}
	read_label(hit, site, message.label);
	message.pid = bpf_get_current_pid_tgid() >> 32;
	message.kind = MESSAGE_SECRET;
	if (send_message(&message.head, sizeof(message)))
		count_lost(LOST_RING_FULL);
}

/* Passes the row of tls_sites from a slot's program to on_secret, by thread. */
BPF_HASH(tls_slots, u64, u32, 1024);

static __always_inline void read_registers(const struct pt_regs *ctx, u64 *to)
{
#if defined(__aarch64__)
#pragma unroll
	for (int i = 0; i < 31; i++)
		to[i] = ctx->regs[i];
	to[31] = ctx->sp;
#else
	to[0] = ctx->ax;
	to[1] = ctx->bx;
	to[2] = ctx->cx;
	to[3] = ctx->dx;
	to[4] = ctx->si;
	to[5] = ctx->di;
	to[6] = ctx->bp;
	to[7] = ctx->sp;
	to[8] = ctx->r8;
	to[9] = ctx->r9;
	to[10] = ctx->r10;
	to[11] = ctx->r11;
	to[12] = ctx->r12;
	to[13] = ctx->r13;
	to[14] = ctx->r14;
	to[15] = ctx->r15;
#endif
}

int on_secret(struct pt_regs *ctx)
{
	u64 thread = bpf_get_current_pid_tgid();
	u32 *slot = tls_slots.lookup(&thread);
	struct tls_hit hit = {}, *kept;

	if (slot)
		hit.slot = *slot;
	hit.instruction = PT_REGS_IP(ctx);
	tls_slots.delete(&thread);
	if (!is_traced())
		return 0;
	if (!slot) {
		count_lost(LOST_TABLE_FULL);
		return 0;
	}
	read_registers(ctx, hit.registers);
	tls_hits.update(&thread, &hit);
	kept = tls_hits.lookup(&thread);
	if (kept)
		send_secret(kept);
	else
		count_lost(LOST_TABLE_FULL);
	tls_hits.delete(&thread);
	return 0;
}

BPF_PROG_ARRAY(secret_tail, 1);

/* Each probe has a copy of its own. */
int tls_slot(struct pt_regs *ctx)
{
	u64 thread = bpf_get_current_pid_tgid();
	u32 slot = TLS_SLOT;

	tls_slots.update(&thread, &slot);
	secret_tail.call(ctx, 0);
	return 0;
}

BPF_RINGBUF_OUTPUT(new_programs, NEW_PROGRAM_PAGES);

/* sched_process_exec(task, ...): for the engine (src/tccap/tls/newprograms.py). If the
 * ring is full, the process is seen later. */
int on_new_program(u64 *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;

	if (is_traced())
		new_programs.ringbuf_output(&pid, sizeof(pid), 0);
	return 0;
}
