/* verdict STATUS: ends the machine at port 0xf4, with 0x10 if the status is 0 and 0x11 otherwise. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>
#include <termios.h>
#include <unistd.h>

enum { EXIT_PORT = 0xf4, PASS = 0x10, FAIL = 0x11 };

int main(int count, char **arguments)
{
	if (count != 2) {
		fprintf(stderr, "usage: verdict STATUS\n");
		return 2;
	}
	int status = atoi(arguments[1]);
	if (status > 128)
		printf("ended by signal %d\n", status - 128);
	/* The line of the console is to be out before the machine is gone. */
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
	if (iopl(3) != 0) {
		perror("iopl");
		return 2;
	}
	outl(status == 0 ? PASS : FAIL, EXIT_PORT);
	return 2; /* nothing listens at the port */
}
