"""The processes that a capture with --pid is asked for."""

from collections.abc import Iterator

from truth.cases.registry import CaseContext, case
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
