"""Sockets that BPF programs of others choose."""

from truth.cases.registry import CaseContext, case
from truth.other_sockets import SocketMap, steering
from truth.scripts import answer_one
from truth.sockets import ANY4, listener, udp
from truth.translation import masquerade
from truth.workers import Script, Worker, alternate, kill_all


@case
def listener_of_another_port(context: CaseContext) -> None:
    """A program of type sk_lookup hands a port's connections to it."""

    def serves() -> Script:
        context.claim("tcp", local=port)
        with listener(there) as listening:
            chosen.put(listening)
            yield
            yield from answer_one(listening)

    port, there = context.port(), context.port()
    chosen = SocketMap()
    with steering(context.network.here, port, chosen) as there_is:
        if not there_is:
            context.lacks("programs of type sk_lookup")
            return
        alternate(Worker(serves()), Worker(context.scripts.client(port)))


@case
def sender_whose_port_is_steered(context: CaseContext) -> None:
    """What came to its port would get to another process's socket."""

    def has() -> Script:
        with udp(ANY4) as sock:
            sock.bind((ANY4, there))
            chosen.put(sock)
            sock.sendto(b"statement", (ANY4, there))
            assert sock.recv(100)
            yield
            yield

    def sends() -> Script:
        context.claim("udp", remote=drain)
        with udp(ANY4) as sock:
            sock.bind((ANY4, port))
            for _ in range(2):
                sock.sendto(b"statement", (outside, drain))
                yield

    port, there, drain = context.port(), context.port(), context.port()
    box, outside = context.network.bridged[0], context.network.outside.far_address
    chosen = SocketMap()
    with (
        masquerade(context.network.here, port),
        steering(box.space, port, chosen) as (there_is),
    ):
        if not there_is:
            context.lacks("programs of type sk_lookup")
            return
        with box.space.entered():
            bystander, sender = Worker(has()), Worker(sends())
        with context.network.outside.space.entered():
            sink = Worker(context.scripts.udp_silent(drain, ANY4))
        bystander.step()
        sink.step()
        alternate(sender)
    kill_all()
