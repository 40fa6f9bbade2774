"""Certificates that a password makes: they show that the other side has the same one, before either has said it.

A password makes an authority, the same one wherever that is done. A server shows a certificate signed by it, and whoever connects
takes no other; servers of a cluster ask one another for theirs. So a password is told only to a server that has it already, inside
TLS: not to somebody who listens at the address of a node that is away, and not to somebody who stands between two and passes on
what they say, for whom an answer to a challenge would do. It needs no certificates of the user's own; with `tls=` those are used.

    <folder>/node-authority.pem     the certificate of the authority that the nodes' password makes
    <folder>/node.pem               this server's, signed by it, and its key. 0600
    <folder>/replica.pem            one signed by the authority that the replicas' password makes, and its key. 0600

A server that has both shows the one whose name is asked for (SNI). A name and no host: whoever has the password may make a
certificate for any host. All is derived, so the files are the same at each start, and on a full disk there is nothing to write.

A certificate lets anybody try passwords on it, as anybody who may log in can. Each takes SCRYPT: 32 MB, and 0.1 s of a core; a
server lets a guess be tried in a hundredth of that. A password of 128 random bits is out of reach, a word from a list is not.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import ssl
from datetime import datetime, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from coopy.errors import UsageError
from coopy.network.server import folder
from coopy.network.server.configuration import TLS
from coopy.network.subjects import NODE, REPLICA, SYSTEM

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.x509 import Certificate

SCRYPT = {"n": 1 << 15, "r": 8, "p": 1, "maxmem": 64 << 20, "dklen": 32}
"""128 * n * r bytes are 32 MB, and take 0.1 s of a core; ``maxmem`` must be more than that. ``dklen``: the bytes of an Ed25519 key."""
SINCE, UNTIL = datetime(1970, 1, 1, tzinfo=timezone.utc), datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc)
"""For ever, whatever a clock says: whoever has the password can make new ones at any time."""
AUTHORITY = "node-authority.pem"
_WHOSE = {NODE: "node", SYSTEM: "node", REPLICA: "replica"}


def name(user: str) -> str:
    """What the certificate is called that a server shows to a user."""
    return f"{_WHOSE[user]}.coopy"


def context(user: str, password: str) -> ssl.SSLContext:
    """For a connection to a server that has the password of a user; `name` is the server's name then. Raises `UsageError`."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.minimum_version = ssl.TLSVersion.TLSv1_3
    found.load_verify_locations(cadata=_pem(_authority(_WHOSE[user], password)[1]))
    return found


def files(place: str, user: str, password: str, host: str) -> TLS:
    """Writes what a server at a host shows to those who have the password, unless it is there. Raises `UsageError`, OSError."""
    whose = _WHOSE[user]
    key, authority = _authority(whose, password)
    own = os.path.join(place, f"{whose}.pem")
    others = os.path.join(place, AUTHORITY)
    _keep(own, _own(whose, password, host, key, authority))
    if user != REPLICA:  # Replicas show no certificates.
        _keep(others, _pem(authority))
    return TLS(own, own, others)


def _keep(path: str, text: str) -> None:
    if folder.read(path) != text:
        folder.write(path, text)


def _own(whose: str, password: str, host: str, authority_key: Ed25519PrivateKey, authority: Certificate) -> str:
    """The certificate and the key of a server, as PEM."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    from coopy.network.server import certificates

    key = _key(whose, password, f"server {host}")
    # Servers know one another by host.
    names = [name(whose), host]
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    found = (
        _begun(certificates.title(f"coopy {whose} {host}"), key)
        .issuer_name(authority.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(certificates.usage(digital_signature=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([certificates.alternative(each) for each in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(authority_key, None)
    )
    return _pem(found) + certificates.pem(key).decode()


def _authority(whose: str, password: str) -> tuple[Ed25519PrivateKey, Certificate]:
    library()
    from cryptography import x509

    from coopy.network.server import certificates

    key = _key(whose, password, "authority")
    # The name tells two of them apart: otherwise the wrong one is taken for the right one with a bad signature.
    title = certificates.title(f"coopy {whose} {_digest(key)[:16]}")
    found = (
        _begun(title, key)
        .issuer_name(title)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(certificates.usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(key, None)
    )
    return key, found


def _begun(subject: Any, key: Ed25519PrivateKey) -> Any:
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(int(_digest(key)[:30], 16) + 1)
        .not_valid_before(SINCE)
        .not_valid_after(UNTIL)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key(whose: str, password: str, what: str) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(hmac.digest(_stretched(whose, password), what.encode(), "sha256"))


@lru_cache(maxsize=64)
def _stretched(whose: str, password: str) -> bytes:
    # The salt can't be a secret, nor the system's: whoever connects from outside has the password alone.
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=f"coopy {whose}".encode(), **SCRYPT)


def _digest(key: Ed25519PrivateKey) -> str:
    return hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest()


def _pem(certificate: Certificate) -> str:
    from coopy.network.server import certificates

    return certificates.pem(certificate).decode()


def library() -> Any:
    """The package `cryptography`. Raises `UsageError` if it is not there."""
    try:
        import cryptography.x509
    except ImportError as error:
        raise UsageError(
            f"a replicated system needs the extra [cluster]: {error}. Nothing was opened. Install it with "
            f"`pip install 'coopy[cluster]'`."
        ) from error
    return cryptography
