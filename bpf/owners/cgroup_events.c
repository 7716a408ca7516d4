/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Raw tracepoints of cgroups, in every build.
 */
#include "abi.h"
#include "kernel.h"
#include "lookup_generation.h"
#include "owners/cgroup.h"
#include "owners/new_cgroup.h"
#include "owners/process.h"
#include "owners/task.h"

/* Whether the cgroup is in the hierarchy that names containers. */
static __always_inline bool is_of_hierarchy(u64 cgroup)
{
#if HAS_CGROUPS
	u64 root = FIELD(u64, cgroup, CGROUP__ROOT);

	return FIELD(u32, root, CGROUP_ROOT__HIERARCHY_ID) == CGROUP_HIERARCHY;
#else
	return false;
#endif
}

/* cgroup_mkdir(cgroup, path): it has no processes yet, so the engine can know it before
 * it has any. */
int on_cgroup_mkdir(u64 *ctx)
{
#if HAS_CGROUPS
	u64 cgroup = ARGUMENT(0), number;

	if (!is_of_hierarchy(cgroup))
		return 0;
	number = number_of_cgroup(cgroup);
	/* An entry that the engine does not hear of would stay. */
	if (report_cgroup(number, ARGUMENT(1)))
		enter_new_cgroup(cgroup, number);
#endif
	return 0;
}

/* cgroup_attach_task(cgroup, path, task, threadgroup): a process is in another cgroup
 * now. A thread may go alone, which does not change its process. */
int on_cgroup_attach(u64 *ctx)
{
#if HAS_CGROUPS
	u64 cgroup = ARGUMENT(0), task = ARGUMENT(2);
	struct process_id id = id_of(leader_of(task));
	struct process *known = processes.lookup(&id);

	if (!known || is_thread(task) || !is_of_hierarchy(cgroup))
		return 0;
	known->cgroup = number_of_cgroup(cgroup);
	report_unknown_cgroup(known->cgroup);
	invalidate_lookups();
#endif
	return 0;
}
