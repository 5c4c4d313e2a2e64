"""The coordinator's certificate renews itself; the authority lasts ten years."""

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from fedtui import certificates, events, operations, site
from fedtui.flower.renewal import Renewal
from fedtui.journal import Journal
from fedtui.site import Home
from fedtui.transport import pinned
from tests import federation as fed
from tests.federation import Federation, records, until
from tests.lab_authority import of_federation


@pytest.fixture
def alone() -> Iterator[Federation]:
    with fed.coordinator() as made:
        yield made


def serial(made: Federation) -> int:
    """Of the certificate that a new connection gets, verified with the authority."""
    context = pinned((made.coordinator.keys / "ca.pem").read_text())
    with (
        socket.create_connection(("127.0.0.1", made.port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        data = tls.getpeercert(binary_form=True)
    assert data
    return x509.load_der_x509_certificate(data).serial_number


def test_a_certificate_is_renewed_in_time_and_open_connections_live_on(alone: Federation) -> None:
    home = alone.coordinator
    operations.up(home)
    first = serial(alone)
    context = pinned((home.keys / "ca.pem").read_text())
    held = http.client.HTTPSConnection("127.0.0.1", alone.port, context=context, timeout=30)
    held.request("GET", "/fedtui/hello")
    assert held.getresponse().read()
    before = held.sock

    # Replaced on disk by one that is due in 3 s: the coordinator takes it up, then renews it.
    certificates.create_server(home.keys, names=("127.0.0.1",), life=timedelta(seconds=4))
    renewed = until(home, lambda e: isinstance(e, events.CertificateRenewed))
    deadline = time.monotonic() + 60
    while serial(alone) == first:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    held.request("GET", "/fedtui/hello")
    answer = held.getresponse()

    assert answer.status == 200
    assert answer.read()
    assert held.sock is before  # the very connection from before
    held.close()
    left = certificates.days_left(home.keys / "server.pem")
    assert certificates.SERVER_DAYS - 1 < left <= certificates.SERVER_DAYS
    assert "two thirds" in renewed.event.sentence


def renewal(home: Home) -> tuple[Renewal, list[events.CertificateRenewed]]:
    book = Journal(home.journal, source="coordinator")
    made = Renewal(home, site.load(home), book)
    book.close()
    return made, [e for _, e in records(home, events.CertificateRenewed)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "h")
    operations.create(made, "dmz", coordinator=True, data=False, names=("fed.test", "192.0.2.7"))
    return made


def test_a_certificate_that_holds_is_left_alone(home: Home) -> None:
    before = (home.keys / "server.pem").read_bytes()

    _, told = renewal(home)

    assert told == []
    assert (home.keys / "server.pem").read_bytes() == before


def expire(home: Home) -> None:
    authority = of_federation(home.path, home.keys)
    files = authority.issue("fed.test", "192.0.2.7", begins=-91, ends=-1)
    for file, name in zip(files, ("server.pem", "server.key"), strict=True):
        (home.keys / name).write_bytes(file.read_bytes())


def rename(home: Home) -> None:
    text = home.settings.read_text().replace('"fed.test"', '"fed.test", "new.test"')
    home.settings.write_text(text)


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (expire, "had expired"),
        (rename, "was not for new.test"),
        (lambda home: (home.keys / "server.pem").write_text("x"), "could not be read"),
        (lambda home: (home.keys / "server.pem").unlink(), "could not be read"),
        (
            lambda home: (home.keys / "server.key").write_bytes(
                (home.keys / "node.key").read_bytes()
            ),
            "could not be read",
        ),
    ],
)
def test_what_does_not_hold_at_the_start_is_issued_anew(
    home: Home, spoil: Callable[[Home], object], cause: str
) -> None:
    spoil(home)

    _, (told,) = renewal(home)

    dated = certificates.read_server(home.keys / "server.pem")
    assert cause in told.cause
    assert set(site.load(home).coordinator.names) <= set(dated.names)
    assert dated.expires > time.time() + 80 * 86400
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
        home.keys / "server.pem", home.keys / "server.key"
    )


def test_it_is_due_at_two_thirds_of_its_life_and_a_little(home: Home) -> None:
    dated = certificates.read_server(home.keys / "server.pem")
    due = [(renewal(home)[0]._due - dated.issued) / 86400 for _ in range(50)]

    assert 60 <= min(due) < max(due) <= 64.5
    assert max(due) - min(due) > 1  # not every coordinator in the same hour


def test_a_pair_that_does_not_fit_is_not_taken_up(home: Home) -> None:
    made, _ = renewal(home)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home.keys / "server.pem", home.keys / "server.key")
    made.serve(context)
    (home.keys / "server.key").write_bytes((home.keys / "node.key").read_bytes())
    other = of_federation(home.path, home.keys).issue("fed.test")
    (home.keys / "server.pem").write_bytes(other[0].read_bytes())

    made.watch()

    assert made._again > time.monotonic()  # looked at again in a minute; the old pair serves


def test_the_authority_lasts_ten_years_and_no_certificate_outlives_it(home: Home) -> None:
    authority = x509.load_pem_x509_certificate((home.keys / "ca.pem").read_bytes())
    life = authority.not_valid_after_utc - authority.not_valid_before_utc

    certificates.create_server(home.keys, names=("a",), life=timedelta(days=9999))

    server = certificates.read_server(home.keys / "server.pem")
    assert 3649 <= life.days <= 3651
    assert server.expires == authority.not_valid_after_utc.timestamp()
