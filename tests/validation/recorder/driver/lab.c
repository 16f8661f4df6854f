// SPDX-License-Identifier: GPL-2.0-only
/*
 * mm/lab.c: asks the page allocator and SLUB, and writes down what they did.
 *
 * /proc/lab takes a command and gives its answer as JSON; cmd_...() below has
 * one each, and lab_write() the list. A state is dumped by dump_state(): zones,
 * free lists and per-CPU lists in order. One file serves 5.10, 6.1, 6.12, 7.3.
 */
#include <linux/version.h>
#include <linux/kernel.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/gfp.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/vmstat.h>
#include <linux/proc_fs.h>
#include <linux/uaccess.h>
#include <linux/swap.h>
#include <linux/compaction.h>
#include <linux/utsname.h>
#include <linux/wait.h>
#include <linux/cpumask.h>
#include <linux/percpu.h>
#include <linux/math64.h>
#include <linux/nodemask.h>
#include <linux/memory_hotplug.h>
#include <linux/log2.h>
#include <linux/dma-mapping.h>
#include "slab.h"
#include "internal.h"
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
#include "page_alloc.h"
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
#define LAB_MAXO MAX_PAGE_ORDER
#define NEWPCP 1
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#define LAB_MAXO MAX_ORDER
#define NEWPCP 0
#else
#define LAB_MAXO (MAX_ORDER - 1)
#define NEWPCP 0
#endif

/* 5.10: no struct slab, no folios, one per-CPU list per migrate type (order 0 only), embedded in struct per_cpu_pageset */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 14, 0)
#define OLDPCP 0
#define lab_pcp(z, cpu) per_cpu_ptr((z)->per_cpu_pageset, cpu)
#define lab_this_pcp(z) this_cpu_ptr((z)->per_cpu_pageset)
#define LAB_NR_PCP_LISTS NR_PCP_LISTS
#else
#define OLDPCP 1
#define lab_pcp(z, cpu) (&per_cpu_ptr((z)->pageset, cpu)->pcp)
#define lab_this_pcp(z) (&this_cpu_ptr((z)->pageset)->pcp)
#define LAB_NR_PCP_LISTS MIGRATE_PCPTYPES
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 19, 0)
#define LAB_BUDDY buddy_list
#define LAB_PCPL pcp_list
#else
#define LAB_BUDDY lru
#define LAB_PCPL lru
#endif
/* 7.x (6.18 on, fully from 7.0): sheaves; no cpu slabs, no cpu partial lists */
#define LAB_SHEAVES (LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0))
/* keep our caches unmerged; with sheaves SLAB_NOLEAKTRACE would also turn those off */
#if LAB_SHEAVES
#define LAB_NOMERGE SLAB_NO_MERGE
#else
#define LAB_NOMERGE SLAB_NOLEAKTRACE
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 17, 0)
#define LAB_SIZEOF_SLAB sizeof(struct slab)
#else
#define LAB_SIZEOF_SLAB ((size_t)0)
#endif

/* per-CPU counters of a zone */
#if OLDPCP
#define LAB_ZSTAT(z, cpu) per_cpu_ptr((z)->pageset, cpu)
#else
#define LAB_ZSTAT(z, cpu) per_cpu_ptr((z)->per_cpu_zonestats, cpu)
#endif

#define OBUF_SZ (10UL << 20)
static char *obuf;
static size_t olen;
static bool otrunc;
static DEFINE_MUTEX(lab_mutex);

static __printf(1, 2) void out(const char *fmt, ...)
{
	va_list ap;
	int n;

	if (olen + 512 > OBUF_SZ) {
		otrunc = true;
		return;
	}
	va_start(ap, fmt);
	n = vsnprintf(obuf + olen, OBUF_SZ - olen, fmt, ap);
	va_end(ap);
	if (n > 0)
		olen = min_t(size_t, olen + n, OBUF_SZ - 1);
}

static unsigned int oox(struct kmem_cache_order_objects x)
{
	return x.x >> 16;
}
static unsigned int oob(struct kmem_cache_order_objects x)
{
	return x.x & 0xffff;
}

static u32 xs;
static u32 xrand(void)
{
	xs ^= xs << 13;
	xs ^= xs >> 17;
	xs ^= xs << 5;
	return xs;
}

static unsigned long total_free(void)
{
	struct zone *z;
	unsigned long n = 0;

	for_each_populated_zone(z)
		n += zone_page_state_snapshot(z, NR_FREE_PAGES);
	return n;
}

static void zfree(const char *key)
{
	struct zone *z;
	bool first = true;

	out("\"%s\":{", key);
	for_each_populated_zone(z) {
		int cpu, c = 0;

		for_each_online_cpu(cpu)
			c += lab_pcp(z, cpu)->count;
		out("%s\"%d:%s\":{\"free\":%lu,\"free_nosnap\":%lu,\"pcp\":%d,\"highatomic\":%lu,\"boost\":%lu}",
		    first ? "" : ",", zone_to_nid(z), z->name,
		    zone_page_state_snapshot(z, NR_FREE_PAGES),
		    zone_page_state(z, NR_FREE_PAGES), c,
		    z->nr_reserved_highatomic, z->watermark_boost);
		first = false;
	}
	out("}");
}

static const char mtch[] = "UMRHCI??";

/* machines with several nodes: no kswapd, kcompactd, vmstat worker, and every other CPU spins (a boost that kswapd takes back moves the walk to another node) */
#if defined(CONFIG_NUMA) && LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#define LAB_SILENT 1
static void lab_silence(bool on);
#else
#define LAB_SILENT 0
static void lab_silence(bool on)
{
}
#endif

static void dump_state(const char *key, int lists)
{
	struct zone *z;
	bool zf = true;

	out("\"%s\":[", key);
	for_each_populated_zone(z) {
		unsigned long flags, pfn;
		int o, t, cpu, i;
		bool f;

		out("%s{\"nid\":%d,\"name\":\"%s\",\"start_pfn\":%lu,\"spanned\":%lu,\"present\":%lu,\"managed\":%lu,",
		    zf ? "" : ",", zone_to_nid(z), z->name, z->zone_start_pfn,
		    z->spanned_pages, z->present_pages, zone_managed_pages(z));
		zf = false;
		/* zflags: bit0 BOOSTED_WATERMARK, bit1 RECLAIM_ACTIVE, bit2 BELOW_HIGH (6.12) */
		out("\"zflags\":%lu,", z->flags);
		/* fstat: the free counter without deltas, then the delta of each online CPU */
		out("\"fstat\":[%ld",
		    atomic_long_read(&z->vm_stat[NR_FREE_PAGES]));
		for_each_online_cpu(cpu)
			out(",%d",
			    LAB_ZSTAT(z, cpu)->vm_stat_diff[NR_FREE_PAGES]);
		out("],\"threshold\":%d,", LAB_ZSTAT(z, 0)->stat_threshold);
#if defined(CONFIG_NUMA) && !OLDPCP
		/* numa: hit, miss, foreign, interleave, local, other */
		for (i = 0; i < NR_VM_NUMA_EVENT_ITEMS; i++) {
			unsigned long v =
				atomic_long_read(&z->vm_numa_event[i]);

			for_each_online_cpu(cpu)
				v += per_cpu_ptr(z->per_cpu_zonestats, cpu)
					     ->vm_numa_event[i];
			out("%s%lu", i ? "," : "\"numa\":[", v);
		}
		out("],");
#endif
		out("\"free\":%lu,\"wm\":[%lu,%lu,%lu],\"boost\":%lu,\"highatomic\":%lu,\"lowmem_reserve\":[",
		    zone_page_state_snapshot(z, NR_FREE_PAGES),
		    z->_watermark[WMARK_MIN], z->_watermark[WMARK_LOW],
		    z->_watermark[WMARK_HIGH], z->watermark_boost,
		    z->nr_reserved_highatomic);
		for (i = 0; i < MAX_NR_ZONES; i++)
			out("%s%ld", i ? "," : "", z->lowmem_reserve[i]);
		out("],\"group_disabled\":%d,\"blocks\":\"",
		    page_group_by_mobility_disabled);
		for (pfn = ALIGN_DOWN(z->zone_start_pfn, pageblock_nr_pages);
		     pfn < zone_end_pfn(z); pfn += pageblock_nr_pages) {
			struct page *p = NULL;
			unsigned long q;

			for (q = pfn; q < pfn + pageblock_nr_pages;
			     q += max(1UL, pageblock_nr_pages / 16))
				if (q >= z->zone_start_pfn &&
				    (p = pfn_to_online_page(q)))
					break;
			if (!p || page_zone(p) != z)
				out("-");
			else
				out("%c",
				    mtch[get_pageblock_migratetype(p) & 7]);
		}
		out("\",\"nr_free\":[");
		for (o = 0; o <= LAB_MAXO; o++)
			out("%s%lu", o ? "," : "", z->free_area[o].nr_free);
		out("]");
		if (lists) {
			out(",\"lists\":{");
			f = true;
			spin_lock_irqsave(&z->lock, flags);
			for (o = 0; o <= LAB_MAXO; o++)
				for (t = 0; t < MIGRATE_TYPES; t++) {
					struct page *p;
					unsigned long n = 0, tot = 0;

					if (list_empty(&z->free_area[o]
								.free_list[t]))
						continue;
					out("%s\"%d%c\":[", f ? "" : ",", o,
					    mtch[t & 7]);
					f = false;
					list_for_each_entry(
						p,
						&z->free_area[o].free_list[t],
						LAB_BUDDY) {
						if (n < 400000)
							out("%s%lu",
							    n ? "," : "",
							    page_to_pfn(p));
						else if (n == 400000)
							out(",-1");
						n++;
						tot++;
					}
					out("]");
				}
			spin_unlock_irqrestore(&z->lock, flags);
			out("}");
		}
		out(",\"pcp\":[");
		f = true;
		for_each_online_cpu(cpu) {
			struct per_cpu_pages *p = lab_pcp(z, cpu);

			out("%s{\"cpu\":%d,\"count\":%d,\"high\":%d,\"batch\":%d,",
			    f ? "" : ",", cpu, p->count, p->high, p->batch);
			f = false;
#if NEWPCP
			out("\"high_min\":%d,\"high_max\":%d,\"flags\":%d,\"alloc_factor\":%d,\"free_count\":%d,",
			    p->high_min, p->high_max, p->flags, p->alloc_factor,
			    p->free_count);
#ifdef CONFIG_NUMA
			out("\"expire\":%d,", p->expire);
#endif
#elif OLDPCP
			out("\"free_factor\":-1,");
#else
			out("\"free_factor\":%d,", p->free_factor);
#endif
			out("\"lists\":{");
			{
				bool lf = true;

				for (i = 0; i < LAB_NR_PCP_LISTS && lists;
				     i++) {
					struct page *pg;
					int n = 0;

					if (list_empty(&p->lists[i]))
						continue;
					out("%s\"%d\":[", lf ? "" : ",", i);
					lf = false;
					list_for_each_entry(pg, &p->lists[i],
							    LAB_PCPL)
						out("%s%lu", n++ ? "," : "",
						    page_to_pfn(pg));
					out("]");
				}
			}
			out("}}");
		}
		out("]}");
	}
	out("]");
}

/* ---------------------------------------------------------------- a. */
static void cmd_consts(void)
{
	out("{\"PAGE_SIZE\":%lu,\"PAGE_SHIFT\":%d,\"max_order_inclusive\":%d,\"MAX_ORDER_macro\":%d,\"pageblock_order\":%u,",
	    PAGE_SIZE, PAGE_SHIFT, LAB_MAXO,
#ifdef MAX_PAGE_ORDER
	    MAX_PAGE_ORDER
#else
	    MAX_ORDER
#endif
	    ,
	    (unsigned int)pageblock_order);
	out("\"KMALLOC_MAX_SIZE\":%lu,\"KMALLOC_MAX_CACHE_SIZE\":%lu,\"KMALLOC_MAX_ORDER\":%d,\"KMALLOC_MIN_SIZE\":%lu,\"KMALLOC_SHIFT_HIGH\":%d,\"KMALLOC_SHIFT_LOW\":%d,\"KMALLOC_SHIFT_MAX\":%d,",
	    (unsigned long)KMALLOC_MAX_SIZE,
	    (unsigned long)KMALLOC_MAX_CACHE_SIZE, (int)KMALLOC_MAX_ORDER,
	    (unsigned long)KMALLOC_MIN_SIZE, KMALLOC_SHIFT_HIGH,
	    KMALLOC_SHIFT_LOW, KMALLOC_SHIFT_MAX);
	out("\"ARCH_KMALLOC_MINALIGN\":%lu,\"ARCH_SLAB_MINALIGN\":%lu,\"dma_get_cache_alignment\":%d,\"cache_line_size\":%d,\"L1_CACHE_BYTES\":%d,\"SMP_CACHE_BYTES\":%d,",
	    (unsigned long)ARCH_KMALLOC_MINALIGN,
	    (unsigned long)ARCH_SLAB_MINALIGN, (int)dma_get_cache_alignment(),
	    (int)cache_line_size(), L1_CACHE_BYTES, SMP_CACHE_BYTES);
	out("\"sizeof_page\":%zu,\"sizeof_slab\":%zu,\"sizeof_kmem_cache\":%zu,\"sizeof_kmem_cache_node\":%zu,\"HZ\":%d,\"NR_PCP_LISTS\":%d,\"MIGRATE_TYPES\":%d,\"MIGRATE_PCPTYPES\":%d,\"PAGE_ALLOC_COSTLY_ORDER\":%d,\"MAX_NR_ZONES\":%d,",
	    sizeof(struct page), LAB_SIZEOF_SLAB, sizeof(struct kmem_cache),
	    (size_t)0, HZ, (int)LAB_NR_PCP_LISTS, (int)MIGRATE_TYPES,
	    (int)MIGRATE_PCPTYPES, PAGE_ALLOC_COSTLY_ORDER, MAX_NR_ZONES);
	out("\"nr_cpu_ids\":%u,\"online_cpus\":%u,\"possible_cpus\":%u,\"present_cpus\":%u,\"numa_nodes\":%u,\"THP\":%d,\"SECTION_SIZE_BITS\":%d,\"MAX_PHYSMEM_BITS\":%d,",
	    nr_cpu_ids, num_online_cpus(), num_possible_cpus(),
	    num_present_cpus(), num_online_nodes(),
	    IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE), SECTION_SIZE_BITS,
	    MAX_PHYSMEM_BITS);
#ifdef HPAGE_PMD_ORDER
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
	out("\"HPAGE_PMD_ORDER\":%d,", HPAGE_PMD_ORDER);
#endif
#endif
	out("\"gfp\":{\"GFP_KERNEL\":%u,\"GFP_ATOMIC\":%u,\"GFP_NOWAIT\":%u,\"GFP_HIGHUSER_MOVABLE\":%u,\"__GFP_NORETRY\":%u,\"__GFP_MEMALLOC\":%u,\"__GFP_RECLAIMABLE\":%u,\"__GFP_COMP\":%u,\"__GFP_HIGH\":%u,\"__GFP_NOWARN\":%u,\"__GFP_RETRY_MAYFAIL\":%u,\"__GFP_NOFAIL\":%u,\"__GFP_ZERO\":%u},",
	    (__force u32)GFP_KERNEL, (__force u32)GFP_ATOMIC,
	    (__force u32)GFP_NOWAIT, (__force u32)GFP_HIGHUSER_MOVABLE,
	    (__force u32)__GFP_NORETRY, (__force u32)__GFP_MEMALLOC,
	    (__force u32)__GFP_RECLAIMABLE, (__force u32)__GFP_COMP,
	    (__force u32)__GFP_HIGH, (__force u32)__GFP_NOWARN,
	    (__force u32)__GFP_RETRY_MAYFAIL, (__force u32)__GFP_NOFAIL,
	    (__force u32)__GFP_ZERO);
	out("\"slub_cpu_partial\":%d,\"sheaves\":%d,\"preempt_lazy\":%d,\"preempt\":%d,\"release\":\"%s\",\"machine\":\"%s\",\"version\":\"%s\"}\n",
	    IS_ENABLED(CONFIG_SLUB_CPU_PARTIAL), LAB_SHEAVES,
	    IS_ENABLED(CONFIG_PREEMPT_LAZY), IS_ENABLED(CONFIG_PREEMPT),
	    utsname()->release, utsname()->machine, utsname()->version);
}

/* ---------------------------------------------------------------- b. */
static void cmd_kmax(void)
{
	volatile size_t sz = KMALLOC_MAX_SIZE;
	void *p;
	int o;
	size_t lo, hi;

	out("{\"by_order\":[");
	for (o = 0; o <= LAB_MAXO + 1; o++) {
		sz = PAGE_SIZE << o;
		p = kmalloc(sz, GFP_KERNEL | __GFP_NOWARN);
		out("%s[%d,%zu,%d]", o ? "," : "", o, sz, p != NULL);
		kfree(p);
	}
	sz = KMALLOC_MAX_SIZE;
	p = kmalloc(sz, GFP_KERNEL | __GFP_NOWARN);
	out("],\"at_max\":[%zu,%d]", sz, p != NULL);
	kfree(p);
	sz = KMALLOC_MAX_SIZE + 1;
	p = kmalloc(sz, GFP_KERNEL | __GFP_NOWARN);
	out(",\"at_max_plus1\":[%zu,%d]", sz, p != NULL);
	kfree(p);
	lo = 1;
	hi = 2 * KMALLOC_MAX_SIZE;
	while (hi - lo > 1) {
		sz = lo + (hi - lo) / 2;
		p = kmalloc(sz, GFP_KERNEL | __GFP_NOWARN);
		if (p) {
			lo = sz;
			kfree(p);
		} else
			hi = sz;
	}
	sz = 0;
	p = kmalloc(sz, GFP_KERNEL);
	out(",\"largest_ok\":%zu,\"zero_is_ZERO_SIZE_PTR\":%d}\n", lo,
	    p == ZERO_SIZE_PTR);
}

/* ---------------------------------------------------------------- c. */
static int kf;
static void one_ksize(size_t s, gfp_t g)
{
	volatile size_t sz = s;
	void *p;

	if (sz > (total_free() << PAGE_SHIFT) / 2) {
		out("%s[%zu,null,null,\"skipped\"]", kf++ ? ",\n" : "", sz);
		return;
	}
	p = kmalloc(sz, g);
	if (!p) {
		out("%s[%zu,null,null,\"fail\"]", kf++ ? ",\n" : "", sz);
		return;
	}
	out("%s[%zu,%zu,", kf++ ? ",\n" : "", sz, ksize(p));
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	out("%zu,", kmalloc_size_roundup(sz));
#else
	out("null,");
#endif
	{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 17, 0)
		struct slab *sl = virt_to_slab(p);
		struct kmem_cache *c = sl ? sl->slab_cache : NULL;
		int o = sl ? 0 : folio_order(virt_to_folio(p));
#else
		struct page *hp = virt_to_head_page(p);
		struct kmem_cache *c = PageSlab(hp) ? hp->slab_cache : NULL;
		int o = c ? 0 : compound_order(hp);
#endif

		if (c)
			out("\"%s\",%u,%u]", c->name, oox(c->oo), oob(c->oo));
		else
			out("\"large(order %d)\",%d,1]", o, o);
	}
	kfree(p);
}

static void cmd_ksize(void)
{
	size_t s;
	int i;

	kf = 0;
	xs = 20240607;
	out("{\"gfp\":\"GFP_KERNEL|__GFP_NOWARN\",\"fields\":[\"size\",\"ksize\",\"kmalloc_size_roundup\",\"cache\",\"order\",\"objs\"],\"rows\":[\n");
	for (s = 1; s <= 32; s++)
		one_ksize(s, GFP_KERNEL | __GFP_NOWARN);
	for (s = 64; s <= KMALLOC_MAX_SIZE; s <<= 1) {
		one_ksize(s - 1, GFP_KERNEL | __GFP_NOWARN);
		one_ksize(s, GFP_KERNEL | __GFP_NOWARN);
		if (s != KMALLOC_MAX_SIZE)
			one_ksize(s + 1, GFP_KERNEL | __GFP_NOWARN);
		if (s * 3 / 2 < KMALLOC_MAX_SIZE) {
			one_ksize(s * 3 / 2 - 1, GFP_KERNEL | __GFP_NOWARN);
			one_ksize(s * 3 / 2, GFP_KERNEL | __GFP_NOWARN);
			one_ksize(s * 3 / 2 + 1, GFP_KERNEL | __GFP_NOWARN);
		}
	}
	for (i = 0; i < 110; i++) {
		int sh = 3 + xrand() % (ilog2(KMALLOC_MAX_SIZE) - 3);

		one_ksize((1UL << sh) + (xrand() & ((1UL << sh) - 1)),
			  GFP_KERNEL | __GFP_NOWARN);
	}
	out("],\n\"other_types\":[\n");
	kf = 0;
	for (s = 8; s <= 2 * KMALLOC_MAX_CACHE_SIZE && s <= (1 << 20);
	     s <<= 1) {
		one_ksize(s, GFP_KERNEL | __GFP_NOWARN | __GFP_RECLAIMABLE);
#ifdef CONFIG_ZONE_DMA
		one_ksize(s, GFP_KERNEL | __GFP_NOWARN | __GFP_DMA);
#endif
		one_ksize(s, GFP_KERNEL | __GFP_NOWARN | __GFP_ACCOUNT);
	}
	out("]}\n");
}

/* ---------------------------------------------------------------- d. */
static void cache_row(struct kmem_cache *s, const char *pre)
{
	out("%s{\"name\":\"%s\",\"object_size\":%u,\"size\":%u,\"objs\":%u,\"order\":%u,\"min_objs\":%u,\"min_order\":%u,\"align\":%u,\"inuse\":%u,\"offset\":%u,\"flags\":%lu,\"refcount\":%d,\"min_partial\":%lu",
	    pre, s->name, s->object_size, s->size, oob(s->oo), oox(s->oo),
	    oob(s->min), oox(s->min), s->align, s->inuse, s->offset,
	    (unsigned long)(__force unsigned int)s->flags, s->refcount,
	    s->min_partial);
#if LAB_SHEAVES
	out(",\"cpu_partial\":-1,\"cpu_partial_slabs\":-1,\"sheaf_capacity\":%u,\"barn\":%d",
	    s->sheaf_capacity, s->per_node[0].barn != NULL);
#elif defined(CONFIG_SLUB_CPU_PARTIAL)
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 16, 0)
	out(",\"cpu_partial\":%u,\"cpu_partial_slabs\":%u", s->cpu_partial,
	    s->cpu_partial_slabs);
#else
	out(",\"cpu_partial\":%u,\"cpu_partial_slabs\":-1",
	    s->cpu_partial); /* counted in objects */
#endif
#endif
	out(",\"ctor\":%d}", s->ctor != NULL);
}

static void cmd_caches(void)
{
	struct kmem_cache *s;
	bool f = true;

	out("[");
	mutex_lock(&slab_mutex);
	list_for_each_entry(s, &slab_caches, list) {
		cache_row(s, f ? "\n" : ",\n");
		f = false;
	}
	mutex_unlock(&slab_mutex);
	out("]\n");
}

static void lab_ctor(void *p)
{
}

static void cmd_kcreate(void)
{
	static const unsigned int sizes[] = {
		8,	13,	16,    24,    32,    40,    48,	   56,	  64,
		72,	80,	88,    96,    100,   104,   112,   120,	  128,
		136,	144,	152,   160,   176,   184,   192,   200,	  208,
		224,	232,	248,   256,   264,   280,   296,   320,	  336,
		344,	368,	384,   400,   424,   448,   472,   480,	  512,
		520,	544,	576,   600,   608,   632,   640,   656,	  680,
		688,	704,	720,   744,   752,   768,   792,   800,	  832,
		848,	880,	896,   960,   1000,  1016,  1024,  1032,  1048,
		1080,	1088,	1096,  1112,  1152,  1216,  1280,  1344,  1368,
		1408,	1472,	1536,  1600,  1664,  1792,  1856,  1920,  2000,
		2048,	2056,	2112,  2304,  2432,  2560,  2720,  2728,  2816,
		3000,	3072,	3328,  3584,  3840,  4000,  4032,  4088,  4096,
		4104,	4224,	4608,  4800,  5120,  5376,  5632,  6000,  6144,
		6400,	6656,	7168,  7680,  8000,  8184,  8192,  8200,  8704,
		9216,	10000,	10240, 11000, 12288, 13000, 14336, 15000, 16000,
		16376,	16384,	20000, 24576, 32768, 40000, 49152, 65536, 98304,
		131072, 200000, 262144
	};
	int i, v;
	bool f = true;

	out("[");
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (v = 0; v < 5; v++) {
			char name[48];
			slab_flags_t fl = LAB_NOMERGE;
			unsigned int align = 0;
			void (*ctor)(void *) = NULL;
			struct kmem_cache *s;
			static const char *vn[] = { "plain", "hwalign",
						    "align64", "rcu", "ctor" };

			if (v >= 2 && (i % 4))
				continue;
			if (v == 1)
				fl |= SLAB_HWCACHE_ALIGN;
			if (v == 2)
				align = 64;
			if (v == 3)
				fl |= SLAB_TYPESAFE_BY_RCU;
			if (v == 4)
				ctor = lab_ctor;
			snprintf(name, sizeof(name), "lab-%s-%u", vn[v],
				 sizes[i]);
			if (sizes[i] > KMALLOC_MAX_SIZE)
				continue;
			s = kmem_cache_create(name, sizes[i], align, fl, ctor);
			if (!s) {
				out("%s{\"name\":\"%s\",\"req_size\":%u,\"failed\":1}",
				    f ? "\n" : ",\n", name, sizes[i]);
				f = false;
				continue;
			}
			cache_row(s, f ? "\n" : ",\n");
			f = false;
			kmem_cache_destroy(s);
		}
	}
	out("]\n");
}

/* ---------------------------------------------------------------- f. */
#define NPG 8192
static struct page *pg[NPG];
static u8 pgo[NPG];
static struct {
	int op;
	int order;
	int mt;
	long pfn;
	int count, high, batch, fac, fcnt;
} lg[3 * NPG];
static int nlg;

static gfp_t mtgfp(int mt)
{
	switch (mt) {
	case 1:
		return GFP_HIGHUSER_MOVABLE | __GFP_NOWARN;
	case 2:
		return GFP_KERNEL | __GFP_RECLAIMABLE | __GFP_NOWARN;
	}
	return GFP_KERNEL | __GFP_NOWARN;
}

static struct zone *lab_zone;

static void lrec(int op, int order, int mt, struct page *p)
{
	struct zone *z = p ? page_zone(p) : lab_zone;
	struct per_cpu_pages *c;

	if (nlg >= ARRAY_SIZE(lg))
		return;
	if (!z)
		return;
	c = lab_this_pcp(z);
	lg[nlg].op = op;
	lg[nlg].order = order;
	lg[nlg].mt = mt;
	lg[nlg].pfn = p ? (long)page_to_pfn(p) : -1;
	lg[nlg].count = c->count;
	lg[nlg].high = c->high;
	lg[nlg].batch = c->batch;
#if NEWPCP
	lg[nlg].fac = c->alloc_factor;
	lg[nlg].fcnt = c->free_count;
#elif OLDPCP
	lg[nlg].fac = -1;
	lg[nlg].fcnt = -1;
#else
	lg[nlg].fac = c->free_factor;
	lg[nlg].fcnt = 0;
#endif
	nlg++;
}

static gfp_t la_clear; /* tight: no reclaim, direct or by kswapd */

static struct page *la(int order, int mt)
{
	struct page *p = alloc_pages(mtgfp(mt) & ~la_clear, order);

	if (p)
		lab_zone = page_zone(p);
	lrec(1, order, mt, p);
	return p;
}

static void lf(struct page *p, int order, int mt)
{
	if (!p)
		return;
	__free_pages(p, order);
	lrec(-1, order, mt, p);
}

static void dump_log(void)
{
	int i;

	out("\"fields\":[\"op\",\"order\",\"mt\",\"pfn\",\"pcp_count\",\"pcp_high\",\"pcp_batch\",\"%s\",\"free_count\"],\"log\":[",
	    NEWPCP ? "alloc_factor" : "free_factor");
	for (i = 0; i < nlg; i++)
		out("%s[%d,%d,%d,%ld,%d,%d,%d,%d,%d]",
		    i ? (i % 8 ? "," : ",\n") : "", lg[i].op, lg[i].order,
		    lg[i].mt, lg[i].pfn, lg[i].count, lg[i].high, lg[i].batch,
		    lg[i].fac, lg[i].fcnt);
	out("]");
}

/* fragmentation: hold every other page */
static LIST_HEAD(held);
static LIST_HEAD(held_hi);
static unsigned long nheld, nhi;

static void free_list_held(struct list_head *h)
{
	struct page *p, *n;

	list_for_each_entry_safe(p, n, h, lru) {
		int o = p->private;

		list_del(&p->lru);
		set_page_private(p, 0);
		__free_pages(p, o);
		cond_resched();
	}
}

/* script KIND ARGS... */
static void cmd_script(const char *kind, int a, int b, int c)
{
	unsigned long flags;
	int i, k, n = 0;
	unsigned long fr;

	if (b < 0) {
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
		b = HPAGE_PMD_ORDER;
#else
		b = LAB_MAXO;
#endif
	}
	{
		struct page *tmp = alloc_page(GFP_KERNEL);

		if (tmp) {
			lab_zone = page_zone(tmp);
			__free_page(tmp);
		}
	}
	drain_all_pages(NULL);
	nlg = 0;
	fr = total_free();
	out("{\"kind\":\"%s\",\"args\":[%d,%d,%d],\"cpu\":%d,", kind, a, b, c,
	    raw_smp_processor_id());
	dump_state("before", 1);
	out(",\n");
	local_irq_save(flags);
	if (!strcmp(kind,
		    "ab")) { /* a pages, free same order, alloc again, free reverse */
		for (i = 0; i < a; i++)
			pg[i] = la(b, c);
		for (i = 0; i < a; i++)
			lf(pg[i], b, c);
		for (i = 0; i < a; i++)
			pg[i] = la(b, c);
		for (i = a - 1; i >= 0; i--)
			lf(pg[i], b, c);
		for (i = 0; i < a; i++)
			pg[i] = la(b, c);
		for (i = 0; i < a; i++)
			lf(pg[i], b, c);
	} else if (!strcmp(kind, "each")) {
		for (i = 0; i <= LAB_MAXO; i++)
			pg[i] = (2UL << i) < fr ? la(i, c) : NULL;
		for (i = 0; i <= LAB_MAXO; i++)
			lf(pg[i], i, c);
	} else if (!strcmp(kind,
			   "mix")) { /* a ops, b = order mod, c = mt (3 = random, 4 = random 0/1) */
		static u8 pmt[NPG];
		unsigned long lim = fr / 4, used = 0;

		for (k = 0; k < a; k++) {
			u32 r = xrand();

			if (!n || ((r & 7) < 5 && used < lim && n < NPG)) {
				int o = (xrand() >> 8) % b;
				int m = c == 3 ? (xrand() >> 8) % 3 :
					c == 4 ? (xrand() >> 8) % 2 :
						 c;

				pg[n] = la(o, m);
				pgo[n] = o;
				pmt[n] = m;
				if (pg[n]) {
					used += 1UL << o;
					n++;
				}
			} else {
				i = (xrand() >> 4) % n;
				lf(pg[i], pgo[i], pmt[i]);
				used -= 1UL << pgo[i];
				n--;
				pg[i] = pg[n];
				pgo[i] = pgo[n];
				pmt[i] = pmt[n];
			}
		}
		while (n) {
			n--;
			lf(pg[n], pgo[n], pmt[n]);
		}
	} else if (!strcmp(kind,
			   "run")) { /* a allocs then frees in fifo order; b order; c: 0 fifo 1 lifo 2 fifo+repeat*/
		int rep;

		a = min_t(unsigned long, a, (fr / 3) >> b);
		if (a > NPG)
			a = NPG;
		for (rep = 0; rep < (c == 2 ? 2 : 1); rep++) {
			for (i = 0; i < a; i++)
				pg[i] = la(b, 0);
			if (c == 1)
				for (i = a - 1; i >= 0; i--)
					lf(pg[i], b, 0);
			else
				for (i = 0; i < a; i++)
					lf(pg[i], b, 0);
		}
	} else if (!strcmp(kind,
			   "rund")) { /* a allocs (not logged), drain, frees of order b logged; c 1 = lifo */
		a = min_t(unsigned long, a, (fr / 3) >> b);
		if (a > NPG)
			a = NPG;
		local_irq_restore(flags);
		for (i = 0; i < a; i++)
			pg[i] = la(b, 0);
		drain_all_pages(NULL);
		dump_state("mid",
			   1); /* the state the logged frees start from */
		out(",\n");
		local_irq_save(flags);
		nlg = 0;
		if (c == 1)
			for (i = a - 1; i >= 0; i--)
				lf(pg[i], b, 0);
		else
			for (i = 0; i < a; i++)
				lf(pg[i], b, 0);
	} else if (!strcmp(kind,
			   "tight")) { /* most memory held, a quarter of it freed at random, blocks of order >= c held; from mid on logged: a ops, b = order mod, any type, no reclaim */
		static u8 pmt[NPG];
		struct page *p, *q;
		unsigned long used = 0, lim;

		local_irq_restore(flags);
		for (k = 0; k < 3; k++) {
			unsigned long m = fr *
					  (k == 0 ? 8 :
					   k == 1 ? 4 :
						    70) /
					  100;

			while (m-- && (p = alloc_pages(mtgfp(k == 0 ? 0 :
							     k == 1 ? 2 :
								      1),
						       0))) {
				set_page_private(p, 0);
				list_add_tail(&p->lru, &held);
			}
		}
		list_for_each_entry_safe(p, q, &held, lru)
			if ((xrand() >> 5) % 4 == 0) {
				list_del(&p->lru);
				__free_pages(p, 0);
			}
		drain_all_pages(NULL);
		for (i = LAB_MAXO; c && i >= c; i--)
			while ((p = alloc_pages((GFP_KERNEL & ~__GFP_RECLAIM) |
							__GFP_NOWARN,
						i))) { /* wakes nobody */
				set_page_private(p, i);
				list_add_tail(&p->lru, &held_hi);
			}
		drain_all_pages(NULL);
		dump_state("mid", 1);
		out(",\n");
		lim = total_free() / 2;
		la_clear = __GFP_RECLAIM;
		local_irq_save(flags);
		nlg = 0;
		for (k = 0; k < a; k++) {
			u32 r = xrand();

			/* one type at a time for a while, so that its lists run dry */
			if (!n || ((r & 7) < 5 && used < lim && n < NPG)) {
				int o = (xrand() >> 8) % b;
				int m = (k / 256 % 4 == 3) ?
						(xrand() >> 8) % 3 :
					k / 256 % 4 == 0 ? 2 :
							   k / 256 % 4 - 1;

				pg[n] = la(o, m);
				pgo[n] = o;
				pmt[n] = m;
				if (pg[n]) {
					used += 1UL << o;
					n++;
				}
			} else {
				i = (xrand() >> 4) % n;
				lf(pg[i], pgo[i], pmt[i]);
				used -= 1UL << pgo[i];
				n--;
				pg[i] = pg[n];
				pgo[i] = pgo[n];
				pmt[i] = pmt[n];
			}
		}
	}
	local_irq_restore(flags);
	dump_log();
	out(",\n");
	dump_state("after", 1);
	drain_all_pages(NULL);
	out(",\n");
	dump_state("after_drain", 0);
	out("}\n");
	if (!strcmp(kind, "tight")) {
		la_clear = 0;
		while (n--)
			__free_pages(pg[n], pgo[n]);
		free_list_held(&held);
		free_list_held(&held_hi);
		drain_all_pages(NULL);
	}
}

/* ---------------------------------------------------------------- slub objects */
/*
 * slub SIZE KIND N: a fresh cache of its own, this CPU only, interrupts off; every object's slab (PFN of its first page) and index.
 * State after each row. 5.10: PFN of the cpu slab (-1 none), free objects on its cpu freelist, slabs on the cpu partial list,
 * its pobjects, node nr_partial, node nr_slabs. With sheaves: size of main, of spare (-1 none), barn nr_full, barn nr_empty,
 * node nr_partial, node nr_slabs.
 */
#if LAB_SHEAVES
void lab_slub_state(struct kmem_cache *s,
		    long *v); /* appended to mm/slub.c by build.sh */
#elif OLDPCP
static void lab_slub_state(struct kmem_cache *s, long *v)
{
	struct kmem_cache_cpu *c = this_cpu_ptr(s->cpu_slab);
	struct kmem_cache_node *n = s->node[0];
	void *o;

	v[0] = c->page ? (long)page_to_pfn(c->page) : -1;
	v[1] = 0;
	for (o = c->freelist; o; o = *(void **)(o + s->offset))
		v[1]++;
#ifdef CONFIG_SLUB_CPU_PARTIAL
	v[2] = c->partial ? c->partial->pages : 0;
	v[3] = c->partial ? c->partial->pobjects : 0;
#else
	v[2] = v[3] = 0;
#endif
	v[4] = n->nr_partial;
	v[5] = atomic_long_read(&n->nr_slabs);
}
#else
static void lab_slub_state(struct kmem_cache *s, long *v)
{
	int i;

	for (i = 0; i < 6; i++)
		v[i] = -1;
}
#endif

static struct {
	int op;
	int h;
	long pfn;
	int idx;
	long v[6];
} sg[3 * NPG];
static int nsg;
static void *so[NPG];

static void srec(struct kmem_cache *s, int op, int h, void *o)
{
	if (nsg >= ARRAY_SIZE(sg))
		return;
	sg[nsg].op = op;
	sg[nsg].h = h;
	sg[nsg].pfn = o ? (long)page_to_pfn(virt_to_head_page(o)) : -1;
	sg[nsg].idx =
		o ? (int)((unsigned long)(o -
					  page_address(virt_to_head_page(o))) /
			  s->size) :
		    -1;
	lab_slub_state(s, sg[nsg].v);
	nsg++;
}

static void sset(long pfn, int idx)
{
	if (nsg && nsg <= ARRAY_SIZE(sg)) {
		sg[nsg - 1].pfn = pfn;
		sg[nsg - 1].idx = idx;
	}
}

static void sa(struct kmem_cache *s, int h)
{
	so[h] = kmem_cache_alloc(s, GFP_NOWAIT | __GFP_NOWARN);
	srec(s, 1, h, so[h]);
}

static void sf(struct kmem_cache *s, int h)
{
	void *o = so[h];
	long pfn;
	int idx;

	if (!o)
		return;
	so[h] = NULL;
	pfn = page_to_pfn(virt_to_head_page(o));
	idx = (unsigned long)(o - page_address(virt_to_head_page(o))) / s->size;
	kmem_cache_free(s, o);
	srec(s, -1, h, NULL);
	sset(pfn, idx);
}

static void cmd_slub(int size, const char *kind, int n)
{
	struct kmem_cache *s =
		kmem_cache_create("lab-slub", size, 0, LAB_NOMERGE, NULL);
	unsigned long flags;
	int i, j, k, live = 0;

	if (!s) {
		out("{\"failed\":1}\n");
		return;
	}
	n = min(n, NPG);
	nsg = 0;
	memset(so, 0, sizeof(so));
	out("{\"kind\":\"%s\",\"size\":%d,\"n\":%d,\"gfp\":\"GFP_NOWAIT\",\"cpu\":%d,\"cache\":",
	    kind, size, n, raw_smp_processor_id());
	cache_row(s, "");
	local_irq_save(flags);
	if (!strcmp(kind, "fifo") ||
	    !strcmp(kind, "lifo")) { /* n allocations, all freed, twice */
		for (j = 0; j < 2; j++) {
			for (i = 0; i < n; i++)
				sa(s, i);
			for (i = 0; i < n; i++)
				sf(s, kind[0] == 'f' ? i : n - 1 - i);
		}
	} else if (!strcmp(kind,
			   "alt")) { /* every second one freed and taken again */
		for (i = 0; i < n; i++)
			sa(s, i);
		for (j = 0; j < 2; j++) {
			for (i = j; i < n; i += 2)
				sf(s, i);
			for (i = j; i < n; i += 2)
				sa(s, i);
		}
		for (i = 0; i < n; i++)
			sf(s, i);
	} else if (!strcmp(kind,
			   "mix")) { /* random: grows to n, then shrinks, twice; handles say which object */
		for (j = 0; j < 4; j++) {
			for (k = 0; k < n + n / 2; k++) {
				if ((int)(xrand() & 7) < (j & 1 ? 2 : 6)) {
					if (live < n)
						sa(s, live++);
				} else if (live) {
					i = (xrand() >> 4) % live;
					sf(s, i);
					so[i] = so[--live];
					so[live] = NULL;
				}
			}
		}
		while (live)
			sf(s, --live);
	}
#if LAB_SHEAVES
	else if (!strcmp(kind,
			 "prefill")) { /* op 2: prefill h objects (pfn = size got), 3: alloc from it, 4: return it with pfn left */
		for (j = 0; j < n && s->sheaf_capacity; j++) {
			int want = 1 + xrand() % (s->sheaf_capacity + 8),
			    use = xrand() % (want + 1);
			struct slab_sheaf *f = kmem_cache_prefill_sheaf(
				s, GFP_NOWAIT | __GFP_NOWARN, want);

			srec(s, 2, want, NULL);
			if (!f)
				continue;
			sset(kmem_cache_sheaf_size(f), -1);
			for (i = 0; i < use && live < NPG; i++) {
				so[live] = kmem_cache_alloc_from_sheaf(
					s, GFP_NOWAIT | __GFP_NOWARN, f);
				srec(s, 3, live, so[live]);
				live++;
			}
			k = kmem_cache_sheaf_size(f);
			kmem_cache_return_sheaf(s, GFP_NOWAIT | __GFP_NOWARN,
						f);
			srec(s, 4, want, NULL);
			sset(k, -1);
			while (live > 200) {
				i = (xrand() >> 4) % live;
				sf(s, i);
				so[i] = so[--live];
				so[live] = NULL;
			}
		}
		while (live)
			sf(s, --live);
	}
#endif
	local_irq_restore(flags);
	out(",\"fields\":[\"op\",\"handle\",\"slab_pfn\",\"index\",%s,\"nr_partial\",\"nr_slabs\"],\"log\":[",
	    LAB_SHEAVES ?
		    "\"main\",\"spare\",\"barn_full\",\"barn_empty\"" :
		    "\"cpu_slab_pfn\",\"cpu_free\",\"cpu_partial_slabs\",\"cpu_partial_objects\"");
	for (i = 0; i < nsg; i++)
		out("%s[%d,%d,%ld,%d,%ld,%ld,%ld,%ld,%ld,%ld]",
		    i ? (i % 8 ? "," : ",\n") : "", sg[i].op, sg[i].h,
		    sg[i].pfn, sg[i].idx, sg[i].v[0], sg[i].v[1], sg[i].v[2],
		    sg[i].v[3], sg[i].v[4], sg[i].v[5]);
	out("]}\n");
	for (i = 0; i < NPG; i++)
		if (so[i])
			kmem_cache_free(s, so[i]);
	kmem_cache_destroy(s);
}

/* ---------------------------------------------------------------- g. */
static void cmd_exact(void)
{
	static const size_t fixed[] = {
		1,	 100,	  4095,	   4096,    4097,    8192,    8193,
		12288,	 12289,	  16384,   20480,   20481,   28672,   32768,
		36864,	 65536,	  65537,   98304,   131072,  131073,  135168,
		196608,	 200000,  262144,  262145,  327680,  524288,  524289,
		589824,	 655360,  1048576, 1052672, 1114112, 1310720, 1572864,
		2097152, 2101248, 3145728, 4194304, 4194305, 5242880, 6291456,
		8388608, 9437184, 16777217
	};
	static const int pgs[] = { 1,	2,   3,	  4,	5,    6,    7,	 8,
				   9,	11,  13,  15,	16,   17,   20,	 24,
				   31,	32,  33,  48,	63,   64,   65,	 96,
				   100, 127, 128, 129,	200,  255,  257, 300,
				   512, 513, 700, 1000, 1023, 1024, 1025 };
	int i;
	bool f = true;

	out("{\"fields\":[\"size\",\"get_order\",\"ok\",\"pages_of_block_with_ref\",\"free_delta_exact\",\"free_delta_alloc_pages\",\"pfn\"],\"rows\":[");
	for (i = 0; i < ARRAY_SIZE(fixed) + ARRAY_SIZE(pgs); i++) {
		size_t sz =
			i < ARRAY_SIZE(fixed) ?
				fixed[i] :
				(size_t)pgs[i - ARRAY_SIZE(fixed)] * PAGE_SIZE;
		int o = get_order(sz), kept = 0;
		long f0, f1, f2 = -1;
		void *p;
		unsigned long j, pfn = 0;
		struct page *q;

		if (o <= LAB_MAXO && (1UL << o) > total_free() / 2) {
			out("%s[%zu,%d,\"skipped\"]", f ? "" : ",\n", sz, o);
			f = false;
			continue;
		}
		drain_all_pages(NULL);
		f0 = total_free();
		p = alloc_pages_exact(sz, GFP_KERNEL | __GFP_NOWARN);
		if (p) {
			pfn = page_to_pfn(virt_to_page(p));
			for (j = 0; j < (1UL << o); j++)
				kept += page_ref_count(pfn_to_page(pfn + j)) >
					0;
		}
		drain_all_pages(NULL);
		f1 = total_free();
		if (p)
			free_pages_exact(p, sz);
		drain_all_pages(NULL);
		{
			long g0 = total_free();

			q = o <= LAB_MAXO ?
				    alloc_pages(GFP_KERNEL | __GFP_NOWARN, o) :
				    NULL;
			drain_all_pages(NULL);
			f2 = g0 - (long)total_free();
			if (q)
				__free_pages(q, o);
		}
		out("%s[%zu,%d,%d,%d,%ld,%ld,%lu]", f ? "" : ",\n", sz, o,
		    p != NULL, kept, f0 - f1, q ? f2 : -1L, pfn);
		f = false;
	}
	out("]}\n");
}

/* ---------------------------------------------------------------- h. */
static void cmd_kv(void)
{
	size_t s;
	int k;
	bool f = true;

	out("{\"fields\":[\"size\",\"ok\",\"is_vmalloc\",\"vm_page_order\",\"vm_nr_pages\",\"kmalloc_NORETRY_ok\"],");
	zfree("free");
	out(",\"rows\":[");
	for (s = 64; s <= (64UL << 20); s <<= 1)
		for (k = 0; k < 3; k++) {
			volatile size_t sz = k == 0 ? s :
					     k == 1 ? s + 1 :
						      s + s / 2;
			void *p, *q;
			int isv = -1, po = -1;
			unsigned long np = 0;

			if (sz > (64UL << 20) ||
			    sz > (total_free() << PAGE_SHIFT) / 2) {
				out("%s[%zu,\"skipped\"]", f ? "" : ",", sz);
				f = false;
				continue;
			}
			p = kvmalloc(sz, GFP_KERNEL);
			if (p) {
				isv = is_vmalloc_addr(p);
				if (isv) {
					struct vm_struct *v = find_vm_area(p);

					if (v) {
						np = v->nr_pages;
#ifdef CONFIG_HAVE_ARCH_HUGE_VMALLOC
						po = v->page_order;
#endif
					}
				}
			}
			kvfree(p);
			q = kmalloc(sz,
				    GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
			out("%s[%zu,%d,%d,%d,%lu,%d]", f ? "" : ",\n", sz,
			    p != NULL, isv, po, np, q != NULL);
			kfree(q);
			f = false;
		}
	out("],\n\"by_order\":{");
	{
		static const struct {
			const char *n;
			gfp_t g;
		} t[] = {
			{ "GFP_KERNEL|NORETRY",
			  GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN },
			{ "GFP_NOWAIT", GFP_NOWAIT | __GFP_NOWARN },
			{ "GFP_ATOMIC", GFP_ATOMIC | __GFP_NOWARN },
		};
		int o;

		for (k = 0; k < ARRAY_SIZE(t); k++) {
			out("%s\"%s\":[", k ? "," : "", t[k].n);
			for (o = 0; o <= LAB_MAXO; o++) {
				struct page *p = alloc_pages(t[k].g, o);

				out("%s%d", o ? "," : "", p != NULL);
				if (p)
					__free_pages(p, o);
			}
			out("]");
		}
	}
	out("}}\n");
}

static void cmd_frag(int stride, int pct)
{
	struct page *p, *n;
	unsigned long got = 0, freed = 0, limit;
	int o;

	drain_all_pages(NULL);
	out("{");
	zfree("start");
	limit = total_free() * pct / 100;
	while (got < limit) {
		p = alloc_pages(GFP_NOWAIT | __GFP_NOWARN, 0);
		if (!p)
			break;
		set_page_private(p, 0);
		list_add_tail(&p->lru, &held);
		got++;
		if (!(got & 1023))
			cond_resched();
	}
	out(",");
	zfree("filled");
	list_for_each_entry_safe(p, n, &held, lru) {
		if (page_to_pfn(p) % stride == 0) {
			list_del(&p->lru);
			__free_pages(p, 0);
			freed++;
		}
	}
	drain_all_pages(NULL);
	nhi = 0;
	if (pct >= 100)
		for (o = LAB_MAXO; o >= 1; o--)
			while ((p = alloc_pages(GFP_NOWAIT | __GFP_NOWARN |
							__GFP_NOMEMALLOC,
						o))) {
				set_page_private(p, o);
				list_add_tail(&p->lru, &held_hi);
				nhi++;
			}
	drain_all_pages(NULL);
	nheld = got - freed;
	out(",\"got\":%lu,\"freed\":%lu,\"held_hi\":%lu,\"stride\":%d,", got,
	    freed, nhi, stride);
	zfree("fragged");
	out(",");
	dump_state("state", 0);
	out("}\n");
}

static void cmd_unfrag(void)
{
	free_list_held(&held);
	free_list_held(&held_hi);
	drain_all_pages(NULL);
	out("{");
	zfree("free");
	out("}\n");
}

/* ---------------------------------------------------------------- j. */
struct wph {
	const char *n;
	gfp_t g;
	int order;
	int max;
};
static const struct wph wt0[] = {
	{ "GFP_HIGHUSER_MOVABLE|NORETRY",
	  GFP_HIGHUSER_MOVABLE | __GFP_NORETRY | __GFP_NOWARN, 0, 0 },
	{ "GFP_KERNEL|NORETRY", GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN, 0,
	  0 },
	{ "GFP_NOWAIT", GFP_NOWAIT | __GFP_NOWARN, 0, 0 },
	{ "GFP_KERNEL|HIGH|NORETRY",
	  GFP_KERNEL | __GFP_HIGH | __GFP_NORETRY | __GFP_NOWARN, 0, 0 },
	{ "__GFP_HIGH only", __GFP_HIGH | __GFP_NOWARN, 0, 0 },
	{ "GFP_ATOMIC", GFP_ATOMIC | __GFP_NOWARN, 0, 0 },
	{ "GFP_ATOMIC|MEMALLOC", GFP_ATOMIC | __GFP_MEMALLOC | __GFP_NOWARN, 0,
	  8 },
	{}
};
static const struct wph wt2[] = {
	{ "GFP_NOWAIT", GFP_NOWAIT | __GFP_NOWARN, 0, 0 },
	{ "GFP_ATOMIC order2", GFP_ATOMIC | __GFP_NOWARN, 2, 40 },
	{ "GFP_NOWAIT order2", GFP_NOWAIT | __GFP_NOWARN, 2, 40 },
	{ "GFP_ATOMIC order2 again", GFP_ATOMIC | __GFP_NOWARN, 2, 4000 },
	{ "GFP_ATOMIC order0", GFP_ATOMIC | __GFP_NOWARN, 0, 0 },
	{}
};

/* var 0: plain; 1: drain the local pcp after every allocation once near the watermarks (exact thresholds); 2: higher orders / highatomic */
static void cmd_wmark(int var)
{
	const struct wph *t = var == 2 ? wt2 : wt0;
	unsigned long tot = 0, near = 0;
	int i;
	bool woken = false;
	pg_data_t *pgdat = NODE_DATA(0);
	struct zone *z;

	drain_all_pages(NULL);
	for_each_populated_zone(z)
		near += high_wmark_pages(z) + z->present_pages / 512 + 4096;
	out("{\"variant\":%d,", var);
	dump_state("start", 0);
	out(",\"kswapd_sleeping_at_start\":%d,\"phases\":[",
	    waitqueue_active(&pgdat->kswapd_wait));
	for (i = 0; t[i].n; i++) {
		unsigned long n = 0;
		struct page *p;

		out("%s{\"gfp\":\"%s\",\"gfp_val\":%u,\"order\":%d,",
		    i ? ",\n" : "\n", t[i].n, (__force u32)t[i].g, t[i].order);
		zfree("before");
		while (!t[i].max || n < t[i].max) {
			p = alloc_pages(t[i].g, t[i].order);
			if (!p)
				break;
			set_page_private(p, t[i].order);
			list_add_tail(&p->lru, &held);
			n++;
			if (!woken && !waitqueue_active(&pgdat->kswapd_wait)) {
				woken = true;
				out(",\"kswapd_woken_after\":%lu,", n);
				zfree("kswapd_woken_free");
			}
			if (var && (i || (n & 255) == 0 || total_free() < near))
				drain_local_pages(NULL);
		}
		tot += n;
		out(",\"allocs\":%lu,\"cpu\":%d,", n, raw_smp_processor_id());
		zfree("after");
		out("}");
	}
	out("],\n");
	dump_state("end", 1);
	free_list_held(&held);
	drain_all_pages(NULL);
	out(",\"total\":%lu,", tot);
	zfree("released");
	out("}\n");
}

/* ---------------------------------------------------------------- k. */
static void runs_flush(long s, long step, long len, bool *f)
{
	if (len) {
		out("%s[%ld,%ld,%ld]", *f ? "" : ",", s, step, len);
		*f = false;
	}
}

/* steal: pct of free memory with mt, order */
static void cmd_steal(int mt, int order, int pct, int lists)
{
	unsigned long fr, n, i, got = 0;
	long s = 0, step = 0, len = 0, last = 0;
	bool f = true;

	lab_silence(true);
	drain_all_pages(NULL);
	fr = total_free();
	n = (fr * pct / 100) >> order;
	out("{\"mt\":%d,\"order\":%d,\"n\":%lu,\"cpu\":%d,\"silent\":%d,", mt,
	    order, n, raw_smp_processor_id(), LAB_SILENT);
	dump_state("before", lists);
	out(",\n\"runs\":[");
	for (i = 0; i < n; i++) {
		struct page *p = alloc_pages(
			(mtgfp(mt) & ~__GFP_DIRECT_RECLAIM) | __GFP_NORETRY,
			order);
		long pfn;

		if (!p)
			break;
		got++;
		set_page_private(p, order);
		list_add_tail(&p->lru, &held);
		pfn = page_to_pfn(p);
		if (len == 0) {
			s = pfn;
			step = 0;
			len = 1;
		} else if (len == 1) {
			step = pfn - last;
			len = 2;
		} else if (pfn - last == step) {
			len++;
		} else {
			runs_flush(s, step, len, &f);
			s = pfn;
			step = 0;
			len = 1;
		}
		last = pfn;
	}
	runs_flush(s, step, len, &f);
	out("],\"got\":%lu,\n", got);
	dump_state("after", lists);
	lab_silence(false);
	out("}\n");
}

/* vm: what vmalloc(n pages) is made of: PFNs in the order of the mapping, as runs */
static void cmd_vm(void)
{
	static const int np[] = { 1,   2,   3,	  5,	8,    13,  16,
				  31,  32,  64,	  100,	255,  256, 511,
				  512, 513, 1000, 1024, 2049, 4096 };
	int k;
	bool g = true;

	out("{\"fn\":\"vmalloc\",\"cpu\":%d,\"rows\":[",
	    raw_smp_processor_id());
	for (k = 0; k < ARRAY_SIZE(np); k++) {
		long s = 0, step = 0, len = 0, last = 0;
		struct vm_struct *v;
		bool f = true;
		long i;
		void *p;

		if (np[k] > total_free() / 4)
			continue;
		drain_all_pages(NULL);
		out("%s{\"pages\":%d,", g ? "\n" : ",\n", np[k]);
		g = false;
		dump_state("before", 1);
		p = vmalloc((size_t)np[k] << PAGE_SHIFT);
		out(",\n\"ok\":%d,\"runs\":[", p != NULL);
		v = p ? find_vm_area(p) : NULL;
		for (i = 0; v && i < (long)v->nr_pages; i++) {
			long pfn = page_to_pfn(v->pages[i]);

			if (len == 0) {
				s = pfn;
				step = 0;
				len = 1;
			} else if (len == 1) {
				step = pfn - last;
				len = 2;
			} else if (pfn - last == step) {
				len++;
			} else {
				runs_flush(s, step, len, &f);
				s = pfn;
				step = 0;
				len = 1;
			}
			last = pfn;
		}
		runs_flush(s, step, len, &f);
		out("],\n");
		dump_state("after", 1);
		vfree(p);
		out(",\n");
		dump_state("freed", 1);
		out("}");
	}
	out("]}\n");
}

static void cmd_unsteal(void)
{
	out("{");
	free_list_held(&held);
	drain_all_pages(NULL);
	dump_state("state", 1);
	out("}\n");
}

/* ---------------------------------------------------------------- numa */
static void cmd_numa(void)
{
#ifdef CONFIG_NUMA
	int nid, prev = -1;
	long run = 0;
	bool f = true;
	char lz[16] = "";
	struct zoneref *zr;
	struct zone *z;

	out("{\"zonelists\":[");
	for_each_online_node(nid) {
		bool g = true;

		out("%s{\"nid\":%d,\"order\":[", nid ? "," : "", nid);
		for_each_zone_zonelist(z, zr, node_zonelist(nid, GFP_KERNEL),
				       MAX_NR_ZONES - 1) {
			out("%s\"%d:%s\"", g ? "" : ",", zone_to_nid(z),
			    z->name);
			g = false;
		}
		out("]}");
	}
	lab_silence(true);
	drain_all_pages(NULL);
	out("],\"cpu\":%d,\"node\":%d,", raw_smp_processor_id(),
	    numa_node_id());
	dump_state("before", 1);
	out(",\"fill\":[");
	for (;;) {
		struct page *p = alloc_pages(GFP_NOWAIT | __GFP_NOWARN, 0);
		struct zone *pz = p ? page_zone(p) : NULL;

		if (!p || page_to_nid(p) != prev || strcmp(lz, pz->name)) {
			if (run) {
				out("%s{\"node\":%d,\"zone\":\"%s\",\"run\":%ld,",
				    f ? "" : ",\n", prev, lz, run);
				zfree("free");
				out("}");
				f = false;
			}
			run = 0;
			if (!p)
				break;
			prev = page_to_nid(p);
			strscpy(lz, pz->name, sizeof(lz));
		}
		run++;
		set_page_private(p, 0);
		list_add_tail(&p->lru, &held);
	}
	out("],");
	dump_state("after", 1);
	free_list_held(&held);
	drain_all_pages(NULL);
	lab_silence(false);
	out("}\n");
#else
	out("{}\n");
#endif
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0) && \
	LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
#include "lab_pressure.c"
#else
static bool labp_cmd(char *b)
{
	return false;
}
static void labp_init(void)
{
}
#endif

/* ---------------------------------------------------------------- several nodes */
#if defined(CONFIG_NUMA) && LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
static void lab_silence(bool on)
{
	static int keep;

	if (on) {
		keep = lab_quiet;
		lab_quiet = LAB_Q_KSWAPD | LAB_Q_KCOMPACTD | LAB_Q_VMSTAT |
			    LAB_Q_OOM;
		spin_start();
	} else {
		spin_stop();
		lab_quiet = keep;
	}
}

static void cmd_topo(void)
{
	int nid, n, cpu, k;
	bool f = true, g;

	out("{\"nodes\":[");
	for_each_online_node(nid) {
		out("%s{\"nid\":%d,\"memory\":%d,\"start_pfn\":%lu,\"spanned\":%lu,\"present\":%lu,\"cpus\":[",
		    f ? "" : ",\n", nid, node_state(nid, N_MEMORY),
		    NODE_DATA(nid)->node_start_pfn,
		    NODE_DATA(nid)->node_spanned_pages,
		    NODE_DATA(nid)->node_present_pages);
		f = false;
		g = true;
		for_each_online_cpu(cpu)
			if (cpu_to_node(cpu) == nid) {
				out("%s%d", g ? "" : ",", cpu);
				g = false;
			}
		out("],\"distance\":[");
		g = true;
		for_each_online_node(n) {
			out("%s%d", g ? "" : ",", node_distance(nid, n));
			g = false;
		}
		out("]");
		for (k = 0; k < 2; k++) {
			struct zoneref *zr;
			struct zone *z;

			out(",\"%s\":[", k ? "thisnode" : "fallback");
			g = true;
			for_each_zone_zonelist(
				z, zr,
				node_zonelist(nid, k ? __GFP_THISNODE : 0),
				MAX_NR_ZONES - 1) {
				out("%s[%d,\"%s\"]", g ? "" : ",",
				    zone_to_nid(z), z->name);
				g = false;
			}
			out("]");
		}
		out("}");
	}
	out("],\"possible_nodes\":%d,\"nr_online_nodes\":%d,\"movable_zone\":%d,\"numa_zonelist_order\":\"Node\"}\n",
	    num_possible_nodes(), nr_online_nodes, movable_zone);
}

struct nrow {
	s8 op, order, mt, how, want, nid;
	s32 pfn, count, high, batch, fac, fcnt, free;
};
#define NNR 60000
static struct nrow *nr_;
static int nnr;
static struct page **np;
static u8 *no_, *nm_;
static int nnp;

static gfp_t ngfp(int mt)
{
	return mtgfp(mt) & ~__GFP_DIRECT_RECLAIM;
}

static void nrec(int op, int order, int mt, int how, int want, struct page *p)
{
	struct nrow *r = &nr_[nnr];

	if (nnr >= NNR)
		return;
	memset(r, 0, sizeof(*r));
	r->op = op;
	r->order = order;
	r->mt = mt;
	r->how = how;
	r->want = want;
	r->nid = -1;
	r->pfn = -1;
	if (p) {
		struct zone *z = page_zone(p);
		struct per_cpu_pages *c = this_cpu_ptr(z->per_cpu_pageset);

		r->nid = zone_to_nid(z);
		r->pfn = page_to_pfn(p);
		r->count = c->count;
		r->high = c->high;
		r->batch = c->batch;
		r->fac = c->alloc_factor;
		r->fcnt = c->free_count;
		r->free = zone_page_state(z, NR_FREE_PAGES);
	} else {
		struct zone *z;

		for_each_populated_zone(z)
			r->free += zone_page_state(z, NR_FREE_PAGES);
	}
	nnr++;
}

/* how: 0 alloc_pages, 1 the same with __GFP_THISNODE, 2 alloc_pages_node(want), 3 the same with __GFP_THISNODE */
static struct page *na(int order, int mt, int how, int want)
{
	gfp_t g = ngfp(mt) | (how & 1 ? __GFP_THISNODE : 0);
	struct page *p = how & 2 ? alloc_pages_node(want, g, order) :
				   alloc_pages(g, order);

	nrec(1, order, mt, how, how & 2 ? want : numa_node_id(), p);
	if (p) {
		np[nnp] = p;
		no_[nnp] = order;
		nm_[nnp] = mt;
		nnp++;
	}
	return p;
}

static void nf(int i)
{
	struct page *p = np[i];

	__free_pages(p, no_[i]);
	nrec(-1, no_[i], nm_[i], 0, -1, p);
	np[i] = NULL;
}

static unsigned long zfreep(struct zone *z)
{
	return zone_page_state_snapshot(z, NR_FREE_PAGES);
}

/* leave about `left` free pages in every zone (DMA: a third), then punch: random small blocks of all types, half of them freed again */
static void nprep(int left, int seed)
{
	static const gfp_t zg[] = { __GFP_DMA, __GFP_DMA32, 0,
				    __GFP_HIGHMEM | __GFP_MOVABLE };
	struct zone *z;
	int o, i;

	for_each_populated_zone(z) {
		gfp_t g = (GFP_NOWAIT | __GFP_NOWARN | __GFP_THISNODE |
			   __GFP_MOVABLE) |
			  zg[zone_idx(z)];
		unsigned long l = zone_idx(z) ? left : left / 3;

		for (o = LAB_MAXO; o >= 4; o--)
			while (zfreep(z) > l + (1UL << o)) {
				struct page *p =
					alloc_pages_node(zone_to_nid(z), g, o);

				if (!p)
					break;
				if (page_zone(p) != z) {
					__free_pages(p, o);
					break;
				}
				set_page_private(p, o);
				list_add_tail(&p->lru, &held);
			}
		xs = seed + 77 * zone_to_nid(z) + zone_idx(z);
		for (i = 0; i < 300; i++) {
			static const gfp_t mg[] = { 0, __GFP_MOVABLE,
						    __GFP_RECLAIMABLE };
			int m = (xrand() >> 8) % 3;
			struct page *p;

			o = min_t(int, 4,
				  __builtin_ctz((xrand() >> 3) | 1 << 20));
			p = alloc_pages_node(
				zone_to_nid(z),
				(GFP_NOWAIT | __GFP_NOWARN | __GFP_THISNODE) |
					(zone_idx(z) == ZONE_MOVABLE ? 0 :
								       mg[m]) |
					zg[zone_idx(z)],
				o);
			if (!p)
				break;
			if (page_zone(p) != z || (xrand() & 64))
				__free_pages(p, o);
			else {
				set_page_private(p, o);
				list_add_tail(&p->lru, &held);
			}
		}
	}
}

static void nlru(void)
{
	struct zone *z;
	unsigned long pfn;
	bool f = true;

	out("\"lru\":[");
	for_each_populated_zone(z)
		for (pfn = z->zone_start_pfn; pfn < zone_end_pfn(z); pfn++) {
			struct page *p = pfn_to_online_page(pfn);

			if (p && page_zone(p) == z && !PageBuddy(p) &&
			    (PageLRU(p) || __PageMovable(p))) {
				out("%s%lu", f ? "" : ",", pfn);
				f = false;
			}
		}
	out("]");
}

/* nscript KIND ORDER MT HOW LEFT SEED: see init.c */
static void cmd_nscript(const char *kind, int order, int mt, int how, int left,
			int seed)
{
	unsigned long flags;
	int i, n, q, want = -1, on[MAX_NUMNODES], non = 0;

	if (!nr_) {
		nr_ = vzalloc(NNR * sizeof(*nr_));
		np = vzalloc(NNR * sizeof(*np));
		no_ = vzalloc(NNR);
		nm_ = vzalloc(NNR);
	}
	lab_silence(true);
	for_each_online_node(i) {
		on[non++] = i;
		if (node_state(i, N_MEMORY) && i != numa_node_id() && want < 0)
			want = i;
	}
	if (want < 0)
		want = numa_node_id();
	nprep(left, seed);
	drain_all_pages(NULL);
	nnr = nnp = 0;
	out("{\"kind\":\"%s\",\"args\":[%d,%d,%d,%d,%d],\"cpu\":%d,\"node\":%d,\"want\":%d,\"gfps\":[%u,%u,%u],\"thisnode_bit\":%u,",
	    kind, order, mt, how, left, seed, raw_smp_processor_id(),
	    numa_node_id(), want, (__force u32)ngfp(0), (__force u32)ngfp(1),
	    (__force u32)ngfp(2), (__force u32)__GFP_THISNODE);
	nlru();
	out(",\n");
	dump_state("before", 1);
	out(",\n");
	local_irq_save(flags);
	if (!strcmp(kind, "fill")) {
		/* until it fails; a failure again; the first half freed fifo, 300 again, the rest lifo */
		for (n = 0; n < 14000; n++)
			if (!na(order, mt, how, want))
				break;
		na(order, mt, how, want);
		n = nnp;
		for (i = 0; i < n / 2; i++)
			nf(i);
		for (i = 0; i < 300 && i < n / 2; i++)
			na(order, mt, how, want);
		for (i = nnp - 1; i >= 0; i--)
			if (np[i])
				nf(i);
	} else { /* mix: order = number of orders, how = number of operations */
		xs = seed * 2654435761u + 1;
		for (q = 0; q < how; q++) {
			u32 r = xrand();

			if (!nnp || (r & 15) < 10) {
				int o = min_t(int, (xrand() >> 6) % order,
					      __builtin_ctz((xrand() >> 3) |
							    1 << 20) +
						      1);
				int m = mt == 3 ? (xrand() >> 8) % 3 : mt;
				int h = (xrand() >> 8) & 3;
				int w = on[(xrand() >> 8) % non];

				if (na(o, m, h, w) || (h & 1))
					continue;
				r = nnp /
				    8; /* even the whole machine had none: free an eighth */
			} else
				r = 1;
			while (r-- && nnp) {
				i = (xrand() >> 4) % nnp;
				nf(i);
				nnp--;
				np[i] = np[nnp];
				no_[i] = no_[nnp];
				nm_[i] = nm_[nnp];
			}
		}
		for (i = nnp - 1; i >= 0; i--)
			nf(i);
	}
	local_irq_restore(flags);
	out("\"fields\":[\"op\",\"order\",\"mt\",\"pfn\",\"pcp_count\",\"pcp_high\",\"pcp_batch\",\"alloc_factor\",\"free_count\",\"how\",\"want\",\"nid\",\"free_nosnap\"],\"log\":[");
	for (i = 0; i < nnr; i++)
		out("%s[%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d]",
		    i ? (i % 8 ? "," : ",\n") : "", nr_[i].op, nr_[i].order,
		    nr_[i].mt, nr_[i].pfn, nr_[i].count, nr_[i].high,
		    nr_[i].batch, nr_[i].fac, nr_[i].fcnt, nr_[i].how,
		    nr_[i].want, nr_[i].nid, nr_[i].free);
	out("],\n");
	dump_state("after", 1);
	lab_silence(false);
	out("}\n");
	free_list_held(&held);
	drain_all_pages(NULL);
}
#endif

static ssize_t lab_write(struct file *file, const char __user *ub, size_t n,
			 loff_t *pos)
{
	char b[128], kind[32] = "";
	int a1 = 0, a2 = 0, a3 = 0, a4 = 0;

	if (n >= sizeof(b))
		return -EINVAL;
	if (copy_from_user(b, ub, n))
		return -EFAULT;
	b[n] = 0;
	mutex_lock(&lab_mutex);
	olen = 0;
	otrunc = false;
	if (labp_cmd(b))
		;
	else if (!strncmp(b, "consts", 6))
		cmd_consts();
	else if (!strncmp(b, "kmax", 4))
		cmd_kmax();
	else if (!strncmp(b, "ksize", 5))
		cmd_ksize();
	else if (!strncmp(b, "caches", 6))
		cmd_caches();
	else if (!strncmp(b, "kcreate", 7))
		cmd_kcreate();
	else if (sscanf(b, "seed %d", &a1) == 1) {
		xs = a1;
		out("{\"seed\":%d}\n", a1);
	} else if (!strncmp(b, "script ", 7)) {
		sscanf(b, "script %31s %d %d %d", kind, &a1, &a2, &a3);
		cmd_script(kind, a1, a2, a3);
	} else if (sscanf(b, "slub %d %31s %d", &a1, kind, &a2) == 3)
		cmd_slub(a1, kind, a2);
	else if (!strncmp(b, "exact", 5))
		cmd_exact();
	else if (!strncmp(b, "kv", 2))
		cmd_kv();
	else if (!strncmp(b, "frag", 4)) {
		a1 = 2;
		a2 = 100;
		sscanf(b, "frag %d %d", &a1, &a2);
		cmd_frag(a1, a2);
	} else if (!strncmp(b, "unfrag", 6))
		cmd_unfrag();
	else if (!strncmp(b, "wmark", 5)) {
		sscanf(b, "wmark %d", &a1);
		cmd_wmark(a1);
	} else if (sscanf(b, "steal %d %d %d %d", &a1, &a2, &a3, &a4) >= 3)
		cmd_steal(a1, a2, a3, a4);
	else if (!strncmp(b, "unsteal", 7))
		cmd_unsteal();
	else if (!strncmp(b, "vmal", 4))
		cmd_vm();
	else if (!strncmp(b, "numa", 4))
		cmd_numa();
#if defined(CONFIG_NUMA) && LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	else if (!strncmp(b, "topo", 4))
		cmd_topo();
	else if (!strncmp(b, "nscript ", 8)) {
		int a5 = 0;

		sscanf(b, "nscript %31s %d %d %d %d %d", kind, &a1, &a2, &a3,
		       &a4, &a5);
		cmd_nscript(kind, a1, a2, a3, a4, a5);
	}
#endif
	else if (!strncmp(b, "drain", 5)) {
		drain_all_pages(NULL);
		out("{}\n");
	} else if (!strncmp(b, "state", 5)) {
		out("{");
		dump_state("state", 1);
		out("}\n");
	} else
		out("{\"error\":\"unknown\"}\n");
	if (otrunc)
		pr_err("lab: output truncated for %s\n", b);
	mutex_unlock(&lab_mutex);
	return n;
}

static ssize_t lab_read(struct file *file, char __user *ub, size_t n,
			loff_t *pos)
{
	return simple_read_from_buffer(ub, n, pos, obuf, olen);
}

static const struct proc_ops lab_ops = {
	.proc_write = lab_write,
	.proc_read = lab_read,
};

static int __init lab_init(void)
{
	obuf = vzalloc(OBUF_SZ);
	if (!obuf)
		return -ENOMEM;
	labp_init();
	proc_create("lab", 0600, NULL, &lab_ops);
	return 0;
}
late_initcall(lab_init);
