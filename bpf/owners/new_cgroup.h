/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the name of a new cgroup shows at once: the id of a container. A cgroup inside one
 * that is known gets the same entry. So labels have the container from a process's first
 * packet on, however late the engine writes the rest (src/tccap/owners/cgroups.py).
 */
#ifndef TCCAP_NEW_CGROUP_H
#define TCCAP_NEW_CGROUP_H

#include "abi.h"
#include "kernel.h"
#include "owners/cgroup.h"
#include "owners/label.h"
#include "verifier.h"

#define CONTAINER_ID_LEN 64
#define SHORT_ID_LEN 12
#define CGROUP_NAME_MAX 256

/* What container runtimes write before an id, such as "docker-"; the engine fills the
 * map. */
struct runtime_prefix {
	char text[RUNTIME_PREFIX_MAX];
};
BPF_HASH(runtime_prefixes, struct runtime_prefix, u32, 32);

/* Space for one: the kernel makes one cgroup at a time. `start` is volatile, as the
 * compiler would keep many sums of it on the stack. */
struct new_cgroup {
	char name[CGROUP_NAME_MAX];
	volatile u64 start; /* of the id, in the name */
	struct runtime_prefix prefix;
	u64 text_len;
	u64 peer_len;
	struct cgroup_label label;
};
BPF_ARRAY(new_cgroups, struct new_cgroup, 1);

#if KERNEL_OFFSETS && HAS_CGROUPS && HAS_CGROUP_NAMES && (HOOKS || READS_KERNEL)
/* Where the part of a cgroup's name before ".scope" ends, if it has that. */
static __always_inline u64 end_of_name(const struct new_cgroup *found, u64 len)
{
	const char scope[] = { '.', 's', 'c', 'o', 'p', 'e' };
	u64 differ = len < sizeof(scope);

#pragma unroll
	for (u32 i = 0; i < sizeof(scope); i++)
		differ |= found->name[(len - sizeof(scope) + i) % CGROUP_NAME_MAX] ^
			  scope[i];
	return differ ? len : len - sizeof(scope);
}

static __always_inline bool is_hex(u8 c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static __always_inline u8 digit(const struct new_cgroup *found, u32 i)
{
	return found->name[(found->start + i) % CGROUP_NAME_MAX];
}

/* Whether the name ends in an id, behind what a runtime writes. */
static __always_inline bool is_container(struct new_cgroup *found)
{
	u64 others = found->start >= RUNTIME_PREFIX_MAX;

#pragma unroll
	for (u32 i = 0; i < CONTAINER_ID_LEN; i++) {
		others |= !is_hex(digit(found, i));
		OPAQUE(others); /* one after the other */
	}
#pragma unroll
	for (u32 i = 0; i < RUNTIME_PREFIX_MAX; i++)
		found->prefix.text[i] = i < found->start ? found->name[i] : 0;
	return !others && runtime_prefixes.lookup(&found->prefix);
}

static __always_inline void put_id(char *text, u64 *len, const struct new_cgroup *found)
{
#pragma unroll
	for (u32 i = 0; i < SHORT_ID_LEN; i++)
		put(text, CGROUP_TEXT_MAX, len, digit(found, i), 1);
}

/* Writes the label of a container by its id. */
static __always_inline void write_container(struct new_cgroup *found)
{
	const u64 cap = CGROUP_TEXT_MAX;
	char *text = found->label.text, *peer = found->label.peer;
	u64 *len = &found->text_len;

	*len = 0;
	PUT_WORD(" contain");
	PUT_WORD("er=");
	put_id(text, len, found);
	text = peer;
	len = &found->peer_len;
	*len = 0;
	PUT_WORD(" peer_co");
	PUT_WORD("ntainer=");
	put_id(text, len, found);
	found->label.text_len = found->text_len;
	found->label.peer_len = found->peer_len;
	found->label.in_container = 1;
}

/* The entry of the cgroup above, if that is in a container; NULL otherwise. */
static __always_inline struct cgroup_label *container_above(u64 cgroup)
{
	u64 above = FIELD(u64, cgroup, CGROUP__SELF + CGROUP_SUBSYS_STATE__PARENT);
	u64 number;
	struct cgroup_label *known;

	if (!above)
		return NULL;
	number = number_of_cgroup(FIELD(u64, above, CGROUP_SUBSYS_STATE__CGROUP));
	known = cgroup_labels.lookup(&number);
	return known && known->in_container ? known : NULL;
}

/* Enters a new cgroup, unless the engine has done so. */
static __always_inline void enter_new_cgroup(u64 cgroup, u64 number)
{
	u32 zero = 0;
	struct new_cgroup *found = new_cgroups.lookup(&zero);
	struct cgroup_label *above = container_above(cgroup);
	u64 name = FIELD(u64, FIELD(u64, cgroup, CGROUP__KN), KERNFS_NODE__NAME);
	s64 len;

	if (above) {
		cgroup_labels.insert(&number, above);
		return;
	}
	if (!found)
		return;
	len = read_kernel_str(found->name, sizeof(found->name), (void *)name);
	if (len <= CONTAINER_ID_LEN)
		return;
	found->start = end_of_name(found, len - 1) - CONTAINER_ID_LEN;
	if (!is_container(found))
		return;
	write_container(found);
	cgroup_labels.insert(&number, &found->label);
}
#else
static __always_inline void enter_new_cgroup(u64 cgroup, u64 number)
{
}
#endif

#endif
