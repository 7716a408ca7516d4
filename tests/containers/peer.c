/* Both ends of an exchange, for containers without a C library. The program's name says
 * what to do, and so is that of the process:
 *
 *     serve... PORT...                    answers TCP and UDP with what it gets
 *     ask... tcp|udp ADDRESS PORT TEXT    succeeds if it gets the text back
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORTS_MAX 64
#define TIMEOUT_S 20
#define DATAGRAMS 4

static void expect(int done, const char *what)
{
	if (!done) {
		perror(what);
		exit(1);
	}
}

static int open_server(int type, int port)
{
	int fd = socket(AF_INET, type, 0), on = 1;
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};

	if (type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	expect(!bind(fd, (struct sockaddr *)&any, sizeof(any)), "bind");
	if (type == SOCK_STREAM)
		expect(!listen(fd, 16), "listen");
	return fd;
}

static void answer_datagram(int fd)
{
	char text[1500];
	struct sockaddr_in from;
	socklen_t size = sizeof(from);
	ssize_t len =
		recvfrom(fd, text, sizeof(text), 0, (struct sockaddr *)&from, &size);

	if (len >= 0)
		sendto(fd, text, len, 0, (struct sockaddr *)&from, size);
}

static void answer_connection(int listener)
{
	int fd = accept(listener, NULL, NULL);
	char text[1500];
	ssize_t len;

	while ((len = read(fd, text, sizeof(text))) > 0)
		expect(write(fd, text, len) == len, "write");
	close(fd);
}

static int serve(int count, char **ports)
{
	struct pollfd all[2 * PORTS_MAX];

	signal(SIGTERM, SIG_DFL);
	for (int i = 0; i < count && i < PORTS_MAX; i++) {
		int port = atoi(ports[i]);

		all[2 * i].fd = open_server(SOCK_STREAM, port);
		all[2 * i + 1].fd = open_server(SOCK_DGRAM, port);
		all[2 * i].events = all[2 * i + 1].events = POLLIN;
	}
	puts("serving");
	fflush(stdout);
	while (poll(all, 2 * count, -1) > 0)
		for (int i = 0; i < 2 * count; i++)
			if (all[i].revents)
				(i % 2 ? answer_datagram : answer_connection)(all[i].fd);
	return 1;
}

static void get_back(int fd, const char *text, size_t len)
{
	char answer[1500];
	size_t got = 0;
	ssize_t more;

	while (got < len && (more = read(fd, answer + got, sizeof(answer) - got)) > 0)
		got += more;
	expect(got == len && !memcmp(answer, text, len), "answer");
}

static int ask(int type, const char *address, int port, const char *text)
{
	int fd = socket(AF_INET, type, 0);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	size_t len = strlen(text);
	char end;

	inet_pton(AF_INET, address, &to.sin_addr);
	expect(!connect(fd, (struct sockaddr *)&to, sizeof(to)), "connect");
	for (int i = 0; i < (type == SOCK_DGRAM ? DATAGRAMS : 1); i++) {
		expect(write(fd, text, len) == (ssize_t)len, "write");
		get_back(fd, text, len);
	}
	if (type == SOCK_STREAM) { /* nothing comes afterwards */
		shutdown(fd, SHUT_WR);
		expect(!read(fd, &end, 1), "end");
	}
	return 0;
}

int main(int count, char **arguments)
{
	const char *slash = strrchr(arguments[0], '/');
	const char *name = slash ? slash + 1 : arguments[0];

	if (!strncmp(name, "serve", 5) && count > 1)
		return serve(count - 1, arguments + 1);
	alarm(TIMEOUT_S);
	if (!strncmp(name, "ask", 3) && count == 5)
		return ask(strcmp(arguments[1], "udp") ? SOCK_STREAM : SOCK_DGRAM,
			   arguments[2], atoi(arguments[3]), arguments[4]);
	fprintf(stderr, "%s is not called so.\n", name);
	return 2;
}
