#include "main.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
static void handshake(int sock)
{
	static mbedtls_entropy_context entropy;
	static mbedtls_ctr_drbg_context random;
	static mbedtls_ssl_config config;
	static mbedtls_ssl_context ssl;
	static mbedtls_net_context net;
	net.fd = sock;
	mbedtls_entropy_init(&entropy);
	mbedtls_ctr_drbg_init(&random);
	mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, 0, 0);
	mbedtls_ssl_config_init(&config);
	mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT,
				    MBEDTLS_SSL_TRANSPORT_STREAM,
				    MBEDTLS_SSL_PRESET_DEFAULT);
	mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_NONE);
	mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random);
	mbedtls_ssl_init(&ssl);
	mbedtls_ssl_setup(&ssl, &config);
	mbedtls_ssl_set_bio(&ssl, &net, mbedtls_net_send, mbedtls_net_recv, 0);
	mbedtls_ssl_handshake(&ssl);
}
