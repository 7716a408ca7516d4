/* What tccap needs of s2n: two log functions, with the layout and the names that it has. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct blob {
    uint8_t *data;
    uint32_t size, allocated;
    unsigned growable : 1;
};

struct config {
    char before[0x188];
    int (*callback)(void *context, void *connection, uint8_t *line, size_t len);
    void *context;
};

struct connection {
    void *first;
    struct config *config;
    char before[0x200];
    uint8_t random[32], master_secret[48];
};

int is_initialised;

__attribute__((noinline)) int s2n_alloc(struct blob *blob, uint32_t size)
{
    static uint8_t memory[512];
    if (!is_initialised || size > sizeof(memory))
        return -1;
    *blob = (struct blob){memory, size, size, 1};
    return 0;
}

static char *hex(char *to, const uint8_t *from, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        *to++ = "0123456789abcdef"[from[i] >> 4];
        *to++ = "0123456789abcdef"[from[i] & 15];
    }
    return to;
}

static int hand_out(struct connection *connection, const char *label,
                    const uint8_t *secret, size_t len)
{
    struct blob blob;
    char *end;
#ifndef CALLERS_TEST
    if (!connection->config->callback)
        return 0;
#endif
    if (s2n_alloc(&blob, strlen(label) + 2 * 32 + 1 + 2 * len))
        return -1;
    memcpy(blob.data, label, strlen(label));
    end = hex((char *)blob.data + strlen(label), connection->random, 32);
    *end++ = ' ';
    hex(end, secret, len);
    return connection->config->callback(connection->config->context, connection,
                                        blob.data, blob.size);
}

__attribute__((noinline)) int s2n_key_log_tls13_secret(struct connection *connection,
                                                       struct blob *secret, int kind)
{
    static const char *const labels[] = {
        "CLIENT_EARLY_TRAFFIC_SECRET ",
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET ",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET ",
        "CLIENT_TRAFFIC_SECRET_0 ",
#ifdef OTHER_LABEL
        "SERVER_TRAFFIC_SECRET_1 ",
#else
        "SERVER_TRAFFIC_SECRET_0 ",
#endif
        "EXPORTER_SECRET ",
    };
#ifdef LABEL_MISSING
    if (kind == 3)
        return 0;
#endif
    if ((unsigned)kind > 5)
        return 0;
#ifdef FIXED_LENGTH
    return hand_out(connection, labels[kind], secret->data, 48);
#else
    return hand_out(connection, labels[kind], secret->data, secret->size);
#endif
}

#ifdef BEGIN
/* A function begins with instructions of the test's, and goes on in another one. */
int s2n_key_log_tls12_secret(struct connection *connection);
__asm__(".text\n.type s2n_key_log_tls12_secret, @function\n"
        "s2n_key_log_tls12_secret:\n" BEGIN "\njmp of_1_2\n");
#define OF_1_2 of_1_2
#else
#define OF_1_2 s2n_key_log_tls12_secret
#endif

__attribute__((noinline, used)) int OF_1_2(struct connection *connection)
{
    return hand_out(connection, "CLIENT_RANDOM ", connection->master_secret, 48);
}

int main(int count, char **arguments)
{
#ifndef NOT_CALLED
    s2n_key_log_tls12_secret((void *)arguments);
#endif
    s2n_key_log_tls13_secret((void *)arguments, (void *)arguments, count);
    return 0;
}
