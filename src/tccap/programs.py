"""From a Plan to BPF programs: what goes into them, the compiler, and their maps."""

from tccap import abi, btf, compiler, kernel, realtime
from tccap.access import Caller
from tccap.attribution import Attribution
from tccap.bcclib import CompileError
from tccap.capturefilter import CaptureFilter
from tccap.errors import TccapError
from tccap.kernel import Kernel
from tccap.plan import Plan
from tccap.tls import Tls


def prepare(
    plan: Plan, caller: Caller, tls: Tls, capture_filter: CaptureFilter
) -> tuple[Kernel, Attribution]:
    """Compile the programs; TccapError where bcc or the kernel cannot."""
    realtime.refuse_interrupted_packets()
    attribution = Attribution(
        plan, caller, filter_needs_it=capture_filter.needs_processes
    )
    reads_kernel = attribution.finds_owners or tls.sets_probes
    sources = ("stages.c", *attribution.sources(), *tls.sources())
    texts = (
        kernel.text("stages.c") + capture_filter.c_text() + kernel.text("filter.c"),
        kernel.text(*sources)
        + tls.c_text()
        + capture_filter.late_c_text()
        + kernel.text("capture.c"),
    )
    ring_pages = abi.ring_pages(plan.ring_mib)
    defines = {
        **abi.defines(plan.snaplen, kernel.possible_cpus()),
        **(btf.defines() if reads_kernel else {}),
        **attribution.defines(),
        **tls.defines(),
        "RING_PAGES": ring_pages,
    }
    try:
        objects = [compiler.compiled(text, defines) for text in texts]
    except (CompileError, OSError) as error:
        raise TccapError(kernel.refusal("prepare the BPF programs", error)) from None
    return Kernel(objects, ring_pages), attribution
