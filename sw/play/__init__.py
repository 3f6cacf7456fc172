"""A page on which people draw, and see a device's answer and its array at work. Needs the extra ``play``."""

from sateen.play.app import application
from sateen.play.pen import pixels
from sateen.play.player import Playable, Player

__all__ = ["Playable", "Player", "application", "pixels"]
