/* A daemon that reads routes as text, and reads its settings again at every alarm.
 *
 * The bug: both use strtok(), which keeps its place in a variable of the library. An alarm in the middle of a route
 * leaves it behind the end of the settings, and the rest of the route is lost.
 * The check: every route in the table is the one that was sent. */
#include <signal.h>
#include <string.h>
#include <sys/time.h>

#include "report.h"

enum { ROUTES = 450, PERIOD_US = 3000, BLOCK = 1024 };

struct route {
	unsigned network, metric, port;
};

static struct route table[ROUTES];
static volatile sig_atomic_t alarms;
static unsigned level, rotate;

#ifdef FIXED
#define TOKEN(text, separators, place) strtok_r(text, separators, place)
#else
#define TOKEN(text, separators, place) ((void)(place), strtok(text, separators))
#endif

static unsigned number(const char *text)
{
	return text ? (unsigned)strtoul(text, NULL, 10) : 0;
}

static void on_alarm(int signal)
{
	char settings[] = "3,7", *place;
	(void)signal;
	level = number(TOKEN(settings, ",", &place));
	rotate = number(TOKEN(NULL, ",", &place));
	alarms++;
}

__attribute__((noinline))
static struct route parse(char *text)
{
	struct route route;
	char *place;
	route.network = number(TOKEN(text, " ", &place));
	route.metric = number(TOKEN(NULL, " ", &place));
	route.port = number(TOKEN(NULL, " ", &place));
	return route;
}

/* Adler's sum of what a route came in. */
static unsigned sum(const unsigned char *block, int size)
{
	unsigned low = 1, high = 0;
	for (int i = 0; i < size; i++) {
		low = (low + block[i]) % 65521;
		high = (high + low) % 65521;
	}
	return high << 16 | low;
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct itimerval period = { { 0, PERIOD_US }, { 0, PERIOD_US } };
	struct route sent[ROUTES];
	unsigned char block[BLOCK];
	unsigned state = 1, sums = 0;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &period, NULL);
	for (int i = 0; i < ROUTES; i++) {
		sent[i] = (struct route){ next_number(&state), next_number(&state) % 100, next_number(&state) % 8 };
		memset(block, 0, sizeof block);
		snprintf((char *)block, sizeof block, "%u %u %u", sent[i].network, sent[i].metric, sent[i].port);
		for (int pass = 0; pass < 2; pass++)
			sums += sum(block, sizeof block);
		table[i] = parse((char *)block);
	}
	setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);

	for (int i = 0; i < ROUTES; i++)
		if (memcmp(&table[i], &sent[i], sizeof sent[i]) != 0)
			report("linux-signal-handler", 1, "route %d is %u %u %u and was %u %u %u", i, table[i].network,
			       table[i].metric, table[i].port, sent[i].network, sent[i].metric, sent[i].port);
	report("linux-signal-handler", level != 3 || rotate != 7 || sums == 0, "%d routes, %d alarms", ROUTES,
	       (int)alarms);
}
