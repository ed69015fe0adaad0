"""What turns gradients into weights: timm's optimizer, schedule, clipping, EMA and mixing."""

from __future__ import annotations

from typing import Any

import torch
from timm.data import Mixup
from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3, dispatch_clip_grad
from torch import Tensor, nn
from torch.optim import Optimizer

from flopwise.dsl.recipe import Recipe
from flopwise.train.faults import known_word, refusal

__all__ = [
    "clip",
    "make_average",
    "make_mixup",
    "make_optimizer",
    "make_schedule",
    "refuse_test_size",
    "set_drop",
]

SCHEDULES = ("constant", "cosine", "multistep", "none", "poly", "rsqrt", "step", "tanh", "wsd")


def make_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """Returns timm's optimizer; biases, norms and what the model names carry no weight decay."""
    known_word("E619", "train.opt", recipe.opt.lower(), map(str, list_optimizers()))
    try:
        return create_optimizer_v2(
            model,
            opt=recipe.opt,
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            momentum=recipe.momentum,
            layer_decay=recipe.layer_decay if recipe.layer_decay < 1 else None,
        )
    except (AssertionError, ImportError, TypeError, ValueError) as error:
        raise refusal("E619", f"train.opt: timm cannot make '{recipe.opt}': {error}") from error


def make_schedule(optimizer: Optimizer, recipe: Recipe, steps: int) -> Any:
    """Returns timm's schedule, stepped after every update; None for `none`.

    The warm-up starts from a hundredth of the peak and is part of the epochs. `step` divides the
    rate by 10 after each third of the epochs, `multistep` at a half and at three quarters, and
    `poly` falls linearly.
    """
    known_word("E620", "train.sched", recipe.sched, SCHEDULES)
    total = recipe.epochs
    options: dict[str, Any] = {"warmup_epochs": round(recipe.warmup * steps) / steps}
    if recipe.sched == "step":
        options["decay_epochs"] = total / 3
    elif recipe.sched == "multistep":
        options["decay_milestones"] = [total / 2, 3 * total / 4]
    elif recipe.sched == "poly":
        options["decay_rate"] = 1.0
    try:
        schedule, _ = create_scheduler_v2(
            optimizer,
            sched=recipe.sched,
            num_epochs=total,
            min_lr=recipe.min_lr,
            warmup_lr=recipe.lr / 100,
            step_on_epochs=False,
            updates_per_epoch=steps,
            **options,
        )
    except (AssertionError, ValueError) as error:
        raise refusal("E620", f"train.sched: timm cannot make '{recipe.sched}': {error}") from error
    return schedule


def refuse_test_size(model: nn.Module, recipe: Recipe, channels: int) -> None:
    """Refuses to judge images of a size that the network cannot take."""
    if not recipe.test_size:
        return
    pixels = torch.zeros(1, channels, recipe.test_size, recipe.test_size)
    training = model.training
    try:
        with torch.inference_mode():
            model.eval()(pixels.to(next(model.parameters()).device))
    except (AssertionError, RuntimeError) as error:
        raise refusal(
            "E624",
            f"train.test_size is {recipe.test_size}, but the network cannot take such images",
            helps=["leave it out, or search without position tables and windows of one size"],
            notes=[f"torch says: {str(error).strip().splitlines()[0]}"],
        ) from error
    finally:
        model.train(training)


def make_average(model: nn.Module, recipe: Recipe) -> ModelEmaV3 | None:
    """Returns timm's moving average of the weights, or None where the recipe has none.

    Its decay rises with the steps, 1 - (1 + step)^(-2/3), up to the recipe's, so that an average
    over a short training is not mostly its random beginning.
    """
    return ModelEmaV3(model, decay=recipe.ema, use_warmup=True) if recipe.ema else None


def make_mixup(recipe: Recipe, classes: int) -> Mixup | None:
    """Returns timm's mixup and cutmix, or None where the recipe has neither."""
    if not (recipe.mixup or recipe.cutmix):
        return None
    return Mixup(
        mixup_alpha=recipe.mixup,
        cutmix_alpha=recipe.cutmix,
        label_smoothing=recipe.smoothing,
        num_classes=classes,
    )


def clip(model: nn.Module, recipe: Recipe) -> None:
    """Clips the gradients as the recipe says; AGC leaves the classifier alone, as its paper does.

    Source: Brock et al. 2021, "High-Performance Large-Scale Image Recognition Without
    Normalization", section 4.1.
    """
    if not recipe.clip:
        return
    parameters: list[Tensor] = list(model.parameters())
    if recipe.clip_mode == "agc":
        head = getattr(model, "get_classifier", None)
        spared = {id(each) for each in head().parameters()} if head else set()
        parameters = [each for each in parameters if id(each) not in spared]
    dispatch_clip_grad(parameters, recipe.clip, mode=recipe.clip_mode)


def set_drop(model: nn.Module, recipe: Recipe) -> None:
    """Sets stochastic depth and dropout; a model that has neither may not be asked for them."""
    depth = (recipe.drop_path, recipe.drop_path_rule)
    for name, rate, *rule in (("drop_path", *depth), ("dropout", recipe.dropout)):
        setter = getattr(model, f"set_{name}", None)
        if setter is not None:
            setter(rate, *rule)
        elif rate:
            raise refusal(
                "E621",
                f"train.{name} is {rate}, but {type(model).__name__} has no set_{name}",
                helps=[f"set train.{name} to 0"],
            )
