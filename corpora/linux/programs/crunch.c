/* crunch hash MEBIBYTES | crunch sort ROUNDS: work for the processor alone, the same wherever it runs. `hash` takes SHA-256 of so much data,
 * which it makes a MiB at a time; `sort` sorts a million numbers by qsort() so often. Prints a sum of what came out. */
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

static int hash(uint64_t mebibytes)
{
	static uint64_t data[1 << 17];
	uint32_t words[8];
	char digest[65];
	prepare_sha256();
	memcpy(words, initial, sizeof words);
	for (uint64_t piece = 0; piece < mebibytes; piece++) {
		for (size_t i = 0; i < 1 << 17; i++)
			data[i] = next();
		for (size_t at = 0; at < sizeof data; at += 64)
			compress(words, (const uint8_t *)data + at);
	}
	finish_sha256(words, NULL, mebibytes << 20, digest);
	printf("hash %llu %s\n", (unsigned long long)mebibytes, digest);
	return 0;
}

static int compare(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
	return (a > b) - (a < b);
}

static int sort(uint64_t rounds)
{
	enum { NUMBERS = 1000000 };
	static uint64_t data[NUMBERS];
	uint64_t sum = 0;
	for (uint64_t round = 0; round < rounds; round++) {
		for (size_t i = 0; i < NUMBERS; i++)
			data[i] = next();
		qsort(data, NUMBERS, sizeof *data, compare);
		for (size_t i = 1; i < NUMBERS; i++) {
			if (data[i - 1] > data[i])
				return 1;
			sum = sum * 31 + data[i];
		}
	}
	printf("sort %llu %016llx\n", (unsigned long long)rounds, (unsigned long long)sum);
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t size = argc > 2 ? (uint64_t)atol(argv[2]) : 0;
	if (argc == 3 && !strcmp(argv[1], "hash") && size > 0 && size <= 1 << 20)
		return hash(size);
	if (argc == 3 && !strcmp(argv[1], "sort") && size > 0 && size <= 1 << 20)
		return sort(size);
	fprintf(stderr, "usage: crunch hash MEBIBYTES | crunch sort ROUNDS\n");
	return 2;
}
