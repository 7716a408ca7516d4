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
 * another one's: then held.c keeps the owner in the socket itself.
 */

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

/* The network namespace of the capture, by its inode number. It is no constant, so
 * that what was compiled serves in every namespace. */
BPF_ARRAY(own_netns, u32, 1);

static __always_inline bool is_own_netns(u32 inode)
{
	u32 zero = 0, *own = own_netns.lookup(&zero);

	return own && *own == inode;
}

/* Counts the runs of seed.c; what an earlier run found is out of date. */
BPF_ARRAY(seed_round, u32, 1);

static __always_inline void count_socket_shortage(void)
{
	u32 zero = 0;
	struct shortages *short_of = shortages.lookup(&zero);

	if (short_of)
		short_of->sockets++;
}

#if HOOKS
BPF_HASH(owners, u64, struct owner, SOCKETS);
/* Those of what is left of connections (TIME_WAIT). Nobody tells when that goes, so
 * that the oldest have to make room. */
BPF_TABLE("lru_hash", u64, struct owner, timewaits, SOCKETS);

static __always_inline void own(u64 sk, struct owner *owner)
{
	if (owners.update(&sk, owner))
		count_socket_shortage();
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

/* What a hook has written is newer. */
static __always_inline void seed(u64 sk, struct owner *found, u64 state)
{
	struct owner *known = owners.lookup(&sk);

	if (!known)
		own(sk, found);
	else if (known->seeded == found->seeded)
		settle(known, found, state);
}
#endif
