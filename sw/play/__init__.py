"""A page on which people draw, and see a device's answer and its array at work. Needs the extra ``play``."""

from sateen.play.app import MOST_BYTES, application
from sateen.play.pen import pixels
from sateen.play.player import Playable, Player
from sateen.play.story import Story

__all__ = ["MOST_BYTES", "Playable", "Player", "Story", "application", "pixels"]
