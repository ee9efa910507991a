/* crunch hash MEBIBYTES | crunch sort NUMBERS: work for the processor alone, the same wherever it runs. `hash` takes SHA-256 of so much data that it
 * makes, `sort` sorts so many numbers by qsort(). Prints a sum of what came out. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sha256.h"

static uint64_t state = 88172645463325252u;

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static int hash(size_t mebibytes)
{
	size_t words = mebibytes << 17;
	uint64_t *data = malloc(words * sizeof *data);
	char digest[65];
	if (!data)
		return 2;
	prepare_sha256();
	for (size_t i = 0; i < words; i++)
		data[i] = next();
	sha256((const uint8_t *)data, words * sizeof *data, digest);
	printf("hash %zu %s\n", mebibytes, digest);
	return 0;
}

static int compare(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
	return (a > b) - (a < b);
}

static int sort(size_t numbers)
{
	uint64_t *data = malloc(numbers * sizeof *data), sum = 0;
	if (!data)
		return 2;
	for (size_t i = 0; i < numbers; i++)
		data[i] = next();
	qsort(data, numbers, sizeof *data, compare);
	for (size_t i = 1; i < numbers; i++) {
		if (data[i - 1] > data[i])
			return 1;
		sum = sum * 31 + data[i];
	}
	printf("sort %zu %016llx\n", numbers, (unsigned long long)sum);
	return 0;
}

int main(int argc, char **argv)
{
	size_t size = argc > 2 ? (size_t)atol(argv[2]) : 0;
	if (argc == 3 && !strcmp(argv[1], "hash") && size > 0 && size <= 1024)
		return hash(size);
	if (argc == 3 && !strcmp(argv[1], "sort") && size > 1 && size <= (size_t)1 << 27)
		return sort(size);
	fprintf(stderr, "usage: crunch hash MEBIBYTES | crunch sort NUMBERS\n");
	return 2;
}
