"""``python -m weft.cli``."""

from weft.cli.main import main

main()
