/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the driver's hooks in mm/ call: one event of the request under way, or
 * one question whether a part of the kernel shall keep still.
 */
#ifndef MM_LAB_H
#define MM_LAB_H

#define LAB_Q_KSWAPD 1 /* wakeup_kswapd() only notes */
#define LAB_Q_KCOMPACTD 2 /* wakeup_kcompactd() only notes */
#define LAB_Q_SLAB 4 /* shrink_slab() does nothing */
#define LAB_Q_VMSTAT 8 /* no counter of a CPU is folded by a worker */
#define LAB_Q_OOM 16 /* out_of_memory() only notes */

extern int lab_quiet;
extern int lab_on;
void __lab_ev(int type, int n, const unsigned long *v);

#define lab_ev(type, ...)                                            \
	do {                                                         \
		if (unlikely(lab_on)) {                              \
			const unsigned long __v[] = { __VA_ARGS__ }; \
			__lab_ev(type, ARRAY_SIZE(__v), __v);        \
		}                                                    \
	} while (0)

int lab_compact_node(void);
struct folio_batch;
struct folio_batch *lab_fbatch(int cpu, int which);

#endif
