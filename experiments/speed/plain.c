/*
 * The work of the order-0 load as a plain loop: how fast a compiled program is that simulates no concurrency.
 *
 * CPUs take turns, an operation each. Single pages come from a CPU's own list, which is refilled from a zone of free
 * blocks with split and merge, and gives pages back above `high`; each operation adds its latency to a histogram.
 * There is no event queue and no lock: nobody waits, and the order of events is not that of simulated time. What
 * simpy_model.py leaves out is left out here, too.
 *
 * plain CPUS OPERATIONS LIVE TURN BATCH HIGH: operations of each CPU; prints a name and a number a line.
 */
#define _POSIX_C_SOURCE 199309L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MAX_ORDER = 10, NR_PAGES = 1 << 20, NR_BUCKETS = 1024, NONE = -1, IN_USE = -1 };
/* Prices of configs/costs/xeon-gold-5320.yaml, in picoseconds. */
enum { ALLOC_PS = 56500, FREE_PS = 51600, LOCKED_PS = 129000, PAGE_MOVED_PS = 11800 };

struct page {
	int next, prev;
	int order; /* of the free block that it heads, or IN_USE */
};

struct cpu {
	int list, nr_listed, nr_held, is_freeing;
	int *held;
	uint64_t random, now_ps, histogram[2][NR_BUCKETS];
};

static struct page pages[NR_PAGES];
static int free_area[MAX_ORDER + 1], nr_free[MAX_ORDER + 1];
static long allocs, frees, refills, drains;
static int live, turn, batch, high;

static void add_block(int pfn, int order)
{
	pages[pfn] = (struct page){free_area[order], NONE, order};
	if (free_area[order] != NONE)
		pages[free_area[order]].prev = pfn;
	free_area[order] = pfn;
	nr_free[order]++;
}

static void del_block(int pfn, int order)
{
	struct page *page = &pages[pfn];

	if (page->prev == NONE)
		free_area[order] = page->next;
	else
		pages[page->prev].next = page->next;
	if (page->next != NONE)
		pages[page->next].prev = page->prev;
	page->order = IN_USE;
	nr_free[order]--;
}

static int take_page(void)
{
	int order = 0, pfn;

	while (order <= MAX_ORDER && free_area[order] == NONE)
		order++;
	if (order > MAX_ORDER) {
		fprintf(stderr, "the machine has no free page\n");
		exit(1);
	}
	pfn = free_area[order];
	del_block(pfn, order);
	while (order--)
		add_block(pfn + (1 << order), order);
	return pfn;
}

static void give_page(int pfn)
{
	int order = 0;

	while (order < MAX_ORDER && pages[pfn ^ (1 << order)].order == order) {
		del_block(pfn ^ (1 << order), order);
		pfn &= ~(1 << order);
		order++;
	}
	add_block(pfn, order);
}

static void list_page(struct cpu *cpu, int pfn)
{
	pages[pfn].next = cpu->list;
	cpu->list = pfn;
	cpu->nr_listed++;
}

static int unlist_page(struct cpu *cpu)
{
	int pfn = cpu->list;

	cpu->list = pages[pfn].next;
	cpu->nr_listed--;
	return pfn;
}

/* Sixteen buckets for each power of two. */
static void record(struct cpu *cpu, int kind, uint64_t ps)
{
	int shift = 59 - __builtin_clzll(ps);

	cpu->histogram[kind][16 * shift + (ps >> shift)]++;
	cpu->now_ps += ps;
}

static void alloc_one(struct cpu *cpu)
{
	uint64_t ps = ALLOC_PS;

	if (!cpu->nr_listed) {
		for (int i = 0; i < batch; i++)
			list_page(cpu, take_page());
		ps += LOCKED_PS + (uint64_t)batch * PAGE_MOVED_PS;
		refills++;
	}
	cpu->held[cpu->nr_held++] = unlist_page(cpu);
	record(cpu, 0, ps);
	allocs++;
}

static void free_one(struct cpu *cpu)
{
	uint64_t ps = FREE_PS;
	int i, pfn;

	cpu->random ^= cpu->random << 13;
	cpu->random ^= cpu->random >> 7;
	cpu->random ^= cpu->random << 17;
	i = (int)(((cpu->random >> 32) * (uint64_t)cpu->nr_held) >> 32);
	pfn = cpu->held[i];
	cpu->held[i] = cpu->held[--cpu->nr_held];
	list_page(cpu, pfn);
	if (cpu->nr_listed > high) {
		for (int k = 0; k < batch; k++)
			give_page(unlist_page(cpu));
		ps += LOCKED_PS + (uint64_t)batch * PAGE_MOVED_PS;
		drains++;
	}
	record(cpu, 1, ps);
	frees++;
}

static void operate(struct cpu *cpu)
{
	if (cpu->nr_held == live)
		cpu->is_freeing = 1;
	else if (cpu->nr_held == live - turn)
		cpu->is_freeing = 0;
	if (cpu->is_freeing)
		free_one(cpu);
	else
		alloc_one(cpu);
}

static void print_counts(struct cpu *cpus, int nr_cpus)
{
	long held = 0, listed = 0, nr_pages = 0, recorded = 0;

	for (int c = 0; c < nr_cpus; c++) {
		held += cpus[c].nr_held;
		listed += cpus[c].nr_listed;
		for (int b = 0; b < 2 * NR_BUCKETS; b++)
			recorded += (long)cpus[c].histogram[b / NR_BUCKETS][b % NR_BUCKETS];
	}
	for (int order = 0; order <= MAX_ORDER; order++)
		nr_pages += (long)nr_free[order] << order;
	printf("allocs %ld\nfrees %ld\nrefills %ld\ndrains %ld\nheld %ld\nlisted %ld\nfree %ld\nrecorded %ld\n",
	       allocs, frees, refills, drains, held, listed, nr_pages, recorded);
}

int main(int argc, char **argv)
{
	struct timespec start, end;
	struct cpu *cpus;
	long operations;
	int nr_cpus;

	if (argc != 7) {
		fprintf(stderr, "plain CPUS OPERATIONS LIVE TURN BATCH HIGH\n");
		return 2;
	}
	nr_cpus = atoi(argv[1]), operations = atol(argv[2]);
	live = atoi(argv[3]), turn = atoi(argv[4]), batch = atoi(argv[5]), high = atoi(argv[6]);
	for (int order = 0; order <= MAX_ORDER; order++)
		free_area[order] = NONE;
	for (int pfn = 0; pfn < NR_PAGES; pfn++)
		pages[pfn].order = IN_USE;
	for (int pfn = 0; pfn < NR_PAGES; pfn += 1 << MAX_ORDER)
		add_block(pfn, MAX_ORDER);
	cpus = calloc((size_t)nr_cpus, sizeof(*cpus));
	for (int c = 0; c < nr_cpus; c++) {
		cpus[c].held = calloc((size_t)live, sizeof(int));
		cpus[c].list = NONE;
		cpus[c].random = 0x9e3779b97f4a7c15u * (uint64_t)(c + 1);
	}

	clock_gettime(CLOCK_MONOTONIC, &start);
	for (long k = 0; k < operations; k++)
		for (int c = 0; c < nr_cpus; c++)
			operate(&cpus[c]);
	clock_gettime(CLOCK_MONOTONIC, &end);

	printf("ns %lld\n", (end.tv_sec - start.tv_sec) * 1000000000LL + (end.tv_nsec - start.tv_nsec));
	print_counts(cpus, nr_cpus);
	for (int c = 0; c < nr_cpus; c++) {
		while (cpus[c].nr_held)
			give_page(cpus[c].held[--cpus[c].nr_held]);
		while (cpus[c].nr_listed)
			give_page(unlist_page(&cpus[c]));
	}
	printf("largest %d\n", nr_free[MAX_ORDER]);
	return 0;
}
