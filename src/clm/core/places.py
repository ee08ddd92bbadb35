"""Where files are kept: a folder of this machine, or a place in an object store, named by its URL."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from clm.core.errors import InvalidSetting
from clm.core.extras import how_to_install
from clm.core.text import mask_url

#: The module that speaks to the stores of a scheme, and the extra that brings it.
_DRIVERS = {
    "s3": ("s3fs", "s3"),
    "gs": ("gcsfs", "gcs"),
    "az": ("adlfs", "azure"),
    "abfs": ("adlfs", "azure"),
    "memory": ("fsspec", "s3"),
}
_ALLOWED = (
    "a folder, or a URL such as file:///srv/clm, s3://bucket/prefix, gs://…, az://…, abfs://…, memory://…"
)


def place(field: str, given: Path | str) -> Path | str:
    """A folder as a path, a place in an object store as its URL. Raises InvalidSetting.

    Nothing is connected: whether the bucket is there shows with the first use.
    """
    if isinstance(given, Path) or "://" not in given:
        return Path(given)
    shown = mask_url(given)
    try:
        url = urlsplit(given)
    except ValueError as exc:
        raise InvalidSetting(field, shown, _ALLOWED) from exc
    if url.scheme == "file" and url.netloc in ("", "localhost") and len(url.path) > 1:
        return Path(unquote(url.path))
    if url.scheme not in _DRIVERS or not url.netloc:
        raise InvalidSetting(field, shown, _ALLOWED)
    if (
        ":" in url.netloc
        or url.query
        or url.fragment
        or any(part in (".", "..") for part in url.path.split("/"))
    ):
        allowed = "a URL of bucket and prefix alone; keys and addresses are told by the store's own variables"
        raise InvalidSetting(field, shown, allowed)
    module, extra = _DRIVERS[url.scheme]
    if find_spec(module) is None:
        allowed = f"a folder, as long as {module} is not installed; {url.scheme}:// needs it: "
        raise InvalidSetting(field, shown, f"{allowed}{how_to_install(extra)}")
    return given.rstrip("/")
