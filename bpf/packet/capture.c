/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The classifier: a frame that the capture filter takes becomes a finished Enhanced
 * Packet Block in the ring.
 *
 * A frame goes through: processes -> head -> data -> options -> ring.
 */
#define ETH_ADDRESSES_LEN 12

BPF_ARRAY(scratch, struct scratch, CPUS);
/* Wall clock minus boot clock, in ns: the engine keeps it current. */
BPF_ARRAY(wall_offset, u64, 1);

static __always_inline bool tag_in_metadata(struct __sk_buff *skb,
					    const struct device *device)
{
	return device->has_ethernet && skb->vlan_present;
}

static __always_inline u64 wall_clock_ns(void)
{
	u32 zero = 0;
	u64 *offset = wall_offset.lookup(&zero);

	return bpf_ktime_get_boot_ns() + (offset ? *offset : 0);
}

/* The kernel takes the VLAN tag out of a frame and keeps it beside it; the
 * wire has it behind the two addresses. */
static __always_inline int load_tagged(struct __sk_buff *skb, u8 *data, u64 len)
{
	u64 rest_len;

	if (bpf_skb_load_bytes(skb, 0, data, ETH_ADDRESSES_LEN))
		return -1;
	*(__be16 *)(data + ETH_ADDRESSES_LEN) = skb->vlan_proto;
	*(__be16 *)(data + ETH_ADDRESSES_LEN + 2) = bpf_htons(skb->vlan_tci);
	if (len <= ETH_ADDRESSES_LEN + VLAN_TAG_LEN)
		return 0;
	rest_len = len - ETH_ADDRESSES_LEN - VLAN_TAG_LEN;
	if (!IS_LENGTH(rest_len, SNAPLEN))
		return -1;
	return bpf_skb_load_bytes(skb, ETH_ADDRESSES_LEN,
				  data + ETH_ADDRESSES_LEN + VLAN_TAG_LEN,
				  rest_len);
}

/* What has been parsed has its head there already. */
static __always_inline int load_plain(struct __sk_buff *skb, u8 *data, u64 len,
				      const struct cursor *cursor)
{
	if (len <= cursor->head_len)
		return 0;
	if (!IS_LENGTH(len, SNAPLEN))
		return -1;
	return bpf_skb_load_bytes(skb, 0, data, len);
}

/* Most are no longer, with the zero bytes that pad the option. */
#define USUAL_TEXT_LEN 48

static __always_inline void copy_words(u8 *to, const char *text, const u32 from,
				       const u32 end)
{
#pragma unroll
	for (u32 i = from / 8; i < end / 8; i++)
		((u64 *)to)[i] = ((const u64 *)text)[i];
}

static __always_inline void copy_text(u8 *to, const char *text, u64 len, const u32 cap)
{
	copy_words(to, text, 0, USUAL_TEXT_LEN);
	if (len > USUAL_TEXT_LEN - 4)
		copy_words(to, text, USUAL_TEXT_LEN, cap);
}

/* The length of a text under construction; as in struct draft, but for here. */
BPF_PERCPU_ARRAY(tid_lens, u64, 1);

/* Writes " tid=4242", if it is known; returns its length. */
static __always_inline u64 write_tid(u8 *at, u32 tid)
{
	u32 zero = 0;
	volatile u64 *len = tid_lens.lookup(&zero);
	char *text = (char *)at;
	u64 cap = TID_MAX;

	if (!len || !tid)
		return 0;
	*len = 0;
	PUT_WORD(" tid=");
	put_number(text, cap, len, tid);
	return *len;
}

/* Writes the label as a comment; returns the option's length. */
static __always_inline u64 write_label_option(u8 *at, const struct party *party,
					      const struct process *peer)
{
	const struct process *process = party->process;
	u64 label_len = process->label_len, tid_len = 0, peer_len = 0;
	u8 *behind = ADVANCE(at + 4, label_len, LABEL_MAX);

	if (!behind)
		return 0;
	copy_text(at + 4, process->label, label_len, LABEL_MAX);
	if (LABEL_TIDS) {
		tid_len = write_tid(behind, party->tid);
		behind = ADVANCE(behind, tid_len, TID_MAX);
		if (!behind)
			return 0;
	}
	if (peer) {
		peer_len = peer->peer_len;
		copy_text(behind, peer->peer, peer_len, PEER_MAX);
	}
	label_len += tid_len + peer_len;
	*(u32 *)at = OPT_COMMENT | label_len << 16;
	return 4 + ((label_len + 3) & ~3ull);
}

/* Writes who sent or got the packet; returns the options' length. */
static __always_inline u64 write_parties(u8 *at, const struct party *sender,
					 const struct party *receiver)
{
	const struct party *first = sender->process ? sender : receiver;
	struct process *peer = sender->process ? receiver->process : NULL;
	u32 *word = (u32 *)at;
	u64 len = 12;

	if (!first->process)
		return 0;
	word[0] = EPB_PROCESS_THREAD | 8 << 16;
	word[1] = first->id.tgid;
	word[2] = first->tid;
	if (first->process->block_number) {
		word[3] = EPB_DARWIN_PROCESS | 4 << 16;
		word[4] = first->process->block_number - 1;
		len = 20;
	}
	return len + write_label_option(at + len, first, peer);
}

/* Writes the options and the trailing length; returns their length. */
static __always_inline u64 write_options(u8 *at, u32 direction, u64 head_len,
					 const struct counters *count,
					 const struct party *sender,
					 const struct party *receiver)
{
	u32 *word = (u32 *)at;
	u64 len = 8;

	word[0] = EPB_FLAGS | 4 << 16;
	word[1] = direction;
	if (count->untold) {
		word[2] = EPB_DROPCOUNT | 8 << 16;
		word[3] = (u32)count->untold;
		word[4] = (u32)(count->untold >> 32);
		len = 20;
	}
	if (LABELS)
		len += write_parties(at + len, sender, receiver);
	word = (u32 *)ADVANCE(at, len, OPTIONS_MAX - 8);
	if (!word)
		return 0;
	word[0] = 0; /* opt_endofopt */
	word[1] = head_len + len + 8;
	return len + 8;
}

/* Builds the block of a frame; returns its length, or 0 if that failed. */
static __always_inline u64 build(struct __sk_buff *skb, const struct cursor *cursor,
				 const struct device *device,
				 struct scratch *block, u32 direction,
				 const struct counters *count,
				 const struct party *sender,
				 const struct party *receiver)
{
	bool tagged = tag_in_metadata(skb, device);
	u64 original_len = skb->len + (tagged ? VLAN_TAG_LEN : 0);
	u64 captured_len = original_len > SNAPLEN ? SNAPLEN : original_len;
	u64 padded_len = (captured_len + 3) & ~3ull;
	u64 now_ns = wall_clock_ns();
	u64 block_len, options_len;
	u8 *options = ADVANCE(block->body, padded_len, SNAPLEN_PADDED);

	if (!options)
		return 0;
	block->header.block_type = EPB_TYPE;
	block->header.interface_id = device->interface_id;
	block->header.timestamp_high = now_ns >> 32;
	block->header.timestamp_low = (u32)now_ns;
	block->header.captured_len = captured_len;
	block->header.original_len = original_len;

	if (tagged ? load_tagged(skb, block->body, captured_len)
		   : load_plain(skb, block->body, captured_len, cursor))
		return 0;
	/* Padding must not show bytes of an earlier frame, or of a tag that is
	 * cut off: the last word keeps its first bytes. */
	if (padded_len >= 4)
		*(__be32 *)(options - 4) &=
			bpf_htonl(~0u << 8 * (padded_len - captured_len));

	block_len = EPB_HEADER_LEN + padded_len;
	options_len = write_options(options, direction, block_len, count, sender,
				    receiver);
	if (!options_len)
		return 0;
	block_len += options_len;
	block->header.block_len = block_len;
	return block_len;
}

/* Adds to the block that it has to wait; returns its length then. */
static __always_inline u64 with_tail(struct scratch *block, u64 block_len,
				     const struct held_tail *tail)
{
	u64 room = sizeof(*block) - sizeof(*tail);
	u8 *at;

	if (!tail->kind || !IS_LENGTH(block_len, room))
		return block_len;
	at = (u8 *)block + block_len;
	*(u32 *)at = (u32)tail->id;
	*(u32 *)(at + 4) = (u32)(tail->id >> 32);
	at[8] = tail->kind;
	return block_len + sizeof(*tail);
}

static __always_inline bool store(struct scratch *block, u64 block_len)
{
	if (!IS_LENGTH(block_len, sizeof(*block)))
		return false;
	return ring.ringbuf_output(block, block_len, 0) == 0;
}

#if FILTERS_BY_WORDS
/* Does the whole capture filter, words about processes included, take it? */
static __always_inline bool words_pass(struct __sk_buff *skb,
				       const struct device *device,
				       const struct party *sender,
				       const struct party *receiver)
{
	u64 room[FRAME_ROOM];
	struct frame frame;

	if (device->has_ethernet) {
		frame_open(&frame, skb, 0, skb->vlan_present, (u8 *)room + 2);
		return ETHERNET_ALL_PASS;
	}
	frame_open(&frame, skb, 0, false, (u8 *)room);
	return RAW_ALL_PASS;
}
#endif

/* Does the process filter of the options take it? One end is enough. */
static __always_inline bool parties_pass(const struct party *sender,
					 const struct party *receiver)
{
	return (sender->process && sender->process->wanted) ||
	       (receiver->process && receiver->process->wanted);
}

static __always_inline bool processes_pass(struct __sk_buff *skb,
					   const struct device *device,
					   const struct party *sender,
					   const struct party *receiver)
{
	if (FILTER_PROCESSES && !parties_pass(sender, receiver))
		return false;
#if FILTERS_BY_WORDS
	return words_pass(skb, device, sender, receiver);
#else
	return true;
#endif
}

/* Begins to describe a process that is only noted. */
static __always_inline bool needs_description(const struct party *party)
{
	struct process *process = party->process;
	u32 place = CLASSIFYING;
	struct draft *draft;

	if (!process || process->label_len)
		return false;
	draft = drafts.lookup(&place);
	if (!draft)
		return false;
	begin_draft(draft, &party->id, process->euid, (struct comm *)process->comm);
	return true;
}

static __always_inline void capture(struct __sk_buff *skb,
				    const struct passage *passage)
{
	const struct device *device = &passage->device;
	u32 cpu = bpf_get_smp_processor_id(), direction = passage->direction;
	struct party sender = {}, receiver = {};
	struct held_tail tail = {};
	struct packet *packet;
	struct counters *count;
	struct scratch *block;
	struct cursor *cursor;
	struct reader reader;
	bool parsed = false;
	u64 block_len;
	u32 id = device->interface_id, zero = 0;

	count = counters.lookup(&id);
	packet = packets.lookup(&zero);
	block = scratch.lookup(&cpu);
	cursor = cursors.lookup(&zero);
	if (!count || !packet || !block || !cursor)
		return;
	reader = (struct reader){ skb, block->body, cursor };
	if (ATTRIBUTION || TLS)
		parsed = parse(&reader, device, packet);
	if (ATTRIBUTION)
		find_parties(skb, passage, parsed, packet, &sender, &receiver);
	if (LABELS && !HOOKS &&
	    (needs_description(&sender) || needs_description(&receiver))) {
		stages.call(skb, DESCRIBE); /* it comes again */
		sender = (struct party){};
		receiver = (struct party){};
	}
	if (!processes_pass(skb, device, &sender, &receiver)) {
		if (!sender.known && !receiver.known)
			count->unowned++;
		return;
	}
	count->accepted++;
#if TLS
	if (parsed)
		look_for_tls(skb, passage, packet, &sender, &receiver, &tail);
#endif
	block_len = build(skb, cursor, device, block, direction, count, &sender,
			  &receiver);
	if (store(block, with_tail(block, block_len, &tail))) {
		count->untold = 0;
	} else {
		count->dropped++;
		count->untold++;
	}
}

int tccap_classify(struct __sk_buff *skb)
{
	struct passage *passage = passage_of_frame();

	if (passage)
		capture(skb, passage);
	return TC_ACT_UNSPEC;
}

#if LABELS && !HOOKS
/* Describes the process of the draft, and has the packet classified again. */
int tccap_describe(struct __sk_buff *skb)
{
	u32 place = CLASSIFYING;
	struct draft *draft = drafts.lookup(&place);

	if (draft)
		describe(draft);
	stages.call(skb, CLASSIFY);
	return TC_ACT_UNSPEC;
}
#endif
