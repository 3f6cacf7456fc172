"""Finds configurations for models by itself: the front of latency and area on a board or part. Needs the extra
``explore``."""

from sateen.explore.evaluate import ModelTime, Point, Task
from sateen.explore.study import Search, StudyMismatch, explore
from sateen.explore.target import Target

__all__ = ["ModelTime", "Point", "Search", "StudyMismatch", "Target", "Task", "explore"]
