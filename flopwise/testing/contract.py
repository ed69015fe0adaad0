"""What timm's models promise beyond logits: levels of features, pruning, other image sizes."""

from __future__ import annotations

import copy

import torch
from timm.models._features import FeatureGetterNet, FeatureHookNet
from torch import Tensor

from flopwise.nets.resizing import FixedSize
from flopwise.nets.runtime import Network

__all__ = ["check_levels", "check_pooling", "check_pruning", "check_resizing"]


@torch.no_grad()
def check_levels(model: Network, x: Tensor) -> None:
    """`forward_intermediates` gives what `feature_info` says, and what timm's own wrappers find."""
    features, levels = model.forward_intermediates(x)
    assert torch.equal(features, model.forward_features(x))
    assert len(levels) == len(model.feature_info)
    height, width = x.shape[2:]
    for told, found in zip(model.feature_info, levels, strict=True):
        step = told["reduction"]
        assert found.shape[:2] == (len(x), told["num_chs"])
        assert (
            abs(found.shape[2] * step - height) < step and abs(found.shape[3] * step - width) < step
        )
    if not levels:
        return
    indices = (0, len(levels) - 1)
    for index in indices:
        _, (alone,) = model.forward_intermediates(x, [index], stop_early=True)
        assert torch.equal(alone, levels[index])
    got = FeatureGetterNet(copy.deepcopy(model), out_indices=indices).eval()(x)
    hooked = FeatureHookNet(copy.deepcopy(model), out_indices=indices).eval()(x)
    for place, index in enumerate(indices):
        assert torch.equal(got[place], levels[index])
        if hooked[place].ndim == 4:
            assert torch.equal(hooked[place], levels[index])


def check_pruning(model: Network, x: Tensor) -> None:
    """Cut off at a level, a network gives that level, learns with all it has, and classifies."""
    taps = model.forward_intermediates(x, intermediates_only=True)
    for index in {0, len(taps) // 2, len(taps) - 1} if taps else ():
        pruned = copy.deepcopy(model)
        assert pruned.prune_intermediate_layers([index], prune_norm=True) == [index]
        (alone,) = pruned.forward_intermediates(x, [index], intermediates_only=True)
        torch.testing.assert_close(alone, taps[index])
        out = pruned(x)
        assert out.ndim == 3 or torch.equal(out, alone)
        out.square().sum().backward()
        assert not [key for key, each in pruned.named_parameters() if each.grad is None]
        assert pruned.num_features == model.feature_info[index]["num_chs"]
        pruned.reset_classifier(5)
        assert pruned(x).shape == (len(x), 5)
    kept = copy.deepcopy(model)
    if taps:
        kept.prune_intermediate_layers([len(taps) - 1], prune_head=False)
    torch.testing.assert_close(kept(x), model(x))


def check_pooling(model: Network, x: Tensor) -> None:
    """Frozen weights stay frozen, a fresh classifier learns; without pooling there is none."""
    model.requires_grad_(False)
    model.reset_classifier(0, "")
    assert torch.equal(model(x), model.forward_features(x))
    assert not [key for key, each in model.named_parameters() if each.requires_grad]
    model.reset_classifier(5)
    assert model(x).shape == (len(x), 5)
    learning = {key for key, each in model.named_parameters() if each.requires_grad}
    assert learning == {f"{model.CLASSIFIER}.weight", f"{model.CLASSIFIER}.bias"}


def check_resizing(model: FixedSize, fresh: FixedSize) -> None:
    """Resized, a network is the one built for that size with the weights fitted to it.

    Args:
        model: A network at its own size; it is changed.
        fresh: The same network, built for images twice as large.
    """
    rows, columns = model.img_size
    size = (2 * rows, 2 * columns)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    model.set_input_size(model.img_size)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    fresh.load_state_dict(fresh.fitted(state))
    model.set_input_size(size)
    assert model.img_size == fresh.img_size == size
    for ours, theirs in ((model.state_dict(), fresh.state_dict()), _buffers(model, fresh)):
        assert list(ours) == list(theirs)
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    x = torch.empty(1, model.in_chans, *size, device="meta")
    assert model.to("meta").eval()(x).shape == (1, model.num_classes)


def _buffers(*models: Network) -> tuple[dict[str, Tensor], ...]:
    """Masks and indices, which are no part of the checkpoint."""
    return tuple(dict(model.named_buffers()) for model in models)
