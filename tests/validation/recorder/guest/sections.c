// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is recorded of a machine that has plenty of memory: one function a
 * word, in the order in which they run.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

#define NODES "/sys/devices/system/node/online" /* of a kernel with NUMA */

static char buf[1 << 16]; /* what is written to files and pipes */

static void two(const char *tag)
{
	char n[160];
	snprintf(n, sizeof n, "%sbuddyinfo", tag);
	cat(n, "/proc/buddyinfo");
	snprintf(n, sizeof n, "%szoneinfo", tag);
	cat(n, "/proc/zoneinfo");
}
static void scr(const char *name, const char *cmd)
{
	char n[128];
	lab("drain", "drain");
	snprintf(n, sizeof n, "pre.%s.", name);
	two(n);
	lab(name, cmd);
	snprintf(n, sizeof n, "post.%s.", name);
	two(n);
}
#define TR "/sys/kernel/tracing/"
static void workload(int loops)
{
	int i, j, k;
	char p[64];
	for (i = 0; i < loops; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			if (i % 2) {
				execl("/init", "/init", "child", NULL);
				_exit(1);
			}
			/* touch memory */
			char *m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			for (j = 0; j < (1 << 20); j += 4096)
				m[j] = 1;
			_exit(0);
		}
		for (j = 0; j < 6; j++) {
			snprintf(p, sizeof p, "/tmp/f%d_%d", i % 10, j);
			int fd = open(p, O_RDWR | O_CREAT, 0600);
			for (k = 0; k < 1 + j; k++)
				write(fd, buf, 5000);
			close(fd);
		}
		int pf[2];
		if (pipe(pf) == 0) {
			write(pf[1], buf, 3000);
			read(pf[0], buf, 3000);
			close(pf[0]);
			close(pf[1]);
		}
		waitpid(pid, NULL, 0);
		if (i % 10 == 9)
			for (j = 0; j < 6; j++)
				for (k = 0; k < 10; k++) {
					snprintf(p, sizeof p, "/tmp/f%d_%d", k,
						 j);
					unlink(p);
				}
	}
}
/* before 5.14: percpu_pagelist_fraction, of the zone, for each CPU (and sets batch too) */
#define HIFRAC "/proc/sys/vm/percpu_pagelist_high_fraction"
#define PCPFRAC                                                           \
	(access(HIFRAC, F_OK) ? "/proc/sys/vm/percpu_pagelist_fraction" : \
				HIFRAC)
static void sysctl_sweep(void)
{
	static const char *s[][2] = { { "min_free_kbytes", "1024" },
				      { "min_free_kbytes", "5000" },
				      { "min_free_kbytes", "16384" },
				      { "watermark_scale_factor", "100" },
				      { "watermark_scale_factor", "1000" },
				      { "percpu_pagelist_high_fraction", "8" },
				      { "percpu_pagelist_high_fraction",
					"100" },
				      { "percpu_pagelist_high_fraction", "0" },
				      { "lowmem_reserve_ratio", "32 32 32 0" },
				      { "lowmem_reserve_ratio", "1 1 1 1" } };
	unsigned i;
	char p[128], n[128], v[64], orig[64], mfk[64] = "";
	int fd, k;
	for (i = 0; i < sizeof s / sizeof s[0]; i++) {
		const char *key = s[i][0];
		if (!strcmp(key, "percpu_pagelist_high_fraction") &&
		    access(HIFRAC, F_OK))
			key = "percpu_pagelist_fraction";
		snprintf(p, sizeof p, "/proc/sys/vm/%s", key);
		orig[0] = 0;
		fd = open(p, O_RDONLY);
		k = read(fd, orig, 63);
		if (k > 0)
			orig[k] = 0;
		close(fd);
		if (i == 0)
			strcpy(mfk, orig);
		if (i == 2)
			strcpy(orig, mfk);
		snprintf(v, sizeof v, "%s\n", s[i][1]);
		k = put(p, v);
		snprintf(n, sizeof n, "sweep.%s=%s.zoneinfo", key, s[i][1]);
		for (char *q = n; *q; q++)
			if (*q == ' ')
				*q = ',';
		cat(n, "/proc/zoneinfo");
		if (strcmp(s[i][0], "min_free_kbytes") || i == 2)
			put(p, orig);
	}
}

static void record_kmalloc(void)
{
	lab("kmax", "kmax");
	lab("ksize", "ksize");
	lab("kcreate", "kcreate");
}

/* Requests of all orders and types, each with what it got. */
static void record_scripts(void)
{
	lab("seed", "seed 12345");
	scr("script.ab0", "script ab 64 0 0");
	scr("script.ab1", "script ab 64 1 0");
	scr("script.ab3mov", "script ab 16 3 1");
	scr("script.each", "script each 0 0 0");
	scr("script.each_mov", "script each 0 0 1");
	scr("script.mix_unmov", "script mix 2000 6 0");
	scr("script.mix_mov", "script mix 2000 6 1");
	scr("script.mix_two", "script mix 2000 6 4");
	scr("script.mix_all", "script mix 4000 7 3");
	scr("script.mix_o0", "script mix 4000 1 3");
	scr("script.run0_fifo", "script run 2000 0 0");
	scr("script.run0_lifo", "script run 2000 0 1");
	scr("script.run0_rep", "script run 2000 0 2");
	scr("script.run1", "script run 1000 1 0");
	scr("script.run2", "script run 1000 2 0");
	scr("script.run3", "script run 1000 3 0");
	scr("script.run4", "script run 200 4 0");
	scr("script.runthp", "script run 20 -1 0");
	scr("script.rund0_fifo", "script rund 7000 0 0");
	scr("script.rund0_lifo", "script rund 7000 0 1");
	scr("script.rund3", "script rund 1000 3 0");
	put(PCPFRAC, "100\n");
	scr("script.hf100_run0_fifo", "script run 2000 0 0");
	scr("script.hf100_run0_rep", "script run 1000 0 2");
	scr("script.hf100_rund0", "script rund 2000 0 0");
	scr("script.hf100_run3", "script run 300 3 0");
	scr("script.hf100_mix_all", "script mix 2000 6 3");
	put(PCPFRAC, "0\n");
}

/* The page frames behind vmalloc. */
static void record_vmalloc(void)
{
	lab("drain", "drain");
	lab("vm.fresh", "vmal");
	lab("vm.again", "vmal");
}

/* Fallback between types in fragmented memory. */
static void record_tight(void)
{
	lab("seed", "seed 777");
	scr("script.tight_o0", "script tight 7000 1 1");
	scr("script.tight_o3", "script tight 7000 3 3");
	scr("script.tight_o5", "script tight 7000 5 5");
	scr("script.tight_all", "script tight 7000 5 0");
}

/* Objects of a cache of our own: which slab, which index. */
static void record_slub(void)
{
	static const int sz[] = { 64, 192, 512, 1024, 4096 };
	static const char *kd[] = { "fifo", "lifo", "alt", "mix", "prefill" };
	char nm[64], cm[64];
	unsigned a, b2;
	lab("seed", "seed 54321");
	for (a = 0; a < 5; a++)
		for (b2 = 0; b2 < 5; b2++) {
			snprintf(nm, sizeof nm, "slub.%d.%s", sz[a], kd[b2]);
			snprintf(cm, sizeof cm, "slub %d %s %d", sz[a], kd[b2],
				 b2 == 4      ? 40 :
				 sz[a] > 1024 ? 300 :
				 sz[a] > 256  ? 700 :
						1500);
			lab(nm, cm);
		}
}

/* An ftrace text of processes, files and pipes. */
static void record_trace(void)
{
	put(TR "events/kmem/enable", "0");
	put(TR "tracing_on", "0");
	put(TR "buffer_size_kb", word("bigtrace") ? "8192" : "3072");
	put(TR "trace", "\n");
	put(TR "options/overwrite", "0");
	cat("trace.buddy_before", "/proc/buddyinfo");
	cat("trace.slab_before", "/proc/slabinfo");
	put(TR "events/kmem/enable", "1");
	put(TR "tracing_on", "1");
	workload(30);
	put(TR "tracing_on", "0");
	put(TR "events/kmem/enable", "0");
	cat("trace.buddy_after", "/proc/buddyinfo");
	cat("trace.slab_after", "/proc/slabinfo");
	cat("trace.formats.mm_page_alloc",
	    TR "events/kmem/mm_page_alloc/format");
	cat("trace.formats.kmalloc", TR "events/kmem/kmalloc/format");
	cat("trace.formats.mm_page_free", TR "events/kmem/mm_page_free/format");
	cat("trace.formats.kmem_cache_alloc",
	    TR "events/kmem/kmem_cache_alloc/format");
	cat("trace.text", TR "trace");
	{
		char nm[64], pt[128];
		int k;

		for (k = 0; k < sysconf(_SC_NPROCESSORS_ONLN) && k < 8; k++) {
			snprintf(nm, 64, "trace.stats.cpu%d", k);
			snprintf(pt, 128, TR "per_cpu/cpu%d/stats", k);
			cat(nm, pt);
		}
	}
	put(TR "trace", "\n");
}

/* One type takes another's blocks. */
static void record_steal(void)
{
	put(TR "options/overwrite", "0");
	put(TR "trace", "\n");
	put(TR "buffer_size_kb", "1024");
	cat("steal.pti_before", "/proc/pagetypeinfo");
	put(TR "events/kmem/mm_page_alloc_extfrag/enable", "1");
	put(TR "tracing_on", "1");
	lab("steal.unmov0", "steal 0 0 20 1");
	cat("steal.unmov0.pti", "/proc/pagetypeinfo");
	lab("steal.recl0", "steal 2 0 20 1");
	cat("steal.recl0.pti", "/proc/pagetypeinfo");
	lab("steal.mov0", "steal 1 0 60 1");
	cat("steal.mov0.pti", "/proc/pagetypeinfo");
	lab("steal.unmov2", "steal 0 2 50 1");
	cat("steal.unmov2.pti", "/proc/pagetypeinfo");
	put(TR "tracing_on", "0");
	put(TR "events/kmem/enable", "0");
	cat("steal.trace", TR "trace");
	put(TR "trace", "\n");
	lab("steal.freed", "unsteal");
	cat("steal.pti_after", "/proc/pagetypeinfo");
}

/* Where requests stop, and when kswapd is woken. */
static void record_marks(void)
{
	put(TR "options/overwrite", "0");
	put(TR "trace", "\n");
	put(TR "events/vmscan/mm_vmscan_kswapd_wake/enable", "1");
	put(TR "events/vmscan/mm_vmscan_kswapd_sleep/enable", "1");
	put(TR "events/vmscan/mm_vmscan_direct_reclaim_begin/enable", "1");
	put(TR "tracing_on", "1");
	lab("wmark", "wmark 0");
	sleep(1);
	lab("wmark.drain", "wmark 1");
	sleep(1);
	put("/proc/sys/vm/watermark_boost_factor", "0\n");
	lab("wmark.drain_noboost", "wmark 1");
	sleep(1);
	lab("wmark.order2_noboost", "wmark 2");
	sleep(1);
	if (!word("nb"))
		put("/proc/sys/vm/watermark_boost_factor", "15000\n");
	put(TR "tracing_on", "0");
	put(TR "events/vmscan/enable", "0");
	cat("wmark.trace", TR "trace");
	put(TR "trace", "\n");
	cat("wmark.vmstat", "/proc/vmstat");
	cat("wmark.after_zoneinfo", "/proc/zoneinfo");
}

/* Every second page frame free, and the indices of that. */
static void record_fragmentation(void)
{
	sleep(1);
	lab("frag.do", "frag 2 100");
	procs("frag.", 0);
	cat("frag.extfrag_index", "/sys/kernel/debug/extfrag/extfrag_index");
	cat("frag.unusable_index", "/sys/kernel/debug/extfrag/unusable_index");
	lab("kv.frag", "kv");
	lab("frag.undo", "unfrag");
	cat("frag.after_buddyinfo", "/proc/buddyinfo");
	lab("frag60.do", "frag 2 60");
	cat("frag60.buddyinfo", "/proc/buddyinfo");
	cat("frag60.extfrag_index", "/sys/kernel/debug/extfrag/extfrag_index");
	cat("frag60.unusable_index",
	    "/sys/kernel/debug/extfrag/unusable_index");
	lab("kv.frag60", "kv");
	lab("frag60.undo", "unfrag");
	cat("unfrag.extfrag_index", "/sys/kernel/debug/extfrag/extfrag_index");
	cat("unfrag.unusable_index",
	    "/sys/kernel/debug/extfrag/unusable_index");
}

/* Requests with a node, on a machine that is nearly full. */
static void record_nodes(void)
{
	/* nscript KIND ORDER MT HOW LEFT SEED; fill: until it fails, then frees and more; mix: ORDERS MT(3 = random) OPERATIONS */
	static const char *ns[][2] = { { "plain_o0", "fill 0 0 0 2500 1" },
				       { "plain_o1", "fill 1 0 0 3000 2" },
				       { "plain_o2", "fill 2 0 0 4000 3" },
				       { "plain_o3", "fill 3 0 0 5000 4" },
				       { "plain_mov_o0", "fill 0 1 0 2500 5" },
				       { "plain_mov_o2", "fill 2 1 0 4000 6" },
				       { "plain_recl_o1", "fill 1 2 0 3000 7" },
				       { "this_o0", "fill 0 0 1 3000 8" },
				       { "this_o1", "fill 1 0 1 3500 18" },
				       { "this_o2", "fill 2 0 1 4000 19" },
				       { "this_o3", "fill 3 0 1 5000 9" },
				       { "other_o0", "fill 0 0 2 2500 10" },
				       { "other_o1", "fill 1 0 2 3000 11" },
				       { "other_o2", "fill 2 0 2 4000 12" },
				       { "other_o3", "fill 3 0 2 5000 13" },
				       { "otherthis_o0", "fill 0 0 3 3000 14" },
				       { "mix4", "mix 4 3 5000 2500 15" },
				       { "mix11", "mix 11 3 5000 6000 16" },
				       { "mix_tight", "mix 3 3 5000 1300 17" },
				       { "mix_mov", "mix 5 1 4000 2500 20" } };
	unsigned i;
	char n[64], c[64];
	for (i = 0; i < sizeof ns / sizeof ns[0]; i++) {
		snprintf(n, sizeof n, "script.node.%s", ns[i][0]);
		snprintf(c, sizeof c, "nscript %s", ns[i][1]);
		lab("drain", "drain");
		lab(n, c);
	}
	cat("node.after_zoneinfo", "/proc/zoneinfo");
	cat("node.after_vmstat", "/proc/vmstat");
}

/* Is this recorded: by its name, or as a part of all? */
static int has(const char *name)
{
	return word("full") || word(name);
}

void record_sections(void)
{
	int numa = !access(NODES, F_OK);

	procs("fresh.", 1);
	lab("consts", "consts");
	if (numa)
		lab("topology", "topo");
	lab("fresh.state", "state");
	lab("caches", "caches");
	if (has("sweep"))
		sysctl_sweep();
	if (has("kmalloc"))
		record_kmalloc();
	else if (word("kcreate"))
		lab("kcreate", "kcreate");
	if (has("script"))
		record_scripts();
	if (word("vmal"))
		record_vmalloc();
	if (word("tight"))
		record_tight();
	if (word("slub"))
		record_slub();
	if (has("exact"))
		lab("exact", "exact");
	if (has("kv"))
		lab("kv.fresh", "kv");
	if (has("trace") || word("bigtrace"))
		record_trace();
	if (has("steal"))
		record_steal();
	if (has("wmark"))
		record_marks();
	if (has("frag"))
		record_fragmentation();
	if (numa && has("node"))
		record_nodes();
	if (numa && word("numa"))
		lab("numa", "numa");
}
