"""finecut: text-to-video retrieval, from rough cut to fine cut."""

__version__ = "0.1.0"
