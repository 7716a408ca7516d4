/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which process uses which socket, where there are no kprobes: kept in the
 * socket itself (sk_storage), with which it goes, and from which a connection
 * has it that is accepted.
 *
 * Two things are known. Tracepoints and the classifier see who uses a socket:
 * that is its owner until somebody else uses it. seed.c, again and again, finds
 * who has it open; that counts where nobody was seen using it, and only as long
 * as nobody else can have it.
 */

struct held {
	struct owner user;   /* tgid 0: nobody was seen using it */
	struct owner holder; /* the one found in the last round, or the eldest */
	u32 shared;	     /* in this round others were found, too */
	u32 alone;	     /* the last whole round in which it was; 0: none */
	u32 listened;	     /* the user did; others may accept connections */
	u32 euid;	     /* the user's, when that was written down: */
	u32 round;	     /* in this round, */
	u32 changes;	     /* after so many changes */
};

/* Counts when what is known of a process becomes outdated. */
BPF_ARRAY(changes, u32, 1);

/* As BPF_SK_STORAGE, which has no flags. */
struct held_table_t {
	int key;
	struct held leaf;
	void *(*sk_storage_get)(void *, void *, int);
	int (*sk_storage_delete)(void *);
	u32 flags;
};
__attribute__((section("maps/sk_storage"))) struct held_table_t held = {
	.flags = BPF_F_NO_PREALLOC | BPF_F_CLONE
};
BPF_ANNOTATE_KV_PAIR(held, int, struct held);

/* Nobody can have got a copy of the descriptor since it was seen to have none. */
static __always_inline bool is_alone(const struct held *known,
				     const struct process *process)
{
	return !known->shared &&
	       (!process->forked || known->alone > process->forked);
}

/* The listener's owner is that of a connection which was accepted, too, unless
 * other processes may accept. */
static __always_inline bool is_heir(const struct held *known, const struct process *user)
{
	if (!user || user->dead || !is_alone(known, user))
		return false;
	return !known->holder.process.tgid ||
	       same_process(&known->holder.process, &known->user.process);
}

static __always_inline bool is_sole_holder(const struct held *known,
					   const struct process *holder)
{
	return holder && known->alone && is_alone(known, holder);
}

/* The user has ended, and one other process has the socket now. */
static __always_inline bool is_handed_on(struct held *known, const struct process *user)
{
	if (!user || !user->dead || !known->alone ||
	    same_process(&known->holder.process, &known->user.process))
		return false;
	return is_sole_holder(known, processes.lookup(&known->holder.process));
}

/* Whose socket it is, in a state of TCP, and what is known of that process; NULL: not
 * known, or not for sure. */
static __always_inline struct owner *owner_held(struct held *known, u32 state, u32 end,
						struct process **process)
{
	bool inherited = known->listened && state != TCP_LISTEN;

	if (known->user.process.tgid) {
		*process = known_process(&known->user.process, end);
		if ((!inherited || is_heir(known, *process)) &&
		    !is_handed_on(known, *process))
			return &known->user;
	}
	if (known->holder.process.tgid) {
		*process = known_process(&known->holder.process, end);
		if (state == TCP_LISTEN || is_sole_holder(known, *process))
			return &known->holder;
	}
	return NULL;
}

static __always_inline struct held *held_of(void *sk)
{
	struct held *known = held.sk_storage_get(sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!known)
		count_socket_shortage();
	return known;
}

/* Of several holders of a listening socket it is the eldest's, from whom the
 * others have it. */
static __always_inline void seed(u64 sk, struct owner *found, u64 state)
{
	struct held *known = held_of((void *)sk);
	struct owner *holder;
	bool same;

	if (!known)
		return;
	holder = &known->holder;
	same = same_process(&holder->process, &found->process);
	if (holder->seeded != found->seeded) {
		known->alone = same && !known->shared ? holder->seeded : 0;
		known->shared = 0;
		*holder = *found;
	} else if (!same) {
		known->shared = 1;
		if (state == TCP_LISTEN &&
		    found->process.start_ns < holder->process.start_ns)
			holder->process = found->process;
	}
}

/* Whether all has been written down already: a process that changes its name or
 * program is counted, and each round looks at all that have a socket. */
static __always_inline bool is_noted(const struct held *known, const struct held *now)
{
	return known->user.tid == now->user.tid &&
	       same_process(&known->user.process, &now->user.process) &&
	       known->listened == now->listened && known->euid == now->euid &&
	       known->round == now->round && known->changes == now->changes;
}

/* The task uses the socket. */
static __always_inline void use(void *sk, u64 task, bool listens, u32 place)
{
	u64 leader = LOAD_U64(task, TASK_STRUCT__GROUP_LEADER);
	u32 zero = 0, *round = seed_round.lookup(&zero), *change = changes.lookup(&zero);
	struct held *known = held_of(sk);
	struct held now = {};

	if (!known || !round || !change)
		return;
	now.user.process = id_of_leader(leader);
	now.user.tid = LOAD_U32(task, TASK_STRUCT__PID);
	now.listened = listens;
	now.euid = euid_of_task(leader);
	now.round = *round;
	now.changes = *change;
	if (is_noted(known, &now))
		return;
	keep_known(&now.user.process, leader, place);
	known->user.process = now.user.process;
	known->user.tid = now.user.tid;
	known->listened = now.listened;
	known->euid = now.euid;
	known->round = now.round;
	known->changes = now.changes;
}
