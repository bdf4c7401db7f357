"""The ledger in a PostgreSQL database, which several machines share: ``taggerd[postgres]``."""

from importlib.util import find_spec

from taggerd.errors import StartError

try:
    import psycopg  # noqa: F401 - only to know that it is there

    if find_spec("procrastinate") is None:  # half a second to import, and none of us does
        raise ModuleNotFoundError(name="procrastinate")
except ImportError as error:
    message = f"ledger.url needs {error.name}: pip install 'taggerd[postgres]'"
    raise StartError(message) from error
