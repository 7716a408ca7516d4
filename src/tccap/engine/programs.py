"""From the choices of a capture to its programs: C, the compiler, and maps."""

from collections.abc import Sequence

from tccap.bpf import btf, collection, compiler, source
from tccap.bpf.bcclib import CompileError
from tccap.bpf.code import Code
from tccap.bpf.collection import Collection
from tccap.bpf.objects import MapSize, Object
from tccap.bpf.patch import Patches
from tccap.engine import memoryorder, realtime
from tccap.engine.parts import Choice
from tccap.errors import TccapError
from tccap.host.cpus import possible_cpus
from tccap.ipc.plan import Plan
from tccap.owners import addresses
from tccap.stream import abi
from tccap.stream.programoptions import Option


def prepare(plan: Plan, choices: Sequence[Choice]) -> Collection:
    """Make the maps, for programs that were compiled now or before.

    TccapError where bcc or the kernel cannot.
    """
    realtime.refuse_interrupted_packets()
    codes = codes_of(plan, choices)
    return Collection(compiled(codes), _patches(codes), sizes(codes))


def codes_of(plan: Plan, choices: Sequence[Choice]) -> list[Code]:
    """Return all that is needed; TccapError for a filter that cannot be translated."""
    return [*(choice.code for choice in choices), _packet_code(plan)]


def compiled(codes: list[Code]) -> list[Object]:
    """Return the programs, compiled now or before; TccapError where bcc cannot."""
    try:
        return compiler.compiled(_texts(codes), _defines(codes))
    except (CompileError, OSError) as error:
        raise TccapError(
            collection.refusal("prepare the BPF programs", error)
        ) from None


def sizes(codes: list[Code]) -> dict[str, MapSize]:
    """Return the sizes of maps that the options decide, by name."""
    return {name: size for each in codes for name, size in each.sizes.items()}


def _texts(codes: list[Code]) -> tuple[str, str]:
    """Return the texts to compile: the capture filter's stage, and all the rest."""
    parts = (source.including(*each.sources) + each.text for each in codes)
    return (
        source.text(source.including("packet/filter.c")),
        source.text(*parts, source.including("packet/capture.c")),
    )


def _patches(codes: list[Code]) -> Patches:
    return Patches(
        numbers={k: v for each in codes for k, v in each.patches.numbers.items()},
        functions={k: v for each in codes for k, v in each.patches.functions.items()},
    )


def _packet_code(plan: Plan) -> Code:
    """Return what the blocks and the ring need."""
    shape = abi.ring_shape(plan.snaplen, possible_cpus(), plan.ring_mib)
    return Code(
        defines={
            **abi.defines(possible_cpus()),
            "WEAK_ORDER": int(memoryorder.is_weak()),
        },
        patches=Patches(
            {
                Option.SNAPLEN: abi.bytes_kept(plan.snaplen),
                Option.RING_LEN: shape.length,
                Option.RING_CHUNK_SHIFT: shape.chunk_len.bit_length() - 1,
                Option.NAMESPACE_ID: addresses.OWN_NAMESPACE,
            }
        ),
        sizes={
            "ring_chunks": MapSize(shape.chunks, shape.chunk_size),
            "ring_control": MapSize(value_len=8 * shape.control_words),
            "messages": MapSize(shape.messages_len),
        },
    )


def _defines(codes: list[Code]) -> dict[str, int | str]:
    reads_kernel = any(each.reads_kernel for each in codes)
    defines: dict[str, int | str] = {"KERNEL_OFFSETS": int(reads_kernel)}
    if reads_kernel:
        defines |= btf.defines()
    for each in codes:
        defines |= each.defines
    return defines
