/* Two threads move money between accounts that they share.
 *
 * The bug: pay() takes no lock. It reads two balances, checks what they are going to be, and stores them; a thread that
 * is preempted in between stores what was true before the other one's payments.
 * The check: no money comes or goes. */
#include <pthread.h>

#include "report.h"

enum { ACCOUNTS = 8, OPENING = 100000000, PAYMENTS = 800 };

static long balances[ACCOUNTS];

/* Whether a balance is one that the books can hold: not overdrawn, at most twelve digits. */
static int plausible(long balance)
{
	int digits = 0;
	for (long rest = balance; rest > 0; rest /= 10)
		digits++;
	return balance >= 0 && digits <= 12;
}

__attribute__((noinline))
static void pay(int from, int to, long amount)
{
#ifdef FIXED
	static pthread_mutex_t bank = PTHREAD_MUTEX_INITIALIZER;
	pthread_mutex_lock(&bank);
#endif
	long less = balances[from] - amount;
	long more = balances[to] + amount;
	if (plausible(less) && plausible(more)) {
		balances[from] = less;
		balances[to] = more;
	}
#ifdef FIXED
	pthread_mutex_unlock(&bank);
#endif
}

/* What goes to the customer; its check digits take most of a teller's time. */
static unsigned receipt(int from, int to, long amount)
{
	char text[128];
	unsigned check = 0;
	for (int copy = 0; copy < 3; copy++) {
		int length = snprintf(text, sizeof text, "copy %d: %ld from account %08d to account %08d", copy, amount,
				      from, to);
		for (int i = 0; i < length; i++)
			check = check % 97 * 100 + (unsigned char)text[i];
	}
	return check;
}

static void *teller(void *seed)
{
	unsigned state = *(unsigned *)seed;
	unsigned long checks = 0;
	for (int payment = 0; payment < PAYMENTS; payment++) {
		int from = next_number(&state) % ACCOUNTS;
		int to = (from + 1 + next_number(&state) % (ACCOUNTS - 1)) % ACCOUNTS;
		long amount = next_number(&state) % 100;
		pay(from, to, amount);
		checks += receipt(from, to, amount);
	}
	return (void *)checks;
}

int main(void)
{
	pthread_t tellers[2];
	unsigned seeds[2] = { 1, 2 };
	for (int i = 0; i < ACCOUNTS; i++)
		balances[i] = OPENING;
	for (int i = 0; i < 2; i++)
		if (pthread_create(&tellers[i], NULL, teller, &seeds[i]) != 0)
			report("linux-data-race", 1, "there is no second thread");
	for (int i = 0; i < 2; i++)
		pthread_join(tellers[i], NULL);
	long total = 0;
	for (int i = 0; i < ACCOUNTS; i++)
		total += balances[i];
	long expected = (long)ACCOUNTS * OPENING;
	report("linux-data-race", total != expected, "the accounts hold %ld of %ld", total, expected);
}
