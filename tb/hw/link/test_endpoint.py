"""The device's end of the link: frames kept and released, responses repeated, operations executed once, whatever pauses
there are."""

from harness import run


def test_receiver():
    run("receiver")


def test_answer():
    run("answer")


def test_endpoint():
    run("endpoint")
