"""Post-processing: each lane requantizes with its own channel's parameters; pooled beats give their largest."""

import pytest

from harness import run
from sateen.hw.pipelined.postprocess import PostProcess
from sateen.testing.benches.postprocess import TAG


@pytest.mark.parametrize("lanes", [1, 3])
def test_post_process(lanes):
    run("post-process", lanes=lanes)


def test_rejects():
    with pytest.raises(ValueError, match="lanes must be 1 or more, not 0"):
        PostProcess(lanes=0, tag=TAG)
