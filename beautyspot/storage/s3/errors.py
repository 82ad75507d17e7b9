"""Exceptions of boto3 as `StorageError`, with what was wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable

from beautyspot.errors import DamagedBlobError, MissingBlobError, StorageError

_RIGHTS = (
    "s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on its objects, and s3:ListBucket and "
    "s3:ListBucketMultipartUploads on the bucket"
)
_DENIED = f"access was denied; the credentials need {_RIGHTS}"
_GONE = "it does not exist"
_REPLACED = "it was replaced while it was read"
_EXPIRED = "the credentials have expired: log in again, or renew aws_session_token"
_REGION = "the bucket is in another region: set region_name in s3_opts, or AWS_DEFAULT_REGION"
_UNREACHABLE = "the server cannot be reached: check that it runs, and that endpoint_url and the network are right"
_SLOW = "the server did not answer in time: check it, or give s3_opts a config with a longer read_timeout"
_NO_CREDENTIALS = (
    "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, log in with the aws command, or "
    "give them in s3_opts"
)

# By the error code of the server, or by the name of boto3's own exception.
_CURES = {
    "NoSuchBucket": "there is no such bucket: create it, or name another one in the URL",
    "NoSuchKey": _GONE,
    "404": _GONE,
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "403": _DENIED,
    "InvalidAccessKeyId": "the server does not know the access key: correct aws_access_key_id",
    "SignatureDoesNotMatch": "the secret key is not that of the access key: correct aws_secret_access_key",
    "InvalidToken": "the session token is not valid: log in again, or correct aws_session_token",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "UnauthorizedSSOTokenError": _EXPIRED,
    "RequestTimeTooSkewed": "the clock of this machine and that of the server differ: set it right",
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "PreconditionFailed": _REPLACED,
    "S3DownloadFailedError": _REPLACED,
    "InvalidRange": "it is shorter than it should be",
    "NoCredentialsError": _NO_CREDENTIALS,
    "PartialCredentialsError": _NO_CREDENTIALS,
    "CredentialRetrievalError": _NO_CREDENTIALS,
    "ProfileNotFound": "the profile is not in the files of aws: correct profile_name or AWS_PROFILE",
    "EndpointConnectionError": _UNREACHABLE,
    "ConnectTimeoutError": _UNREACHABLE,
    "ProxyConnectionError": _UNREACHABLE,
    "ConnectionClosedError": _UNREACHABLE,
    "ReadTimeoutError": _SLOW,
    "SSLError": "the server's certificate is not trusted: give the path of its authority as verify in s3_opts",
    "FlexibleChecksumError": "it is damaged: its checksum at the server does not fit",
}


_KINDS: dict[str, type[StorageError]] = {"NoSuchKey": MissingBlobError, "FlexibleChecksumError": DamagedBlobError}


def storage_error(error: Exception, doing: str, secrets: Iterable[str]) -> StorageError:
    """The `StorageError` for an *error* of boto3; its text contains none of *secrets*. *doing* says what failed."""
    error = getattr(error, "last_exception", error)  # of s3transfer, whose own text only says that it retried
    text = str(error)
    for secret in secrets:
        text = text.replace(secret, "***")
    cure = _cure(error)
    kind = _KINDS.get(_names(error)[0], StorageError)
    return kind(f"cannot {doing}: {cure} ({text})" if cure else f"cannot {doing}: {text}")


def _cure(error: Exception) -> str | None:
    return next((_CURES[name] for name in _names(error) if name in _CURES), None)


def _names(error: Exception) -> list[str]:
    """The error code of the server, if it answered, and the names of the exception's class and its bases."""
    answer = getattr(error, "response", None)
    code = str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""
    return [*[code] * bool(code), *(kind.__name__ for kind in type(error).__mro__)]
