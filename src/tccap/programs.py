"""From a Plan to compiled BPF programs: what goes into them, and the compiler."""

from tccap import abi, btf
from tccap.access import Caller
from tccap.attribution import Attribution
from tccap.capturefilter import CaptureFilter
from tccap.kernel import Kernel, possible_cpus
from tccap.plan import Plan
from tccap.tls import Tls


def prepare(
    plan: Plan, caller: Caller, tls: Tls, capture_filter: CaptureFilter
) -> tuple[Kernel, Attribution]:
    """Compile the programs; TccapError where bcc or the kernel cannot."""
    attribution = Attribution(
        plan, caller, filter_needs_it=capture_filter.needs_processes
    )
    reads_kernel = attribution.finds_owners or tls.sets_probes
    kernel = Kernel(
        attribution.sources() + tls.sources(),
        tls.c_text() + capture_filter.c_text(),
        {
            **abi.defines(plan.snaplen, possible_cpus()),
            **(btf.defines() if reads_kernel else {}),
            **attribution.defines(),
            **tls.defines(),
        },
        abi.ring_pages(plan.ring_mib),
    )
    return kernel, attribution
