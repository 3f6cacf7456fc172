"""Makes .venv and installs this project with an extra: ``python3 setup_environment.py demo``.

Needs nothing but Python's standard library. Debian's python3 comes without pip and without ensurepip; then pip's own
wheel is taken from the package index, checked against the hash that the index gives.
"""

import hashlib
import html.parser
import os
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from pathlib import Path

ENVIRONMENT = Path(".venv")
PYTHON = ENVIRONMENT / "bin" / "python"
MINIMUM = (3, 11)


class Links(html.parser.HTMLParser):
    """The addresses on a page of a package index."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attributes if tag == "a" and name == "href" and value]


def pip_wheel(folder: Path) -> Path:
    """Fetches the newest wheel of pip that the index lists."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
    with urllib.request.urlopen(index, timeout=60) as page:
        links = Links()
        links.feed(page.read().decode())
    wheels = [link for link in links.found if ".whl" in link and is_release(file_name(link))]
    if not wheels:
        sys.exit(f"setup: {index} lists no wheel of pip; set PIP_INDEX_URL to a package index")
    link = max(wheels, key=lambda link: [int(part) for part in file_name(link).split("-")[1].split(".")])
    with urllib.request.urlopen(urllib.parse.urljoin(index, link), timeout=60) as file:
        content = file.read()
    kind, _, digest = urllib.parse.urlparse(link).fragment.partition("=")
    if kind and hashlib.new(kind, content).hexdigest() != digest:
        sys.exit(f"setup: {link} is damaged; try again")
    wheel = folder / file_name(link)
    wheel.write_bytes(content)
    return wheel


def file_name(link: str) -> str:
    """The last part of an address."""
    return urllib.parse.urlparse(link).path.rsplit("/", 1)[-1]


def is_release(name: str) -> bool:
    """Neither a beta nor a release candidate."""
    return all(part.isdigit() for part in name.split("-")[1].split("."))


def main(extra: str) -> None:
    """Makes or renews the environment."""
    if sys.version_info < MINIMUM:
        sys.exit(f"setup: Python {MINIMUM[0]}.{MINIMUM[1]} or later is needed; run: make PYTHON=/path/to/python3.11")
    if not PYTHON.exists():
        print("setup: making .venv", flush=True)
        venv.create(ENVIRONMENT, symlinks=True)
    install = ["install", "--quiet", "--disable-pip-version-check", "--editable", f".[{extra}]"]
    print(f"setup: installing sateen[{extra}] and what it needs", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode:
            try:
                wheel = pip_wheel(Path(folder))
            except OSError as error:
                sys.exit(f"setup: cannot fetch pip ({error}); check the network, or run: apt-get install python3-venv")
            subprocess.run(
                [PYTHON, wheel / "pip", "install", "--quiet", "--disable-pip-version-check", wheel], check=True
            )
        # Of pip's and its helpers' remarks only those on a failure matter.
        result = subprocess.run(
            [PYTHON, "-m", "pip", *install], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if result.returncode:
            sys.exit(f"{result.stdout}\nsetup: pip failed; its message stands above")


if __name__ == "__main__":
    main(sys.argv[1])
