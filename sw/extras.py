"""How to install what an optional feature needs: every hint of a missing package is made here."""

__all__ = ["install_command", "install_hint"]


def install_command(*extras: str) -> str:
    """The command that installs extras of Sateen, named as in ``pyproject.toml``, from a checkout."""
    return f"pip install '.[{','.join(extras)}]'"


def install_hint(*extras: str) -> str:
    """What to do about a missing package, as the end of an error's text."""
    return f"run in a checkout of Sateen: {install_command(*extras)}"
