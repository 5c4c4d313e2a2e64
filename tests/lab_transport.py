"""Faults of names, routes and TCP; most in the lab's namespace, with packet filters."""

from collections.abc import Iterator

from tests.federation import free_port
from tests.lab import Case, Lab, fault

ROOT = ("root",)


@fault("the port is closed", "tcp-refused")
def closed(lab: Lab) -> Iterator[Case]:
    yield Case(target=lab.target("127.0.0.1", free_port()))


@fault("the name does not exist", "dns-missing", needs=ROOT)
def missing(lab: Lab) -> Iterator[Case]:
    yield Case(target=lab.within("missing.test"), inside=True)


@fault("the name server is silent", "dns-timeout", needs=ROOT)
def silent(lab: Lab) -> Iterator[Case]:
    yield Case(target=lab.within("silent.test"), inside=True)


@fault("the name server fails", "dns-timeout", needs=ROOT)
def broken(lab: Lab) -> Iterator[Case]:
    yield Case(target=lab.within("broken.test"), inside=True)


@fault("the name server is slow", "dns-slow", needs=ROOT)
def slow(lab: Lab) -> Iterator[Case]:
    yield Case(target=lab.within("slow.test"), home=None, inside=True)


@fault("split DNS", "dns-differs", needs=ROOT)
def split(lab: Lab) -> Iterator[Case]:
    yield Case(target=lab.within("coordinator.test", addresses=("203.0.113.7",)), inside=True)


@fault("one of two addresses is dead", "tcp-partly", needs=ROOT)
def partly(lab: Lab) -> Iterator[Case]:
    with lab.namespace.filtering("ip daddr 127.0.0.9 reject with tcp reset"):
        yield Case(target=lab.within("two.test"), inside=True)


@fault("no route", "route-missing", needs=ROOT)
def unrouted(lab: Lab) -> Iterator[Case]:
    yield Case(target=lab.within("203.0.113.7"), inside=True)


@fault("no IPv6 route", "route-no-ipv6", needs=ROOT)
def no_six(lab: Lab) -> Iterator[Case]:
    yield Case(target=lab.within("2001:db8::7"), inside=True)


@fault("a firewall resets", "tcp-refused", needs=ROOT)
def rejected(lab: Lab) -> Iterator[Case]:
    with lab.namespace.filtering(f"tcp dport {lab.namespace.port} reject with tcp reset"):
        yield Case(target=lab.within(), inside=True)


@fault("a firewall drops the port", "tcp-dropped", needs=ROOT)
def dropped(lab: Lab) -> Iterator[Case]:
    with lab.namespace.filtering(f"tcp dport {lab.namespace.port} drop"):
        yield Case(target=lab.within(), inside=True)


@fault("a firewall drops everything", "tcp-silent", needs=ROOT)
def dropped_all(lab: Lab) -> Iterator[Case]:
    with lab.namespace.filtering("ip daddr 127.0.0.2 drop"):
        yield Case(target=lab.within("127.0.0.2"), inside=True)


@fault("a firewall rejects by ICMP", "tcp-prohibited", needs=ROOT)
def prohibited(lab: Lab) -> Iterator[Case]:
    rule = f"tcp dport {lab.namespace.port} reject with icmp type admin-prohibited"
    with lab.namespace.filtering(rule):
        yield Case(target=lab.within(), inside=True)


@fault("the host is absent", "tcp-absent", needs=ROOT)
def absent(lab: Lab) -> Iterator[Case]:
    yield Case(target=lab.within("198.51.100.77"), inside=True)


@fault("nft's plain reject", "tcp-prohibited", needs=ROOT)
def plain_reject(lab: Lab) -> Iterator[Case]:
    with lab.namespace.filtering(f"tcp dport {lab.namespace.port} reject"):
        yield Case(target=lab.within(), inside=True)


@fault("a firewall rejects by ICMPv6", "tcp-prohibited", needs=ROOT)
def prohibited_six(lab: Lab) -> Iterator[Case]:
    rule = f"tcp dport {lab.namespace.port} reject with icmpv6 type admin-prohibited"
    with lab.namespace.filtering(f"meta nfproto ipv6 {rule}"):
        yield Case(target=lab.within("::1"), inside=True)


@fault("a router knows no way", "tcp-no-network", needs=ROOT)
def no_network(lab: Lab) -> Iterator[Case]:
    rule = f"tcp dport {lab.namespace.port} reject with icmp type net-unreachable"
    with lab.namespace.filtering(rule):
        yield Case(target=lab.within(), inside=True)
