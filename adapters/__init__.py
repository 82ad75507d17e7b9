"""Engines and other libraries, each in one file, on the public names of beautyspot alone.

This is the package ``beautyspot.adapters``; the folder stands beside the library, and its plain name belongs
to someone else.
"""

if __name__ != "beautyspot.adapters":
    raise ImportError(f"import this package as beautyspot.adapters, not as {__name__}")
