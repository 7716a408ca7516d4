"""Programs with a key log of their own, as compilers and their options may leave it.

What varies is where the structures have their members, the order of the arguments, who
tests for the callback, how much of the log function is merged into its callers, and the
compiler's options.
"""

import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RANDOM_LEN, SECRET_MAX = 32, 48
LABELS = (
    "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    "CLIENT_TRAFFIC_SECRET_0",
    "SERVER_TRAFFIC_SECRET_0",
    "EXPORTER_SECRET",
    "CLIENT_RANDOM",
)
# Who tests for the callback, and how.
KINDS = (
    "function",  # the log function
    "function, another log",  # it, and it goes on without one if asked to (OpenSSL 3.5)
    "function, integrity",  # it; the callback must be a certain function (Chromium)
    "callers",
    "callers, derived between",  # with other calls between the tests
    "callers, one test",  # for several log calls
    "merged",  # the whole function is in its callers (GnuTLS)
    "merged, derived between",
)
_LEVELS = ("-O1", "-O2", "-O3", "-Os")
_MORE = (
    *("-fno-omit-frame-pointer", "-fcf-protection", "-fstack-protector-strong"),
    *("-flto", "-fno-schedule-insns2", "-fno-reorder-blocks", "-fno-jump-tables"),
)


@dataclass(frozen=True)
class Shape:
    """One program of a kind; ``seed`` decides everything else."""

    kind: str
    seed: int

    def __str__(self) -> str:
        return f"{self.kind}, {self.seed}"


def build(shape: Shape, folder: Path) -> Path:
    """Build the program of a shape, stripped; return it."""
    chance = random.Random(f"{shape.kind} {shape.seed}")
    source, program = folder / "program.c", folder / "program"
    source.write_text(_source(shape.kind, chance))
    level = chance.choice(_LEVELS)
    more = [option for option in _MORE if chance.random() < 0.3]
    linked = chance.choice((["-pie", "-fPIE"], ["-no-pie", "-fno-pie"]))
    command = ["gcc", "-w", level, *more, *linked, "-rdynamic", "-s"]
    subprocess.run([*command, "-o", program, source], check=True)
    return program


def logged(output: bytes) -> list[str]:
    """Return what a program says of its secrets, as lines of a key log."""
    return sorted(_records(output))


def _records(output: bytes) -> Iterator[str]:
    at = 0
    while at < len(output):
        label, secret_len = output[at], output[at + 1]
        known, secret = at + 2, at + 2 + RANDOM_LEN
        at = secret + secret_len
        parts = output[known:secret].hex(), output[secret:at].hex()
        yield " ".join((LABELS[label], *parts))


def _source(kind: str, chance: random.Random) -> str:
    is_merged = kind.startswith("merged")
    members = _members(chance)
    arguments = ["struct connection *c", "const char *label"]
    arguments += ["const unsigned char *secret", "size_t len"]
    if not is_merged:
        chance.shuffle(arguments)
    names = {name.split()[-1].strip("*"): None for name in arguments}
    parts = {
        "BEFORE": chance.randrange(0, 900) * 8,
        "BETWEEN": chance.randrange(0, 40) * 8,
        "MEMBERS": "\n    ".join(members),
        "PARAMETERS": ", ".join(arguments),
        "PASSED": ", ".join(names),
        "TEST": "if (!c->context->callback) return SUCCESS;",
        "SUCCESS": "0" if is_merged else "1",
        "LOG": _MERGED if is_merged else _LOG,
        "WRAPPER": _WRAPPER,
        "DERIVE": "derive(c);" if "derived" in kind else "",
        "CALL": "c->context->callback(c, line);",
        "EXTRA": "",
        "TOUCH": "".join(f'*(volatile char *)"{label}";' for label in LABELS),
    }
    if kind.startswith("function"):
        parts["WRAPPER"] = "#define log_secret log_line"
        parts["EXTRA"] = parts["TEST"]
    if "another log" in kind:
        parts["EXTRA"] = (
            "if (!c->context->callback && !c->context->writes) return SUCCESS;"
        )
        parts["CALL"] = (
            "if (c->context->callback) c->context->callback(c, line);"
            "if (c->context->writes) puts(line);"
        )
    if "integrity" in kind:
        parts["CALL"] = (
            "if (c->context->callback != the_callback) __builtin_trap();"
            "the_callback(c, line);"
        )
    parts["HANDSHAKE"] = _ONE_TEST if "one test" in kind else _HANDSHAKE
    text = _PROGRAM
    for _ in range(3):
        for name, value in parts.items():
            text = text.replace(f"@{name}@", str(value))
    orders = {order: _call(order, names) for order in range(len(LABELS))}
    for order, call in orders.items():
        text = text.replace(f"@CALL{order}@", call)
    return text.replace("SUCCESS", str(parts["SUCCESS"]))


def _call(label: int, names: dict[str, None]) -> str:
    """Return a call that logs a secret, with its arguments in their order."""
    length = "32" if label == 2 else "c->len"
    length = "48" if LABELS[label] == "CLIENT_RANDOM" else length
    values = {"c": "c", "label": f'"{LABELS[label]}"', "len": length}
    values["secret"] = f"c->secrets[{label}]"
    return f"log_secret({', '.join(values[name] for name in names)})"


def _members(chance: random.Random) -> list[str]:
    members = [
        "unsigned char random[32];",
        "unsigned char secrets[6][48];",
        "size_t len;",
        "struct context *context;",
    ]
    chance.shuffle(members)
    gaps = (f"char gap{n}[{chance.randrange(1, 30) * 8}];" for n in range(9))
    return [line for member in members for line in (next(gaps), member)]


_PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define NOINLINE __attribute__((noinline))

struct connection;
typedef struct { unsigned char *data; unsigned size; } datum;
struct context {
    char before[8 + @BEFORE@];
    int (*callback)();
    char between[8 + @BETWEEN@];
    int writes;
};
struct connection {
    @MEMBERS@
};

NOINLINE static int the_callback(struct connection *c, const char *line)
{
    return puts(line);
}

/* Exported, as GnuTLS's are. */
void gnutls_session_set_keylog_function(struct connection *c, int (*callback)())
{
    c->context->callback = callback;
}

void gnutls_session_get_random(struct connection *c, datum *client, datum *server)
{
    client->data = c->random;
    client->size = 32;
}

NOINLINE static void derive(struct connection *c)
{
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 48; k++)
            c->secrets[i][k] = c->secrets[i][k] * 5 + i + k + c->random[k % 32];
}

NOINLINE static void say(struct connection *c, int label, int len)
{
    putchar(label);
    putchar(len);
    fwrite(c->random, 1, 32, stdout);
    fwrite(c->secrets[label], 1, len, stdout);
}

@LOG@
@WRAPPER@
@HANDSHAKE@

NOINLINE static void connect_once(struct context *context, int is_server, int len)
{
    struct connection *c = calloc(1, sizeof *c);
    c->context = context;
    c->len = len;
    for (int i = 0; i < 32; i++)
        c->random[i] = rand();
    for (int i = 0; i < 6 * 48; i++)
        c->secrets[0][i] = rand();
    handshake(c, is_server);
    free(c);
}

int main(void)
{
    struct context *context = calloc(1, sizeof *context);
    /* A probe can read only pages that are there. */
    @TOUCH@
    for (int n = 0; n < 4; n++)
        connect_once(context, n & 1, n & 2 ? 48 : 32);
    return 0;
}
"""
_LOG = r"""
NOINLINE static int log_line(@PARAMETERS@)
{
    @EXTRA@
    char *line = malloc(strlen(label) + 2 * (32 + len) + 3), *end = line;
    if (!line)
        return 0;
    strcpy(end, label);
    end += strlen(label);
    *end++ = ' ';
    for (int i = 0; i < 32; i++, end += 2)
        sprintf(end, "%02x", c->random[i]);
    *end++ = ' ';
    for (size_t i = 0; i < len; i++, end += 2)
        sprintf(end, "%02x", secret[i]);
    *end = 0;
    @CALL@
    free(line);
    return 1;
}
"""
_WRAPPER = r"""
static inline __attribute__((always_inline)) int log_secret(@PARAMETERS@)
{
    @TEST@
    return log_line(@PASSED@);
}
"""
_MERGED = r"""
static inline __attribute__((always_inline)) int log_line(@PARAMETERS@)
{
    datum secret_datum = {(unsigned char *)secret, len};
    return c->context->callback(c, label, &secret_datum);
}
"""
_HANDSHAKE = r"""
NOINLINE static int handshake(struct connection *c, int is_server)
{
    if (@CALL0@ != SUCCESS)
        return 0;
    say(c, 0, c->len);
    @DERIVE@
    if (@CALL1@ != SUCCESS)
        return 0;
    say(c, 1, c->len);
    @DERIVE@
    if (is_server) {
        if (@CALL3@ != SUCCESS)
            return 0;
        say(c, 3, c->len);
    } else {
        @CALL2@;
        say(c, 2, 32);
        @DERIVE@
    }
    if (@CALL4@ != SUCCESS)
        return 0;
    say(c, 4, c->len);
    @CALL5@;
    say(c, 5, 48);
    return 1;
}
"""
_ONE_TEST = r"""
NOINLINE static int logs(struct connection *c)
{
    if (!c->context->callback)
        return SUCCESS;
    if (@CALL0@ != SUCCESS || @CALL1@ != SUCCESS)
        return !SUCCESS;
    return @CALL2@;
}

NOINLINE static int handshake(struct connection *c, int is_server)
{
    logs(c);
    say(c, 0, c->len);
    say(c, 1, c->len);
    say(c, 2, 32);
    @CALL3@;
    say(c, 3, c->len);
    @CALL4@;
    say(c, 4, c->len);
    @CALL5@;
    say(c, 5, 48);
    return 1;
}
"""
