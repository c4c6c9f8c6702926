"""Campaigns: ask, tell, stop, resume, for months, with people and many workers."""
