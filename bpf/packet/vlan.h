/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The kernel removes the outer VLAN tag from a frame and keeps it in the skb; on the
 * wire it follows the two addresses.
 */
#ifndef TCCAP_VLAN_H
#define TCCAP_VLAN_H

#define ETH_TYPE_AT 12
#define VLAN_TAG_LEN 4
#define TAGGED_HEAD_LEN (ETH_TYPE_AT + VLAN_TAG_LEN)

/* Writes the tag behind the addresses of a frame. */
static __always_inline void write_vlan_tag(struct __sk_buff *skb, u8 *frame)
{
	*(__be16 *)(frame + ETH_TYPE_AT) = skb->vlan_proto;
	*(__be16 *)(frame + ETH_TYPE_AT + 2) = __builtin_bswap16(skb->vlan_tci);
}

#endif
