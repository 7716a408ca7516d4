/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The ring buffer: finished blocks and messages on their way to the engine (abi.h).
 */
#ifndef TCCAP_RING_H
#define TCCAP_RING_H

#include "abi.h"

BPF_RINGBUF_OUTPUT(ring, SIZED_LATER);

#endif
