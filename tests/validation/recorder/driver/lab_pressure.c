// SPDX-License-Identifier: GPL-2.0-only
/*
 * mm/lab_pressure.c, included by lab.c: the same for a machine that runs out of
 * memory: compaction, reclaim, the slow path, the OOM killer (6.12).
 *
 * Each step is an event (lab_ev()), from trace points of the kernel and from
 * hooks in mm/. Other actors keep still where lab_quiet says so, other CPUs
 * spin, and a disk of our own answers at once: what is seen is one request's.
 */
#include <linux/blkdev.h>
#include <linux/memblock.h>
#include <linux/rmap.h>
#include <linux/oom.h>
#include <linux/migrate.h>
#include <linux/pagevec.h>
#include <linux/mm_inline.h>
#include <linux/sched/mm.h>
#include <linux/kthread.h>
#include <linux/sched.h>
#include <uapi/linux/sched/types.h>
#include <trace/events/compaction.h>
#include <trace/events/vmscan.h>
#include <trace/events/oom.h>
#include "lab.h"

int lab_quiet;
int lab_on;
static u32 *evb;
static unsigned long evn, evcnt, evcap, evlost;
static int ev_pid;

/* one event: header word (type | n << 8 | foreign << 16), n 32-bit words; -1 = 0xffffffff */
void __lab_ev(int type, int n, const unsigned long *v)
{
	unsigned long flags, i;

	local_irq_save(flags);
	if (evn + n + 1 > evcap)
		evlost++;
	else {
		evb[evn++] = type | n << 8 |
			     (current->pid != ev_pid || in_interrupt() ?
				      1 << 16 :
				      0);
		for (i = 0; i < n; i++)
			evb[evn++] = v[i];
		evcnt++;
	}
	local_irq_restore(flags);
}

static void ev_reset(void)
{
	evn = evcnt = evlost = 0;
	ev_pid = current->pid;
}

static void ev_dump(const char *key)
{
	unsigned long i = 0, k;
	bool f = true;

	out("\"%s\":[", key);
	while (i < evn) {
		u32 h = evb[i++];
		int n = (h >> 8) & 0xff;

		out("%s[\"%c\"", f ? "" : ",", h & 0xff);
		f = false;
		for (k = 0; k < n; k++)
			out(",%d", (s32)evb[i++]);
		if (h >> 16)
			out(",\"foreign\"");
		out("]");
	}
	out("],\"lost\":%lu", evlost);
}

/* ---- probes of the kernel's own trace points */
#define ZI(z) ((unsigned long)zone_idx(z))
static void pr_cbegin(void *d, struct compact_control *cc, unsigned long s,
		      unsigned long e, bool sync)
{
	lab_ev('B', ZI(cc->zone), cc->order, cc->mode, cc->migrate_pfn,
	       cc->free_pfn, cc->whole_zone, cc->ignore_skip_hint,
	       cc->ignore_block_suitable, cc->migratetype);
}
static void pr_cend(void *d, struct compact_control *cc, unsigned long s,
		    unsigned long e, bool sync, int st)
{
	lab_ev('E', ZI(cc->zone), cc->migrate_pfn, cc->free_pfn, st,
	       cc->total_migrate_scanned, cc->total_free_scanned);
}
static void pr_imig(void *d, unsigned long s, unsigned long e, unsigned long sc,
		    unsigned long tk)
{
	lab_ev('I', s, e, sc, tk);
}
static void pr_ifree(void *d, unsigned long s, unsigned long e,
		     unsigned long sc, unsigned long tk)
{
	lab_ev('G', s, e, sc, tk);
}
static void pr_ffree(void *d, unsigned long s, unsigned long e,
		     unsigned long sc, unsigned long tk)
{
	lab_ev('g', s, e, sc, tk);
}
static void pr_mig(void *d, unsigned int n, unsigned int ok)
{
	lab_ev('P', n, ok);
}
static void pr_fin(void *d, struct zone *z, int order, int ret)
{
	lab_ev('F', ZI(z), order, ret);
}
static void pr_suit(void *d, struct zone *z, int order, int ret)
{
	lab_ev('S', ZI(z), order, ret);
}
static void pr_try(void *d, int order, gfp_t g, int prio)
{
	lab_ev('T', order, (__force unsigned long)g, prio);
}
static void pr_def(void *d, struct zone *z, int order)
{
	lab_ev('Z', ZI(z), order, z->compact_considered, z->compact_defer_shift,
	       z->compact_order_failed);
}
static void pr_defc(void *d, struct zone *z, int order)
{
	lab_ev('z', ZI(z), order, z->compact_considered, z->compact_defer_shift,
	       z->compact_order_failed);
}
static void pr_defr(void *d, struct zone *z, int order)
{
	lab_ev('R', ZI(z), order, z->compact_considered, z->compact_defer_shift,
	       z->compact_order_failed);
}
static void pr_drb(void *d, int order, gfp_t g)
{
	lab_ev('d', order, (__force unsigned long)g);
}
static void pr_dre(void *d, unsigned long n)
{
	lab_ev('e', n);
}
static void pr_iso(void *d, int hz, int order, unsigned long rq,
		   unsigned long sc, unsigned long sk, unsigned long tk,
		   int lru)
{
	lab_ev('i', hz, order, rq, sc, sk, tk, lru);
}
static void pr_shi(void *d, int nid, unsigned long sc, unsigned long rc,
		   struct reclaim_stat *s, int prio, int file)
{
	lab_ev('s', sc, rc, s->nr_dirty, s->nr_writeback, s->nr_congested,
	       s->nr_immediate, s->nr_activate[0], s->nr_activate[1],
	       s->nr_ref_keep, s->nr_unmap_fail, prio, file);
}
static void pr_sha(void *d, int nid, unsigned long tk, unsigned long ac,
		   unsigned long de, unsigned long rf, int prio, int file)
{
	lab_ev('a', tk, ac, de, rf, prio, file);
}
static void pr_rrz(void *d, struct zoneref *zr, int order, unsigned long rec,
		   unsigned long av, unsigned long min, int loops, bool ok)
{
	lab_ev('t', ZI(zr->zone), order, rec, av, min, loops, ok);
}
static void pr_crt(void *d, int order, enum compact_priority p,
		   enum compact_result r, int ret, int max, bool ok)
{
	lab_ev('c', order, p, r, ret, max, ok);
}
static void pr_vic(void *d, struct task_struct *t, uid_t u)
{
	lab_ev('O', t->pid);
}
static unsigned long all_free(void)
{
	struct zone *z;
	unsigned long n = 0;

	for_each_populated_zone(z)
		n += zone_page_state(z, NR_FREE_PAGES);
	return n;
}
static void pr_kw(void *d, int nid, int zid, int order)
{
	lab_ev('y', zid, order, all_free());
}
static void pr_ks(void *d, int nid)
{
	lab_ev('Y', all_free());
}
static void pr_wk(void *d, int nid, int zid, int order, gfp_t g)
{
	lab_ev('u', zid, order, (__force unsigned long)g, all_free());
}
static void pr_kcw(void *d, int nid, int order, enum zone_type hz)
{
	lab_ev('q', order, hz, all_free());
}
static void pr_kcs(void *d, int nid)
{
	lab_ev('Q', all_free());
}
static void pr_ss(void *d, struct shrinker *s, struct shrink_control *sc,
		  long nd, unsigned long cnt, unsigned long long delta,
		  unsigned long tot, int prio)
{
	lab_ev('h', cnt, delta, tot, prio, s->seeks, s->batch);
}
static void pr_se(void *d, struct shrinker *s, int nid, int ret, long un,
		  long nn, long tot)
{
	lab_ev('H', ret, un, nn, tot);
}
static void pr_thr(void *d, int nid, int to, int del, int reason)
{
	lab_ev('~', to, del, reason);
}

static void probes(void)
{
	register_trace_mm_compaction_begin(pr_cbegin, NULL);
	register_trace_mm_compaction_end(pr_cend, NULL);
	register_trace_mm_compaction_isolate_migratepages(pr_imig, NULL);
	register_trace_mm_compaction_isolate_freepages(pr_ifree, NULL);
	register_trace_mm_compaction_fast_isolate_freepages(pr_ffree, NULL);
	register_trace_mm_compaction_migratepages(pr_mig, NULL);
	register_trace_mm_compaction_finished(pr_fin, NULL);
	register_trace_mm_compaction_suitable(pr_suit, NULL);
	register_trace_mm_compaction_try_to_compact_pages(pr_try, NULL);
	register_trace_mm_compaction_deferred(pr_def, NULL);
	register_trace_mm_compaction_defer_compaction(pr_defc, NULL);
	register_trace_mm_compaction_defer_reset(pr_defr, NULL);
	register_trace_mm_compaction_kcompactd_wake(pr_kcw, NULL);
	register_trace_mm_compaction_kcompactd_sleep(pr_kcs, NULL);
	register_trace_mm_vmscan_direct_reclaim_begin(pr_drb, NULL);
	register_trace_mm_vmscan_direct_reclaim_end(pr_dre, NULL);
	register_trace_mm_vmscan_lru_isolate(pr_iso, NULL);
	register_trace_mm_vmscan_lru_shrink_inactive(pr_shi, NULL);
	register_trace_mm_vmscan_lru_shrink_active(pr_sha, NULL);
	register_trace_mm_vmscan_kswapd_wake(pr_kw, NULL);
	register_trace_mm_vmscan_kswapd_sleep(pr_ks, NULL);
	register_trace_mm_vmscan_wakeup_kswapd(pr_wk, NULL);
	register_trace_mm_vmscan_throttled(pr_thr, NULL);
	register_trace_mm_shrink_slab_start(pr_ss, NULL);
	register_trace_mm_shrink_slab_end(pr_se, NULL);
	register_trace_reclaim_retry_zone(pr_rrz, NULL);
	register_trace_compact_retry(pr_crt, NULL);
	register_trace_mark_victim(pr_vic, NULL);
}

/* ---- the disk: answers at once. Reads give zeros; only the first HDR bytes keep what is written (swap header) */
#define HDR 65536
struct ldisk {
	struct gendisk *g;
	u8 *hdr;
};
static struct ldisk ldisk[2];
static unsigned long ld_reads, ld_writes;

static void ld_submit(struct bio *bio)
{
	struct ldisk *l = bio->bi_bdev->bd_disk->private_data;
	u64 off = (u64)bio->bi_iter.bi_sector << 9;
	struct bio_vec bv;
	struct bvec_iter it;

	bio_for_each_segment(bv, bio, it) {
		void *p = bvec_kmap_local(&bv);
		bool h = off + bv.bv_len <= HDR;

		if (op_is_write(bio_op(bio))) {
			if (h)
				memcpy(l->hdr + off, p, bv.bv_len);
			ld_writes++;
		} else {
			if (h)
				memcpy(p, l->hdr + off, bv.bv_len);
			else
				memset(p, 0, bv.bv_len);
			ld_reads++;
		}
		kunmap_local(p);
		off += bv.bv_len;
	}
	bio_endio(bio);
}

static const struct block_device_operations ld_ops = { .owner = THIS_MODULE,
						       .submit_bio =
							       ld_submit };

static void ld_init(void)
{
	int i;

	if (register_blkdev(240, "lab"))
		return;
	for (i = 0; i < 2; i++) {
		struct queue_limits lim = { .logical_block_size = PAGE_SIZE };
		struct gendisk *g = blk_alloc_disk(&lim, NUMA_NO_NODE);

		if (IS_ERR(g))
			return;
		ldisk[i].hdr = vzalloc(HDR);
		ldisk[i].g = g;
		g->major = 240;
		g->first_minor = i;
		g->minors = 1;
		g->fops = &ld_ops;
		g->private_data = &ldisk[i];
		snprintf(g->disk_name, sizeof(g->disk_name), "lab%d", i);
		set_capacity(g,
			     (u64)(i ? 1 : 4)
				     << 21); /* 4 GiB of file, 1 GiB of swap */
		if (add_disk(g))
			return;
	}
}

/* ---- dumps */
static u32 *pfns;
static unsigned long pfns_cap;
static unsigned long *pcpmap;

static void rle_pfns(const u32 *v, unsigned long n)
{
	unsigned long i = 0;
	bool f = true;

	out("[");
	while (i < n) {
		long step = 0, len = 1;

		if (i + 1 < n) {
			step = (long)v[i + 1] - v[i];
			len = 2;
			while (i + len < n &&
			       (long)v[i + len] - v[i + len - 1] == step)
				len++;
			if (len == 2 && i + 2 < n && step != 1 &&
			    step != -1) { /* rather start anew */
				len = 1;
				step = 0;
			}
		}
		if (len == 1)
			out("%s%u", f ? "" : ",", v[i]);
		else
			out("%s[%u,%ld,%ld]", f ? "" : ",", v[i], step, len);
		f = false;
		i += len;
	}
	out("]");
}

static bool young_one(struct folio *folio, struct vm_area_struct *vma,
		      unsigned long addr, void *arg)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, addr, 0);
	unsigned int *r = arg;

	while (page_vma_mapped_walk(&pvmw)) {
		if (pvmw.pte) {
			pte_t e = ptep_get(pvmw.pte);

			if (pte_young(e))
				*r |= 2048;
			if (pte_dirty(e))
				*r |= 4096;
		} else if (pvmw.pmd)
			*r |= 2048;
	}
	return true;
}

static unsigned int fflags(struct folio *f)
{
	unsigned int r = 0;
	long expect = folio_mapcount(f);
	struct address_space *m;

	if (!folio_try_get(f))
		return 1 << 20;
	if (folio_mapped(f) && folio_trylock(f)) {
		struct rmap_walk_control rwc = { .rmap_one = young_one,
						 .arg = &r };

		rmap_walk(f, &rwc);
		folio_unlock(f);
	}
	m = folio_mapping(f);
	if (m)
		expect += folio_nr_pages(f);
	expect += folio_test_private(f);
	r |= folio_test_referenced(f) | folio_test_dirty(f) << 1 |
	     folio_test_writeback(f) << 2 | folio_test_swapbacked(f) << 3 |
	     folio_test_swapcache(f) << 4 | folio_test_workingset(f) << 5 |
	     folio_mapped(f) << 6 | (folio_ref_count(f) - 1 > expect) << 7 |
	     folio_test_private(f) << 8 | folio_test_mlocked(f) << 9 |
	     folio_test_reclaim(f) << 10 | (m != NULL) << 13;
	folio_put(f);
	return r;
}

static const char *const lrun[] = { "inactive_anon", "active_anon",
				    "inactive_file", "active_file",
				    "unevictable" };

static void dump_lru(void)
{
	struct lruvec *lv = &NODE_DATA(0)->__lruvec;
	int l, cpu, w;
	unsigned long i, n;

	out("\"lru\":{");
	for (l = 0; l < NR_LRU_LISTS; l++) {
		struct folio *f;
		unsigned int cur = 0;
		unsigned long run = 0;
		bool first = true;

		n = 0;
		if (l != LRU_UNEVICTABLE) {
			spin_lock_irq(&lv->lru_lock);
			list_for_each_entry(f, &lv->lists[l], lru)
				if (n < pfns_cap)
					pfns[n++] = folio_pfn(f);
			spin_unlock_irq(&lv->lru_lock);
		}
		out("%s\"%s\":", l ? "," : "", lrun[l]);
		rle_pfns(pfns, n);
		out(",\"%s.flags\":[", lrun[l]);
		for (i = 0; i < n; i++) {
			unsigned int x = fflags(pfn_folio(pfns[i]));

			if (run && x == cur)
				run++;
			else {
				if (run) {
					out("%s%lu,%u", first ? "" : ",", run,
					    cur);
					first = false;
				}
				cur = x;
				run = 1;
			}
			if (!(i & 1023))
				cond_resched();
		}
		if (run)
			out("%s%lu,%u", first ? "" : ",", run, cur);
		out("]");
	}
	out(",\"anon_cost\":%lu,\"file_cost\":%lu,\"nonresident_age\":%ld,\"refaults\":[%lu,%lu],\"batches\":[",
	    lv->anon_cost, lv->file_cost,
	    atomic_long_read(&lv->nonresident_age), lv->refaults[0],
	    lv->refaults[1]);
	for_each_online_cpu(cpu) {
		out("%s{", cpu ? "," : "");
		for (w = 0; w < 6; w++) {
			static const char *const bn[] = {
				"lru_add",	  "lru_deactivate_file",
				"lru_deactivate", "lru_lazyfree",
				"lru_activate",	  "lru_move_tail"
			};
			struct folio_batch *b = lab_fbatch(cpu, w);

			out("%s\"%s\":[", w ? "," : "", bn[w]);
			for (i = 0; i < folio_batch_count(b); i++)
				out("%s%lu", i ? "," : "",
				    folio_pfn(b->folios[i]));
			out("]");
		}
		out("}");
	}
	out("]}");
}

static char kind(struct page *p, unsigned long pfn)
{
	struct folio *f;

	if (PageReserved(p))
		return 'r';
	if (PageBuddy(p))
		return 'b';
	if (test_bit(pfn, pcpmap))
		return 'p';
	f = page_folio(p);
	if (folio_test_slab(f))
		return 's';
	if (PageTable(p))
		return 't';
	if (folio_test_lru(f)) {
		if (folio_test_unevictable(f))
			return 'u';
		if (folio_is_file_lru(f))
			return folio_test_active(f) ? 'F' : 'f';
		return folio_test_active(f) ? 'A' : 'a';
	}
	if (!folio_ref_count(f))
		return 'z';
	if (__folio_test_movable(f))
		return 'm';
	if (f->mapping && ((unsigned long)f->mapping & 3) != 2 &&
	    (folio_test_anon(f) || folio_mapping(f)))
		return 'q';
	return 'k';
}

static void dump_map(void)
{
	struct zone *z;
	bool zf = true;
	unsigned long pfn;

	bitmap_zero(pcpmap, pfns_cap);
	out("\"map\":{");
	for_each_populated_zone(z) {
		unsigned long n = 0, nc = 0;
		char cur = 0;
		int cpu, i;

		for_each_online_cpu(cpu) {
			struct per_cpu_pages *pc =
				per_cpu_ptr(z->per_cpu_pageset, cpu);

			for (i = 0; i < NR_PCP_LISTS; i++) {
				struct page *pg;
				int o = i < NR_LOWORDER_PCP_LISTS ?
						i / MIGRATE_PCPTYPES :
						pageblock_order;

				list_for_each_entry(pg, &pc->lists[i], pcp_list)
					bitmap_set(pcpmap, page_to_pfn(pg),
						   1UL << o);
			}
		}
		out("%s\"%s\":\"", zf ? "" : ",", z->name);
		zf = false;
		for (pfn = z->zone_start_pfn; pfn < zone_end_pfn(z);) {
			struct page *p = pfn_to_online_page(pfn);
			unsigned long k = 1;
			char c = '-';

			if (p && page_zone(p) == z) {
				c = kind(p, pfn);
				if (c == 'b')
					k = 1UL << buddy_order(p);
				else if (c != 'p' && PageHead(p) &&
					 nc < pfns_cap / 2) {
					pfns[2 * nc] = pfn;
					pfns[2 * nc + 1] = compound_order(p);
					nc++;
				}
			}
			if (c == cur)
				n += k;
			else {
				if (n)
					out("%lu%c", n, cur);
				cur = c;
				n = k;
			}
			pfn += k;
		}
		out("%lu%c\",\"%s.compound\":[", n, cur, z->name);
		for (n = 0; n < nc; n++)
			out("%s%u,%u", n ? "," : "", pfns[2 * n],
			    pfns[2 * n + 1]);
		out("]");
	}
	out("}");
}

static const unsigned int wflags[] = { 0,
				       ALLOC_NON_BLOCK,
				       ALLOC_MIN_RESERVE,
				       ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK,
				       ALLOC_HIGHATOMIC | ALLOC_MIN_RESERVE |
					       ALLOC_NON_BLOCK,
				       ALLOC_OOM,
				       ALLOC_CMA };

static void dump_cstate(void)
{
	struct zone *z;
	bool zf = true;
	pg_data_t *pg = NODE_DATA(0);
	int i, cpu;

	out("\"czone\":{");
	for_each_populated_zone(z) {
		unsigned long pfn;
		int o, m, h, w;

		out("%s\"%s\":{\"skip\":\"", zf ? "" : ",\n", z->name);
		zf = false;
		for (pfn = ALIGN_DOWN(z->zone_start_pfn, pageblock_nr_pages);
		     pfn < zone_end_pfn(z); pfn += pageblock_nr_pages) {
			struct page *p =
				pfn_to_online_page(max(pfn, z->zone_start_pfn));

			out("%c", !p ? '-' : get_pageblock_skip(p) ? '1' : '0');
		}
		out("\",\"cached_migrate\":[%lu,%lu],\"cached_free\":%lu,\"init_migrate\":%lu,\"init_free\":%lu,\"considered\":%u,\"defer_shift\":%u,\"order_failed\":%d,\"blockskip_flush\":%d,",
		    z->compact_cached_migrate_pfn[0],
		    z->compact_cached_migrate_pfn[1],
		    z->compact_cached_free_pfn, z->compact_init_migrate_pfn,
		    z->compact_init_free_pfn, z->compact_considered,
		    z->compact_defer_shift, z->compact_order_failed,
		    z->compact_blockskip_flush);
		out("\"free_highatomic\":%lu,\"percpu_drift_mark\":%lu,\"contiguous\":%d,\"threshold\":%d,\"zstat\":{",
		    z->nr_free_highatomic, z->percpu_drift_mark, z->contiguous,
		    per_cpu_ptr(z->per_cpu_zonestats, 0)->stat_threshold);
		for (i = 0; i < NR_VM_ZONE_STAT_ITEMS; i++) {
			out("%s\"%s\":[%ld", i ? "," : "", zone_stat_name(i),
			    atomic_long_read(&z->vm_stat[i]));
			for_each_online_cpu(cpu)
				out(",%d",
				    per_cpu_ptr(z->per_cpu_zonestats, cpu)
					    ->vm_stat_diff[i]);
			out("]");
		}
		out("},\"rows\":[");
		for (o = 0; o <= LAB_MAXO; o++)
			out("%s[%d,%d,%u,%d]", o ? "," : "", o,
			    fragmentation_index(z, o), extfrag_for_order(z, o),
			    compaction_suitable(z, o, ZONE_MOVABLE));
		out("],\"wmark_ok\":{");
		for (m = 0; m < 3; m++)
			for (h = 0; h < MAX_NR_ZONES; h++)
				for (w = 0; w < ARRAY_SIZE(wflags); w++) {
					out("%s\"%d,%d,%u\":\"",
					    m || h || w ? "," : "", m, h,
					    wflags[w]);
					for (o = 0; o <= LAB_MAXO; o++)
						out("%d",
						    zone_watermark_ok(
							    z, o,
							    wmark_pages(z, m),
							    h, wflags[w]));
					out("\"");
				}
		out("}}");
	}
	out("},\n\"node\":{\"kswapd_order\":%d,\"kswapd_highest_zoneidx\":%d,\"kswapd_failures\":%d,\"kswapd_sleeping\":%d,\"kcompactd_max_order\":%d,\"kcompactd_highest_zoneidx\":%d,\"pgdat_flags\":%lu,\"totalreserve_pages\":%lu,\"swap_total\":%ld,\"swap_free\":%ld,\"swappiness\":%d,\"threshold\":%d,\"nstat\":{",
	    pg->kswapd_order, pg->kswapd_highest_zoneidx,
	    (int)pg->kswapd_failures, waitqueue_active(&pg->kswapd_wait),
	    pg->kcompactd_max_order, pg->kcompactd_highest_zoneidx, pg->flags,
	    pg->totalreserve_pages, total_swap_pages, get_nr_swap_pages(),
	    vm_swappiness,
	    per_cpu_ptr(pg->per_cpu_nodestats, 0)->stat_threshold);
	for (i = 0; i < NR_VM_NODE_STAT_ITEMS; i++) {
		out("%s\"%s\":[%ld", i ? "," : "", node_stat_name(i),
		    atomic_long_read(&pg->vm_stat[i]));
		for_each_online_cpu(cpu)
			out(",%d", per_cpu_ptr(pg->per_cpu_nodestats, cpu)
					   ->vm_node_stat_diff[i]);
		out("]");
	}
	out("}}");
}

static unsigned long vme[NR_VM_EVENT_ITEMS], vme0[NR_VM_EVENT_ITEMS];

static void pdump(const char *key)
{
	out("\"%s\":{", key);
	dump_state("zones", 1);
	out(",\n");
	dump_map();
	out(",\n");
	dump_lru();
	out(",\n");
	dump_cstate();
	out("}");
}

static void settle(void)
{
	lru_add_drain_all();
	drain_all_pages(NULL);
}

/* ---- operations */
static const struct {
	const char *n;
	gfp_t g;
} gt[] = {
	{ "GFP_KERNEL", GFP_KERNEL },
	{ "GFP_HIGHUSER_MOVABLE", GFP_HIGHUSER_MOVABLE },
	{ "GFP_KERNEL|__GFP_RECLAIMABLE", GFP_KERNEL | __GFP_RECLAIMABLE },
	{ "GFP_ATOMIC", GFP_ATOMIC },
	{ "GFP_NOWAIT", GFP_NOWAIT },
	{ "GFP_KERNEL|__GFP_NORETRY", GFP_KERNEL | __GFP_NORETRY },
	{ "GFP_KERNEL|__GFP_RETRY_MAYFAIL", GFP_KERNEL | __GFP_RETRY_MAYFAIL },
	{ "GFP_TRANSHUGE_LIGHT", GFP_TRANSHUGE_LIGHT },
	{ "GFP_TRANSHUGE", GFP_TRANSHUGE },
	{ "GFP_TRANSHUGE|__GFP_NORETRY", GFP_TRANSHUGE | __GFP_NORETRY },
	{ "GFP_HIGHUSER_MOVABLE|__GFP_NORETRY",
	  GFP_HIGHUSER_MOVABLE | __GFP_NORETRY },
	{ "GFP_NOFS", GFP_NOFS },
	{ "GFP_NOIO", GFP_NOIO },
	{ "GFP_HIGHUSER_MOVABLE|__GFP_RETRY_MAYFAIL",
	  GFP_HIGHUSER_MOVABLE | __GFP_RETRY_MAYFAIL },
};

static void out_gfps(void)
{
	int i;

	out("\"gfps\":[");
	for (i = 0; i < ARRAY_SIZE(gt); i++)
		out("%s[\"%s\",%u]", i ? "," : "", gt[i].n,
		    (__force u32)(gt[i].g | __GFP_NOWARN));
	out("]");
}

struct prow {
	s8 op, order, gi, zone;
	s32 pfn, count, high, fac, fcnt, free;
	u32 ev;
};
#define NROW 60000
static struct prow *pr;
static int npr;
static struct page **hp; /* held by the running script */
static u8 *ho;
static u8 *hg;
static int nhp;
#define NHP 300000

static void vm_snap(unsigned long *v)
{
	int cpu, i;

	memset(v, 0, sizeof(vme));
	for_each_online_cpu(cpu)
		for (i = 0; i < NR_VM_EVENT_ITEMS; i++)
			v[i] += per_cpu(vm_event_states, cpu).event[i];
}

static void vm_delta(void)
{
	int i;

	for (i = 0; i < NR_VM_EVENT_ITEMS; i++)
		if (vme[i] != vme0[i] && i != PGFREE &&
		    (i < PGALLOC_DMA || i > PGALLOC_MOVABLE))
			lab_ev('V', i, vme[i] - vme0[i]);
}
#if !defined(CONFIG_ZONE_DMA)
#error
#endif

static void prow(int op, int order, int gi, struct page *p, unsigned long pfn)
{
	struct prow *r = &pr[npr];
	struct zone *z;
	struct per_cpu_pages *c;

	if (npr >= NROW)
		return;
	memset(r, 0, sizeof(*r));
	r->op = op;
	r->order = order;
	r->gi = gi;
	r->pfn = -1;
	r->zone = -1;
	r->ev = evcnt;
	if (p) {
		z = page_zone(p);
		c = this_cpu_ptr(z->per_cpu_pageset);
		r->zone = zone_idx(z);
		r->pfn = pfn;
		r->count = c->count;
		r->high = c->high;
		r->fac = c->alloc_factor;
		r->fcnt = c->free_count;
		r->free = zone_page_state(z, NR_FREE_PAGES);
	} else
		r->free = all_free();
	npr++;
}

static struct page *pa(int order, int gi)
{
	struct page *p;

	if (npr >= NROW - 2)
		return NULL;
	vm_snap(vme0);
	p = alloc_pages(gt[gi].g | __GFP_NOWARN, order);
	vm_snap(vme);
	vm_delta();
	prow(1, order, gi, p, p ? page_to_pfn(p) : 0);
	if (p && nhp < NHP) {
		hp[nhp] = p;
		ho[nhp] = order;
		hg[nhp] = gi;
		nhp++;
	}
	return p;
}

static void pfree_i(int i, bool log)
{
	struct page *p = hp[i];

	__free_pages(p, ho[i]);
	if (log)
		prow(-1, ho[i], hg[i], p, page_to_pfn(p));
	nhp--;
	hp[i] = hp[nhp];
	ho[i] = ho[nhp];
	hg[i] = hg[nhp];
}

static void rows_dump(void)
{
	int i;

	out("\"fields\":[\"op\",\"order\",\"gfp\",\"zone\",\"pfn\",\"pcp_count\",\"pcp_high\",\"alloc_factor\",\"free_count\",\"free_nosnap\",\"events_end\"],\"rows\":[");
	for (i = 0; i < npr; i++)
		out("%s[%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%u]",
		    i ? (i % 8 ? "," : ",\n") : "", pr[i].op, pr[i].order,
		    pr[i].gi, pr[i].zone, pr[i].pfn, pr[i].count, pr[i].high,
		    pr[i].fac, pr[i].fcnt, pr[i].free, pr[i].ev);
	out("]");
}

/* keep every other CPU busy with nothing while an experiment runs: no task and no softirq can run there; interrupts stay on */
static DECLARE_WAIT_QUEUE_HEAD(spin_wq);
static int spin_go;
static atomic_t spin_in = ATOMIC_INIT(0);
static bool spinning;
static struct task_struct *spinner[NR_CPUS];

static int spin_fn(void *d)
{
	sched_set_fifo(current);
	for (;;) {
		wait_event_interruptible(spin_wq, READ_ONCE(spin_go));
		local_bh_disable();
		atomic_inc(&spin_in);
		while (READ_ONCE(spin_go))
			cpu_relax();
		atomic_dec(&spin_in);
		local_bh_enable();
	}
	return 0;
}

static void spin_start(void)
{
	int cpu, n = 0;

	for_each_online_cpu(cpu)
		if (cpu != raw_smp_processor_id()) {
			if (!spinner[cpu]) {
				spinner[cpu] = kthread_create_on_cpu(
					spin_fn, NULL, cpu, "labspin/%u");
				if (IS_ERR(spinner[cpu])) {
					spinner[cpu] = NULL;
					continue;
				}
			}
			n++;
		}
	WRITE_ONCE(spin_go, 1);
	for_each_online_cpu(cpu)
		if (cpu != raw_smp_processor_id() && spinner[cpu])
			wake_up_process(spinner[cpu]);
	while (atomic_read(&spin_in) < n)
		cpu_relax();
	spinning = true;
}

static void spin_stop(void)
{
	if (!spinning)
		return;
	WRITE_ONCE(spin_go, 0);
	while (atomic_read(&spin_in))
		cpu_relax();
	spinning = false;
}

static void begin_exp(const char *what)
{
	bool user = !strncmp(what, "evon", 4);

	if ((lab_quiet & LAB_Q_KSWAPD) && !user) {
		settle();
		spin_start();
		drain_all_pages(NULL);
	}
	out("{\"cmd\":\"%s\",\"cpu\":%d,\"quiet\":%d,\"others_spin\":%d,", what,
	    raw_smp_processor_id(), lab_quiet, spinning);
	out_gfps();
	out(",\n");
	pdump("before");
	out(",\n");
	ev_reset();
	npr = 0;
	lab_on = 1;
}

static void end_exp(void)
{
	lab_on = 0;
	pdump("after");
	out(",\n");
	spin_stop();
	rows_dump();
	out(",\n");
	ev_dump("events");
	out("}\n");
}

static bool labp_cmd(char *b)
{
	int a[6] = { 0 }, i, n;
	char what[64];

	strscpy(what, b, sizeof(what));
	if ((i = strcspn(what, "\n\"")) < sizeof(what))
		what[i] = 0;
	if (sscanf(b, "quiet %d", &a[0]) == 1) {
		lab_quiet = a[0];
		out("{}\n");
		return true;
	}
	if (!strncmp(b, "pnames", 6)) {
		out("{\"vm_events\":[");
		for (i = 0; i < NR_VM_EVENT_ITEMS; i++)
			out("%s\"%s\"", i ? "," : "", vm_event_name(i));
		out("],\"wmark_ok_flags\":{\"ALLOC_NON_BLOCK\":%d,\"ALLOC_MIN_RESERVE\":%d,\"ALLOC_HIGHATOMIC\":%d,\"ALLOC_OOM\":%d,\"ALLOC_CMA\":%d},\"SWAP_CLUSTER_MAX\":%lu,\"COMPACT_CLUSTER_MAX\":%lu,\"PAGEVEC_SIZE\":%d}\n",
		    ALLOC_NON_BLOCK, ALLOC_MIN_RESERVE, ALLOC_HIGHATOMIC,
		    ALLOC_OOM, ALLOC_CMA, (unsigned long)SWAP_CLUSTER_MAX,
		    (unsigned long)COMPACT_CLUSTER_MAX, PAGEVEC_SIZE);
		return true;
	}
	if (!strncmp(b, "settle", 6)) {
		settle();
		out("{}\n");
		return true;
	}
	if (!strncmp(b, "pdump", 5)) {
		out("{");
		pdump("state");
		out("}\n");
		return true;
	}
	/* hold N ORDER GFP: kernel pages that cannot move, kept until release */
	if (sscanf(b, "hold %d %d %d", &a[0], &a[1], &a[2]) == 3) {
		for (i = n = 0; i < a[0]; i++) {
			struct page *p =
				alloc_pages(gt[a[2]].g | __GFP_NOWARN, a[1]);

			if (!p)
				break;
			set_page_private(p, a[1]);
			list_add_tail(&p->lru, &held);
			n++;
		}
		out("{\"held\":%d}\n", n);
		return true;
	}
	if (!strncmp(b, "release", 7)) {
		free_list_held(&held);
		out("{}\n");
		return true;
	}
	/* thin SEED PCT: free PCT % of the held pages at random */
	if (sscanf(b, "thin %d %d", &a[0], &a[1]) == 2) {
		struct page *p, *q;

		xs = a[0];
		n = 0;
		list_for_each_entry_safe(p, q, &held, lru)
			if (xrand() % 100 < a[1]) {
				int o = p->private;

				list_del(&p->lru);
				set_page_private(p, 0);
				__free_pages(p, o);
				n++;
			}
		out("{\"freed\":%d}\n", n);
		return true;
	}
	if (!strncmp(b, "pfree", 5)) {
		while (nhp)
			pfree_i(nhp - 1, false);
		out("{}\n");
		return true;
	}
	if (!strncmp(b, "cnode", 5)) {
		settle();
		begin_exp(what);
		lab_compact_node();
		end_exp();
		return true;
	}
	/* cpages ORDER GFP PRIO: direct compaction alone, no allocation around it */
	if (sscanf(b, "cpages %d %d %d", &a[0], &a[1], &a[2]) == 3) {
		gfp_t g = gt[a[1]].g;
		struct alloc_context ac = { .zonelist = node_zonelist(0, g),
					    .highest_zoneidx = gfp_zone(g),
					    .migratetype = gfp_migratetype(g) };
		struct page *page = NULL;
		unsigned int nr;
		int rc;

		ac.preferred_zoneref = first_zones_zonelist(
			ac.zonelist, ac.highest_zoneidx, NULL);
		settle();
		begin_exp(what);
		nr = memalloc_noreclaim_save();
		rc = try_to_compact_pages(g, a[0], ALLOC_WMARK_MIN, &ac, a[2],
					  &page);
		memalloc_noreclaim_restore(nr);
		lab_on = 0;
		out("\"result\":%d,\"captured\":%ld,", rc,
		    page ? (long)page_to_pfn(page) : -1L);
		end_exp();
		if (page) {
			post_alloc_hook(page, a[0], g);
			set_page_refcounted(page);
			__free_pages(page, a[0]);
		}
		return true;
	}
	/* palloc ORDER GFP N KEEPGOING: N allocations, one at a time, all kept */
	if (sscanf(b, "palloc %d %d %d %d", &a[0], &a[1], &a[2], &a[3]) >= 3) {
		settle();
		begin_exp(what);
		for (i = 0; i < a[2]; i++)
			if (!pa(a[0], a[1]) && !a[3])
				break;
		end_exp();
		return true;
	}
	/* pmix N SEED MAXORDER MODE: random allocations and frees; MODE 0 small orders mostly, 1 all orders alike */
	if (sscanf(b, "pmix %d %d %d %d", &a[0], &a[1], &a[2], &a[3]) == 4) {
		static const u8 gs[] = { 0, 1, 2, 3, 4, 5, 6, 10, 13 };
		settle();
		xs = a[1];
		begin_exp(what);
		for (i = 0; i < a[0]; i++) {
			u32 r = xrand();

			if (nhp < 16 || (r & 15) < 9) {
				int gi = gs[(xrand() >> 5) % ARRAY_SIZE(gs)];
				int o = a[3] ? (xrand() >> 7) % (a[2] + 1) :
					       min_t(int, a[2],
						     __builtin_ctz(
							     (xrand() >> 3) |
							     1 << 20));

				if (o > 3 && gi != 4 && gi != 3 &&
				    (xrand() & 64))
					gi = (xrand() & 128) ? 8 : 9;
				if (gi >= 7 && gi <= 9 && !o)
					gi = 1;
				pa(o, gi);
			} else
				pfree_i((xrand() >> 4) % nhp, true);
		}
		end_exp();
		return true;
	}
	/* events of what user space does: evon ... evoff */
	if (!strncmp(b, "evon", 4)) {
		settle();
		begin_exp(what);
		vm_snap(vme0);
		out("\"open\":1}\n");
		return true;
	}
	if (!strncmp(b, "evoff", 5)) {
		vm_snap(vme);
		vm_delta();
		out("{");
		end_exp();
		return true;
	}
	if (!strncmp(b, "oomkill", 7)) {
		struct oom_control oc = { .zonelist =
						  node_zonelist(0, GFP_KERNEL),
					  .gfp_mask = GFP_KERNEL,
					  .order = 0 };
		bool r;

		ev_reset();
		lab_on = 1;
		mutex_lock(&oom_lock);
		r = out_of_memory(&oc);
		mutex_unlock(&oom_lock);
		lab_on = 0;
		out("{\"result\":%d,\"totalpages\":%lu,\"swap\":%ld,", r,
		    totalram_pages() + total_swap_pages, total_swap_pages);
		ev_dump("events");
		out("}\n");
		return true;
	}
	return false;
}

static void labp_init(void)
{
	pfns_cap = ALIGN(max_pfn + 1, BITS_PER_LONG);
	pfns = vzalloc(4 * pfns_cap);
	pcpmap = vzalloc(pfns_cap / 8 + 8);
	evcap = 1 << 20;
	evb = vzalloc(4 * evcap);
	pr = vzalloc(NROW * sizeof(*pr));
	hp = vzalloc(NHP * sizeof(*hp));
	ho = vzalloc(NHP);
	hg = vzalloc(NHP);
	probes();
	ld_init();
}
