"""Object stores: how they are reached, and what their errors mean.

They are reached through ``obstore``, the Rust library that Lance uses too, so that the same
environment variables serve both (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on). No message made
here holds a secret: of what a server answers only its code and its sentence are told.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

from finecut.errors import (
    MissingDependency,
    ObjectNotFound,
    StorageConflict,
    StorageDenied,
    StorageError,
    UsageError,
)
from finecut.storage.location import Location

if TYPE_CHECKING:
    from obstore.store import ObjectStore

MOST_RETRIES = 5  # of a request, when the server fails or the line drops
RETRY_S = 60.0  # then it is given up
REQUEST_S = 60.0  # one request, its body included
CONNECT_S = 5.0
_ENVIRONMENT = ("AWS_", "GOOGLE_", "AZURE_")
_SECRET_NAMES = re.compile(r"SECRET|TOKEN|KEY|PASSWORD|SAS|CREDENTIAL")
# As parameters of URLs, elements of XML, headers, and names before a host.
_SECRET_MARKS = re.compile(
    r"(?i)(\b(?:x-amz-[\w-]+|[\w-]*signature[\w-]*|[\w-]*credential[\w-]*|sig|awsaccesskeyid|"
    r"[\w-]*token)[=>]|\b(?:authorization|x-amz-[\w-]+):\s?(?:[\w-]+ )?)[^\s&<>\"',;]+"
)
_BEFORE_HOST = re.compile(r"://[^/@\s]+@")
_SHORTEST_SECRET = 6  # characters; shorter values would blot out common words
_LONGEST_MESSAGE = 300  # characters of what a server says


def lance_options() -> dict[str, str]:
    """The ``storage_options`` of Lance for a dataset in an object store.

    Credentials and the address of the store are not among them: Lance reads the environment itself,
    and what is handed to it may be kept in messages.
    """
    return {
        "connect_timeout": f"{CONNECT_S:g}s",
        "timeout": f"{REQUEST_S:g}s",
        "client_max_retries": str(MOST_RETRIES),
        "client_retry_timeout": f"{RETRY_S:g}",
    }


def store_of(place: Location) -> ObjectStore:
    """The store a place is in, reached with the credentials the environment has now.

    Raises:
        MissingDependency: ``obstore`` is not installed.
        StorageError: the environment's settings are none.
    """
    environment = {
        name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)
    }
    return _made_store(place.scheme, place.bucket, tuple(sorted(environment.items())), os.getpid())


@lru_cache(maxsize=16)
def _made_store(
    scheme: str, bucket: str, environment: tuple[tuple[str, str], ...], process: int
) -> ObjectStore:
    """The store of one bucket; another one when the environment changes, or after a fork."""
    from datetime import timedelta

    try:
        from obstore.store import from_url
    except ImportError as error:
        raise MissingDependency(
            f"{scheme}:// places need a package that is not installed: pip install 'finecut[cloud]'"
        ) from error
    # Options of the client that are given here hide those of the environment.
    plain = {name: value.lower() in ("true", "1", "yes", "on", "y") for name, value in environment}
    try:
        return from_url(
            f"{scheme}://{bucket}",
            client_options={
                "allow_http": any(plain.get(f"{name}ALLOW_HTTP") for name in _ENVIRONMENT),
                "connect_timeout": timedelta(seconds=CONNECT_S),
                "timeout": timedelta(seconds=REQUEST_S),
            },
            retry_config={
                "max_retries": MOST_RETRIES,
                "retry_timeout": timedelta(seconds=RETRY_S),
            },
        )
    except Exception as error:
        raise_mapped(error, Location(scheme, bucket, ""))


def scrub(text: str) -> str:
    """A text without the secrets of the environment and without what looks like a signature.

    >>> scrub("GET /a?X-Amz-Signature=0f3e&n=1 said no")
    'GET /a?X-Amz-Signature=***&n=1 said no'
    """
    for name, value in os.environ.items():
        secret = name.startswith(_ENVIRONMENT) and _SECRET_NAMES.search(name)
        if secret and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    return _SECRET_MARKS.sub(r"\1***", _BEFORE_HOST.sub("://***@", text))


def plain_reason(text: str) -> str:
    """What an error of a store says, as one short line without secrets: the server's own code and
    sentence where it answered in XML."""
    code, sentence = re.search(r"<Code>([^<]+)", text), re.search(r"<Message>([^<]+)", text)
    if code or sentence:
        told = ": ".join(found[1] for found in (code, sentence) if found)
    else:
        told = text.partition("\n\nDebug source:")[0].replace("\n", " ")
    return scrub(told)[:_LONGEST_MESSAGE]


def is_conflict(error: Exception) -> bool:
    """Whether obstore says that a condition of a write did not hold."""
    return type(error).__name__ in ("AlreadyExistsError", "PreconditionError")


def raise_mapped(error: Exception, place: Location) -> NoReturn:
    """The error of obstore as one of ours; never chained, since its own text may hold secrets."""
    raise mapped(error, place) from None


def mapped(error: Exception, place: Location) -> Exception:
    """The error to raise for one of obstore."""
    text, kind = str(error), type(error).__name__
    if isinstance(error, StorageError | UsageError | MissingDependency):
        return error
    if "NoSuchBucket" in text or (kind == "GenericError" and "bucket does not exist" in text):
        return StorageError(
            f"There is no bucket {place.scheme}://{place.bucket}. Make it first, or check the name "
            "and AWS_REGION or AWS_ENDPOINT_URL."
        )
    if isinstance(error, FileNotFoundError):
        return ObjectNotFound(f"There is no {place}.")
    if is_conflict(error):
        return StorageConflict(f"{place} was made or changed by somebody else meanwhile.")
    told = plain_reason(text)
    if kind == "InvalidPathError":
        return StorageError(
            f"{place} holds an object whose name cannot be asked for ({told}). Rename it, or name "
            "the folders beside it."
        )
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or re.search(
        r"\b40[13]\b|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken", text
    ):
        return StorageDenied(
            f"{place} may not be accessed ({told}). Check the credentials in the environment "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN …) and the rights they "
            "have."
        )
    if "169.254.169.254" in text or "credential" in text.lower():
        return StorageDenied(
            f"No credentials were found for {place}. Set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY (or those of your store), or AWS_SKIP_SIGNATURE=true for a "
            "public bucket."
        )
    return StorageError(
        f"{place} cannot be reached ({told}). Check the network, and AWS_ENDPOINT_URL where the "
        "store is not Amazon's (AWS_ALLOW_HTTP=true for http://)."
    )
