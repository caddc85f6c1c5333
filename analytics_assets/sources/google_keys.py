"""Signatures with the private key of a Google service account."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from google.auth.crypt.base import Signer

# Google gives out 2048 bits, and once gave out 1024. What a key costs grows with the cube of its length, and all syncs wait.
_BITS = range(1024, 4096 + 1)
_MOST_EXPONENT = 2**32


class KeySigner(Signer):
    """Signs by RSASSA-PKCS1-v1_5 with SHA-256 (RS256).

    A key comes from a tenant, so it is checked at each use. OpenSSL's own check also tests both primes, which takes 35 ms of
    the processor where signing takes half of one: in place of it the numbers must satisfy every equation of an RSA key, and
    each signature is verified with the key's public half before it is given away. Raises ValueError, TypeError or
    UnsupportedAlgorithm where a key is none.
    """

    def __init__(self, pem: str, key_id: str | None) -> None:
        key = load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError("the key is not of RSA")
        if key.key_size not in _BITS:
            raise ValueError(f"the key has {key.key_size} bits; expected {_BITS[0]} to {_BITS[-1]}")
        if not _is_consistent(key.private_numbers()):
            raise ValueError("the key's numbers do not belong together")
        self._key, self._key_id = key, key_id

    @property
    def key_id(self) -> str | None:
        """The key's name at Google."""
        return self._key_id

    def sign(self, message: str | bytes) -> bytes:
        """The signature. Raises ValueError where the key makes none that is right."""
        raw = message.encode() if isinstance(message, str) else message
        signature = self._key.sign(raw, padding.PKCS1v15(), SHA256())
        try:
            self._key.public_key().verify(signature, raw, padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            raise ValueError("the key's signature is not right") from None
        return signature


def _is_consistent(key: rsa.RSAPrivateNumbers) -> bool:
    """Whether the numbers are those of an RSA key (RFC 8017, 3.2), but for the primes' being prime."""
    n, e, p, q, d = key.public_numbers.n, key.public_numbers.e, key.p, key.q, key.d
    return (
        min(p, q) > 1
        and p != q
        and p * q == n
        and n % 2 == 1
        and e % 2 == 1
        and 3 <= e < _MOST_EXPONENT
        and 1 < d < n
        and (d * e - 1) % (p - 1) == 0
        and (d * e - 1) % (q - 1) == 0
        and key.dmp1 == d % (p - 1)
        and key.dmq1 == d % (q - 1)
        and 0 < key.iqmp < p
        and key.iqmp * q % p == 1
    )
