/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The first stage: the capture filter takes an arriving or leaving frame, or not.
 *
 * Whatever happens to the capture, the frame continues unchanged: TC_ACT_UNSPEC passes
 * it to the next filter of the device.
 */
#include "abi.h"
#include "lookup_generation.h"
#include "options.h"
#include "packet/frame.h"
#include "packet/stages.h"

/* Whether the frame passes the part of the capture filter that needs no processes. */
static __always_inline bool
packet_passes(struct __sk_buff *skb, const struct frame_context *context, u32 direction)
{
	const struct device *device = &context->device;
	u64 head = PACKET_FILTER_HEAD;
	struct filter_input *input;
	struct frame frame;

	if (!head)
		return true;
	input = filter_input();
	if (!input)
		return false;
	describe_frame(input, skb, device, direction);
	frame_open(&frame, skb, input, context->start & START_MAX,
		   is_tagged(skb, device), head);
	return packet_filter(&frame);
}

/* Writes the device into the context; false if the device is not captured. */
static __always_inline bool find_device(struct __sk_buff *skb,
					struct frame_context *context)
{
	struct device_key key = { .namespace_id = (s32)NAMESPACE_ID,
				  .ifindex = skb->ifindex };
	u64 generation = lookup_generation();
	struct device *device;

	if (context->ifindex == key.ifindex &&
	    context->device.namespace_id == key.namespace_id &&
	    context->generation == generation)
		return true;
	device = devices.lookup(&key);
	if (!device)
		return false;
	context->ifindex = key.ifindex;
	context->generation = generation;
	context->device = *device;
	return true;
}

/* include/uapi/linux/if_packet.h */
#define PACKET_LOOPBACK 5

/* Whether this host has sent the packet, which was captured when it left: members of a
 * group here, and receivers of a broadcast, get a copy, which has no Ethernet header.
 * AF_PACKET skips it, too. */
static __always_inline bool comes_back(struct __sk_buff *skb, u32 direction)
{
	return direction == EPB_INBOUND && skb_field(skb, pkt_type) == PACKET_LOOPBACK;
}

static __always_inline int enter(struct __sk_buff *skb, u32 direction)
{
	struct frame_context *context = frame_context();
	struct counters *count;
	u32 id;

	if (comes_back(skb, direction))
		return TC_ACT_UNSPEC;
	if (!context || !find_device(skb, context))
		return TC_ACT_UNSPEC;
	id = context->device.interface_id;
	count = counters.lookup(&id);
	if (!count)
		return TC_ACT_UNSPEC;
	count->received++;
	context->start = 0;
	if (context->device.first_header == FIRST_IP)
		context->start = network_offset(skb);
	if (!packet_passes(skb, context, direction))
		return TC_ACT_UNSPEC;
	context->direction = direction;
	stages.call(skb, CLASSIFY);
	return TC_ACT_UNSPEC;
}

int tccap_ingress(struct __sk_buff *skb)
{
	return enter(skb, EPB_INBOUND);
}

int tccap_egress(struct __sk_buff *skb)
{
	return enter(skb, EPB_OUTBOUND);
}
