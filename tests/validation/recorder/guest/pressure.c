// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is recorded of a machine that runs out of memory: one function a word.
 * Memory is filled with anonymous pages, page cache of the driver's disk and
 * pages that the driver holds; then the driver asks for more.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

static uint32_t rs = 1;
static uint32_t rnd(void)
{
	rs ^= rs << 13;
	rs ^= rs >> 17;
	rs ^= rs << 5;
	return rs;
}
static long ps; /* page size */
static int maxo = 10, pmdo = 9;
static char labans[4096];
static void labq(const char *cmd) /* run, keep the answer out of the console */
{
	put("/proc/lab", cmd);
	get("/proc/lab", labans, sizeof(labans));
}
static long meminfo(const char *key)
{
	static char b[8192];
	char *q;
	long v = -1;

	get("/proc/meminfo", b, sizeof(b));
	if ((q = strstr(b, key)))
		sscanf(q + strlen(key) + 1, "%ld", &v);
	return v * 1024 / ps; /* pages */
}
static char *um;
static size_t un; /* the anonymous region, pages */
#define UMAX (8UL << 30)
static void umap(void)
{
	um = mmap(NULL, UMAX, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	madvise(um, UMAX, MADV_NOHUGEPAGE);
	un = 0;
}
static void uunmap(void)
{
	munmap(um, UMAX);
	un = 0;
	labq("release");
	labq("settle");
}
/* touch anonymous pages until `left` free pages remain; after every `every` pages hold up to `nh` kernel pages (gfp gi) that cannot move */
static void ufill(long left, int every, int nh, int gi)
{
	char c[64];
	size_t i;
	long f;
	while ((f = meminfo("MemFree:")) > left) {
		size_t chunk = f - left > every ? every : f - left;
		for (i = 0; i < chunk; i++)
			um[(un + i) * ps] = 1;
		un += chunk;
		if (nh && rnd() % 3) {
			snprintf(c, sizeof c, "hold %d 0 %d", 1 + rnd() % nh,
				 gi);
			labq(c);
		}
	}
}
static void upunch(const char *pat)
{
	size_t i, j;
	if (!strcmp(pat, "alt")) {
		for (i = 0; i < un; i += 2)
			madvise(um + i * ps, ps, MADV_DONTNEED);
	} else if (!strcmp(pat, "half")) {
		for (i = 0; i < un; i++)
			if (rnd() & 1)
				madvise(um + i * ps, ps, MADV_DONTNEED);
	} else if (!strcmp(pat, "fifth")) {
		for (i = 0; i < un; i++)
			if (rnd() % 5 == 0)
				madvise(um + i * ps, ps, MADV_DONTNEED);
	} else if (!strcmp(pat, "most")) {
		for (i = 0; i < un; i++)
			if (rnd() % 8)
				madvise(um + i * ps, ps, MADV_DONTNEED);
	} else if (!strcmp(pat, "cluster")) {
		for (i = 0; i < un; i += j) {
			j = 1 + rnd() % 96;
			if (i + j > un)
				j = un - i;
			if (rnd() & 1)
				madvise(um + i * ps, j * ps, MADV_DONTNEED);
		}
	} else if (!strcmp(pat, "head")) {
		for (i = 0; i < un; i++)
			if (rnd() % un > i)
				madvise(um + i * ps, ps, MADV_DONTNEED);
	}
}
/* hold every free block of order >= min, so that only smaller ones are left */
static void take_blocks(int min)
{
	char c[64];
	int o;
	labq("settle");
	for (o = maxo; o >= min; o--)
		do {
			snprintf(c, sizeof c, "hold 4000 %d 4", o);
			labq(c);
		} while (strstr(labans, ":4000"));
}
static void quiesce(void)
{
	put("/proc/sys/vm/stat_interval", "100000\n");
	put("/proc/sys/vm/compaction_proactiveness", "0\n");
	put("/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs",
	    "1000000000\n");
	put("/sys/kernel/mm/transparent_hugepage/khugepaged/alloc_sleep_millisecs",
	    "1000000000\n");
	sleep(3);
	labq("quiet 11"); /* kswapd, kcompactd, vmstat_update */
	labq("settle");
}
static const char *const pats[] = { "alt",   "half", "cluster",
				    "fifth", "most", "head" };

/* Is this pattern among the words? */
static int named(const char *pattern)
{
	char name[32];

	snprintf(name, sizeof(name), "p_%s", pattern);
	return word(name);
}

static void p_compact(int seed)
{
	int some = 0; /* only those that are named */
	char n[64];
	unsigned i;
	long tot = meminfo("MemTotal:");

	for (i = 0; i < sizeof pats / sizeof pats[0]; i++)
		some |= named(pats[i]);
	if (word("cnode") || word("pall"))
		for (i = 0; i < sizeof pats / sizeof pats[0]; i++) {
			if (some && !named(pats[i]))
				continue;
			rs = 7919 * seed + 13 * i + 1;
			umap();
			ufill(tot / 24, 512, i & 1 ? 6 : 2, 1);
			upunch(pats[i]);
			snprintf(n, sizeof n, "compact.%s.node", pats[i]);
			lab(n, "cnode");
			uunmap();
		}
	if (word("cdirect") || word("pall"))
		for (i = 0; i < sizeof pats / sizeof pats[0]; i++) {
			static const char *cmds[][2] = {
				{ "o4_async", "cpages 4 0 2" },
				{ "o4_light", "cpages 4 0 1" },
				{ "o2_light", "cpages 2 0 1" },
				{ "thp_async", "cpages 9 8 2" },
				{ "thp_light", "cpages 9 8 1" },
				{ "thp_light2", "cpages 9 8 1" },
				{ "thp_full", "cpages 9 8 0" },
				{ "o6_mov_async", "cpages 6 1 2" },
				{ "o6_mov_light", "cpages 6 1 1" },
				{ "o9_kern_full", "cpages 9 0 0" },
				{ "alloc_thp_noretry", "palloc 9 9 6" },
				{ "alloc_o4_noretry", "palloc 4 5 60" },
				{ "alloc_o5_kernel", "palloc 5 0 20" },
				{ "alloc_o10", "palloc 10 8 3" }
			};
			unsigned k;
			if (some ? !named(pats[i]) : (int)((i + seed) & 1))
				continue;
			rs = 104729 * seed + 17 * i + 5;
			umap();
			ufill(tot / 24, 512, i & 1 ? 6 : 2, 1);
			upunch(pats[i]);
			for (k = 0; k < sizeof cmds / sizeof cmds[0]; k++) {
				char c[64];
				int o, g, p;
				strcpy(c, cmds[k][1]);
				if (sscanf(c, "cpages %d %d %d", &o, &g, &p) ==
					    3 ||
				    sscanf(c, "palloc %d %d %d", &o, &g, &p) ==
					    3) {
					if (o == 9)
						o = pmdo;
					if (o == 10)
						o = maxo;
					if (o > maxo)
						o = maxo;
					snprintf(c, sizeof c, "%s %d %d %d",
						 cmds[k][1][0] == 'c' ?
							 "cpages" :
							 "palloc",
						 o, g, p);
				}
				take_blocks(2);
				snprintf(n, sizeof n, "compact.%s.%02u_%s",
					 pats[i], k, cmds[k][0]);
				lab(n, c);
			}
			labq("pfree");
			uunmap();
		}
}
static int ffd = -1;
static char iob[1 << 20];
static void fread_seq(long from, long n) /* pages, 16 at a time */
{
	long i;

	for (i = 0; i < n; i += 16) {
		long bytes = (n - i > 16 ? 16 : n - i) * ps;

		if (bytes > (long)sizeof(iob))
			bytes = sizeof(iob);
		pread(ffd, iob, bytes, (from + i) * ps);
	}
}
static void fread_one(long pg)
{
	pread(ffd, iob, 64, pg * ps);
}
static int mkswap_on(void)
{
	static char h[65536];
	int fd = open("/dev/lab1", O_RDWR);
	uint32_t *u = (uint32_t *)(h + 1024);
	memset(h, 0, sizeof h);
	u[0] = 1;
	u[1] = (1L << 30) / ps - 1;
	u[2] = 0;
	memcpy(h + ps - 10, "SWAPSPACE2", 10);
	pwrite(fd, h, ps, 0);
	fsync(fd);
	close(fd);
	return swapon("/dev/lab1", 0);
}
/* fill: file pages, then anonymous pages, then kernel pages, until `left` free pages remain */
static void rfill(long tot, int fpct, int apct, long left)
{
	long nf = tot * fpct / 100, na = tot * apct / 100, i, f;
	char c[64];
	posix_fadvise(ffd, 0, 0, POSIX_FADV_RANDOM);
	for (i = 0; i < nf / 2; i++)
		fread_one(i); /* one page each, in order */
	posix_fadvise(ffd, 0, 0, POSIX_FADV_NORMAL);
	fread_seq(nf / 2, nf / 4); /* read ahead */
	posix_fadvise(ffd, 0, 0, POSIX_FADV_RANDOM);
	for (i = 0; i < na; i++)
		um[(un + i) * ps] = 1;
	un += na;
	for (i = 0; i < nf / 4; i++)
		fread_one(nf * 3 / 4 + (i * 7919) % (nf / 4)); /* scattered */
	for (i = 0; i < nf / 8; i++)
		fread_one(rnd() %
			  (nf / 2)); /* second touch of some: activates */
	for (i = 0; i < nf / 16; i++)
		fread_one(nf / 2 + rnd() % (nf / 4));
	while ((f = meminfo("MemFree:")) > left) {
		snprintf(c, sizeof c, "hold %ld 0 0",
			 f - left > 256 ? 256 : f - left);
		labq(c);
		if (!strstr(labans, "held") || strstr(labans, ":0"))
			break;
	}
}
static void p_reclaim(int seed, int swap)
{
	long tot = meminfo("MemTotal:"), i;
	char n[64], c[64];
	const char *t = swap ? "swap" : "noswap";
	char *fm;
	rs = 15485863 * seed + swap + 1;
	if (ffd < 0)
		ffd = open("/dev/lab0", O_RDONLY);
	if (ffd < 0) {
		say("\n@@@ERR no lab0\n");
		return;
	}
	if (swap && mkswap_on()) {
		say("\n@@@ERR swapon\n");
		return;
	}
#define R(what, ...)                                             \
	do {                                                     \
		snprintf(n, sizeof n, "reclaim.%s.%s", t, what); \
		snprintf(c, sizeof c, __VA_ARGS__);              \
		lab(n, c);                                       \
	} while (0)
	labq("quiet 31"); /* also no slab shrinkers, no OOM killer */
	umap();
	rfill(tot, 45, 25, tot / 20);
	R("01_o0_kernel", "palloc 0 0 %ld", tot / 16);
	R("02_o0_movable", "palloc 0 1 %ld", tot / 32);
	for (i = 0; i < tot / 16; i++)
		fread_one(
			rnd() %
			(tot /
			 4)); /* refaults and second touches; may itself reclaim */
	R("03_o0_after_refault", "palloc 0 0 %ld", tot / 64);
	R("04_o1_kernel", "palloc 1 0 %ld", tot / 256);
	R("05_o3_kernel", "palloc 3 0 %ld", tot / 1024);
	R("06_o0_nofs", "palloc 0 11 %ld", tot / 128);
	R("07_o0_noio", "palloc 0 12 %ld", tot / 128);
	labq("pfree");
	uunmap();
	/* mapped file pages and touched anonymous pages: page table references decide */
	fm = mmap(NULL, tot / 8 * ps, PROT_READ, MAP_SHARED, ffd, 0);
	umap();
	rfill(tot, 40, 30, tot / 20);
	{
		volatile char x;
		for (i = 0; i < tot / 8; i += 1 + rnd() % 3)
			x = fm[i * ps];
		(void)x;
	}
	R("11_mapped_o0", "palloc 0 0 %ld", tot / 16);
	{
		volatile char x;
		for (i = 0; i < tot / 8; i += 1 + rnd() % 3)
			x = fm[i * ps];
		for (i = 0; i < (long)un; i += 3)
			um[i * ps] = 2;
		(void)x;
	}
	R("12_mapped_o0_again", "palloc 0 1 %ld", tot / 32);
	labq("quiet 27");
	R("13_with_shrinkers", "palloc 0 0 %ld", tot / 64);
	munmap(fm, tot / 8 * ps);
	labq("pfree");
	uunmap();
	put("/proc/sys/vm/drop_caches", "1\n");
}
/* little page cache, much anonymous memory: swap has to work */
static void p_swp(int seed)
{
	long tot = meminfo("MemTotal:"), i;
	char n[64], c[64];
	rs = 86028121 * seed + 1;
	if (ffd < 0)
		ffd = open("/dev/lab0", O_RDONLY);
	mlockall(MCL_CURRENT); /* the disk forgets: what is read back is zero */
	if (mkswap_on()) {
		say("\n@@@ERR swapon\n");
		return;
	}
#define W(what, ...)                                            \
	do {                                                    \
		snprintf(n, sizeof n, "reclaim.swap.%s", what); \
		snprintf(c, sizeof c, __VA_ARGS__);             \
		lab(n, c);                                      \
	} while (0)
	labq("quiet 31");
	umap();
	rfill(tot, 10, 60, tot / 20);
	W("21_o0_kernel", "palloc 0 0 %ld", tot / 6);
	for (i = 0; i < (long)un; i += 1 + rnd() % 5)
		um[i * ps] = 3; /* swaps in */
	W("22_o0_movable", "palloc 0 1 %ld", tot / 12);
	W("23_o3_kernel", "palloc 3 0 %ld", tot / 512);
	W("24_thp", "palloc %d 8 4", pmdo);
	{
		volatile char x;
		for (i = 0; i < (long)un; i += 1 + rnd() % 7)
			x = um[i * ps];
		(void)x;
	} /* swaps in, stays clean */
	W("25_o0_noio", "palloc 0 12 %ld", tot / 128);
	W("26_o0_kernel", "palloc 0 0 %ld", tot / 32);
	W("27_mix", "pmix 2000 %d %d 0", seed * 1000 + 27, maxo);
	labq("pfree");
	uunmap();
	put("/proc/sys/vm/drop_caches", "1\n");
}
static void p_slow(int seed)
{
	long tot = meminfo("MemTotal:");
	char n[64], c[64];
	int k;
	if (ffd < 0)
		ffd = open("/dev/lab0", O_RDONLY);
	labq("quiet 31"); /* no OOM killer either: the allocation fails */
	for (k = 0; k < 4; k++) {
		rs = 32452843 * seed + k + 1;
		umap();
		rfill(tot, 30, 30, tot / 20);
		upunch(k & 1 ? "fifth" : "cluster");
		{
			static const char *h[] = { "hold 8500 0 4",
						   "hold 3500 0 4",
						   "hold 8000 0 4",
						   "hold 2500 0 4" };
			if (tot < 70000)
				labq(h[k]);
			if (k == 3)
				labq("hold 60 3 4");
		}
		snprintf(n, sizeof n, "slow.%d", k);
		snprintf(c, sizeof c, "pmix %d %d %d %d", k < 2 ? 3000 : 1200,
			 seed * 1000 + k + 1, k < 2 ? maxo : pmdo, k >= 2);
		lab(n, c);
		labq("pfree");
		if (k == 3) { /* highatomic: reserve, use, give back */
			labq("hold 100000 0 4"); /* down to the min mark */
			lab("slow.highatomic_1", "palloc 2 3 200");
			lab("slow.highatomic_2", "palloc 0 0 400");
			lab("slow.highatomic_3", "palloc 3 3 200");
			lab("slow.highatomic_4", "palloc 0 6 6000 0");
			labq("pfree");
		}
		uunmap();
		put("/proc/sys/vm/drop_caches", "1\n");
	}
}
static void p_kswapd(int seed)
{
	long tot = meminfo("MemTotal:");
	char c[64];
	if (ffd < 0)
		ffd = open("/dev/lab0", O_RDONLY);
	rs = 49979687 * seed + 1;
	labq("quiet 0");
	put("/proc/sys/vm/stat_interval", "1\n");
	sleep(1);
	umap();
	rfill(tot, 40, 25, tot / 12);
	snprintf(c, sizeof c, "palloc 0 0 %ld", tot / 8);
	lab("kswapd.o0", c);
	sleep(2);
	labq("pfree");
	lab("kswapd.evon", "evon 0");
	{
		long i;
		for (i = 0; i < tot / 2; i++)
			fread_one(tot + i);
	}
	sleep(2);
	lab("kswapd.stream", "evoff");
	snprintf(c, sizeof c, "palloc 3 4 %ld", tot / 256);
	lab("kswapd.o3_nowait", c);
	sleep(2);
	labq("pfree");
	uunmap();
	put("/proc/sys/vm/drop_caches", "1\n");
}
static void p_oom(void)
{
	static const int adj[] = { 0, 0, 300, -300, 1000, -1000, 0, -500 };
	static const int mb[] = { 4, 24, 8, 40, 1, 30, 16, 28 };
	int i, k, pf[2], pid[8];
	char n[64], b[64];
	labq("quiet 11");
	pipe(pf);
	for (i = 0; i < 8; i++)
		if ((pid[i] = fork()) == 0) {
			char *q = mmap(NULL, mb[i] << 20,
				       PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			long j;
			snprintf(b, sizeof b, "%d", adj[i]);
			put("/proc/self/oom_score_adj", b);
			for (j = 0; j < (long)mb[i] << 20; j += ps)
				q[j] = 1;
			write(pf[1], "x", 1);
			for (;;)
				pause();
		}
	for (i = 0; i < 8; i++)
		read(pf[0], b, 1);
	for (k = 0; k < 5; k++) {
		say("\n@@@FILE oomprocs.");
		snprintf(n, sizeof n, "%d\n", k);
		say(n);
		for (i = 0; i < 8; i++) {
			snprintf(n, sizeof n, "%d %d %d\n", pid[i], adj[i],
				 mb[i]);
			say(n);
		}
		say("@@@END oomprocs.");
		snprintf(n, sizeof n, "%d\n", k);
		say(n);
		snprintf(n, sizeof n, "oom.%d", k);
		lab(n, "oomkill");
		sleep(1);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	for (i = 0; i < 8; i++)
		kill(pid[i], SIGKILL);
	sleep(1);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}
static void p_thp(int seed)
{
	static const char *df[] = { "always", "defer", "defer+madvise",
				    "madvise", "never" };
	long tot = meminfo("MemTotal:"), hp = ps << pmdo;
	unsigned i, k, j;
	char n[64];
	{
		char v[64] = "";

		get("/proc/sys/vm/min_free_kbytes", v, sizeof(v));
		put("/sys/kernel/mm/transparent_hugepage/enabled", "always\n");
		usleep(200000); /* khugepaged raises it */
		put("/proc/sys/vm/min_free_kbytes", v);
	}
	labq("quiet 31");
	for (i = 0; i < 5; i++)
		for (k = 0; k < 2; k++) {
			rs = 67867967 * seed +
			     1; /* the same memory every time */
			snprintf(n, sizeof n, "%s\n", df[i]);
			put("/sys/kernel/mm/transparent_hugepage/defrag", n);
			umap();
			ufill(tot / 24, 512, 2, 1);
			upunch("cluster");
			char *q = mmap(NULL, 8 * hp, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
			     *a = (char *)(((uintptr_t)q + hp - 1) / hp * hp);
			if (k)
				madvise(a, 6 * hp, MADV_HUGEPAGE);
			snprintf(n, sizeof n, "thp.%s%s.on", df[i],
				 k ? ".madv" : "");
			lab(n, "evon 0");
			for (j = 0; j < 6; j++)
				a[j * hp] = 1;
			snprintf(n, sizeof n, "thp.%s%s.off", df[i],
				 k ? ".madv" : "");
			lab(n, "evoff");
			munmap(q, 8 * hp);
			uunmap();
		}
	put("/sys/kernel/mm/transparent_hugepage/enabled", "never\n");
}

/* The orders of the kernel, out of the driver's constants. */
static void orders(void)
{
	static char text[8192];
	char *q;

	get("/proc/lab", text, sizeof(text));
	q = strstr(text, "max_order_inclusive\":");
	if (q)
		maxo = atoi(q + 21);
	q = strstr(text, "\"pageblock_order\":");
	if (q)
		pmdo = atoi(q + 18);
}

void record_pressure(int seed)
{
	int all = word("pall");

	ps = sysconf(_SC_PAGESIZE);
	mknod("/dev/lab0", S_IFBLK | 0600, makedev(240, 0));
	mknod("/dev/lab1", S_IFBLK | 0600, makedev(240, 1));
	lab("consts", "consts");
	orders();
	lab("pnames", "pnames");
	procs("fresh.", 1);
	quiesce();
	lab("pfresh", "pdump");
	if (word("cnode") || word("cdirect") || all)
		p_compact(seed);
	if (word("slow") || all)
		p_slow(seed);
	if (word("reclaim") || all)
		p_reclaim(seed, 0);
	if (word("thp") || all)
		p_thp(seed);
	if (word("oom") || all)
		p_oom();
	if (word("swap") || all)
		p_reclaim(seed, 1);
	if (word("swp"))
		p_swp(seed);
	if (word("kswapd") || all)
		p_kswapd(seed);
}
