/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The stages of a frame, each a program that tail-calls the next one, and the maps
 * that they share:
 *
 *   filter.c   direction, device, and the part of the capture filter that needs only
 *              the frame
 *   capture.c  processes, and the block in the ring
 *
 * The kernel empties the map of the later programs when the engine dies: a classifier that stays
 * on a device then filters and counts, and does nothing else.
 */
#ifndef TCCAP_STAGES_H
#define TCCAP_STAGES_H

#include "abi.h"
#include "packet/frame.h"
#include "packet/start.h"

BPF_HASH(devices, struct device_key, struct device, INTERFACES);
BPF_PERCPU_ARRAY(counters, struct counters, INTERFACES);

/* What a stage passes to the next one. */
struct frame_context {
	u32 direction;
	u32 ifindex;
	u64 generation; /* lookup_generation() when the frame came */
	u64 start;	/* offset of the frame in the skb (packet/start.h) */
	struct device device;
};
BPF_PERCPU_ARRAY(frame_contexts, struct frame_context, 1);

/* The order of STAGES in src/tccap/engine/classifier.py. */
BPF_PROG_ARRAY(stages, 2);
#define CLASSIFY 0
#define LABEL 1

#define TC_ACT_UNSPEC (-1)

/* Whether the device is in a container's namespace that is captured from inside. */
static __always_inline bool is_inside(const struct device *device)
{
	return device->namespace_id < OWN_NAMESPACE;
}

static __always_inline bool is_tagged(struct __sk_buff *skb,
				      const struct device *device)
{
	return device->first_header == FIRST_ETHERNET && skb->vlan_present;
}

/* For words of capture filters. On lo every packet is inbound, as for tcpdump. Numbers of
 * devices are those of the engine's namespace. */
static __always_inline void describe_frame(struct filter_input *input,
					   struct __sk_buff *skb,
					   const struct device *device, u32 direction)
{
	input->is_ethernet = device->first_header == FIRST_ETHERNET;
	input->is_inbound = device->is_loopback || direction == EPB_INBOUND;
	input->ifindex = is_inside(device) ? 0 : skb->ifindex;
}

static __always_inline struct frame_context *frame_context(void)
{
	u32 zero = 0;

	return frame_contexts.lookup(&zero);
}

#endif
