"""How the workers of a job prove to each other that they know its secret.

Each side asks with a nonce of its own, and the other answers with the
HMAC-SHA256 (RFC 2104) of both nonces and of what the worker has said of itself.
So a proof holds for one connection, one side and one worker: one that was
overheard is of no use, and the secret itself is never sent.
"""

import hmac
import json
import re
import secrets

CHIEF, WORKER = "chief", "worker"
_NONCE_BYTES = 32
_NONCE = re.compile(f"[0-9a-f]{{{2 * _NONCE_BYTES}}}")


def new_nonce():
    """Returns a number that is used once, as a str."""
    return secrets.token_hex(_NONCE_BYTES)


def is_nonce(value):
    """Whether a JSON value that came over a link is such a number."""
    return isinstance(value, str) and bool(_NONCE.fullmatch(value))


def prove(key, side, nonces, index, identity):
    """Returns the proof of one side, as a str.

    Args:
        key: bytes, the secret.
        side: `CHIEF` or `WORKER`, who proves it.
        nonces: tuple of str, the chief's and the worker's.
        index: int, of the worker.
        identity: dict of JSON values, what the worker says of itself.
    """
    said = [side, *nonces, index, identity]
    text = json.dumps(said, sort_keys=True).encode()
    return hmac.new(key, text, "sha256").hexdigest()


def is_proof(value, /, key, side, nonces, index, identity):
    """Whether a JSON value that came over a link is what `prove` returns.

    The time that it takes does not tell how much of it is right.
    """
    if not isinstance(value, str) or not value.isascii():
        return False
    expected = prove(key, side, nonces, index, identity)
    return hmac.compare_digest(expected, value)
