"""``python -m sateen.cli``."""

from sateen.cli import main

main()
