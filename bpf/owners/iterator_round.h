/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Counts the rounds of the socket iterator. The engine increments it before each round;
 * what an earlier round found is out of date.
 */
#ifndef TCCAP_ITERATOR_ROUND_H
#define TCCAP_ITERATOR_ROUND_H

BPF_ARRAY(iterator_round, u32, 1);

#endif
