"""``python -m sateen.cli``."""

from sateen.cli.main import main

main()
