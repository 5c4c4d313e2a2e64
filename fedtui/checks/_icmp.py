"""Who said no to a TCP connection: Linux keeps the ICMP message, and the router that sent it."""

import socket
import struct

_RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (41, 25)}  # linux/in*.h
_FROM_ICMP = (2, 3)  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, linux/errqueue.h
_REASONS = {
    # (type, code) of RFC 792, RFC 1812 and RFC 4443. A host closes a port with RST, never with
    # 'port unreachable': that is a firewall too.
    (3, 0): "network", (3, 1): "host", (3, 3): "prohibited", (3, 9): "prohibited",
    (3, 10): "prohibited", (3, 13): "prohibited",
}  # fmt: skip
_REASONS_6 = {
    (1, 0): "network", (1, 1): "prohibited", (1, 3): "host", (1, 4): "prohibited",
    (1, 5): "prohibited", (1, 6): "prohibited",
}  # fmt: skip


class RejectedError(OSError):
    """An ICMP message ended a connection attempt.

    Attributes:
        reason: 'prohibited', 'host' or 'network': what cannot be reached.
        router: Who sent it.
        message: Its type and code, for the evidence.
    """

    def __init__(self, reason: str, router: str, message: str) -> None:
        super().__init__(f"{message} from {router}")
        self.reason, self.router, self.message = reason, router, message


def listen(sock: socket.socket) -> None:
    """Ask the kernel to keep what routers say of this connection."""
    try:
        sock.setsockopt(*_RECVERR[sock.family], 1)
    except OSError:  # not Linux: the error's number must do
        return


def rejection(sock: socket.socket) -> RejectedError | None:
    """The ICMP message that ended ``sock``'s attempt to connect, if one did."""
    try:
        sock.setblocking(False)
        _, extras, _, _ = sock.recvmsg(512, 512, socket.MSG_ERRQUEUE)
    except (OSError, AttributeError):
        return None
    for _, _, data in extras:
        if len(data) < 16:
            continue
        _, origin, kind, code = struct.unpack_from("IBBB", data)
        reasons = _REASONS if sock.family == socket.AF_INET else _REASONS_6
        if origin in _FROM_ICMP and (kind, code) in reasons:
            version = "ICMP" if sock.family == socket.AF_INET else "ICMPv6"
            message = f"{version} type {kind} code {code}"
            return RejectedError(reasons[kind, code], _sender(data[16:]), message)
    return None


def _sender(address: bytes) -> str:
    """The router in a ``struct sockaddr_in`` or ``sockaddr_in6``."""
    family = struct.unpack_from("H", address)[0] if len(address) >= 8 else 0
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, address[4:8])
    if family == socket.AF_INET6 and len(address) >= 24:
        return socket.inet_ntop(socket.AF_INET6, address[8:24])
    return "an unknown router"
