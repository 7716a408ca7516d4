"""From the choices of a capture to its programs: C, the compiler, and maps."""

from collections.abc import Sequence

from tccap.bpf import btf, collection, compiler, source
from tccap.bpf.bcclib import CompileError
from tccap.bpf.code import Code
from tccap.bpf.collection import Collection
from tccap.bpf.patch import Patches
from tccap.engine import memoryorder, realtime
from tccap.engine.parts import Choice
from tccap.errors import TccapError
from tccap.host.cpus import possible_cpus
from tccap.ipc.plan import Plan
from tccap.stream import abi


def prepare(plan: Plan, choices: Sequence[Choice]) -> Collection:
    """Compile the programs; TccapError where bcc or the kernel cannot."""
    memoryorder.refuse_weak_order()
    realtime.refuse_interrupted_packets()
    codes = [choice.code for choice in choices]
    defines = _defines(plan, codes)
    try:
        objects = compiler.compiled(_texts(codes), defines)
    except (CompileError, OSError) as error:
        raise TccapError(
            collection.refusal("prepare the BPF programs", error)
        ) from None
    return Collection(objects, _patches(codes))


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


def _defines(plan: Plan, codes: list[Code]) -> dict[str, int | str]:
    defines: dict[str, int | str] = {
        **abi.defines(plan.snaplen, possible_cpus(), plan.ring_mib),
    }
    reads_kernel = any(each.reads_kernel for each in codes)
    defines["KERNEL_OFFSETS"] = int(reads_kernel)
    if reads_kernel:
        defines |= btf.defines()
    for each in codes:
        defines |= each.defines
    return defines
