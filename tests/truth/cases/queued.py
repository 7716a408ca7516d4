"""Packets that another process lets go when their sender has gone on."""

from truth.cases.other_hosts import used_datagram_server
from truth.cases.registry import CaseContext, last_case
from truth.queue import lets_go, queued
from truth.sockets import LO4, udp
from truth.workers import Script, Worker, kill_all


@last_case  # where nftables lacks queues, the kernel keeps the table of iptables
def datagrams_of_a_netfilter_queue(context: CaseContext) -> None:
    """A firewall asks a process about each of them."""

    def sends() -> Script:
        context.claim("udp", remote=port)
        with udp(LO4) as sock:
            sock.sendto(b"before", (LO4, port))
            yield
            while True:
                sock.sendto(b"statement", (LO4, port))
                yield

    port, number = context.port(), context.port()
    server, sender = Worker(used_datagram_server(context, port)), Worker(sends())
    server.step()
    sender.step()
    with queued(context.network.here, number, port) as there_is:
        if not there_is:
            context.lacks("queue of netfilter")
            return
        deciding = Worker(lets_go(number))
        deciding.step()
        for _ in range(3):
            sender.step()
            deciding.step()
    kill_all()
