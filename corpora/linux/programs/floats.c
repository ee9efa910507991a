/* floats COUNT: sums over what the C library makes of COUNT fixed values, to be compared with another machine's.
 *
 * Everything here has one right answer by IEEE 754 and C, or is computed by the library's code from such things; nothing
 * comes from the x87's transcendental instructions, whose last bit is each vendor's own. */
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 1;
static unsigned long wrong;

static uint64_t next(void)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return state ^ state >> 29;
}

/* FNV-1a. */
static uint64_t add(uint64_t sum, const void *bytes, size_t count)
{
	const unsigned char *at = bytes;
	while (count--)
		sum = (sum ^ *at++) * 0x100000001b3u;
	return sum;
}

static void print(const char *name, uint64_t sum)
{
	printf("floats: %s %016" PRIx64 "\n", name, sum);
}

/* Most from 2^-64 to 2^64, one in eight from all of the range, down to the least. Never NaN or infinite. */
static double value(void)
{
	uint64_t bits = next();
	uint64_t exponent = next() >> 32;
	exponent = exponent % 8 ? 1023 - 64 + exponent / 8 % 128 : exponent / 8 % 2047;
	bits = (bits & 0x800fffffffffffff) | exponent << 52;
	double number;
	memcpy(&number, &bits, sizeof number);
	return number;
}

static void round_trips(long count)
{
	uint64_t decimal = 0, hexadecimal = 0, extended = 0;
	for (long i = 0; i < count; i++) {
		char text[128];
		double number = value(), back;

		int length = snprintf(text, sizeof text, "%.17g", number);
		decimal = add(decimal, text, (size_t)length);
		back = strtod(text, NULL);
		wrong += memcmp(&back, &number, sizeof number) != 0;

		length = snprintf(text, sizeof text, "%a", number);
		hexadecimal = add(hexadecimal, text, (size_t)length);
		back = strtod(text, NULL);
		wrong += memcmp(&back, &number, sizeof number) != 0;

		long double third = number / 3.0L, third_back;
		length = snprintf(text, sizeof text, "%.21Lg", third);
		extended = add(extended, text, (size_t)length);
		third_back = strtold(text, NULL);
		wrong += third_back != third;
		length = snprintf(text, sizeof text, "%Lg", third);
		extended = add(extended, text, (size_t)length);
	}
	print("decimal", decimal);
	print("hexadecimal", hexadecimal);
	print("extended", extended);
}

static void functions(long count)
{
	uint64_t sum = 0;
	for (long i = 0; i < count; i++) {
		double x = value(), y = value(), size = fabs(x);
		float single = (float)x;
		double results[] = {
			sin(x), cos(x), tan(x), atan2(x, y), exp(fmod(x, 700)), log(size), log2(size), pow(size, fmod(y, 3)),
			sqrt(size), cbrt(x), sinh(fmod(x, 700)), hypot(x, y), tgamma(fmod(size, 100)), rint(x), floor(x),
			fmod(x, y), fma(x, y, 1), sqrtf(fabsf(single)), expf(fmodf(single, 80)), sinf(single),
		};
		for (size_t at = 0; at < sizeof results / sizeof *results; at++)
			if (isnan(results[at]))
				results[at] = 0; /* the sign of a NaN is nobody's */
		sum = add(sum, results, sizeof results);
		/* The x87's own arithmetic, each exactly rounded. */
		long double a = x, b = y, extended[] = { a + b, a - b, a * b, a / b, sqrtl(fabsl(a)), rintl(a), fmodl(a, b) };
		for (size_t at = 0; at < sizeof extended / sizeof *extended; at++)
			sum = add(sum, &extended[at], 10); /* the rest of the sixteen is padding */
		int exponent;
		double part = frexp(x, &exponent);
		sum = add(sum, &part, sizeof part);
		int64_t whole = llrint(fmod(x, 9e18));
		sum = add(sum, &whole, sizeof whole);
	}
	print("functions", sum);
}

static int by_value(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;
	return (a > b) - (a < b);
}

static void sorting(long count)
{
	double *numbers = malloc((size_t)count * sizeof *numbers);
	if (!numbers)
		exit(2);
	for (long i = 0; i < count; i++)
		numbers[i] = value();
	qsort(numbers, (size_t)count, sizeof *numbers, by_value);
	for (long i = 1; i < count; i++)
		wrong += numbers[i - 1] > numbers[i];
	print("sorting", add(0, numbers, (size_t)count * sizeof *numbers));
	free(numbers);
}

static void integers(long count)
{
	uint64_t sum = 0;
	for (long i = 0; i < count; i++) {
		char text[64];
		uint64_t a = next(), b = next() | 1;
		__int128 product = (__int128)(int64_t)a * (int64_t)b;
		unsigned __int128 wide = (unsigned __int128)a << 64 | b, quotient = wide / (b >> 1 | 1);
		uint64_t results[] = {
			a / b, a % b, (uint64_t)((int64_t)a / (int64_t)(b >> 8 | 1)), (uint64_t)product,
			(uint64_t)(product >> 64), (uint64_t)quotient, (uint64_t)(quotient >> 64),
			(uint64_t)__builtin_popcountll(a), (uint64_t)__builtin_clzll(b), (uint64_t)__builtin_ctzll(b),
			a << (b & 63), a >> (b & 63) | a << (-b & 63), __builtin_bswap64(a), (uint64_t)(double)a,
			(uint64_t)(float)(int64_t)a,
		};
		sum = add(sum, results, sizeof results);
		int length = snprintf(text, sizeof text, "%" PRIu64 " %" PRId64 " %" PRIx64, a, (int64_t)a, b);
		sum = add(sum, text, (size_t)length);
		char *end;
		wrong += strtoull(text, &end, 10) != a || strtoll(end, &end, 10) != (int64_t)a ||
			 strtoull(end, NULL, 16) != b;
	}
	print("integers", sum);
}

int main(int argc, char **argv)
{
	long count = argc > 1 ? atol(argv[1]) : 0;
	if (count < 1 || count > 10000000) {
		fprintf(stderr, "usage: floats COUNT\n");
		return 2;
	}
	round_trips(count);
	functions(count / 10 + 1);
	sorting(count);
	integers(count / 10 + 1);
	printf("floats: %lu wrong\n", wrong);
	return wrong != 0;
}
