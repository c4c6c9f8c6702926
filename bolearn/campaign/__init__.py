"""Campaigns: ask, tell, stop, resume, for months, with people and many workers."""

import importlib.util

if importlib.util.find_spec("sqlalchemy") is None:
    raise ImportError("campaigns need SQLAlchemy: pip install 'bolearn[campaign]'")
