"""Training for tiles with selects: what is left fits, broken off and gone on is the same, and the committed network."""

import numpy as np
import pytest

import needs
import sateen
from sateen.digits import load_data, load_network
from sateen.graph import run
from sateen.hw.spec.config import parse_config

CONFIG = parse_config("small,combine=8")


def compiled(name, config=CONFIG):
    train_x, _, test_x, test_y = load_data()
    model = sateen.compile(load_network(combined=name == "combined"), config, calibration=train_x)
    logits = run(model.graph, model.graph.tensors["input"].quantize(test_x))["logits"]
    return model, np.mean(logits.argmax(axis=1) == test_y)


def test_committed_network():
    """Within 1 % of the dense network in int8, in at most a quarter of the tiles, with packed layers 85 % full."""
    needs.package("sklearn", extra="demo")
    (dense, accuracy), (combined, kept) = compiled("dense"), compiled("combined")
    assert kept >= accuracy - 0.01
    tiles = [sum(layer.combining.tiles for layer in model.layers if layer.macs) for model in (dense, combined)]
    assert tiles[0] >= 4 * tiles[1]
    packed = [layer.combining for layer in combined.layers if layer.combining.tiles < layer.combining.dense_tiles]
    assert len(packed) == 2 and all(one.density >= 0.85 for one in packed)
    assert sum(one.predicted.cycles for one in combined.layers) < 0.5 * sum(
        one.predicted.cycles for one in dense.layers
    )


def network(torch):
    nn = torch.nn
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(4, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 8, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 5 * 5, 3),
    ).double()


def test_joint_training(tmp_path):
    """Any network and any way to train it; the layers' weights, in the device's order, are packed in the tiles they
    were pruned for."""
    torch = needs.package("torch", extra="train")
    from sateen.errors import SateenError
    from sateen.sparsity import pack
    from sateen.sparsity.joint import combine_jointly, filter_matrices

    x = torch.randn(40, 4, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    labels, trained, options = (
        (x.mean(dim=(1, 2, 3)) > 0).long(),
        [],
        {"rounds": 4, "flattened": {"5": (8, 5, 5)}, "show": False},
    )

    def fit(model, number, track, *, until=9):
        if number == until:
            raise KeyboardInterrupt
        trained.append(number)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for _ in track(range(3), "steps"):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), labels).backward()
            optimizer.step()

    whole, parted = network(torch), network(torch)
    windows = combine_jointly(whole, fit, CONFIG, **options)
    assert {name: one.tiles for name, one in windows.items()} == {"0": 1, "2": 1, "5": 4}
    for name, one in filter_matrices(whole, options["flattened"]).items():
        codes = np.where(one.from_weights(one.layer.weight) != 0, 1, 0).astype(np.int8)
        packing = pack(codes[:, None], CONFIG)
        assert packing.windows.tiles == windows[name].tiles
        assert np.count_nonzero(codes) >= 0.85 * len(codes) * min(8 * windows[name].tiles, one.row_bytes)
    # Columns of a linear layer behind a flattened image stand as the device has its bytes: channels last.
    order = np.arange(200).reshape(8, 5, 5).transpose(1, 2, 0).ravel()
    last = filter_matrices(whole, options["flattened"])["5"]
    np.testing.assert_array_equal(last.from_weights(last.layer.weight), last.layer.weight.detach().numpy()[:, order])
    np.testing.assert_array_equal(
        last.to_weights(last.from_weights(last.layer.weight)).numpy(), last.layer.weight.detach().numpy()
    )

    checkpoint = tmp_path / "rounds.pt"
    with pytest.raises(KeyboardInterrupt):
        combine_jointly(parted, lambda *a: fit(*a, until=2), CONFIG, checkpoint=checkpoint, **options)
    trained.clear()
    again = network(torch)
    combine_jointly(again, fit, CONFIG, checkpoint=checkpoint, **options)
    assert trained == [2, 3]
    for one, other in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    with pytest.raises(
        SateenError, match=r"is no checkpoint of this training \(it is of 4 rounds, not 3\); delete it to start over"
    ):
        combine_jointly(network(torch), fit, CONFIG, checkpoint=checkpoint, **{**options, "rounds": 3})
    with pytest.raises(SateenError, match="combines no columns; give it combine=2 to 16"):
        combine_jointly(network(torch), fit, parse_config("small"), **options)
