"""File systems of this machine and of object stores, by PyArrow, which needs no further library."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

OBJECT_STORES = ("s3", "gs")
_SECONDS = 10  # to connect


def open_filesystem(address: str) -> tuple[FileSystem, str]:
    """The file system of a path or of an address such as s3://bucket/folder, and the path in it.

    Credentials, region and endpoint of S3 come from the variables ``AWS_ACCESS_KEY_ID``,
    ``AWS_SECRET_ACCESS_KEY``, ``AWS_DEFAULT_REGION``, ``AWS_ENDPOINT_URL`` and so on, or from
    ~/.aws; those of Google Cloud Storage from ``GOOGLE_APPLICATION_CREDENTIALS``. An emulator of
    the latter is named by ``STORAGE_EMULATOR_HOST``, as for Google's own clients.

    Raises:
        OSError: the region of a bucket cannot be found.
    """
    # pylint: disable-next=import-outside-toplevel  # slow, and most data are local tables
    from pyarrow import fs

    scheme, _, path = address.partition("://")
    if scheme == "gs" and path:
        limit, emulator = timedelta(seconds=_SECONDS), os.environ.get("STORAGE_EMULATOR_HOST")
        if not emulator:
            return fs.GcsFileSystem(retry_time_limit=limit), path
        protocol, _, host = emulator.rpartition("://")
        return (
            fs.GcsFileSystem(
                anonymous=True,
                scheme=protocol or "http",
                endpoint_override=host,
                retry_time_limit=limit,
            ),
            path,
        )
    if scheme != "s3" or not path:
        return fs.LocalFileSystem(), str(Path(address))
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region and not endpoint:
        region = fs.resolve_s3_region(path.partition("/")[0])
    store = fs.S3FileSystem(
        region=region, endpoint_override=endpoint, connect_timeout=_SECONDS, request_timeout=60
    )
    return store, path
