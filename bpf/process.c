/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Processes: who they are, whether they are wanted, and the text that is
 * stamped on their packets. The text is made once, here, in the context of the
 * process itself, and not for each packet.
 */
#include "abi.h"
#include "kernel.h"

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

/* A text under construction lies in a map: a length in memory is any number to
 * the verifier, so that it looks at each step once and not at every history. */
struct draft {
	struct process process;
	u64 len;
};
BPF_PERCPU_ARRAY(drafts, struct draft, 1);

#define CLOCK_TICK_NS 10000000

static __always_inline void put(char *text, u64 cap, volatile u64 *len, char c)
{
	u64 at = *len & (cap - 1);

	OPAQUE(at);
	if (at < cap)
		text[at] = c;
	*len += 1;
}

/* Unrolled, the loops take seconds to compile. */
#define ROLLED _Pragma("clang loop unroll(disable)")

#define PUT(c) put(text, cap, len, c)

static __always_inline void put_number(char *text, u64 cap, volatile u64 *len,
				       u32 number)
{
	u32 divisor = 1000000000;
	bool begun = false;

	ROLLED
	for (int i = 0; i < 10; i++) {
		u32 digit = number / divisor % 10;

		begun |= digit || i == 9;
		if (begun)
			PUT('0' + digit);
		divisor /= 10;
	}
}

static __always_inline bool is_plain(u8 c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '+' && c <= ':') || c == '_' || c == '@';
}

static __always_inline void put_hex_digit(char *text, u64 cap,
					  volatile u64 *len, u8 digit)
{
	PUT(digit < 10 ? '0' + digit : 'a' - 10 + digit);
}

/* A name that holds more than letters, digits and _@+,-./: is put in quotes;
 * quotes, backslashes and all that is not printable ASCII become \xNN. */
static __always_inline void put_comm(char *text, u64 cap, volatile u64 *len,
				     const char *comm)
{
	bool quoted = !comm[0];

	ROLLED
	for (int i = 0; i < COMM_LEN; i++)
		quoted |= comm[i] && !is_plain(comm[i]);
	if (quoted)
		PUT('"');
	ROLLED
	for (int i = 0; i < COMM_LEN; i++) {
		u8 c = comm[i];

		if (!c)
			break;
		if (c == '"' || c == '\\' || c < ' ' || c > '~') {
			PUT('\\');
			PUT('x');
			put_hex_digit(text, cap, len, c >> 4);
			put_hex_digit(text, cap, len, c & 15);
		} else {
			PUT(c);
		}
	}
	if (quoted)
		PUT('"');
}

/* Up to eight characters at once: the programs have no read-only data that a
 * string could lie in. */
static __always_inline void put_word(char *text, u64 cap, volatile u64 *len,
				     u64 chars, u64 count)
{
	u64 at = *len & (cap - 1);

	OPAQUE(at);
	if (at <= cap - sizeof(chars))
		*(u64 *)(text + at) = chars;
	*len += count;
}

#define BYTE(w, i) ((u64)(i < sizeof(w) ? (w)[i] : 0) << 8 * i)
#define WORD(w)                                                                \
	put_word(text, cap, len,                                               \
		 BYTE(w, 0) | BYTE(w, 1) | BYTE(w, 2) | BYTE(w, 3) |           \
			 BYTE(w, 4) | BYTE(w, 5) | BYTE(w, 6) | BYTE(w, 7),    \
		 sizeof(w) - 1)

static __always_inline void write_label(struct draft *draft, u32 pid)
{
	char *text = draft->process.label;
	volatile u64 *len = &draft->len;
	u64 cap = LABEL_MAX;

	*len = 0;
	WORD("pid=");
	put_number(text, cap, len, pid);
	WORD(" comm=");
	put_comm(text, cap, len, draft->process.comm);
	WORD(" uid=");
	put_number(text, cap, len, draft->process.euid);
	draft->process.label_len = *len;
}

static __always_inline void write_peer(struct draft *draft, u32 pid)
{
	char *text = draft->process.peer;
	volatile u64 *len = &draft->len;
	u64 cap = PEER_MAX;

	*len = 0;
	WORD(" peer_");
	WORD("pid=");
	put_number(text, cap, len, pid);
	WORD(" peer_");
	WORD("comm=");
	put_comm(text, cap, len, draft->process.comm);
	draft->process.peer_len = *len;
}

static __always_inline bool is_wanted(const struct process_id *id, u32 euid,
				      const char *comm)
{
	u64 *start = wanted_pids.lookup((u32 *)&id->tgid);
	bool wanted = true;

	if (FILTER_PIDS)
		wanted &= start &&
			  (!*start || *start == id->start_ns / CLOCK_TICK_NS);
	if (FILTER_UIDS)
		wanted &= wanted_uids.lookup(&euid) != NULL;
	if (FILTER_COMMS)
		wanted &= wanted_comms.lookup((struct comm *)comm) != NULL;
	if (FOLLOW_CHILDREN)
		wanted |= descendants.lookup((struct process_id *)id) != NULL;
	return wanted;
}

/* Tells the engine; if the ring is full the packets are still labelled. */
static __always_inline void announce(const struct process_id *id,
				     const struct process *process)
{
	struct process_message message = {};

	message.id = *id;
	message.euid = process->euid;
	__builtin_memcpy(message.comm, process->comm, COMM_LEN);
	ring.ringbuf_output(&message, sizeof(message), 0);
}

/* Records the process as it is now. */
static __always_inline void describe(struct process_id *id, u32 euid,
				     const struct comm *comm)
{
	u32 zero = 0;
	struct draft *draft = drafts.lookup(&zero);
	struct process *process;

	if (!draft)
		return;
	process = &draft->process;
	__builtin_memset(process, 0, sizeof(*process));
	process->euid = euid;
	__builtin_memcpy(process->comm, comm->text, COMM_LEN - 1);
	process->wanted = is_wanted(id, euid, process->comm);
	write_label(draft, id->tgid);
	write_peer(draft, id->tgid);
	processes.update(id, process);
	announce(id, process);
}
