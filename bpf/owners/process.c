/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Processes: who they are, whether they are wanted, and the text that is
 * stamped on their packets. The text is made once, here, in the context of the
 * process itself, and not for each packet.
 */
BPF_RINGBUF_OUTPUT(ring, RING_PAGES);
BPF_TABLE("lru_hash", struct process_id, struct process, processes, PROCESSES);
BPF_PERCPU_ARRAY(shortages, struct shortages, 1);

/* The process filter: pids with their start in clock ticks (0: any), effective
 * uids, names, and the processes that descend from wanted ones. */
BPF_HASH(wanted_pids, u32, u64, 1024);
BPF_HASH(wanted_uids, u32, u32, 1024);
struct comm {
	char text[COMM_LEN];
};
BPF_HASH(wanted_comms, struct comm, u32, 1024);
BPF_TABLE("lru_hash", struct process_id, u32, descendants, PROCESSES);
BPF_TABLE("lru_hash", u32, u64, old_descendants, PROCESSES); /* as wanted_pids */

/* A text under construction lies in a map: a length in memory is any number to
 * the verifier, so that it looks at each step once and not at every history. */
struct draft {
	struct process_id id;
	struct process process;
	u64 len;
	u64 pid_end;  /* in the label */
	u64 comm_end;
};
/* One for the hooks, and one for each of those that may come in between: the
 * iterator over files, and the classifiers. */
BPF_PERCPU_ARRAY(drafts, struct draft, 3);
#define SEEDING 1
#define CLASSIFYING 2

#define CLOCK_TICK_NS 10000000

/* Up to eight characters at once; the rest of the eight bytes is overwritten by
 * what follows. The programs have no read-only data that a string could lie in,
 * and older kernels refuse the shape that the compiler gives to loops ("back-edge
 * from insn"), so all of this is straight code. */
static __always_inline void put(char *text, u64 cap, volatile u64 *len, u64 chars,
				u64 count)
{
	u64 at = *len & (cap - 1);

	OPAQUE(at);
	if (at <= cap - sizeof(chars))
		*(u64 *)(text + at) = chars;
	*len += count;
}

#define BYTE(w, i) ((u64)(i < sizeof(w) ? (w)[i] : 0) << 8 * i)
#define PUT_WORD(w)                                                            \
	put(text, cap, len,                                                    \
	    BYTE(w, 0) | BYTE(w, 1) | BYTE(w, 2) | BYTE(w, 3) | BYTE(w, 4) |   \
		    BYTE(w, 5) | BYTE(w, 6) | BYTE(w, 7),                      \
	    sizeof(w) - 1)

static __always_inline void put_number(char *text, u64 cap, volatile u64 *len,
				       u32 number)
{
	const u32 divisors[] = { 1000000000, 100000000, 10000000, 1000000, 100000,
				 10000,	     1000,	100,	  10,	   1 };

#pragma unroll
	for (int i = 0; i < 10; i++)
		put(text, cap, len, '0' + number / divisors[i] % 10,
		    number >= divisors[i] || i == 9);
}

static __always_inline bool is_plain(u8 c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '+' && c <= ':') || c == '_' || c == '@';
}

static __always_inline u64 hex_digit(u8 digit)
{
	return digit + (digit < 10 ? '0' : 'a' - 10);
}

/* A name that holds more than letters, digits and _@+,-./: is put in quotes;
 * quotes, backslashes and all that is not printable ASCII become \xNN. */
static __always_inline void put_comm(char *text, u64 cap, volatile u64 *len,
				     const char *comm)
{
	bool quoted = !comm[0];

#pragma unroll
	for (int i = 0; i < COMM_LEN - 1; i++)
		quoted |= comm[i] && !is_plain(comm[i]);
	put(text, cap, len, '"', quoted);
#pragma unroll
	for (int i = 0; i < COMM_LEN - 1; i++) {
		u8 c = comm[i];
		bool escaped = c == '"' || c == '\\' || c < ' ' || c > '~';
		u64 code = '\\' | 'x' << 8 | hex_digit(c >> 4) << 16 |
			   hex_digit(c & 15) << 24;

		put(text, cap, len, escaped ? code : c, !c ? 0 : escaped ? 4 : 1);
	}
	put(text, cap, len, '"', quoted);
}

/* Copies part of a text; what is copied too much is overwritten. */
static __always_inline void put_part(char *text, u64 cap, volatile u64 *len,
				     const char *from, u64 from_cap, u64 start,
				     u64 end, u32 words)
{
#pragma unroll
	for (u32 i = 0; i < words; i++) {
		u64 at = (start + i * 8) & (from_cap - 1);

		OPAQUE(at);
		if (at <= from_cap - 8)
			put(text, cap, len, *(u64 *)(from + at), 8);
	}
	*len -= words * 8 - (end - start);
}

/* Room for the longest pid and comm with their keys, in words of eight bytes. */
#define PID_WORDS 2
#define COMM_WORDS 9

/* Writes both texts: "pid=1 comm=init uid=0", and, out of the parts of the
 * first, " peer_pid=1 peer_comm=init". */
static __always_inline void write_texts(struct draft *draft, u32 pid)
{
	struct process *process = &draft->process;
	volatile u64 *len = &draft->len;
	char *text = process->label;
	u64 cap = LABEL_MAX;

	*len = 0;
	PUT_WORD("pid=");
	put_number(text, cap, len, pid);
	draft->pid_end = *len;
	PUT_WORD(" comm=");
	put_comm(text, cap, len, process->comm);
	draft->comm_end = *len;
	PUT_WORD(" uid=");
	put_number(text, cap, len, process->euid);
	process->label_len = *len;
	put(text, cap, len, 0, 0);

	text = process->peer;
	cap = PEER_MAX;
	*len = 0;
	PUT_WORD(" peer_");
	put_part(text, cap, len, process->label, LABEL_MAX, 0, draft->pid_end,
		 PID_WORDS);
	PUT_WORD(" peer_");
	put_part(text, cap, len, process->label, LABEL_MAX, draft->pid_end + 1,
		 draft->comm_end, COMM_WORDS);
	process->peer_len = *len;
	put(text, cap, len, 0, 0);
}

static __always_inline bool is_wanted(const struct process_id *id, u32 euid,
				      const char *comm)
{
	u64 ticks = id->start_ns / CLOCK_TICK_NS;
	u64 *start = wanted_pids.lookup((u32 *)&id->tgid);
	bool wanted = true;

	if (FILTER_PIDS)
		wanted &= start && (!*start || *start == ticks);
	if (FILTER_UIDS)
		wanted &= wanted_uids.lookup(&euid) != NULL;
	if (FILTER_COMMS)
		wanted &= wanted_comms.lookup((struct comm *)comm) != NULL;
	if (FOLLOW_CHILDREN) {
		start = old_descendants.lookup((u32 *)&id->tgid);
		wanted |= start && *start == ticks;
		wanted |= descendants.lookup((struct process_id *)id) != NULL;
	}
	return wanted;
}

/* Tells the engine; if the ring is full the packets are still labelled. */
static __always_inline void announce(const struct process_id *id,
				     const struct process *process)
{
	struct process_message message = {};

	message.id = *id;
	message.euid = process->euid;
	message.version = process->version;
	__builtin_memcpy(message.comm, process->comm, COMM_LEN);
	ring.ringbuf_output(&message, sizeof(message), 0);
}

static __always_inline void complete(struct draft *draft)
{
	struct process *process = &draft->process;
	struct process *known = processes.lookup(&draft->id);

	process->block_number = 0;
	process->version = known ? known->version + 1 : 0;
	process->dead = known ? known->dead : 0;
	process->forked = known ? known->forked : 0;
	process->outdated = 0;
	process->wanted = is_wanted(&draft->id, process->euid, process->comm);
}

/* Records the process that the draft names, with its euid and comm. */
static __always_inline void describe(struct draft *draft)
{
	struct process_id id = draft->id;

	complete(draft);
	write_texts(draft, id.tgid);
	processes.update(&id, &draft->process);
	tables_changed();
	announce(&id, &draft->process);
}

/* The same, but the texts are left to whoever needs them first. */
static __always_inline void note(struct draft *draft, struct process_id *id)
{
	complete(draft);
	draft->process.label_len = 0;
	processes.update(id, &draft->process);
	tables_changed();
}

static __always_inline void begin_draft(struct draft *draft,
					const struct process_id *id, u32 euid,
					const struct comm *comm)
{
	draft->id = *id;
	draft->process.euid = euid;
	__builtin_memcpy(draft->process.comm, comm->text, COMM_LEN);
}
