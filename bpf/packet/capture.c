/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The classifier: a frame that the capture filter takes becomes a finished Enhanced
 * Packet Block in the ring.
 *
 *   processes -> head -> data -> options -> ring
 */
#include "abi.h"
#include "owners/endpoint.h"
#include "owners/filter_words.h"
#include "owners/lookup.h"
#include "owners/process.h"
#include "packet/block.h"
#include "packet/losses.h"
#include "packet/parse.h"
#include "packet/stages.h"
#include "ring.h"
#include "tls/marks.h"
#include "tls/quic.h"

BPF_ARRAY(scratch, struct scratch, CPUS);

static __always_inline bool store(struct scratch *block, u64 block_len)
{
	if (!IS_LENGTH(block_len, sizeof(*block)))
		return false;
	return ring.ringbuf_output(block, block_len, 0) == 0;
}

/* Whether the frame passes the whole capture filter, process words included. */
static __always_inline bool words_pass(struct __sk_buff *skb,
				       const struct device *device, u32 direction,
				       const struct endpoint *sender,
				       const struct endpoint *receiver)
{
	struct frame frame;

	if (!PATCHED_NUMBER(HAS_WHOLE_FILTER))
		return true;
	frame.input = filter_input();
	if (!frame.input)
		return false;
	describe_frame(frame.input, skb, device, direction);
	describe_process(frame.input, 0, sender);
	describe_process(frame.input, 1, receiver);
	return whole_filter(&frame);
}

static __always_inline bool endpoint_passes(const struct endpoint *endpoint)
{
	const struct process *process = endpoint->process;

	return process && passes(process->wanted, cached_cgroup(process));
}

/* Whether an endpoint passes the process filter of the options; one is enough. */
static __always_inline bool endpoints_pass(const struct endpoint *sender,
					   const struct endpoint *receiver)
{
	return endpoint_passes(sender) || endpoint_passes(receiver);
}

static __always_inline bool processes_pass(struct __sk_buff *skb,
					   const struct device *device, u32 direction,
					   const struct endpoint *sender,
					   const struct endpoint *receiver)
{
	if (FILTER_PROCESSES && !endpoints_pass(sender, receiver))
		return false;
	return words_pass(skb, device, direction, sender, receiver);
}

/* Appends what makes the block a message, if it is one; returns the length then. */
static __always_inline u64 with_message_tail(struct scratch *block, u64 block_len,
					     const struct held_tail *tail)
{
#if TLS
	if (tail->kind == MESSAGE_QUIC)
		return with_quic_tail(block, block_len);
#endif
	return with_tail(block, block_len, tail);
}

/* Begins the draft of a process that was recorded without its label. */
static __always_inline bool needs_label(const struct endpoint *endpoint)
{
	struct process *process = endpoint->process;
	u32 place = CLASSIFIER_DRAFT;
	struct label_draft *draft;

	if (!process || process->label_len)
		return false;
	draft = label_drafts.lookup(&place);
	if (!draft)
		return false;
	begin_draft(draft, &endpoint->id, process->euid, (struct comm *)process->comm,
		    process->cgroup);
	return true;
}

static __always_inline void capture(struct __sk_buff *skb,
				    const struct frame_context *context)
{
	const struct device *device = &context->device;
	u32 cpu = bpf_get_smp_processor_id(), direction = context->direction;
	struct endpoint sender = {}, receiver = {};
	struct held_tail *tail;
	struct packet *packet;
	struct counters *count;
	struct scratch *block;
	struct cursor *cursor;
	struct loss_report report = {};
	struct reader reader;
	bool parsed = false, stored;
	u64 block_len;
	u32 id = device->interface_id, zero = 0;

	count = counters.lookup(&id);
	packet = packets.lookup(&zero);
	block = scratch.lookup(&cpu);
	cursor = cursors.lookup(&zero);
	tail = held_tails.lookup(&zero);
	report.losses = losses.lookup(&id);
	if (!count || !packet || !block || !cursor || !tail || !report.losses)
		return;
	reader =
		(struct reader){ skb, block->body, cursor, context->start & START_MAX };
	if (ATTRIBUTION || TLS)
		parsed = parse(&reader, device, packet);
	if (ATTRIBUTION)
		find_endpoints(skb, context, parsed, packet, &sender, &receiver);
	if (LABELS && !HOOKS && (needs_label(&sender) || needs_label(&receiver))) {
		stages.call(skb, LABEL); /* which calls this program again */
		sender = (struct endpoint){};
		receiver = (struct endpoint){};
	}
	if (!processes_pass(skb, device, direction, &sender, &receiver)) {
		if (!sender.known && !receiver.known)
			count->unattributed++;
		return;
	}
	count->accepted++;
	__builtin_memset(tail, 0, sizeof(*tail));
#if TLS
	if (parsed) {
		look_for_tls(skb, context, packet, &sender, &receiver, tail);
		if (QUIC)
			look_for_quic(&reader, context, packet, &sender, &receiver,
				      tail);
	}
#endif
	begin_report(&report, id);
	block_len = build_block(&reader, device, block, direction, report.count,
				&sender, &receiver);
	stored = store(block, with_message_tail(block, block_len, tail));
	if (!stored)
		count->dropped++;
	end_report(&report, stored);
}

int tccap_classify(struct __sk_buff *skb)
{
	struct frame_context *context = frame_context();

	if (context)
		capture(skb, context);
	return TC_ACT_UNSPEC;
}

#if LABELS && !HOOKS
/* Writes the label of the draft's process, and has the packet classified again. */
int tccap_label(struct __sk_buff *skb)
{
	u32 place = CLASSIFIER_DRAFT;
	struct label_draft *draft = label_drafts.lookup(&place);

	if (draft)
		record_process(draft);
	stages.call(skb, CLASSIFY);
	return TC_ACT_UNSPEC;
}
#endif
