"""The Plan that the front asks the engine for, from what a user typed and chose."""

from tccap.errors import TccapError, quoted
from tccap.filter import language
from tccap.front import listing, processfilter
from tccap.front.options import Options
from tccap.ipc.names import ANY
from tccap.ipc.plan import Plan, is_path


def plan(interface: str, box_filter: str, options: Options) -> Plan:
    """Return the Plan for an extcap interface (``tccap-eth0``) and its options.

    ``box_filter`` is the text in Wireshark's capture-filter box. TccapError if
    there is no such Plan.
    """
    filters = tuple(f for f in (box_filter, options.filter) if f.strip())
    for text in filters:
        language.encode(text)  # for its error message
    device = listing.device_of(interface)
    place = processfilter.place(options.place)
    return Plan(
        device=device,
        filters=filters,
        direction=options.direction,
        link_types=options.link_type,
        snaplen=options.snaplen,
        ring_mib=options.ring_size,
        label=options.label,
        pids=processfilter.pids(f"{options.pid},{options.process}"),
        uids=processfilter.uids(options.uid),
        comms=processfilter.comms(options.comm),
        containers=processfilter.patterns(
            f"{options.container},{place.get('container', '')}", "containers"
        ),
        pods=processfilter.patterns(options.pod, "pods"),
        namespaces=processfilter.patterns(options.namespace, "namespaces"),
        units=processfilter.patterns(
            f"{options.unit},{place.get('unit', '')}", "units"
        ),
        children=options.children,
        inside=_inside(device, options),
        sockets=options.sockets,
        processes=options.processes,
        tls=options.tls,
        tls_libraries=_paths(options.tls_libraries),
        tls_wait_ms=options.tls_wait,
        keylog=bool(options.keylog_file),
    )


def _inside(device: str, options: Options) -> bool:
    if options.inside and device != ANY:
        raise TccapError(
            "--inside adds the devices of containers to all devices: capture tccap-any "
            f"instead of {device}."
        )
    return options.inside


def _paths(text: str) -> tuple[str, ...]:
    paths = tuple(item.strip() for item in text.split(",") if item.strip())
    for path in paths:
        if not is_path(path):
            raise TccapError(f"{quoted(path)} is not the absolute path of a file.")
    return paths
