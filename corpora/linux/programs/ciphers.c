/* ciphers KIBIBYTES: encrypts and hashes so much with AES-128 (FIPS 197), ChaCha20 (RFC 8439) and SHA-256 (FIPS 180-4),
 * after checking each against the example of its standard. Prints the digest of each result. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sha256.h"

/* AES-128. */

static uint8_t sbox[256], round_keys[11][16];

static uint8_t twice(uint8_t x)
{
	return (uint8_t)(x << 1 ^ (x & 0x80 ? 0x1b : 0));
}

static void prepare_aes(const uint8_t key[16])
{
	uint8_t p = 1, q = 1;
	do { /* p runs through all of the field, q through the inverses */
		p ^= twice(p);
		q ^= (uint8_t)(q << 1);
		q ^= (uint8_t)(q << 2);
		q ^= (uint8_t)(q << 4);
		q ^= q & 0x80 ? 0x09 : 0;
		uint8_t x = q;
		for (int by = 1; by < 5; by++)
			x ^= (uint8_t)(q << by | q >> (8 - by));
		sbox[p] = x ^ 0x63;
	} while (p != 1);
	sbox[0] = 0x63;

	uint8_t factor = 1;
	memcpy(round_keys[0], key, 16);
	for (int round = 1; round < 11; round++, factor = twice(factor)) {
		const uint8_t *before = round_keys[round - 1];
		uint8_t *now = round_keys[round];
		for (int i = 0; i < 4; i++)
			now[i] = before[i] ^ sbox[before[12 + (i + 1) % 4]];
		now[0] ^= factor;
		for (int i = 4; i < 16; i++)
			now[i] = before[i] ^ now[i - 4];
	}
}

static void aes(uint8_t block[16])
{
	for (int i = 0; i < 16; i++)
		block[i] ^= round_keys[0][i];
	for (int round = 1; round < 11; round++) {
		uint8_t moved[16];
		for (int i = 0; i < 16; i++)
			moved[i] = sbox[block[(i + 4 * (i % 4)) % 16]];
		for (int column = 0; column < 16; column += 4) {
			const uint8_t *in = moved + column;
			uint8_t all = in[0] ^ in[1] ^ in[2] ^ in[3];
			for (int i = 0; i < 4; i++)
				block[column + i] =
					round_keys[round][column + i] ^
					(round < 10 ? in[i] ^ all ^ twice(in[i] ^ in[(i + 1) % 4]) : in[i]);
		}
	}
}

/* ChaCha20. */

static void quarter(uint32_t x[16], int a, int b, int c, int d)
{
	x[a] += x[b], x[d] = left(x[d] ^ x[a], 16);
	x[c] += x[d], x[b] = left(x[b] ^ x[c], 12);
	x[a] += x[b], x[d] = left(x[d] ^ x[a], 8);
	x[c] += x[d], x[b] = left(x[b] ^ x[c], 7);
}

static void chacha20(const uint32_t state[16], uint8_t out[64])
{
	uint32_t x[16];
	memcpy(x, state, sizeof x);
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < 4; i++)
			quarter(x, i, 4 + i, 8 + i, 12 + i);
		for (int i = 0; i < 4; i++)
			quarter(x, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
	}
	for (int i = 0; i < 16; i++)
		for (int byte = 0; byte < 4; byte++)
			out[4 * i + byte] = (uint8_t)((x[i] + state[i]) >> 8 * byte);
}

static void expect(const char *what, int right)
{
	if (!right) {
		printf("ciphers: %s is wrong\n", what);
		exit(EXIT_FAILURE);
	}
}

int main(int argc, char **argv)
{
	size_t size = argc > 1 ? (size_t)atol(argv[1]) * 1024 : 0;
	if (size < 1024 || size > (size_t)1 << 28) {
		fprintf(stderr, "usage: ciphers KIBIBYTES\n");
		return 2;
	}
	uint8_t *data = calloc(1, size), block[16], key[16], stream[64];
	char digest[65];
	if (!data)
		return 2;

	prepare_sha256();
	sha256((const uint8_t *)"abc", 3, digest);
	expect("SHA-256", !strcmp(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));

	for (int i = 0; i < 16; i++)
		key[i] = (uint8_t)i, block[i] = (uint8_t)(i * 0x11);
	prepare_aes(key);
	aes(block);
	expect("AES-128", !memcmp(block, "\x69\xc4\xe0\xd8\x6a\x7b\x04\x30\xd8\xcd\xb7\x80\x70\xb4\xc5\x5a", 16));

	uint32_t state[16] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };
	for (int i = 0; i < 8; i++)
		state[4 + i] = 0x03020100u + 0x04040404u * (uint32_t)i;
	state[12] = 1, state[13] = 0x09000000, state[14] = 0x4a000000, state[15] = 0;
	chacha20(state, stream);
	expect("ChaCha20", !memcmp(stream, "\x10\xf1\xe7\xe4\xd1\x3b\x59\x15\x50\x0f\xdd\x1f\xa3\x20\x71\xc4", 16));

	/* AES in CBC mode over zeros, then the key stream of ChaCha20 over that. */
	for (size_t at = 0; at < size; at += 16) {
		aes(block);
		memcpy(data + at, block, 16);
	}
	sha256(data, size, digest);
	printf("ciphers: aes %s\n", digest);
	for (size_t at = 0; at < size; at += 64, state[12]++) {
		chacha20(state, stream);
		for (int i = 0; i < 64; i++)
			data[at + (size_t)i] ^= stream[i];
	}
	sha256(data, size, digest);
	printf("ciphers: chacha20 %s\n", digest);
	free(data);
	return 0;
}
