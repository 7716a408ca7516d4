/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The stages that a frame goes through, each a program that calls the next one, and
 * the maps that they share:
 *
 *   filter.c   the direction, the device, and what the capture filter says of the
 *              frame alone
 *   capture.c  the processes, and the block in the ring
 *
 * The filter is compiled by itself, so that another one costs little. The programs
 * lie in a map, which the kernel empties when the engine dies: what may be left on
 * a device then does nothing.
 */
#include "abi.h"
#include "kernel.h"

BPF_HASH(devices, u32, struct device, INTERFACES);
BPF_PERCPU_ARRAY(counters, struct counters, INTERFACES);

/* What a stage tells the next one of the frame. */
struct passage {
	u32 direction;
	struct device device;
};
BPF_PERCPU_ARRAY(passages, struct passage, 1);

BPF_PROG_ARRAY(stages, 4);
#define FILTER 0
#define CLASSIFY 1
#define DESCRIBE 2
#define NOTE_CALLER 3

#define TC_ACT_UNSPEC (-1)

static __always_inline struct passage *passage_of_frame(void)
{
	u32 zero = 0;

	return passages.lookup(&zero);
}
