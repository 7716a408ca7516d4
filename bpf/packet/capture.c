/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The classifier: a frame that the capture filter takes becomes a finished Enhanced
 * Packet Block in the ring.
 *
 *   processes -> options -> place in the ring -> header, data
 */
#include "abi.h"
#include "messages.h"
#include "options.h"
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
#include "tls/read_by_carrier.h"

/* Sends the message of a packet that has to wait; returns false without room for it. */
static __always_inline bool send_held(struct held_message *message, u64 position,
				      u32 block_len)
{
	message->head.position = position;
	message->head.block_len = block_len;
	return !messages.ringbuf_output(message, sizeof(*message), 0);
}

/* Writes the block into the ring, and the message of a packet that has to wait, which
 * the carrier must see no later than the block; returns false if the packet is lost. */
static __always_inline bool store(struct __sk_buff *skb, struct outline *outline)
{
	struct slot slot = {};
	bool is_whole;

	if (!begin_block(&slot, outline->block_len))
		return false;
	is_whole = write_block(skb, slot.at, outline);
	if (is_whole && outline->held.kind)
		is_whole = send_held(&outline->held, slot.position, outline->block_len);
	if (!is_whole)
		write_filler(slot.at);
	finish_block(&slot);
	if (slot.wakes)
		wake_carrier();
	return is_whole;
}

/* Whether the frame passes the whole capture filter, process words included. */
static __always_inline bool words_pass(struct __sk_buff *skb,
				       const struct device *device, u32 direction,
				       const struct endpoint *sender,
				       const struct endpoint *receiver)
{
	struct frame frame;

	if (!HAS_WHOLE_FILTER)
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
	u32 direction = context->direction;
	struct endpoint sender = {}, receiver = {};
	struct outline *outline;
	struct packet *packet;
	struct counters *count;
	struct cursor *cursor;
	struct loss_report report = {};
	struct reader reader;
	bool stored;
	u32 id = device->interface_id, zero = 0;

	count = counters.lookup(&id);
	packet = packets.lookup(&zero);
	cursor = cursors.lookup(&zero);
	outline = outlines.lookup(&zero);
	report.losses = losses.lookup(&id);
	if (!count || !packet || !cursor || !outline || !report.losses)
		return;
	reader = (struct reader){ skb, outline->head, cursor,
				  context->start & START_MAX };
	if (ATTRIBUTION || TLS)
		packet->is_read = parse(&reader, device, packet);
	FORGET();
	if (ATTRIBUTION)
		find_endpoints(skb, context, packet, &sender, &receiver);
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
	begin_report(&report, id);
	outline_frame(outline, &reader, device);
	if (TLS)
		write_pids(&outline->pids, context, &sender, &receiver);
	stored = write_options(outline, direction, report.count, &sender, &receiver);
	/* From here on nothing reads the endpoints, so that the verifier forgets them. */
	outline->held.kind = 0;
	if (TLS && packet->is_read)
		look_for_tls(skb, context, packet, &outline->pids, &outline->held);
	if (QUIC && packet->is_read)
		look_for_quic(&reader, context, packet, &outline->pids, &outline->held);
	stored = stored && store(skb, outline);
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

#if !HOOKS
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
