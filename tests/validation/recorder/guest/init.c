// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>
#include <errno.h>
#include <sched.h>
#include <termios.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <time.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>
#include <signal.h>
#include <stdint.h>

static int con = 1;
static char buf[1 << 16];

static void wr(const char *s, size_t n)
{
	while (n) {
		ssize_t k = write(con, s, n);
		if (k <= 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			break;
		}
		s += k;
		n -= k;
	}
}
static void ws(const char *s)
{
	wr(s, strlen(s));
}

static void section(const char *kind, const char *name, const char *path)
{
	int fd = open(path, O_RDONLY);
	ssize_t k;

	ws("\n@@@");
	ws(kind);
	ws(" ");
	ws(name);
	ws("\n");
	if (fd < 0) {
		ws("(cannot open)");
	} else {
		while ((k = read(fd, buf, sizeof(buf))) > 0)
			wr(buf, k);
		close(fd);
	}
	ws("\n@@@END ");
	ws(name);
	ws("\n");
}
static void cat(const char *name, const char *path)
{
	section("FILE", name, path);
}
static int put(const char *path, const char *v)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	int r;
	if (fd < 0)
		return -1;
	r = write(fd, v, strlen(v));
	close(fd);
	return r;
}
static void lab(const char *name, const char *cmd)
{
	put("/proc/lab", cmd);
	section("ANSWER", name, "/proc/lab");
}
static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}
static void stamp(const char *w)
{
	char b[128];
	snprintf(b, sizeof b, "\n@@@TIME %.2f %s\n", now(), w);
	ws(b);
}

static void procs(const char *tag, int full)
{
	static const char *f[][2] = {
		{ "zoneinfo", "/proc/zoneinfo" },
		{ "buddyinfo", "/proc/buddyinfo" },
		{ "pagetypeinfo", "/proc/pagetypeinfo" },
		{ "meminfo", "/proc/meminfo" },
		{ "vmstat", "/proc/vmstat" },
		{ "slabinfo", "/proc/slabinfo" },
		{ "min_free_kbytes", "/proc/sys/vm/min_free_kbytes" },
		{ "lowmem_reserve_ratio", "/proc/sys/vm/lowmem_reserve_ratio" },
		{ "percpu_pagelist_high_fraction",
		  "/proc/sys/vm/percpu_pagelist_high_fraction" },
		{ "percpu_pagelist_fraction",
		  "/proc/sys/vm/percpu_pagelist_fraction" },
		{ "defrag_mode", "/proc/sys/vm/defrag_mode" },
		{ "watermark_scale_factor",
		  "/proc/sys/vm/watermark_scale_factor" },
		{ "watermark_boost_factor",
		  "/proc/sys/vm/watermark_boost_factor" },
		{ "thp_enabled",
		  "/sys/kernel/mm/transparent_hugepage/enabled" },
		{ "version", "/proc/version" },
		{ "cmdline", "/proc/cmdline" },
		{ "iomem", "/proc/iomem" },
		{ "vmallocinfo", "/proc/vmallocinfo" }
	};
	unsigned i;
	char n[128];
	for (i = 0; i < sizeof f / sizeof f[0]; i++) {
		if (!full && i > 4)
			break;
		snprintf(n, sizeof n, "%s%s", tag, f[i][0]);
		cat(n, f[i][1]);
	}
}
static void two(const char *tag)
{
	char n[128];
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

static int maxo = 10, pmdo = 9;

/* ================================================================ memory pressure */
static uint32_t rs = 1;
static uint32_t rnd(void)
{
	rs ^= rs << 13;
	rs ^= rs >> 17;
	rs ^= rs << 5;
	return rs;
}
static long ps;
static char labans[4096];
static void labq(const char *cmd) /* run, keep the answer out of the console */
{
	int fd, k;
	put("/proc/lab", cmd);
	fd = open("/proc/lab", O_RDONLY);
	k = read(fd, labans, sizeof labans - 1);
	labans[k > 0 ? k : 0] = 0;
	close(fd);
}
static long meminfo(const char *key)
{
	static char b[8192];
	int fd = open("/proc/meminfo", O_RDONLY), k = read(fd, b, sizeof b - 1);
	char *q;
	long v = -1;
	close(fd);
	b[k > 0 ? k : 0] = 0;
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
static void p_compact(int seed, const char *mode)
{
	static const char *pats[] = { "alt",   "half", "cluster",
				      "fifth", "most", "head" };
	char n[64];
	unsigned i;
	long tot = meminfo("MemTotal:");
	if (!strstr(mode, "cdirect"))
		for (i = 0; i < sizeof pats / sizeof pats[0]; i++) {
			{
				char w[32];
				snprintf(w, sizeof w, "p_%s", pats[i]);
				if (strstr(mode, "p_") && !strstr(mode, w))
					continue;
			}
			rs = 7919 * seed + 13 * i + 1;
			umap();
			ufill(tot / 24, 512, i & 1 ? 6 : 2, 1);
			upunch(pats[i]);
			snprintf(n, sizeof n, "compact.%s.node", pats[i]);
			lab(n, "cnode");
			uunmap();
		}
	stamp("compact.node");
	if (!strstr(mode, "cnode"))
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
			{
				char w[32];
				snprintf(w, sizeof w, "p_%s", pats[i]);
				if (strstr(mode, "p_") ? !strstr(mode, w) :
							 (int)((i + seed) & 1))
					continue;
			}
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
	stamp("compact.direct");
}
static int ffd = -1;
static char iob[1 << 20];
static void fread_seq(long from, long n) /* pages */
{
	long i;
	for (i = 0; i < n; i += 16)
		pread(ffd, iob,
		      (n - i > 16 ? 16 : n - i) * ps > (long)sizeof iob ?
			      sizeof iob :
			      (n - i > 16 ? 16 : n - i) * ps,
		      (from + i) * ps);
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
		ws("\n@@@ERR no lab0\n");
		return;
	}
	if (swap && mkswap_on()) {
		ws("\n@@@ERR swapon\n");
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
	stamp(n);
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
		ws("\n@@@ERR swapon\n");
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
	stamp("swp");
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
	stamp("slow");
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
	stamp("kswapd");
}
static void p_oom(int seed)
{
	static const int adj[] = { 0, 0, 300, -300, 1000, -1000, 0, -500 };
	static const int mb[] = { 4, 24, 8, 40, 1, 30, 16, 28 };
	int i, k, pf[2], pid[8];
	char n[64], b[64];
	(void)seed;
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
		ws("\n@@@FILE oomprocs.");
		snprintf(n, sizeof n, "%d\n", k);
		ws(n);
		for (i = 0; i < 8; i++) {
			snprintf(n, sizeof n, "%d %d %d\n", pid[i], adj[i],
				 mb[i]);
			ws(n);
		}
		ws("@@@END oomprocs.");
		snprintf(n, sizeof n, "%d\n", k);
		ws(n);
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
	stamp("oom");
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
		int fd = open("/proc/sys/vm/min_free_kbytes", O_RDONLY),
		    k2 = read(fd, v, 63);
		v[k2 > 0 ? k2 : 0] = 0;
		close(fd);
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
	stamp("thp");
}

int main(int argc, char **argv)
{
	char mode[256] = "full", cl[2048], *m;
	int fd, k, ncpu;
	cpu_set_t cs;

	if (argc > 1 && !strcmp(argv[1], "child"))
		return 0;
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/tmp", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);
	mount("debug", "/sys/kernel/debug", "debugfs", 0, NULL);
	mount("trace", "/sys/kernel/tracing", "tracefs", 0, NULL);
	mount("tmp", "/tmp", "tmpfs", 0, NULL);
	put("/proc/self/oom_score_adj", "-1000");
	con = open("/dev/console", O_RDWR | O_NOCTTY);
	if (con < 0)
		con = 1;
	struct termios t;
	if (tcgetattr(con, &t) == 0) {
		t.c_oflag &= ~OPOST;
		t.c_lflag &= ~(ECHO | ICANON);
		tcsetattr(con, TCSANOW, &t);
	}
	klogctl(6, NULL, 0);
	klogctl(8, NULL, 1);
	fd = open("/proc/cmdline", O_RDONLY);
	k = read(fd, cl, sizeof cl - 1);
	cl[k > 0 ? k : 0] = 0;
	close(fd);
	if ((m = strstr(cl, "lab="))) {
		sscanf(m + 4, "%255s", mode);
	}
	ncpu = sysconf(_SC_NPROCESSORS_ONLN);
	CPU_ZERO(&cs);
	CPU_SET(ncpu - 1, &cs);
	sched_setaffinity(0, sizeof cs, &cs);
	if (strstr(mode, "nb"))
		put("/proc/sys/vm/watermark_boost_factor", "0\n");
	stamp("start");
	if (strstr(mode, "pressure")) {
		int seed = 1;
		char *q = strstr(mode, ",s");
		struct stat st;
		ps = sysconf(_SC_PAGESIZE);
		if (q && q[2] >= '0' && q[2] <= '9')
			seed = atoi(q + 2);
		mknod("/dev/lab0", S_IFBLK | 0600, makedev(240, 0));
		mknod("/dev/lab1", S_IFBLK | 0600, makedev(240, 1));
		(void)st;
		if ((q = strstr(cl, "mfk="))) {
			char v[32];
			snprintf(v, sizeof v, "%d\n", atoi(q + 4));
			put("/proc/sys/vm/min_free_kbytes", v);
		}
		lab("consts", "consts");
		{
			static char cb[8192];
			int f2 = open("/proc/lab", O_RDONLY);
			k = read(f2, cb, sizeof cb - 1);
			close(f2);
			cb[k > 0 ? k : 0] = 0;
			if ((q = strstr(cb, "max_order_inclusive\":")))
				maxo = atoi(q + 21);
			if ((q = strstr(cb, "\"pageblock_order\":")))
				pmdo = atoi(q + 18);
		}
		lab("pnames", "pnames");
		procs("fresh.", 1);
		quiesce();
		lab("pfresh", "pdump");
		if ((strstr(mode, "compact") || strstr(mode, "cnode") ||
		     strstr(mode, "cdirect")) ||
		    strstr(mode, "pall"))
			p_compact(seed, mode);
		if (strstr(mode, "slow") || strstr(mode, "pall"))
			p_slow(seed);
		if (strstr(mode, "reclaim") || strstr(mode, "pall"))
			p_reclaim(seed, 0);
		if (strstr(mode, "thp") || strstr(mode, "pall"))
			p_thp(seed);
		if (strstr(mode, "oom") || strstr(mode, "pall"))
			p_oom(seed);
		if (strstr(mode, "swap") || strstr(mode, "pall"))
			p_reclaim(seed, 1);
		if (strstr(mode, "swp"))
			p_swp(seed);
		if (strstr(mode, "kswapd") || strstr(mode, "pall"))
			p_kswapd(seed);
		goto end;
	}
#define HAS(x) (strstr(mode, "full") || strstr(mode, x))
	procs("fresh.", 1);
	lab("consts", "consts");
	lab("topology", "topo");
	lab("fresh.state", "state");
	lab("caches", "caches");
	if (HAS("sweep"))
		sysctl_sweep();
	if (HAS("kmalloc")) {
		lab("kmax", "kmax");
		lab("ksize", "ksize");
		lab("kcreate", "kcreate");
		stamp("kmalloc");
	} else if (strstr(mode, "kcreate"))
		lab("kcreate", "kcreate");
	if (HAS("script")) {
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
		stamp("scripts");
	}
	if (strstr(mode, "vmal")) {
		lab("drain", "drain");
		lab("vm.fresh", "vmal");
		lab("vm.again", "vmal");
		stamp("vmal");
	}
	if (strstr(mode,
		   "tight")) { /* fallback between types in fragmented memory (not part of full) */
		lab("seed", "seed 777");
		scr("script.tight_o0", "script tight 7000 1 1");
		scr("script.tight_o3", "script tight 7000 3 3");
		scr("script.tight_o5", "script tight 7000 5 5");
		scr("script.tight_all", "script tight 7000 5 0");
		stamp("tight");
	}
	if (strstr(mode,
		   "slub")) { /* objects of a cache of our own: which slab, which index (not part of full) */
		static const int sz[] = { 64, 192, 512, 1024, 4096 };
		static const char *kd[] = { "fifo", "lifo", "alt", "mix",
					    "prefill" };
		char nm[64], cm[64];
		unsigned a, b2;
		lab("seed", "seed 54321");
		for (a = 0; a < 5; a++)
			for (b2 = 0; b2 < 5; b2++) {
				snprintf(nm, sizeof nm, "slub.%d.%s", sz[a],
					 kd[b2]);
				snprintf(cm, sizeof cm, "slub %d %s %d", sz[a],
					 kd[b2],
					 b2 == 4      ? 40 :
					 sz[a] > 1024 ? 300 :
					 sz[a] > 256  ? 700 :
							1500);
				lab(nm, cm);
			}
		stamp("slub");
	}
	if (HAS("exact")) {
		lab("exact", "exact");
		stamp("exact");
	}
	if (HAS("kv")) {
		lab("kv.fresh", "kv");
		stamp("kv");
	}
	if (HAS("trace")) {
		put(TR "events/kmem/enable", "0");
		put(TR "tracing_on", "0");
		put(TR "buffer_size_kb",
		    strstr(mode, "bigtrace") ? "8192" : "3072");
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
		cat("trace.formats.mm_page_free",
		    TR "events/kmem/mm_page_free/format");
		cat("trace.formats.kmem_cache_alloc",
		    TR "events/kmem/kmem_cache_alloc/format");
		cat("trace.text", TR "trace");
		{
			char nm[64], pt[128];
			for (k = 0; k < ncpu && k < 8; k++) {
				snprintf(nm, 64, "trace.stats.cpu%d", k);
				snprintf(pt, 128, TR "per_cpu/cpu%d/stats", k);
				cat(nm, pt);
			}
		}
		put(TR "trace", "\n");
		stamp("trace");
	}
	if (HAS("steal")) {
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
		stamp("steal");
	}
	if (HAS("wmark")) {
		put(TR "options/overwrite", "0");
		put(TR "trace", "\n");
		put(TR "events/vmscan/mm_vmscan_kswapd_wake/enable", "1");
		put(TR "events/vmscan/mm_vmscan_kswapd_sleep/enable", "1");
		put(TR "events/vmscan/mm_vmscan_direct_reclaim_begin/enable",
		    "1");
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
		if (!strstr(mode, "nb"))
			put("/proc/sys/vm/watermark_boost_factor", "15000\n");
		put(TR "tracing_on", "0");
		put(TR "events/vmscan/enable", "0");
		cat("wmark.trace", TR "trace");
		put(TR "trace", "\n");
		cat("wmark.vmstat", "/proc/vmstat");
		cat("wmark.after_zoneinfo", "/proc/zoneinfo");
		stamp("wmark");
	}
	if (HAS("frag")) {
		sleep(1);
		lab("frag.do", "frag 2 100");
		procs("frag.", 0);
		cat("frag.extfrag_index",
		    "/sys/kernel/debug/extfrag/extfrag_index");
		cat("frag.unusable_index",
		    "/sys/kernel/debug/extfrag/unusable_index");
		lab("kv.frag", "kv");
		lab("frag.undo", "unfrag");
		cat("frag.after_buddyinfo", "/proc/buddyinfo");
		lab("frag60.do", "frag 2 60");
		cat("frag60.buddyinfo", "/proc/buddyinfo");
		cat("frag60.extfrag_index",
		    "/sys/kernel/debug/extfrag/extfrag_index");
		cat("frag60.unusable_index",
		    "/sys/kernel/debug/extfrag/unusable_index");
		lab("kv.frag60", "kv");
		lab("frag60.undo", "unfrag");
		cat("unfrag.extfrag_index",
		    "/sys/kernel/debug/extfrag/extfrag_index");
		cat("unfrag.unusable_index",
		    "/sys/kernel/debug/extfrag/unusable_index");
		stamp("frag");
	}
	if (HAS("node")) {
		/* nscript KIND ORDER MT HOW LEFT SEED; fill: until it fails, then frees and more; mix: ORDERS MT(3 = random) OPERATIONS */
		static const char *ns[][2] = {
			{ "plain_o0", "fill 0 0 0 2500 1" },
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
			{ "mix_mov", "mix 5 1 4000 2500 20" }
		};
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
		stamp("node");
	}
	if (strstr(mode, "numa")) {
		lab("numa", "numa");
		stamp("numa");
	}
end:
	procs("end.", 0);
	ws("\n@@@FILE dmesg\n");
	{
		static char d[1 << 18];
		k = klogctl(3, d, sizeof d);
		if (k > 0)
			wr(d, k);
	}
	ws("\n@@@END dmesg\n");
	stamp("end");
	ws("\n@@@DONE\n");
	tcdrain(con);
	sync();
	usleep(300000);
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
