/* How a program tells what its self-check found: one line, and its exit status, which /init hands to `verdict`. */
#ifndef REPORT_H
#define REPORT_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef FIXED
#define FIXED_OR(fixed, broken) (fixed)
#else
#define FIXED_OR(fixed, broken) (broken)
#endif

__attribute__((noreturn, format(printf, 3, 4)))
static void report(const char *name, int failed, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	printf("%s%s: %s ", name, FIXED_OR("-fixed", ""), failed ? "FAIL" : "PASS");
	vprintf(format, arguments);
	putchar('\n');
	va_end(arguments);
	exit(failed ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* The numbers of a run are the same for every seed: what differs is only when an interrupt comes. */
static inline unsigned next_number(unsigned *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

#endif
