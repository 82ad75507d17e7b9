"""Renaming: results that are kept under one name of a function get another, without a run.

A key is the digest of the function's name, combined with that of the call, so that a new key is computed from the old
one and the two names.
"""

from __future__ import annotations

from collections.abc import Callable

from beautyspot._internal.pages import pages
from beautyspot.errors import ConfigurationError
from beautyspot.keys.keyer import CODE_SIZE, renamed
from beautyspot.protocols.index import Record
from beautyspot.results.signing import is_signed
from beautyspot.results.store import Results

_PAGE = 1000  # results that are renamed together


def rename(
    results: Results, old: str, new: str, merge: bool = False, progress: Callable[[int], object] | None = None
) -> int:
    """Give the results of the function *old* to the function *new*; returns how many there were.

    If the process is killed, some results have the new name: with *merge*, the same call goes on.

    Args:
        results: The results.
        old: The name of the function: ``module.qualname``, or its ``name=``.
        new: The other name.
        merge: Whether results of *new* may be there already; where both have a call, that of *new* stays.
        progress: Called with the number of results that were renamed since its last call.

    Raises:
        ConfigurationError: If *old* has no results, *new* has some, or a secret is needed.
    """
    db = results.db
    if old == new:
        raise ConfigurationError(f"the old name and the new one are the same, {old!r}")
    if not merge and next(db.summaries(new), None) is not None:
        raise ConfigurationError(
            f"there are results of {new!r} already: add --merge if an earlier rename was interrupted, or if both are "
            "one function"
        )
    count = 0
    for page in pages(db.summaries(old), _PAGE):
        raw = db.lookup([summary.key for summary in page])
        if results.signer is None and any(map(is_signed, raw.values())):
            raise ConfigurationError("the results are signed: set BEAUTYSPOT_SECRET to the secret of the project")
        entries = results.find_raw(list(raw))
        keys = {summary.key: renamed(summary.key, old, new) for summary in page}
        there = db.lookup(list(keys.values()))
        records: list[Record] = []
        for summary in page:
            entry, key = entries.get(summary.key), keys[summary.key]
            if entry is not None and key not in there:
                home = entry.code[CODE_SIZE:] or old.encode()
                renamed_entry = entry._replace(code=entry.code[:CODE_SIZE] + home)
                records.append(Record(renamed_entry, summary._replace(key=key, function=new)))
        if records:
            results.write_records(records)
        db.delete(list(keys))
        count += len(page)
        if progress is not None:
            progress(len(page))
    if not count and not merge:
        raise ConfigurationError(f"there are no results of {old!r}: `beautyspot stats` lists the functions")
    return count
