/* A log function after link-time optimisation: its callers test for the callback, and do
 * not call it without one. The program sets none. With EXPORTED, the function tests for
 * the callback itself, and has a name that others may use.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef EXPORTED
#define LOG_LINE static inline
#define LOG_SECRET __attribute__((noinline))
#else
#define LOG_LINE static __attribute__((noinline))
#define LOG_SECRET static inline
#endif

struct context {
    char before[0x3c8];
    void (*callback)(void *connection, const char *line);
};

struct connection {
    char before[0x160];
    unsigned char random[32];
    char between[0x40];
    unsigned char handshake_secret[48], traffic_secret[48];
    size_t secret_len;
    struct context *context;
};

LOG_LINE int log_line(struct connection *connection, const char *label,
                      const unsigned char *secret, size_t len)
{
    char *line = malloc(strlen(label) + 2 * (32 + len) + 3), *end = line;
    if (!line)
        return 0;
    strcpy(end, label);
    end += strlen(label);
    *end++ = ' ';
    for (int i = 0; i < 32; i++, end += 2)
        sprintf(end, "%02x", connection->random[i]);
    *end++ = ' ';
    for (size_t i = 0; i < len; i++, end += 2)
        sprintf(end, "%02x", secret[i]);
    *end = 0;
    connection->context->callback(connection, line);
    free(line);
    return 1;
}

LOG_SECRET int log_secret(struct connection *connection, const char *label,
                          const unsigned char *secret, size_t len)
{
    if (!connection->context->callback)
        return 1;
    return log_line(connection, label, secret, len);
}

__attribute__((noinline)) int handshake(struct connection *connection, int is_server)
{
    const char *label = is_server ? "SERVER_HANDSHAKE_TRAFFIC_SECRET"
                                  : "CLIENT_HANDSHAKE_TRAFFIC_SECRET";
    return log_secret(connection, label, connection->handshake_secret,
                      connection->secret_len);
}

__attribute__((noinline)) int traffic(struct connection *connection, int is_server,
                                      const unsigned char *secret)
{
    if (is_server)
        return log_secret(connection, "SERVER_TRAFFIC_SECRET_0", secret,
                          connection->secret_len);
    return log_secret(connection, "CLIENT_TRAFFIC_SECRET_0", secret, 32);
}

int main(void)
{
    struct context *context = calloc(1, sizeof *context);
    struct connection *connection = calloc(1, sizeof *connection);
    connection->context = context;
    connection->secret_len = 48;
    memset(connection->random, 0x11, 32);
    memset(connection->handshake_secret, 0x22, 48);
    memset(connection->traffic_secret, 0x33, 48);
    for (int is_server = 0; is_server < 2; is_server++) {
        handshake(connection, is_server);
        traffic(connection, is_server, connection->traffic_secret);
    }
    return 0;
}
