// SPDX-License-Identifier: GPL-2.0-only
/* What the parts of the machine's only process share. */
#ifndef GUEST_H
#define GUEST_H

#include <stddef.h>

/* Is this word among those to be run? */
int word(const char *name);

/* To the console: a text; a file as a section; the driver's answer as one. */
void say(const char *text);
void cat(const char *name, const char *path);
void lab(const char *name, const char *command);

/* Writes a text to a file; < 0 where it cannot. Reads one, zero-ended. */
int put(const char *path, const char *text);
void get(const char *path, char *text, size_t size);

/* The kernel's own files: those that change, or all. */
void procs(const char *tag, int all);

void record_sections(void);
void record_pressure(int seed);

#endif
