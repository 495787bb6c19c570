"""Imports of libraries that take note of others which they cannot load."""

import logging
import warnings
from contextlib import contextmanager


@contextmanager
def quietly():
    """No warnings, and no log below an error."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
