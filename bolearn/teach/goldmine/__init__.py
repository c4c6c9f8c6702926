"""The gold mine, a page to play with: its sessions played again in Python, its ten expeditions.

    mines        the page's mines, places and random numbers
    page         its model and rules; `replay` of an exported session
    sessions     one session that reaches each expedition, and some that only look like it
    expeditions  whether a session reaches an expedition

Taught in part_3/tutorial_04.
"""

from bolearn.teach.goldmine.mines import (
    PLACES,
    lengthscale_of,
    measurement_errors,
    mine,
    places,
    random_drills,
)
from bolearn.teach.goldmine.page import (
    FORMAT,
    POLICIES,
    Drill,
    Moment,
    Session,
    play,
    ratings,
    replay,
    start_model,
    suggest,
)
from bolearn.teach.goldmine.sessions import model_session

__all__ = [
    "FORMAT",
    "PLACES",
    "POLICIES",
    "Drill",
    "Moment",
    "Session",
    "lengthscale_of",
    "measurement_errors",
    "mine",
    "model_session",
    "places",
    "play",
    "random_drills",
    "ratings",
    "replay",
    "start_model",
    "suggest",
]
