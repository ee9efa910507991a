// Programs for the translator, without a library: each works on the heap and returns a number.
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

// HEAP is where the heap is.
#define NOINLINE __attribute__((noinline))

static u32 rotr(u32 x, int n) { return x >> n | x << (32 - n); }

static const u32 K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
    0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
    0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
    0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static NOINLINE void block(u32 *s, const u8 *p) {
    u32 w[64];
    for (int i = 0; i < 16; i++) w[i] = (u32)p[4 * i] << 24 | p[4 * i + 1] << 16 | p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        u32 a = rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
        u32 b = rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + a + w[i - 7] + b;
    }
    u32 a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];
    for (int i = 0; i < 64; i++) {
        u32 t = h + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + (e & f ^ ~e & g) + K[i] + w[i];
        u32 m = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + (a & b ^ a & c ^ b & c);
        h = g, g = f, f = e, e = d + t, d = c, c = b, b = a, a = t + m;
    }
    s[0] += a, s[1] += b, s[2] += c, s[3] += d, s[4] += e, s[5] += f, s[6] += g, s[7] += h;
}

static NOINLINE void fill(u64 n, u32 seed) {
    for (u64 i = 0; i < n; i += 4) {
        seed = seed * 1664525 + 1013904223;
        *(u32 *)(HEAP + i) = seed ^ seed >> 15;
    }
}

u64 sha256(u64 n) {
    u32 s[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    fill(4096, 1);
    for (u64 i = 0; i < n; i++) block(s, HEAP + (i & 63) * 64);
    return (u64)s[0] << 32 | s[1];
}

static void sort(u32 *v, long n) {
    while (n > 1) {
        u32 pivot = v[(n - 1) / 2];
        long i = -1, j = n;
        for (;;) {
            do i++; while (v[i] < pivot);
            do j--; while (v[j] > pivot);
            if (i >= j) break;
            u32 t = v[i];
            v[i] = v[j], v[j] = t;
        }
        sort(v, j + 1);
        v += j + 1, n -= j + 1;
    }
}

u64 quicksort(u64 n) {
    u64 sum = 0;
    while (n) {
        u64 m = n > 100000 ? 100000 : n;
        fill(m * 4, n);
        sort((u32 *)HEAP, m);
        sum = sum * 31 + ((u32 *)HEAP)[m / 3];
        n -= m;
    }
    return sum;
}

typedef int compare(const void *, const void *);
static NOINLINE int by_value(const void *a, const void *b) {
    u32 x = *(const u32 *)a, y = *(const u32 *)b;
    return (x > y) - (x < y);
}

static NOINLINE void sift(u8 *v, u64 at, u64 n, u64 size, compare *f) {
    for (;;) {
        u64 child = 2 * at + 1;
        if (child >= n) return;
        if (child + 1 < n && f(v + child * size, v + (child + 1) * size) < 0) child++;
        if (f(v + at * size, v + child * size) >= 0) return;
        for (u64 i = 0; i < size; i++) {
            u8 t = v[at * size + i];
            v[at * size + i] = v[child * size + i], v[child * size + i] = t;
        }
        at = child;
    }
}

// By a comparison behind a pointer, as qsort has it.
u64 heapsort(u64 n) {
    compare *volatile f = by_value;
    fill(n * 4, 3);
    for (u64 i = n / 2; i--;) sift(HEAP, i, n, 4, f);
    for (u64 i = n; i-- > 1;) {
        u32 t = ((u32 *)HEAP)[0];
        ((u32 *)HEAP)[0] = ((u32 *)HEAP)[i], ((u32 *)HEAP)[i] = t;
        sift(HEAP, 0, i, 4, f);
    }
    return ((u32 *)HEAP)[n / 2];
}

u64 crc32(u64 n) {
    u32 *table = (u32 *)(HEAP + 0x80000), crc = ~0u;
    for (u32 i = 0; i < 256; i++) {
        u32 c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? c >> 1 ^ 0xedb88320 : c >> 1;
        table[i] = c;
    }
    fill(4096, 7);
    for (u64 i = 0; i < n; i++) crc = table[(crc ^ HEAP[i & 4095]) & 255] ^ crc >> 8;
    return ~crc;
}

u64 crc_by_bit(u64 n) {
    u32 crc = ~0u;
    fill(4096, 7);
    for (u64 i = 0; i < n; i++) {
        crc ^= HEAP[i & 4095];
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

static NOINLINE u64 length(const u8 *s) {
    u64 n = 0;
    while (s[n]) n++;
    return n;
}

u64 strings(u64 n) {
    u64 sum = 0;
    for (u64 i = 0; i < 4096; i++) HEAP[i] = i % 97 ? 'a' + i % 26 : 0;
    for (u64 i = 0; i < n; i++) sum += length(HEAP + i * 13 % 4000);
    return sum;
}

static NOINLINE u64 fib(u64 n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

u64 fibonacci(u64 n) { return fib(n); }

// LZ with a hash table, and back.
u64 compress(u64 n) {
    u8 *in = HEAP, *out = HEAP + 0x40000, *back = HEAP + 0xa0000;
    u32 *heads = (u32 *)(HEAP + 0x90000);
    u64 total = 0, size = 0x20000;
    u32 seed = 9;
    for (u64 i = 0; i < size; i++) {
        if (i % 7 == 0) seed = seed * 1664525 + 1013904223;
        in[i] = seed >> 28 | 'a' & (seed >> 8);
    }
    while (n--) {
        for (u64 i = 0; i < 4096; i++) heads[i] = 0;
        u64 i = 0, o = 0;
        while (i + 8 < size) {
            u32 word = *(u32 *)(in + i), hash = word * 2654435761u >> 20, at = heads[hash];
            heads[hash] = i + 1;
            u64 len = 0;
            if (at && i - at < 60000)
                while (len < 255 && i + len < size && in[at - 1 + len] == in[i + len]) len++;
            if (len >= 4) {
                u64 distance = i - (at - 1);
                out[o++] = 1, out[o++] = len, out[o++] = distance, out[o++] = distance >> 8;
                i += len;
            } else {
                out[o++] = 0, out[o++] = in[i++];
            }
        }
        u64 b = 0;
        for (u64 p = 0; p < o;) {
            if (out[p++]) {
                u64 len = out[p], distance = out[p + 1] | out[p + 2] << 8;
                p += 3;
                for (u64 k = 0; k < len; k++, b++) back[b] = back[b - distance];
            } else {
                back[b++] = out[p++];
            }
        }
        total += o + b;
        for (u64 k = 0; k < b; k++) total += in[k] == back[k];
    }
    return total;
}

// A small machine with a switch.
u64 interpret(u64 n) {
    u64 a = 1, b = 2, c = 3;
    fill(4096, 11);
    for (u64 i = 0; i < n; i++) {
        switch (HEAP[i & 4095] & 15) {
        case 0: a += b; break;
        case 1: b ^= c; break;
        case 2: c -= a; break;
        case 3: a = a << (b & 31) | c >> (a & 7); break;
        case 4: b = b * 31 + 7; break;
        case 5: c = c / (b | 1); break;
        case 6: a ^= c % (a | 1); break;
        case 7: b = __builtin_popcountl(c) + a; break;
        case 8: c = c ? c >> __builtin_ctzl(c) : a; break;
        case 9: a = a ? 63 - __builtin_clzl(a) : b; break;
        case 10: b = a > c ? a - c : c - a; break;
        case 11: c = (u64)((__int128)(long)a * (long)b >> 17); break;
        case 12: a = (a >> 7 | a << 57) ^ b; break;
        case 13: if (c >> (b & 63) & 1) a++; break;
        case 14: b = (short)a + (signed char)c; break;
        default: c = a > 77 ? a - 77 : ~a; break;
        }
    }
    return a ^ b ^ c;
}

// Floating point, with conversions.
u64 floats(u64 n) {
    double x = 0.5, sum = 0;
    float y = 1.5f;
    for (u64 i = 1; i <= n; i++) {
        x = 3.7 * x * (1 - x);
        y = y * 1.0001f + (float)x;
        if (y > 100) y -= 99;
        sum += x / (double)i + (double)(long)(y * 16);
    }
    return (u64)sum;
}

// What locks the bus, aligned.
u64 atomics(u64 n) {
    u64 *v = (u64 *)HEAP, sum = 0;
    v[0] = v[1] = v[2] = v[3] = 0;
    for (u64 i = 0; i < n; i++) {
        __atomic_fetch_add(&v[0], i, __ATOMIC_SEQ_CST);
        sum += __atomic_exchange_n(&v[1], i * 3, __ATOMIC_SEQ_CST);
        u64 old = i & 3;
        if (__atomic_compare_exchange_n(&v[2], &old, i, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) sum += 7;
        if (__atomic_fetch_or((u32 *)&v[3], 1u << (i & 31), __ATOMIC_SEQ_CST) & 2) __atomic_sub_fetch(&v[3], 5, __ATOMIC_SEQ_CST);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
    return sum + v[0] + v[2] + v[3];
}
