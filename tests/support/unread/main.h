/* Runs handshake() on a connection to a port of 127.0.0.1, prints "sent", and waits for the
 * end of its input. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
static void handshake(int sock);
int main(int count, char **arguments)
{
	struct sockaddr_in to = {AF_INET, htons(atoi(arguments[1])),
				 {htonl(INADDR_LOOPBACK)}};
	int sock = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(sock, (struct sockaddr *)&to, sizeof(to)))
		return 1;
	handshake(sock);
	puts("sent");
	fflush(stdout);
	getchar();
	return 0;
}
