// SPDX-License-Identifier: GPL-2.0-only
/*
 * The machine's only process: mounts what it reads, runs what the kernel's
 * command line names (lab=WORD,WORD...), and resets the machine, at which
 * QEMU ends: that needs no ACPI.
 *
 * All goes to the console: "@@@FILE name" and a file's text, "@@@ANSWER name"
 * and what the driver answered, each until "@@@END name"; "@@@DONE" last.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "guest.h"

static int con = 1;
static char words[256] = "full";
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
void say(const char *s)
{
	wr(s, strlen(s));
}

int word(const char *name)
{
	size_t n = strlen(name);
	const char *p = words;

	while ((p = strstr(p, name))) {
		if ((p == words || p[-1] == ',') && (!p[n] || p[n] == ','))
			return 1;
		p += n;
	}
	return 0;
}

static void section(const char *kind, const char *name, const char *path)
{
	int fd = open(path, O_RDONLY);
	ssize_t k;

	say("\n@@@");
	say(kind);
	say(" ");
	say(name);
	say("\n");
	if (fd < 0) {
		say("(cannot open)");
	} else {
		while ((k = read(fd, buf, sizeof(buf))) > 0)
			wr(buf, k);
		close(fd);
	}
	say("\n@@@END ");
	say(name);
	say("\n");
}
void cat(const char *name, const char *path)
{
	section("FILE", name, path);
}
int put(const char *path, const char *v)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	int r;
	if (fd < 0)
		return -1;
	r = write(fd, v, strlen(v));
	close(fd);
	return r;
}
void lab(const char *name, const char *cmd)
{
	put("/proc/lab", cmd);
	section("ANSWER", name, "/proc/lab");
}
void get(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);

	text[n > 0 ? n : 0] = 0;
	if (fd >= 0)
		close(fd);
}

void procs(const char *tag, int all)
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
		if (!all && i > 4)
			break;
		snprintf(n, sizeof n, "%s%s", tag, f[i][0]);
		cat(n, f[i][1]);
	}
}
static void mounts(void)
{
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/tmp", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);
	mount("debug", "/sys/kernel/debug", "debugfs", 0, NULL);
	mount("trace", "/sys/kernel/tracing", "tracefs", 0, NULL);
	mount("tmp", "/tmp", "tmpfs", 0, NULL);
}

/* The console as it is: no line endings of its own, no messages between. */
static void open_console(void)
{
	struct termios t;

	con = open("/dev/console", O_RDWR | O_NOCTTY);
	if (con < 0)
		con = 1;
	if (tcgetattr(con, &t) == 0) {
		t.c_oflag &= ~OPOST;
		t.c_lflag &= ~(ECHO | ICANON);
		tcsetattr(con, TCSANOW, &t);
	}
	klogctl(6, NULL, 0);
	klogctl(8, NULL, 1);
}

/* All on the last CPU, so that one CPU's lists serve all requests. */
static void pin(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

/* The seed among the words, such as s2. */
static int seed(void)
{
	char name[8];
	int n;

	for (n = 1; n < 1000; n++) {
		snprintf(name, sizeof(name), "s%d", n);
		if (word(name))
			return n;
	}
	return 1;
}

static void say_messages(void)
{
	static char text[1 << 18];
	int n = klogctl(3, text, sizeof(text));

	say("\n@@@FILE dmesg\n");
	if (n > 0)
		wr(text, n);
	say("\n@@@END dmesg\n");
}

int main(int argc, char **argv)
{
	static char line[2048];
	char *found;

	if (argc > 1 && !strcmp(argv[1], "child"))
		return 0; /* one of the processes of a trace */
	mounts();
	put("/proc/self/oom_score_adj", "-1000");
	open_console();
	get("/proc/cmdline", line, sizeof(line));
	found = strstr(line, "lab=");
	if (found)
		sscanf(found + 4, "%255s", words);
	pin();
	if (word("nb"))
		put("/proc/sys/vm/watermark_boost_factor", "0\n");
	if (word("pressure"))
		record_pressure(seed());
	else
		record_sections();
	procs("end.", 0);
	say_messages();
	say("\n@@@DONE\n");
	tcdrain(con);
	sync();
	usleep(300000);
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}
