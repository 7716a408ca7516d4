#include "main.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
static void handshake(int sock)
{
	WOLFSSL_CTX *context;
	WOLFSSL *ssl;
	wolfSSL_Init();
	context = wolfSSL_CTX_new(wolfTLS_client_method());
	wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_NONE, 0);
	ssl = wolfSSL_new(context);
	wolfSSL_set_fd(ssl, sock);
	if (wolfSSL_connect(ssl) != WOLFSSL_SUCCESS)
		exit(wolfSSL_get_error(ssl, 0));
}
