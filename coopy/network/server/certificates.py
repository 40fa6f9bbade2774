"""Makes certificates for the nodes of one system: an authority of their own, and for each node a key that it signs.

Only who makes them needs the extra [crypto]; using them takes Python alone.

    OUT/authority.pem        the authority's certificate, for everybody; valid for AUTHORITY_DAYS
    OUT/authority.key        its key: who has it makes nodes. It belongs on no node. 0600
    OUT/<host>_<port>/       what one node needs in the folder tls/ of its data directory
        authority.pem        the same
        node.pem             its certificate, valid for NODE_DAYS
        node.key             its key. 0600

A node's certificate names the host of its address, and this machine as it calls itself: a node that listens on 0.0.0.0
reaches its own server there. It serves as a client's too, as the servers of a cluster show theirs to one another.

A folder is complete or not there: it is made under another name and then renamed.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from coopy.errors import UsageError
from coopy.network.address import Address
from coopy.network.server.configuration import AUTHORITY, CERTIFICATE, KEY

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

AUTHORITY_DAYS = 3652
"""Ten years: when it ends, every node needs new certificates."""
NODE_DAYS = 730
"""Two years: one that is lost is of use for no longer than that."""
BACKDATED = timedelta(hours=1)
"""The clocks of the nodes need not agree on the minute."""
AUTHORITY_KEY = "authority.key"
_HERE = ("localhost", "127.0.0.1", "::1")


class Made(NamedTuple):
    """What `make` has made."""

    authority: str
    """Path of the authority's certificate."""
    new: bool
    """Whether the authority was made now, too."""
    authority_until: datetime
    until: datetime
    folders: dict[str, str]
    """The folder of each node."""


def make(out: str, nodes: Sequence[Address], days: int = NODE_DAYS) -> Made:
    """Makes a folder for each node, and the authority unless ``out`` has one.

    Raises `UsageError` if a folder is there already, or what is in ``out`` can't be used; OSError.
    """
    library()
    if not nodes or len(set(nodes)) != len(nodes):
        raise UsageError("the nodes: name each once, as in a:5466,b:5466,c:5466")
    folders = {str(node): os.path.join(out, folder_of(node)) for node in nodes}
    for name, folder in folders.items():
        if os.path.lexists(folder):
            raise UsageError(f"{folder} is there already. Nothing was written. To make another for {name}, remove it first.")
    os.makedirs(out, exist_ok=True)
    path = os.path.join(out, AUTHORITY)
    new = not os.path.lexists(path) and not os.path.lexists(os.path.join(out, AUTHORITY_KEY))
    if new:
        _make_authority(out)
    authority, key = _authority(out)
    until = min(datetime.now(timezone.utc) + timedelta(days=days), authority.not_valid_after_utc)
    for node in nodes:
        _make_folder(folders[str(node)], node, authority, key, until)
    return Made(path, new, authority.not_valid_after_utc, until, folders)


def folder_of(node: Address) -> str:
    """What the folder of a node is called."""
    return f"{node.host.replace(':', '_')}_{node.port}"


def library() -> Any:
    """The package `cryptography`. Raises `UsageError` if it is not there."""
    try:
        import cryptography.x509
    except ImportError as error:
        raise UsageError(
            f"to make certificates takes the extra [crypto]: {error}. Nothing was written. Install it with "
            f"`pip install 'coopy[crypto]'`; to use certificates takes none."
        ) from error
    return cryptography


def _make_authority(out: str) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = title(f"coopy authority {os.urandom(4).hex()}")
    found = (
        _begun(name, key, datetime.now(timezone.utc) + timedelta(days=AUTHORITY_DAYS))
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    # The key first: a certificate without it would be taken for one of somebody else's.
    _write(os.path.join(out, AUTHORITY_KEY), pem(key), 0o600)
    _write(os.path.join(out, AUTHORITY), pem(found), 0o644)


def _authority(out: str) -> tuple[Certificate, EllipticCurvePrivateKey]:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    paths = os.path.join(out, AUTHORITY), os.path.join(out, AUTHORITY_KEY)
    try:
        with open(paths[0], "rb") as file:
            found = x509.load_pem_x509_certificate(file.read())
        with open(paths[1], "rb") as file:
            key = load_pem_private_key(file.read(), None)
    except FileNotFoundError as error:
        raise UsageError(
            f"{error.filename} is not there, and {out} has the other half of an authority. Nothing was written. Put it "
            f"back, or name a new folder: then every node needs new certificates."
        ) from error
    except (ValueError, TypeError) as error:
        raise UsageError(f"{paths[0]} and {paths[1]} can't be read: {error}. Nothing was written.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != found.public_key():
        raise UsageError(f"{paths[1]} is not the key of {paths[0]}. Nothing was written.")
    if found.not_valid_after_utc < datetime.now(timezone.utc):
        raise UsageError(
            f"{paths[0]} was valid until {found.not_valid_after_utc:%Y-%m-%d}. Nothing was written. Name a new folder: "
            f"every node needs new certificates."
        )
    return found, key


def _make_folder(
    folder: str, node: Address, authority: Certificate, authority_key: EllipticCurvePrivateKey, until: datetime
) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = ec.generate_private_key(ec.SECP256R1())
    names = dict.fromkeys((node.host, *_HERE))
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    found = (
        _begun(title(str(node)), key, until)
        .issuer_name(authority.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(digital_signature=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([alternative(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    made = f"{folder}.new"
    shutil.rmtree(made, ignore_errors=True)
    os.mkdir(made, 0o700)
    _write(os.path.join(made, KEY), pem(key), 0o600)
    _write(os.path.join(made, CERTIFICATE), pem(found), 0o644)
    _write(os.path.join(made, AUTHORITY), pem(authority), 0o644)
    os.rename(made, folder)


def _begun(subject: Any, key: EllipticCurvePrivateKey, until: datetime) -> Any:
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(datetime.now(timezone.utc), until) - BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def title(text: str) -> Any:
    """The name of who a certificate is of."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    # A common name has 64 characters at most. Nobody looks at it but people: hosts are in the alternative names.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[-64:])])


def usage(**given: bool) -> Any:
    """What a key may be used for: the uses that are given, and no other."""
    from cryptography import x509

    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: given.get(name, False) for name in names})


def alternative(host: str) -> Any:
    """A host or an IP address that a certificate is for."""
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def pem(what: Any) -> bytes:
    """A certificate, or a private key, as PEM."""
    from cryptography.hazmat.primitives import serialization

    encoding = serialization.Encoding.PEM
    if hasattr(what, "private_bytes"):
        plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return bytes(what.private_bytes(encoding, *plain))
    return bytes(what.public_bytes(encoding))


def _write(path: str, data: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
