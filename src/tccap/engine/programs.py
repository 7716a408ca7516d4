"""From the choices of a capture to its programs: C, the compiler, and maps."""

from collections.abc import Sequence

from tccap.bpf import btf, collection, compiler, source
from tccap.bpf.bcclib import CompileError
from tccap.bpf.code import Code
from tccap.bpf.collection import Collection
from tccap.bpf.objects import MapSize
from tccap.bpf.patch import Patches
from tccap.engine import realtime
from tccap.engine.parts import Choice
from tccap.errors import TccapError
from tccap.host.cpus import possible_cpus
from tccap.ipc.plan import Plan
from tccap.stream import abi
from tccap.stream.programoptions import Option


def prepare(plan: Plan, choices: Sequence[Choice]) -> Collection:
    """Compile the programs; TccapError where bcc or the kernel cannot."""
    realtime.refuse_interrupted_packets()
    codes = [choice.code for choice in choices]
    codes.append(_packet_code(plan))
    try:
        objects = compiler.compiled(_texts(codes), _defines(codes))
    except (CompileError, OSError) as error:
        raise TccapError(
            collection.refusal("prepare the BPF programs", error)
        ) from None
    sizes = {name: size for each in codes for name, size in each.sizes.items()}
    return Collection(objects, _patches(codes), sizes)


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
    snaplen = abi.bytes_kept(plan.snaplen)
    return Code(
        defines=abi.defines(possible_cpus()),
        patches=Patches({Option.SNAPLEN: snaplen}),
        sizes={
            "ring": MapSize(abi.ring_pages(plan.ring_mib) * abi.PAGE_LEN),
            "scratch": MapSize(value_len=abi.scratch_len(snaplen)),
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
