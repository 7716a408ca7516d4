/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the options of a capture decide. They are patched in when the programs are loaded
 * (patch.h), so that no change of an option compiles anything; what an option rules out
 * is dropped then. src/tccap/stream/programoptions.py has the same keys.
 */
#ifndef TCCAP_OPTIONS_H
#define TCCAP_OPTIONS_H

#include "patch.h"

/* Bytes of a frame's head that the capture filter needs; 0: there is no such filter.
 * And whether it has words about processes. */
#define PACKET_FILTER_HEAD PATCHED_NUMBER(1)
#define HAS_WHOLE_FILTER PATCHED_NUMBER(2)

/* Bytes kept of a frame, 1 .. CAPLEN_MAX, and that in whole words. */
#define SNAPLEN PATCHED_NUMBER(3)
#define SNAPLEN_PADDED ((SNAPLEN + 3) & ~3ull)

/* Bytes that have room in the ring, and the logarithm of those of its chunks. */
#define RING_LEN PATCHED_NUMBER(22)
#define RING_CHUNK_SHIFT PATCHED_NUMBER(23)
#define RING_CHUNK_LEN (1ull << RING_CHUNK_SHIFT)
#define RING_CHUNKS (RING_LEN >> RING_CHUNK_SHIFT)

/* Whether to find the processes of packets, and to write labels into the blocks. */
#define ATTRIBUTION PATCHED_NUMBER(4)
#define LABELS PATCHED_NUMBER(5)
/* Whether labels have threads: of every user's processes, or else of those with this
 * effective user id. */
#define LABEL_TIDS PATCHED_NUMBER(6)
#define TIDS_ANY_USER PATCHED_NUMBER(7)
#define TIDS_USER PATCHED_NUMBER(8)

/* Whether the process filter names process ids; users; programs, by comm; containers,
 * pods, or units; any of these. And whether descendants of wanted processes are wanted,
 * too. */
#define FILTER_PIDS PATCHED_NUMBER(9)
#define FILTER_UIDS PATCHED_NUMBER(10)
#define FILTER_COMMS PATCHED_NUMBER(11)
#define FILTER_CGROUPS PATCHED_NUMBER(12)
#define FILTER_PROCESSES PATCHED_NUMBER(13)
#define FOLLOW_CHILDREN PATCHED_NUMBER(14)

/* Whether packets of TLS connections wait for their secrets, and those at the begin of
 * QUIC connections are messages. */
#define TLS PATCHED_NUMBER(15)
#define QUIC PATCHED_NUMBER(16)
/* Whether probes (tls/secret.c) read secrets of every user's processes, or else of those
 * of this user id; and then, whether only of those that the user may trace (ptrace(2)),
 * who has this group and is in this user namespace. */
#define TLS_ANY_USER PATCHED_NUMBER(17)
#define TLS_USER PATCHED_NUMBER(18)
#define TLS_PTRACE_RULE PATCHED_NUMBER(19)
#define TLS_GROUP PATCHED_NUMBER(20)
#define TLS_USER_NAMESPACE PATCHED_NUMBER(21)
/* The row of tls_sites that a probe's program reads: it is loaded once for each. */
#define TLS_SLOT PATCHED_NUMBER(25)

/* The network namespace whose devices a first stage is attached to. Programs with another
 * number are loaded for each that the engine enters: only from Linux 6.14 on could they
 * ask the kernel where they are. */
#define NAMESPACE_ID PATCHED_NUMBER(24)

#endif
