/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * From a packet to the processes at its two ends.
 *
 * What leaves carries its socket (skb->sk). For what arrives the kernel's own
 * demultiplexer is asked which socket will get it (bpf_skc_lookup_tcp,
 * bpf_sk_lookup_udp), which knows wildcards, dual stack, SO_REUSEPORT and
 * namespaces. The rest is remembered from packets seen before: ICMP echo by its
 * identifier, later fragments by the first, and connections whose socket is
 * gone (owner.c).
 */

#define OWN_NAMESPACE (-1)

/* Addresses of this host: {namespace id, family, address}. A socket that is
 * bound to no address takes packets for these only. */
struct local_address {
	s32 namespace_id;
	u32 family;
	u8 address[16];
};
BPF_HASH(local_addresses, struct local_address, u32, 16384);

/* The one that was found last: stages.c says until when it is good. */
struct recent_address {
	struct local_address address;
	u64 version; /* of the tables */
};
BPF_PERCPU_ARRAY(recent_addresses, struct recent_address, 1);

/* Who sent an ICMP echo request, until the reply comes. */
struct echo {
	u8 remote[16];
	u32 echo_id;
	s32 namespace_id;
};
BPF_TABLE("lru_hash", struct echo, struct owner, echoes, 8192);

/* Who sent, or gets, the later fragments of a datagram. */
struct fragments {
	u8 source[16];
	u8 destination[16];
	u32 id;
	s32 namespace_id;
	u32 sent;
};
BPF_TABLE("lru_hash", struct fragments, struct owner, fragmented, 8192);

/* A pointer to a socket is no number to the verifier of older kernels; written
 * to a map and read back it is one. */
BPF_PERCPU_ARRAY(addresses_of_sockets, u64, 1);

static __always_inline u64 address_of(void *sk)
{
	u32 zero = 0;
	volatile u64 *slot = addresses_of_sockets.lookup(&zero);

	if (!slot)
		return 0;
	*slot = (u64)sk;
	return *slot;
}

/* A process at one end of a packet. */
struct party {
	struct process *process; /* NULL: not known */
	/* Whether it is known, as a number: the compiler joins tests of two
	 * pointers into one of (a | b), which the verifier refuses. */
	u64 known;
	struct process_id id;
	u32 tid;
};

/* What is found out about one end of a packet. It lies in a map, where the verifier
 * takes each field for any number: all the ways of finding it end in one state, from
 * where its process is looked up. */
struct end {
	u64 version; /* of the tables, when the frame came */
	u32 found;
	u32 tid;
	struct process_id id; /* tgid 0: not known */
	/* Its socket, unlike one that is closing, cannot be without a process: who
	 * has ended has left it to somebody who has not used it yet. */
	u32 left_if_dead;
	u32 fragmented; /* to be remembered for the later fragments */
	s32 namespace_id;
	u32 state; /* of its socket */
#if !HOOKS
	struct held held;
#endif
};
struct ends {
	struct end sender;
	struct end receiver;
};
BPF_PERCPU_ARRAY(ends_of_packets, struct ends, 1);

static __always_inline void take(struct end *end, const struct owner *owner)
{
	end->found = 1;
	end->id = owner->process;
	end->tid = owner->tid;
}

static __always_inline void count_process_shortage(void)
{
	u32 zero = 0;
	struct shortages *short_of = shortages.lookup(&zero);

	if (short_of)
		short_of->processes++;
}

/* Whether the process may look different by now, or cannot be the one. */
static __always_inline bool is_unsure(const struct end *end,
				      const struct process *process)
{
	return (!HOOKS && process->outdated) || (end->left_if_dead && process->dead);
}

static __always_inline void resolve(struct party *party, struct end *end, u32 which,
				    u64 version)
{
	struct process *process = NULL;
#if !HOOKS
	struct owner *owner = owner_held(&end->held, end->state, which, version, &process);

	if (owner)
		take(end, owner);
#endif
	party->id = end->id;
	party->tid = end->tid;
	if (!party->id.tgid)
		return;
	if (!process)
		process = known_process(&party->id, which, version);
	if (!process) {
		count_process_shortage();
		return;
	}
	if (is_unsure(end, process))
		return;
	party->process = process;
	party->known = 1;
	OPAQUE(party->known);
}

#if !HOOKS
static __always_inline void take_held(struct end *end, const struct held *known, u32 state)
{
	end->found = 1;
	end->held = *known;
	end->state = state;
}
#endif

static __always_inline void find_owner(struct end *end, struct bpf_sock *sk, u32 state)
{
#if HOOKS
	u64 key = address_of(sk);
	struct owner *owner = state == TCP_TIME_WAIT ? timewaits.lookup(&key)
						     : owners.lookup(&key);

	if (owner && !owner->doubtful)
		take(end, owner);
#else
	struct held *known = held.sk_storage_get(sk, 0, 0);

	if (known)
		take_held(end, known, state);
#endif
}

static __always_inline void find_user(struct end *end, struct bpf_sock *sk,
				      u32 protocol)
{
	u32 state = sk->state;

	/* A connection that is not established yet is the listener's. */
	if (state == TCP_NEW_SYN_RECV) {
		sk = bpf_get_listener_sock(sk);
		state = TCP_LISTEN;
	}
	if (sk)
		find_owner(end, sk, state);
	if (end->found)
		end->left_if_dead = protocol != IPPROTO_TCP || state == TCP_LISTEN;
}

static __always_inline bool same_address(const struct local_address *a,
					 const struct local_address *b)
{
	const u64 *one = (const u64 *)a, *other = (const u64 *)b;

	return one[0] == other[0] && one[1] == other[1] && one[2] == other[2];
}

static __always_inline bool is_listed(struct local_address *address, u64 version)
{
	u32 zero = 0;
	struct recent_address *recent = recent_addresses.lookup(&zero);

	if (!recent)
		return false;
	if (recent->version == version && same_address(&recent->address, address))
		return true;
	if (!local_addresses.lookup(address))
		return false;
	recent->address = *address;
	recent->version = version;
	return true;
}

static __always_inline bool is_own_address(const u8 *address, u32 family, s32 ns,
					   u64 version)
{
	struct local_address key __attribute__((aligned(8))) = { .namespace_id = ns,
								 .family = family };

	if (family == AF_INET) {
		/* Loopback, multicast and broadcast concern every host. */
		if (address[0] == 127 || address[0] >= 224)
			return true;
	} else if (address[0] == 0xff) {
		return true;
	}
	__builtin_memcpy(key.address, address, 16);
	return is_listed(&key, version);
}

static __always_inline bool is_wildcard(struct bpf_sock *sk, u32 family)
{
	if (family == AF_INET)
		return !sk->src_ip4;
	return !(sk->src_ip6[0] | sk->src_ip6[1] | sk->src_ip6[2] |
		 sk->src_ip6[3]);
}

/* A socket that is bound to no address takes what is sent to this host only. */
static __always_inline bool may_take(struct bpf_sock *sk, const struct packet *packet,
				     s32 ns, u64 version)
{
	return !is_wildcard(sk, packet->family) ||
	       is_own_address(packet->destination, packet->family, ns, version);
}

/* Turns a packet round: what was sent is looked up as if it came back. */
static __always_inline struct packet reversed(const struct packet *packet)
{
	struct packet back = *packet;

	__builtin_memcpy(back.source, packet->destination, 16);
	__builtin_memcpy(back.destination, packet->source, 16);
	back.source_port = packet->destination_port;
	back.destination_port = packet->source_port;
	return back;
}

static __always_inline u32 write_tuple(struct bpf_sock_tuple *tuple,
				       const struct packet *packet)
{
	if (packet->family == AF_INET) {
		tuple->ipv4.saddr = *(u32 *)packet->source;
		tuple->ipv4.daddr = *(u32 *)packet->destination;
		tuple->ipv4.sport = packet->source_port;
		tuple->ipv4.dport = packet->destination_port;
		return sizeof(tuple->ipv4);
	}
	__builtin_memcpy(tuple->ipv6.saddr, packet->source, 16);
	__builtin_memcpy(tuple->ipv6.daddr, packet->destination, 16);
	tuple->ipv6.sport = packet->source_port;
	tuple->ipv6.dport = packet->destination_port;
	return sizeof(tuple->ipv6);
}

static __always_inline void find_closed(struct end *end,
					const struct packet *packet)
{
	struct flow flow = { .family = packet->family };
	struct owner *owner;

	__builtin_memcpy(flow.local, packet->destination, 16);
	__builtin_memcpy(flow.remote, packet->source, 16);
	flow.local_port = packet->destination_port;
	flow.remote_port = packet->source_port;
	owner = closed.lookup(&flow);
	if (owner)
		take(end, owner);
}

/* A segment for a listening socket that does not ask for a connection is none of its:
 * it belongs to a connection that is gone, or to another host or container, to which
 * the kernel will send it (address translation). */
static __always_inline bool is_stray(struct __sk_buff *skb, struct bpf_sock *sk,
				     const struct packet *packet, s32 ns)
{
	u8 flags = 0;

	if (ns != OWN_NAMESPACE || sk->state != TCP_LISTEN)
		return false;
	if (packet->about_inner)
		return true;
	bpf_skb_load_bytes(skb, packet->transport_at + TCP_FLAGS_AT, &flags, 1);
	return !(flags & TCP_FLAG_SYN);
}

/* Whose socket in the namespace gets the packet? */
static __always_inline void find_by_socket(struct __sk_buff *skb, struct end *end,
					   const struct packet *packet, s32 ns)
{
	struct bpf_sock_tuple tuple = {};
	u32 len = write_tuple(&tuple, packet);
	struct bpf_sock *sk;
	bool open = false;

	if (packet->protocol == IPPROTO_TCP) {
		sk = bpf_skc_lookup_tcp(skb, &tuple, len, (u32)ns, 0);
		if (sk) {
			bool stray = is_stray(skb, sk, packet, ns);

			/* One whose owner is in doubt. */
			open = !HOOKS && !stray && sk->state != TCP_TIME_WAIT;
			if (!stray && may_take(sk, packet, ns, end->version))
				find_user(end, sk, packet->protocol);
			bpf_sk_release(sk);
		}
		if (!end->found && !open && ns == OWN_NAMESPACE)
			find_closed(end, packet);
	} else if (packet->protocol == IPPROTO_UDP) {
		sk = bpf_sk_lookup_udp(skb, &tuple, len, (u32)ns, 0);
		if (sk) {
			if (may_take(sk, packet, ns, end->version))
				find_user(end, sk, packet->protocol);
			bpf_sk_release(sk);
		}
	}
}

/* Whose echo request does this answer? */
static __always_inline void find_pinger(struct end *end,
					const struct packet *packet, s32 ns)
{
	struct echo key = { .echo_id = packet->echo_id, .namespace_id = ns };
	struct owner *owner;

	__builtin_memcpy(key.remote, packet->source, 16);
	owner = echoes.lookup(&key);
	if (owner)
		take(end, owner);
}

/* Identifiers come round again: also that nobody is known is remembered. */
static __always_inline void remember_pinger(const struct party *party,
					    const struct packet *packet, s32 ns)
{
	struct echo key = { .echo_id = packet->echo_id, .namespace_id = ns };
	struct owner owner = { .process = party->id, .tid = party->tid };

	__builtin_memcpy(key.remote, packet->destination, 16);
	if (party->process)
		echoes.update(&key, &owner);
	else
		echoes.delete(&key);
}

static __always_inline struct fragments fragments_key(const struct packet *packet,
						      s32 ns, u32 sent)
{
	struct fragments key = {
		.id = packet->fragment_id, .namespace_id = ns, .sent = sent
	};

	__builtin_memcpy(key.source, packet->source, 16);
	__builtin_memcpy(key.destination, packet->destination, 16);
	return key;
}

static __always_inline void find_by_first_fragment(struct end *end,
						   const struct packet *packet,
						   s32 ns, u32 sent)
{
	struct fragments key = fragments_key(packet, ns, sent);
	struct owner *first = fragmented.lookup(&key);

	if (first)
		take(end, first);
}

static __always_inline void remember_fragment(const struct party *party,
					      const struct end *end,
					      const struct packet *packet, u32 sent)
{
	struct fragments key = fragments_key(packet, end->namespace_id, sent);
	struct owner whole = { .process = party->id, .tid = party->tid };

	if (party->process)
		fragmented.update(&key, &whole);
	else
		fragmented.delete(&key);
}

/* Whose socket in the namespace gets the packet, or whose request it answers? */
static __always_inline void find_receiver(struct __sk_buff *skb, struct end *end,
					  const struct packet *packet, s32 ns)
{
	if (packet->later_fragment) {
		find_by_first_fragment(end, packet, ns, 0);
		return;
	}
	end->fragmented = packet->fragmented;
	end->namespace_id = ns;
	if (packet->echo_id)
		find_pinger(end, packet, ns);
	else
		find_by_socket(skb, end, packet, ns);
}

/* Finds who sent a packet that does not carry its socket: the kernel's own
 * answers on a connection carry another one or none, and what comes out of a
 * container has lost it. */
static __always_inline void find_sender(struct __sk_buff *skb,
					const struct device *device, bool outbound,
					struct end *end,
					const struct packet *packet)
{
	bool from_container = !outbound && device->far_namespace >= 0;
	bool own_tcp = packet->protocol == IPPROTO_TCP &&
		       (outbound || device->is_loopback);
	s32 ns = from_container ? device->far_namespace : OWN_NAMESPACE;
	struct packet answer;

	if (packet->about_inner || packet->echo_id)
		return;
	if (!from_container && !own_tcp)
		return;
	if (packet->later_fragment) {
		find_by_first_fragment(end, packet, ns, 1);
		return;
	}
	end->fragmented = packet->fragmented;
	end->namespace_id = ns;
	answer = reversed(packet);
	find_by_socket(skb, end, &answer, ns);
}

/* The process words of a capture filter: true for either end of a packet. */
static __always_inline bool has_pid(const struct party *sender,
				    const struct party *receiver, u32 pid)
{
	return (sender->known && sender->id.tgid == pid) ||
	       (receiver->known && receiver->id.tgid == pid);
}

static __always_inline bool has_uid(const struct party *sender,
				    const struct party *receiver, u32 uid)
{
	return (sender->process && sender->process->euid == uid) ||
	       (receiver->process && receiver->process->euid == uid);
}

static __always_inline bool is_named(const struct process *process, u64 first,
				     u64 second)
{
	const u64 *comm = (const u64 *)process->comm;

	return comm[0] == first && comm[1] == second;
}

static __always_inline bool has_comm(const struct party *sender,
				     const struct party *receiver, u64 first,
				     u64 second)
{
	return (sender->process && is_named(sender->process, first, second)) ||
	       (receiver->process && is_named(receiver->process, first, second));
}

#if CALLERS
/* Who sends a packet uses its socket, and may be another one than did before. */
static __always_inline void find_caller(struct end *sender, struct bpf_sock *sk,
					const struct device *device,
					const struct packet *packet)
{
	struct held *known = note_caller(&sender->held, sk, device, packet);

	if (!known)
		return;
	take_held(sender, known, sk->state);
	sender->left_if_dead = packet->protocol != IPPROTO_TCP;
}
#endif

/* Finds who is at the two ends of a packet. */
static __always_inline void find_ends(struct __sk_buff *skb,
				      const struct device *device, bool outbound,
				      bool parsed, const struct packet *packet,
				      struct ends *ends)
{
	bool arrives_here = !outbound || device->is_loopback;
	struct bpf_sock *sk = outbound ? skb->sk : NULL;

	if (sk)
		find_user(&ends->sender, sk, packet->protocol);
#if CALLERS
	if (sk)
		find_caller(&ends->sender, sk, device, packet);
#endif
	if (!parsed)
		return;
	if (!ends->sender.found)
		find_sender(skb, device, outbound, &ends->sender, packet);
	if (!packet->echo_request && (arrives_here || device->far_namespace >= 0))
		find_receiver(skb, &ends->receiver, packet,
			      arrives_here ? OWN_NAMESPACE : device->far_namespace);
}

/* Finds the processes at the two ends of a packet, which parse() has read, or
 * could not. */
static __always_inline void find_parties(struct __sk_buff *skb,
					 const struct passage *passage,
					 bool parsed, const struct packet *packet,
					 struct party *sender,
					 struct party *receiver)
{
	u32 zero = 0;
	struct ends *ends = ends_of_packets.lookup(&zero);
	u64 version;

	if (!ends)
		return;
	__builtin_memset(ends, 0, sizeof(*ends));
	ends->sender.version = ends->receiver.version = passage->version;
	find_ends(skb, &passage->device, passage->direction == EPB_OUTBOUND, parsed,
		  packet, ends);
	/* A process may have changed before it used a socket, which has been seen. */
	version = tables_version();
	resolve(sender, &ends->sender, SENDER, version);
	resolve(receiver, &ends->receiver, RECEIVER, version);
	if (!parsed)
		return;
	if (packet->echo_request)
		remember_pinger(sender, packet, OWN_NAMESPACE);
	if (ends->sender.fragmented)
		remember_fragment(sender, &ends->sender, packet, 1);
	if (ends->receiver.fragmented)
		remember_fragment(receiver, &ends->receiver, packet, 0);
}
