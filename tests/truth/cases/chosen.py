"""The processes that a capture with --pid is asked for."""

from collections.abc import Iterator

from truth.cases.registry import CaseContext, case
from truth.scripts import answer_one
from truth.sockets import ANY4, LO4, listener
from truth.translation import published
from truth.workers import Script, Worker, alternate


@case
def chosen_process(context: CaseContext) -> Iterator[None]:
    """A client and a server that exist before the capture starts."""

    def script() -> Script:
        yield
        yield from context.scripts.client(served)

    def serving() -> Script:
        yield
        yield from context.scripts.server(serves)

    served, serves = context.port(), context.port()
    client, server = Worker(script(), b"chosen"), Worker(serving(), b"chosen too")
    client.step()
    server.step()
    context.claim("none", local=1, pid=client.pid)
    context.claim("none", local=2, pid=server.pid)
    yield
    alternate(Worker(context.scripts.server(served)), client)
    alternate(server, Worker(context.scripts.client(serves)))


def _after_the_start(script: Script) -> Script:
    yield
    yield from script


@case
def chosen_process_in_a_container(context: CaseContext) -> Iterator[None]:
    """A client and a server there, before the capture starts; this host is the peer."""
    scripts, (box, _) = context.scripts, context.network.containers
    asked, serves = context.port(), context.port()
    with box.space.entered():
        client = Worker(_after_the_start(scripts.client(asked, box.near_address)))
        server = Worker(_after_the_start(scripts.server(serves, ANY4)))
    for number, worker in enumerate((client, server)):
        worker.step()
        context.claim("none", local=10 + number, pid=worker.pid)
    yield
    alternate(Worker(scripts.server(asked, ANY4)), client)
    alternate(server, Worker(scripts.client(serves, box.far_address)))


@case
def chosen_process_beside_translation(context: CaseContext) -> Iterator[None]:
    """It listens on the port that is published for a container's server."""

    def serves() -> Script:
        yield
        context.claim("tcp", local=port, address=LO4)
        with listener(port, ANY4) as listening:
            yield
            yield from answer_one(listening)

    scripts, network = context.scripts, context.network
    port, there = context.port(), context.port()
    box, outside = network.bridged[0], network.outside
    chosen = Worker(serves())
    chosen.step()
    context.claim("none", local=20, pid=chosen.pid)
    yield
    with published(network.here, "tcp", port, (box.far_address, there)):
        chosen.step()
        with box.space.entered():
            server = Worker(scripts.server(there, ANY4))
        server.step()
        context.claim("tcp", local=port, address=outside.near_address, pid=server.pid)
        with outside.space.entered():
            client = Worker(scripts.client(port, outside.near_address))
        context.claim("tcp", remote=there, pid=client.pid)
        alternate(client, server)
        alternate(Worker(scripts.client(port)), chosen)
