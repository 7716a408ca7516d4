"""AVX instructions do what a processor does; log functions with them are proven."""

import ctypes
import random
import subprocess
from pathlib import Path

import capstone
import pytest

from tccap.tls.finder import vectors
from tccap.tls.finder.code import Instruction, Operand
from tccap.tls.finder.inspect import inspect
from tccap.tls.sites import Number
from tccap.tls.sites import Path as Way

ROUNDS = 50
DATA_LEN, RESULT_LEN = 128, 64
# Of ymm0 to ymm3, rdi (the result), rsi (data) and rax; the first operand is the last.
INSTRUCTIONS = (
    *("vmovdqu (%rsi), %ymm0", "vmovups (%rsi), %xmm0", "vmovdqu %ymm1, 32(%rdi)"),
    *("vmovaps %xmm1, %xmm0", "vmovdqa %ymm1, %ymm0", "vmovups %xmm1, 33(%rdi)"),
    *("vmovd %eax, %xmm0", "vmovd %xmm1, %eax", "vmovq %rax, %xmm0"),
    *("vmovq %xmm1, %rax", "vmovq (%rsi), %xmm0", "vmovd %xmm1, 40(%rdi)"),
    *("vmovq %xmm1, %xmm0", "vlddqu (%rsi), %ymm0"),
    *("vpinsrb $5, (%rsi), %xmm1, %xmm0", "vpinsrb $21, %eax, %xmm1, %xmm0"),
    *("vpinsrw $3, %eax, %xmm1, %xmm0", "vpinsrd $2, (%rsi), %xmm1, %xmm0"),
    *("vpinsrq $1, %rax, %xmm1, %xmm0", "vpextrb $7, %xmm1, %eax"),
    *("vpextrd $3, %xmm1, 40(%rdi)", "vpextrq $1, %xmm1, %rax"),
    *("vpxor %xmm2, %xmm1, %xmm0", "vxorps %ymm2, %ymm1, %ymm0"),
    *("vpand (%rsi), %ymm1, %ymm0", "vpor %ymm2, %ymm1, %ymm0"),
    *("vpandn %xmm2, %xmm1, %xmm0", "vandnps %ymm2, %ymm1, %ymm0"),
    *("vpbroadcastb %xmm1, %ymm0", "vpbroadcastw (%rsi), %xmm0"),
    *("vpbroadcastd %xmm1, %ymm0", "vpbroadcastq %xmm1, %xmm0"),
    *("vinserti128 $1, %xmm2, %ymm1, %ymm0", "vinserti128 $0, (%rsi), %ymm1, %ymm0"),
    *("vextracti128 $1, %ymm1, %xmm0", "vextractf128 $0, %ymm1, 32(%rdi)"),
    *("vperm2i128 $0x31, %ymm2, %ymm1, %ymm0", "vperm2i128 $0x28, %ymm2, %ymm1, %ymm0"),
    *("vpermq $0xd8, %ymm1, %ymm0", "vpermpd $0x1b, (%rsi), %ymm0"),
    *("vpshufb %ymm2, %ymm1, %ymm0", "vpblendvb %ymm3, %ymm2, %ymm1, %ymm0"),
    *("vpsubusb %ymm2, %ymm1, %ymm0", "vpminub %xmm2, %xmm1, %xmm0"),
    *("vpmaxub %ymm2, %ymm1, %ymm0", "vpsrlw $4, %ymm1, %ymm0"),
    *(
        "vpslld $7, %xmm1, %xmm0",
        "vpsrlq $63, %ymm1, %ymm0",
        "vpsllw $16, %xmm1, %xmm0",
    ),
    *(
        f"vpunpck{half}{letters} %ymm2, %ymm1, %ymm0"
        for half in "lh"
        for letters in ("bw", "wd", "dq", "qdq")
    ),
    *(
        f"vp{name}{letter} %ymm2, %ymm1, %ymm0"
        for name in ("add", "sub", "cmpeq", "cmpgt")
        for letter in "bwdq"
    ),
    "vzeroupper",
)
UNKNOWN = (
    *(
        "vpmovzxbw %xmm1, %ymm0",
        "vpsrlw %xmm2, %ymm1, %ymm0",
        "vaddps %ymm2, %ymm1, %ymm0",
    ),
    *("vpalignr $3, %xmm2, %xmm1, %xmm0", "vptest %ymm1, %ymm0"),
)
_ROUTINE = """
.globl run_{n}, begin_{n}, end_{n}
run_{n}:
    vmovdqu (%rsi), %ymm0
    vmovdqu 32(%rsi), %ymm1
    vmovdqu 64(%rsi), %ymm2
    vmovdqu 96(%rsi), %ymm3
    mov %rdx, %rax
begin_{n}:
    {instruction}
end_{n}:
    vmovdqu %ymm0, (%rdi)
    vzeroupper
    ret
"""
_STACK_NOTE = '.section .note.GNU-stack, "", @progbits\n'


class Emulated:
    """What instructions change; implements `vectors.Processor`."""

    def __init__(self, data: bytes, rax: int) -> None:
        self.content = bytearray(bytes(RESULT_LEN) + data)
        self.registers = {"rdi": 0, "rsi": RESULT_LEN, "rax": rax}
        self.vectors = [data[32 * n : 32 * n + 32] for n in range(4)]
        self.vectors += [bytes(32)] * 12

    def register(self, name: str) -> int:
        return self.registers[name]

    def set_register(self, name: str, value: int) -> None:
        self.registers[name] = value

    def vector(self, number: int) -> bytes:
        return self.vectors[number]

    def set_vector(self, number: int, content: bytes) -> None:
        self.vectors[number] = content

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.content[address : address + size])

    def store(self, address: int, content: bytes) -> bool:
        self.content[address : address + len(content)] = content
        return True

    def effective(self, instruction: Instruction, operand: Operand) -> int | None:
        base = self.registers[instruction.reg_name(operand.mem.base)]
        return int(base + operand.mem.disp)


class Routines:
    """The instructions, each as a function of this processor."""

    def __init__(self, folder: Path, instructions: tuple[str, ...]) -> None:
        texts = [
            _ROUTINE.format(n=n, instruction=each)
            for n, each in enumerate(instructions)
        ]
        (folder / "run.s").write_text("".join(texts) + _STACK_NOTE)
        library = str(folder / "run.so")
        subprocess.run(["gcc", "-shared", "-o", library, folder / "run.s"], check=True)
        self._library = ctypes.CDLL(library)
        self._capstone = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        self._capstone.detail = True

    def decoded(self, number: int) -> Instruction:
        begin, end = (
            ctypes.addressof(ctypes.c_char.in_dll(self._library, f"{which}_{number}"))
            for which in ("begin", "end")
        )
        [found] = self._capstone.disasm(ctypes.string_at(begin, end - begin), 0)
        return found

    def run(self, number: int, data: bytes, rax: int) -> tuple[bytes, int]:
        """Return the result in memory, which begins with ymm0, and rax."""
        result = ctypes.create_string_buffer(RESULT_LEN)
        function = self._library[f"run_{number}"]
        function.restype = ctypes.c_uint64
        answer = int(function(result, data, ctypes.c_uint64(rax)))
        return result.raw, answer


@pytest.fixture(scope="module")
def routines(tmp_path_factory: pytest.TempPathFactory) -> Routines:
    return Routines(tmp_path_factory.mktemp("vectors"), (*INSTRUCTIONS, *UNKNOWN))


@pytest.mark.parametrize(
    "number", range(len(INSTRUCTIONS)), ids=INSTRUCTIONS.__getitem__
)
def test_an_instruction_does_what_the_processor_does(
    routines: Routines, number: int
) -> None:
    instruction = routines.decoded(number)
    assert vectors.is_vector(instruction)
    draw = random.Random(number)
    for _ in range(ROUNDS):
        # Bytes that are equal, and others, in both vectors
        data = bytes(
            draw.choice((0, 5, 0x80, draw.randrange(256))) for _ in range(DATA_LEN)
        )
        rax = draw.randrange(1 << 64)
        emulated = Emulated(data, rax)
        assert vectors.run(emulated, instruction)
        emulated.store(0, emulated.vectors[0])
        expected = routines.run(number, data, rax)
        assert (
            bytes(emulated.content[:RESULT_LEN]),
            emulated.registers["rax"],
        ) == expected


@pytest.mark.parametrize("number", range(len(UNKNOWN)), ids=UNKNOWN.__getitem__)
def test_another_instruction_is_not_known(routines: Routines, number: int) -> None:
    instruction = routines.decoded(len(INSTRUCTIONS) + number)
    assert vectors.is_vector(instruction)
    assert not vectors.run(Emulated(bytes(DATA_LEN), 0), instruction)


LOG = """
#include <stddef.h>
#include <string.h>
struct connection;
struct context { char before[888]; void (*callback)(struct connection *, char *); };
struct connection {
    char before[8]; struct context *context;
    char between[384]; unsigned char random[32];
};
static char *write_hex(char *to, const unsigned char *from, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char high = from[i] >> 4, low = from[i] & 15;
        to[2 * i] = high + (high < 10 ? '0' : 'a' - 10);
        to[2 * i + 1] = low + (low < 10 ? '0' : 'a' - 10);
    }
    return to + 2 * len;
}
__attribute__((noinline, noclone, visibility("hidden")))
int log_secret(struct connection *c, char *label, unsigned char *secret, size_t len)
{
    char line[256], *at = line;
    size_t label_len = strlen(label);
    if (!c->context->callback)
        return 1;
    memcpy(at, label, label_len);
    at += label_len;
    *at++ = ' ';
    at = write_hex(at, c->random, sizeof(c->random));
    *at++ = ' ';
    at = write_hex(at, secret, len);
    *at = 0;
    c->context->callback(c, line);
    return 1;
}
int handshake(struct connection *c, unsigned char *secret, size_t len)
{
    return log_secret(c, "CLIENT_RANDOM", secret, 48) +
           log_secret(c, "CLIENT_HANDSHAKE_TRAFFIC_SECRET", secret, len) +
           log_secret(c, "SERVER_HANDSHAKE_TRAFFIC_SECRET", secret, len) +
           log_secret(c, "CLIENT_TRAFFIC_SECRET_0", secret, len) +
           log_secret(c, "SERVER_TRAFFIC_SECRET_0", secret, len);
}
"""


@pytest.mark.parametrize(
    "options",
    [("-O2",), ("-O2", "-march=x86-64-v3"), ("-O3", "-march=x86-64-v3")],
    ids=" ".join,
)
def test_a_log_function_with_vectors_is_proven(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """As in what is built for newer processors only."""
    (tmp_path / "log.c").write_text(LOG)
    library = tmp_path / "log.so"
    shared = ("-fPIC", "-shared", "-o", str(library), str(tmp_path / "log.c"))
    subprocess.run(("gcc", *options, *shared), check=True)
    answer = inspect(library.read_bytes())
    assert answer.refusal == ""
    [site] = answer.sites
    assert site.client_random == Way("rdi", (400,))
    assert site.secret == Way("rdx", (0,))
    assert site.secret_len == Number(Way("rcx", ()), 4)
