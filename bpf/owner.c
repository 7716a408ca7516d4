/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which process uses which socket.
 *
 * The key is the address of the kernel's struct sock, so that one mechanism
 * serves every protocol, address family and network namespace: hooks.c writes
 * it down where a process uses a socket, seed.c for the sockets that were there
 * before, and lookup.c finds the very same address for a packet.
 *
 * Without kprobes nobody would tell that a socket is gone and its address is
 * another one's, so then the owner is kept in the socket itself (sk_storage)
 * and seed.c runs again and again.
 */

BPF_HASH(owners, u64, struct owner, SOCKETS);

/* Connections whose socket is gone, for packets that were still on their way:
 * those of this network namespace, by their addresses and ports. */
struct flow {
	u8 local[16]; /* IPv4: the first four bytes */
	u8 remote[16];
	__be16 local_port;
	__be16 remote_port;
	u32 family;
};
BPF_TABLE("lru_hash", struct flow, struct owner, closed, SOCKETS);

BPF_SK_STORAGE(polled, struct owner);

static __always_inline void count_socket_shortage(void)
{
	u32 zero = 0;
	struct shortages *short_of = shortages.lookup(&zero);

	if (short_of)
		short_of->sockets++;
}

static __always_inline void own(u64 sk, struct owner *owner)
{
	if (owners.update(&sk, owner))
		count_socket_shortage();
}

static __always_inline bool same_process(const struct process_id *a,
					 const struct process_id *b)
{
	return a->tgid == b->tgid && a->start_ns == b->start_ns;
}
