"""From a Plan to BPF programs: what goes into them, the compiler, and their maps."""

from tccap.bpf import btf, collection, compiler, source
from tccap.bpf.bcclib import CompileError
from tccap.bpf.collection import Kernel
from tccap.engine import realtime
from tccap.errors import TccapError
from tccap.filter.capturefilter import CaptureFilter
from tccap.host.access import Caller
from tccap.ipc.plan import Plan
from tccap.owners.attribution import Attribution
from tccap.stream import abi
from tccap.tls.session import Tls


def prepare(
    plan: Plan, caller: Caller, tls: Tls, capture_filter: CaptureFilter
) -> tuple[Kernel, Attribution]:
    """Compile the programs; TccapError where bcc or the kernel cannot."""
    realtime.refuse_interrupted_packets()
    attribution = Attribution(
        plan, caller, filter_needs_it=capture_filter.needs_processes
    )
    reads_kernel = attribution.finds_owners or tls.sets_probes
    sources = (*attribution.sources(), *tls.sources())
    texts = (
        source.text(capture_filter.c_text(), source.including("packet/filter.c")),
        source.text(
            source.including(*sources),
            tls.c_text(),
            capture_filter.late_c_text(),
            source.including("packet/capture.c"),
        ),
    )
    ring_pages = abi.ring_pages(plan.ring_mib)
    defines = {
        **abi.defines(plan.snaplen, collection.possible_cpus()),
        **(btf.defines() if reads_kernel else {}),
        **attribution.defines(),
        **tls.defines(),
        "RING_PAGES": ring_pages,
        "KERNEL_OFFSETS": int(reads_kernel),
    }
    try:
        objects = [compiler.compiled(text, defines) for text in texts]
    except (CompileError, OSError) as error:
        raise TccapError(
            collection.refusal("prepare the BPF programs", error)
        ) from None
    return Kernel(objects, ring_pages), attribution
