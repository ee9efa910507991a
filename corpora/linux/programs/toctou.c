/* A service prints what users put into its spool; a user swaps the file for a link to what is not his.
 *
 * The bug: fetch() asks by name whether the file is the user's own and no link, and then opens it by name. If the user
 * runs in between, another file is opened than the one that was asked about.
 * The check: what is for root only never gets into the print. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report.h"

#define SPOOL "/tmp/spool"
#define SECRET "/tmp/secret"

enum { USER = 1000, JOBS = 350, SIZE = 512 };

static const char note[] = "a note of the user's own\n";
static const char secret[] = "for root only\n";

static void write_file(const char *path, const char *text, int mode)
{
	int file = open(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
	if (file < 0 || write(file, text, strlen(text)) != (ssize_t)strlen(text))
		report("linux-toctou", 1, "%s cannot be written", path);
	close(file);
}

static int is_the_users(const struct stat *found)
{
	return S_ISREG(found->st_mode) && found->st_uid == USER;
}

/* Reads the job into `print`. Length, or -1 if it is not the user's own file. */
__attribute__((noinline))
static int fetch(char *print)
{
	struct stat found;
#ifdef FIXED
	int file = open(SPOOL "/job", O_RDONLY | O_NOFOLLOW);
	if (file < 0)
		return -1;
	if (fstat(file, &found) != 0 || !is_the_users(&found)) {
		close(file);
		return -1;
	}
#else
	if (lstat(SPOOL "/job", &found) != 0 || !is_the_users(&found))
		return -1;
	int file = open(SPOOL "/job", O_RDONLY);
	if (file < 0)
		return -1;
#endif
	int length = (int)read(file, print, SIZE - 1);
	close(file);
	return length;
}

/* The user: his own file and a link take turns under the name of the job. */
static void swap_for_ever(void)
{
	if (setgid(USER) != 0 || setuid(USER) != 0 || chdir(SPOOL) != 0)
		_exit(1);
	umask(0);
	for (;;) {
		write_file("own", note, 0644);
		rename("own", "job");
		if (symlink(SECRET, "link") == 0)
			rename("link", "job");
	}
}

/* Makes a page of a print: each letter as a column of dots. */
static unsigned rasterize(const char *print, int length)
{
	unsigned dots = 0;
	for (int pass = 0; pass < 24; pass++)
		for (int i = 0; i < length; i++)
			for (unsigned bits = (unsigned char)print[i]; bits; bits &= bits - 1)
				dots++;
	return dots;
}

int main(void)
{
	char print[SIZE];
	unsigned dots = 0;
	int printed = 0, refused = 0, leaked = 0;

	write_file(SECRET, secret, 0600);
	if (mkdir(SPOOL, 0777) != 0 || chmod(SPOOL, 0777) != 0)
		report("linux-toctou", 1, "there is no spool");
	pid_t user = fork();
	if (user == 0)
		swap_for_ever();
	while (printed + refused < JOBS) {
		int length = fetch(print);
		if (length < 0) {
			refused++;
			length = snprintf(print, sizeof print, "no such file\n");
		} else {
			printed++;
			print[length] = '\0';
			leaked += strstr(print, secret) != NULL;
		}
		dots += rasterize(print, length);
	}
	kill(user, SIGKILL);
	waitpid(user, NULL, 0);
	report("linux-toctou", leaked || user < 0 || dots == 0, "%d printed, %d of them for root only, %d refused",
	       printed, leaked, refused);
}
