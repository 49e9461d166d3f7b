"""Serves the simulator over HTTP/2 and TLS on loopback, with a certificate of its own making."""

import asyncio
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded

from polaris_sim.apns.simulator import Answer, ApnsSimulator, Fault, Trouble

HOST = "127.0.0.1"


class ApnsServer:
    """``async with ApnsServer(simulator, folder) as server``: listens at ``server.url`` until the block ends."""

    def __init__(self, simulator: ApnsSimulator, folder: Path) -> None:
        """``folder``: where the certificate is kept, for clients to trust and for other servers to use too."""
        self.simulator, self.ca_file = simulator, folder / "apns-ca.pem"
        self._key_file = folder / "apns-key.pem"
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self.connections_made = 0

    @property
    def url(self) -> str:
        """Its address."""
        if self._server is None:
            raise RuntimeError("the server does not run")
        return f"https://{HOST}:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> "ApnsServer":
        """Listen."""
        if not self.ca_file.exists():
            _write_certificate(self.ca_file, self._key_file)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca_file, self._key_file)
        context.set_alpn_protocols(["h2"])
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), HOST, 0, ssl=context)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hang up."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()

    def joined(self, connection: "_Connection") -> None:
        """Somebody called."""
        self.connections_made += 1
        self._connections.add(connection)

    def left(self, connection: "_Connection") -> None:
        """Somebody hung up."""
        self._connections.discard(connection)


@dataclass
class _Request:
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)


class _Connection(asyncio.Protocol):
    def __init__(self, server: ApnsServer) -> None:
        self._server, self._simulator = server, server.simulator
        self._http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._requests: dict[int, _Request] = {}
        self._last_answered = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a TLS stream
        self._transport = transport
        self._server.joined(self)
        self._http.initiate_connection()
        self._flush()

    def connection_lost(self, _: Exception | None) -> None:
        self._server.left(self)

    def data_received(self, data: bytes) -> None:
        for event in self._http.receive_data(data):
            self._heed(event)
        self._flush()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _heed(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=int() as stream_id, headers=list() as headers):
                self._requests[stream_id] = _Request({str(name): str(value) for name, value in headers})
            case DataReceived(stream_id=int() as stream_id, data=bytes() as data):
                self._requests[stream_id].body += data
                self._http.acknowledge_received_data(event.flow_controlled_length, stream_id)
            case StreamEnded(stream_id=int() as stream_id):
                self._answer(stream_id, self._requests.pop(stream_id))

    def _answer(self, stream_id: int, request: _Request) -> None:
        self._simulator.requests += 1
        fault = self._simulator.faults.popleft() if self._simulator.faults else None
        match fault and fault.trouble:
            case None:
                self._say(stream_id, self._taken(request))
            case Trouble.ANSWER:
                assert isinstance(fault, Fault)  # noqa: S101 - matched
                self._say(stream_id, Answer(fault.status, fault.reason))
            case Trouble.SILENCE:
                self._taken(request)
            case Trouble.DROP:
                self.abort()
            case Trouble.GO_AWAY:
                self._go_away()
            case Trouble.RESET:
                self._http.reset_stream(stream_id)

    def _go_away(self) -> None:
        self._http.close_connection(additional_data=b'{"reason":"Shutdown"}', last_stream_id=self._last_answered)
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _taken(self, request: _Request) -> Answer:
        headers = {name: value for name, value in request.headers.items() if not name.startswith(":")}
        path, method = request.headers[":path"], request.headers[":method"]
        return self._simulator.take(method, path, headers, bytes(request.body))

    def _say(self, stream_id: int, answer: Answer) -> None:
        self._last_answered = stream_id
        headers = [(":status", str(answer.status))]
        if answer.body:
            headers.append(("content-type", "application/json"))
        self._http.send_headers(stream_id, headers, end_stream=not answer.body)
        if answer.body:
            self._http.send_data(stream_id, answer.body, end_stream=True)

    def _flush(self) -> None:
        if self._transport is not None and (data := self._http.data_to_send()):
            self._transport.write(data)


def _write_certificate(certificate_file: Path, key_file: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated push service")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.touch(mode=0o600)
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
