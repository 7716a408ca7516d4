#include "main.h"

#include <bearssl.h>
static int get(void *sock, unsigned char *to, size_t len)
{
	return read(*(int *)sock, to, len);
}
static int put(void *sock, const unsigned char *from, size_t len)
{
	return write(*(int *)sock, from, len);
}
static void handshake(int sock)
{
	static unsigned char buffer[BR_SSL_BUFSIZE_BIDI];
	static br_ssl_client_context client;
	static br_x509_minimal_context certificates;
	static br_sslio_context stream;
	br_ssl_client_init_full(&client, &certificates, 0, 0);
	br_ssl_engine_set_buffer(&client.eng, buffer, sizeof(buffer), 1);
	br_ssl_client_reset(&client, "localhost", 0);
	br_sslio_init(&stream, &client.eng, get, &sock, put, &sock);
	br_sslio_flush(&stream); /* refuses the server's certificate */
}
