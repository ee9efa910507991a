# Busybox at work on a few megabytes of text that is made here and always the same. Prints the MD5 of each result, to be
# compared with another machine's. $1: thousands of lines of text (50 KB each).
set -e -o pipefail
cd "${TMPDIR:-/tmp}"
say() { echo "busybox: $1 $(md5sum | cut -c 1-32)"; }

awk -v lines="$1" 'BEGIN {
    x = 1
    for (i = 0; i < lines * 1000; i++) {
        line = ""
        for (word = 0; word < 6; word++) {
            x = x * 16807 % 2147483647
            line = line sprintf("%c%c%d ", 97 + x % 26, 97 + x % 7, x % 10007)
        }
        print line x
    }
}' >text
say text <text
gzip -c text >text.gz
# The time in the header of the archive is that of the file.
tail -c +11 text.gz | say gzip
gunzip -c text.gz | cmp - text
bzip2 -c text | say bzip2
bzip2 -c text | bunzip2 -c | cmp - text
say sha256 <<END
$(sha256sum text)
$(sha512sum text)
$(sha1sum text)
$(sha3sum text)
END
sort text | say sort
sort -t ' ' -k 3,3r -k 7,7n text | say sort-keys
cut -d ' ' -f 2 text | sort | uniq -c | sort -n -r | sed -n 1,100p | say uniq
awk '{ n[substr($1, 1, 2)] += $7; t += $7 / 7 - 1 / $7 } END { for (k in n) print k, n[k] | "sort"; printf "%.15g\n", t }' text | say awk
grep -E '^a[a-c][0-9]+ .*(7{2}|x[a-f]1[0-9]{3}) ' text | say grep
sed -e 's/\([a-z]*\)\([0-9]*\) \(.*\)$/\2:\3:\1/' -e '/[13579]$/d' -e 'y/abc/xyz/' text | say sed
tr a-m N-Z <text | rev | tac | say tr
od -A x -t x4 text | say od
uuencode -m text <text.gz | uudecode -o - | cmp - text.gz
echo 'scale=120; 4*a(1); e(1); sqrt(2); s(1); l(2); 2^1000 % 987654321' | bc -l | say bc
echo '200 k 2 v p 3 v p 16 o 1234567890 100 ^ p' | dc | say dc
factor 600851475143 1000000007 999999999989 4294967291 | say factor
base64 text.gz | base64 -d | cmp - text.gz
expr 123456789 '*' 987654321 % 1000003 | say expr
[ "$((0x7fffffffffffffff / 3 * 2 - 12345))" -gt 0 ] && echo "$((-7 / 2)) $((-7 % 3)) $((1 << 62))" | say shell
rm text text.gz
