"""A last line that says whether the file is whole.

XGBoost aborts the process on a cut UBJSON and LightGBM reads past its text; neither may be handed bytes that
were not checked. The seal is a line both libraries ignore. It detects accidents; against tampering the
registry holds the hash of the whole file, and the content is looked at as well (`xgboost_file`,
`lightgbm_file`).
"""

from __future__ import annotations

import hashlib

from clm.core.errors import ArtifactCorrupt

_MARK = b"\nclm_sha256:"
_LENGTH = len(_MARK) + 64 + 1


def seal(payload: bytes) -> bytes:
    """`payload` with its SHA-256 as a last line."""
    return payload + _MARK + hashlib.sha256(payload).hexdigest().encode() + b"\n"


def unseal(raw: bytes, family: str) -> bytes:
    """The payload of sealed bytes. Raises ArtifactCorrupt for a cut, altered or foreign file."""
    payload, tail = raw[:-_LENGTH], raw[-_LENGTH:]
    if not tail.startswith(_MARK):
        raise ArtifactCorrupt(f"{family}: the file is cut short or was not written by CLM")
    if seal(payload) != raw:
        raise ArtifactCorrupt(f"{family}: the file was altered after it was written")
    return payload
