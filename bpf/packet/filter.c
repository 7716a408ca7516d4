/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The first stage: a frame comes in or goes out, and the capture filter, whose C stands
 * before this, takes it or not.
 *
 * Whatever happens to the capture, the frame itself goes on as if nobody had
 * looked: TC_ACT_UNSPEC hands it to the next filter of the device.
 */

/* Does the capture filter's part about packets take it? */
static __always_inline bool packet_passes(struct __sk_buff *skb,
					  const struct device *device)
{
	u64 room[FRAME_ROOM];
	struct frame frame;

	if (device->has_ethernet) {
		frame_open(&frame, skb, 0, skb->vlan_present, (u8 *)room + 2);
		return ETHERNET_PACKETS_PASS;
	}
	frame_open(&frame, skb, 0, false, (u8 *)room);
	return RAW_PACKETS_PASS;
}

/* Is the device captured? Then the passage tells of it. */
static __always_inline bool find_device(struct __sk_buff *skb, struct passage *passage)
{
	u32 ifindex = skb->ifindex;
	u64 version = tables_version();
	struct device *device;

	if (passage->ifindex == ifindex && passage->version == version)
		return true;
	device = devices.lookup(&ifindex);
	if (!device)
		return false;
	passage->ifindex = ifindex;
	passage->version = version;
	passage->device = *device;
	return true;
}

static __always_inline int enter(struct __sk_buff *skb, u32 direction)
{
	struct passage *passage = passage_of_frame();
	struct counters *count;
	u32 id;

	if (!passage || !find_device(skb, passage))
		return TC_ACT_UNSPEC;
	id = passage->device.interface_id;
	count = counters.lookup(&id);
	if (!count)
		return TC_ACT_UNSPEC;
	count->received++;
	if (!packet_passes(skb, &passage->device))
		return TC_ACT_UNSPEC;
	passage->direction = direction;
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
