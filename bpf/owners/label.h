/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The text of a label, "pid=1 comm=init uid=0" (src/tccap/owners/label.py says how
 * values are quoted).
 */
#ifndef TCCAP_LABEL_H
#define TCCAP_LABEL_H

#include "abi.h"
#include "verifier.h"

/* A label under construction is kept in a map: the verifier takes a length in memory
 * for any number, so it checks each step once instead of once for every history. */
struct label_draft {
	struct process_id id;
	struct process process;
	u64 len;
	u64 pid_end; /* in the label */
	u64 comm_end;
};

/* Appends up to eight characters; the next call overwrites the rest of the eight bytes.
 * There are no loops and no strings: older kernels refuse the loops that the compiler
 * makes ("back-edge from insn"), and the programs have no read-only data. */
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
#define PUT_WORD(w)                                                          \
	put(text, cap, len,                                                  \
	    BYTE(w, 0) | BYTE(w, 1) | BYTE(w, 2) | BYTE(w, 3) | BYTE(w, 4) | \
		    BYTE(w, 5) | BYTE(w, 6) | BYTE(w, 7),                    \
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

/* Appends a name. One with other characters than letters, digits and _@+,-./: is
 * quoted; in it, quotes, backslashes and everything but printable ASCII become \xNN. */
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

/* Appends a part of another text, rounded up to words; the next call overwrites the
 * excess. */
static __always_inline void put_part(char *text, u64 cap, volatile u64 *len,
				     const char *from, u64 from_cap, u64 start, u64 end,
				     u32 words)
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

/* Space for the longest pid and comm with their keys, in words of eight bytes. */
#define PID_WORDS 2
#define COMM_WORDS 9

/* Writes both texts of a process: the label, "pid=1 comm=init uid=0", and, copied from
 * it, "peer_pid=1 peer_comm=init". */
static __always_inline void write_texts(struct label_draft *draft, u32 pid)
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
	PUT_WORD("peer_");
	put_part(text, cap, len, process->label, LABEL_MAX, 0, draft->pid_end,
		 PID_WORDS);
	PUT_WORD(" peer_");
	put_part(text, cap, len, process->label, LABEL_MAX, draft->pid_end + 1,
		 draft->comm_end, COMM_WORDS);
	process->peer_len = *len;
	put(text, cap, len, 0, 0);
}

#endif
