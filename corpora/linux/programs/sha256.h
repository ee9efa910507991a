/* SHA-256 (FIPS 180-4), of a whole message or piece by piece. */
#ifndef SHA256_H
#define SHA256_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static uint32_t left(uint32_t word, int by)
{
	return word << by | word >> (32 - by);
}

static uint32_t right(uint32_t word, int by)
{
	return left(word, 32 - by);
}

static uint32_t constants[64], initial[8];

/* The first 32 bits of the fractional part of a root of a small prime, by bisection on whole numbers. */
static uint32_t fraction_of_root(unsigned prime, int cube)
{
	unsigned __int128 low = 0, high = (unsigned __int128)32 << 32;
	unsigned __int128 goal = cube ? (unsigned __int128)prime << 96 : (unsigned __int128)prime << 64;
	while (high - low > 1) {
		unsigned __int128 middle = (low + high) / 2;
		if ((cube ? middle * middle * middle : middle * middle) <= goal)
			low = middle;
		else
			high = middle;
	}
	return (uint32_t)low;
}

static void prepare_sha256(void)
{
	int found = 0;
	for (unsigned number = 2; found < 64; number++) {
		int prime = 1;
		for (unsigned divisor = 2; divisor * divisor <= number; divisor++)
			prime &= number % divisor != 0;
		if (!prime)
			continue;
		if (found < 8)
			initial[found] = fraction_of_root(number, 0);
		constants[found++] = fraction_of_root(number, 1);
	}
}

static void compress(uint32_t state[8], const uint8_t block[64])
{
	uint32_t w[64], s[8];
	for (int i = 0; i < 16; i++)
		w[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 | block[4 * i + 3];
	for (int i = 16; i < 64; i++)
		w[i] = w[i - 16] + (right(w[i - 15], 7) ^ right(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
		       (right(w[i - 2], 17) ^ right(w[i - 2], 19) ^ w[i - 2] >> 10);
	memcpy(s, state, sizeof s);
	for (int i = 0; i < 64; i++) {
		uint32_t first = s[7] + (right(s[4], 6) ^ right(s[4], 11) ^ right(s[4], 25)) +
				 ((s[4] & s[5]) ^ (~s[4] & s[6])) + constants[i] + w[i];
		uint32_t second = (right(s[0], 2) ^ right(s[0], 13) ^ right(s[0], 22)) +
				  ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
		memmove(s + 1, s, 7 * sizeof *s);
		s[4] += first;
		s[0] = first + second;
	}
	for (int i = 0; i < 8; i++)
		state[i] += s[i];
}

/* The end of a message of `size` bytes, of which the last `size % 64` are at `data`. */
static void finish_sha256(uint32_t state[8], const uint8_t *data, uint64_t size, char text[65])
{
	uint8_t last[128] = { 0 };
	size_t rest = size % 64, padded = rest < 56 ? 64 : 128;
	memcpy(last, data, rest);
	last[rest] = 0x80;
	for (int i = 0; i < 8; i++)
		last[padded - 1 - i] = (uint8_t)(size * 8 >> 8 * i);
	for (size_t at = 0; at < padded; at += 64)
		compress(state, last + at);
	for (int i = 0; i < 8; i++)
		sprintf(text + 8 * i, "%08x", state[i]);
}

__attribute__((unused))
static void sha256(const uint8_t *data, size_t size, char text[65])
{
	uint32_t state[8];
	memcpy(state, initial, sizeof state);
	for (size_t at = 0; at + 64 <= size; at += 64)
		compress(state, data + at);
	finish_sha256(state, data + size / 64 * 64, size, text);
}

#endif
