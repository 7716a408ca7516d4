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
	u32 protocol;	     /* of the socket; 0: not looked at yet */
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

/* Whose socket it is, in a state of TCP, and what is known of that process; both NULL:
 * not known, or not for sure. */
static __always_inline struct owner *owner_held(struct held *known, u32 state, u32 end,
						u64 version, struct process **process)
{
	bool inherited = known->listened && state != TCP_LISTEN;

	if (known->user.process.tgid) {
		*process = known_process(&known->user.process, end, version);
		if ((!inherited || is_heir(known, *process)) &&
		    !is_handed_on(known, *process))
			return &known->user;
	}
	if (known->holder.process.tgid) {
		*process = known_process(&known->holder.process, end, version);
		if (state == TCP_LISTEN || is_sole_holder(known, *process))
			return &known->holder;
	}
	*process = NULL;
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

/* The task uses the socket. Returns what is known then, or NULL if nothing had to be
 * written down, since all is as it was: a process that changes its name or program is
 * counted, and each round looks at all that have a socket. */
static __always_inline struct held *use(void *sk, u32 protocol, u64 task, u32 listens,
					u32 place)
{
	u64 leader = LOAD_U64(task, TASK_STRUCT__GROUP_LEADER);
	u32 zero = 0, *round = seed_round.lookup(&zero), *change = changes.lookup(&zero);
	struct held *known = held_of(sk);
	struct process_id id = id_of_leader(leader);
	u32 tid = LOAD_U32(task, TASK_STRUCT__PID), euid = euid_of_task(leader);
	u32 in_round, after_changes;

	if (!known || !round || !change)
		return NULL;
	in_round = *round;
	after_changes = *change;
	if (known->user.tid == tid && same_process(&known->user.process, &id) &&
	    known->listened == listens && known->euid == euid &&
	    known->round == in_round && known->changes == after_changes &&
	    known->protocol)
		return NULL;
	keep_known(&id, leader, place);
	known->user.process = id;
	known->user.tid = tid;
	known->listened = listens;
	known->euid = euid;
	known->round = in_round;
	known->changes = after_changes;
	known->protocol = protocol;
	return known;
}
