/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Where a secret is when a probe is hit: the rows that src/tccap/tls/probetable.py
 * writes; tests/unit/tls/test_probetable.py compares the two.
 */
#ifndef TCCAP_SITE_H
#define TCCAP_SITE_H

#include "abi.h"

#define TLS_SLOTS 512 /* rows of the table */
#define DEREFERENCES_MAX 3

/* An address: starting from the value of the register, the u64 at value + offset is
 * read `dereferences` times; then `last` is added. */
struct tls_path {
	u32 reg; /* index into struct tls_hit */
	u32 dereferences;
	s64 offsets[DEREFERENCES_MAX];
	s64 last;
};

struct tls_number {
	struct tls_path path;
	u32 width;    /* 4 or 8 bytes; 0: the number is the constant */
	u32 constant; /* otherwise 1: the number is the address itself */
};

/* Why a secret was lost: indexes of tls_lost. */
#define LOST_UNREADABLE 0 /* the program's memory could not be read */
#define LOST_RING_FULL 1
#define LOST_TABLE_FULL 2 /* too many threads at once */
#define LOST_REASONS 3

#define LABEL_IS_CONSTANT 0
#define LABEL_ENDS_WITH_NUL 1
#define LABEL_IS_COUNTED 2
#define LABEL_IS_NUMBERED 3

struct tls_site {
	struct tls_path client_random;
	struct tls_path secret;
	struct tls_path label;
	struct tls_number secret_len;
	struct tls_number label_len; /* or the label's number */
	u32 label_kind;
	u32 kind; /* index into KINDS (src/tccap/tls/sites.py) */
	char constant_label[TLS_LABEL_MAX];
};

/* Where a probed file holds a label: its distance in bytes from the probed instruction,
 * which is the same wherever the file is mapped. Or the label's number. */
struct tls_label_place {
	u64 slot;
	s64 distance;
};

struct tls_label {
	u32 len;
	char text[TLS_LABEL_MAX];
};

/* A file has some eight. */
#define TLS_LABELS_MAX 8192

#endif
