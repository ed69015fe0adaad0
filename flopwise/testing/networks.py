"""The suite for whole networks: what timm's models promise, and what PyTorch does to modules."""

from __future__ import annotations

import os
import socket
from typing import Any, ClassVar

import pytest
import torch
import torch.distributed as dist
from timm.layers import DropPath
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from flopwise import nets
from flopwise.blocks import Graph
from flopwise.nets.resizing import FixedSize
from flopwise.nets.runtime import Network
from flopwise.testing.checks import (
    check_counts,
    check_forms,
    check_independence,
    check_layouts,
    images,
    roughened,
)
from flopwise.testing.contract import (
    check_levels,
    check_pooling,
    check_pruning,
    check_resizing,
)

__all__ = ["NetworkCase"]


class NetworkCase:
    """What every network keeps. Subclass it and set `graphs`.

    Attributes:
        graphs: Small networks by name; each ends in a classifier.
    """

    graphs: ClassVar[dict[str, Graph]] = {}

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Runs each test on every network."""
        if "name" in metafunc.fixturenames:
            metafunc.parametrize("name", self.graphs)

    def network(self, name: str, seed: int = 1) -> Network:
        """Builds one of the networks."""
        return nets.build(self.graphs[name], seed=seed)

    def images(self, name: str, batch: int = 2) -> Tensor:
        """Returns images of the size of one of the networks."""
        return images(self.graphs[name].inputs[0], batch)

    def test_counts_and_keys_are_those_of_the_module(self, name: str) -> None:
        """Counted == measured, keys == state dict, built on meta."""
        check_counts(self.graphs[name], lambda model, inputs: model(*inputs))

    def test_the_same_seed_gives_the_same_weights(self, name: str) -> None:
        """A seed decides the weights, and the global generator is left alone."""
        before = torch.get_rng_state()
        first, again, other = (self.network(name, seed) for seed in (1, 1, 2))
        assert torch.equal(before, torch.get_rng_state())
        x = self.images(name)
        with torch.no_grad():
            assert torch.equal(first.eval()(x), again.eval()(x))
            assert not torch.equal(first(x), other.eval()(x))

    def test_no_image_of_a_batch_sees_another(self, name: str) -> None:
        """In evaluation."""
        check_independence(self.network(name).eval(), self.images(name, 3))

    def test_it_survives_tracing_scripting_export_and_copies(self, name: str) -> None:
        """The forms that PyTorch gives a module compute the same."""
        check_forms(self.network(name).eval(), self.images(name))

    def test_it_runs_with_channels_last_and_in_bfloat16(self, name: str) -> None:
        """Memory formats change nothing; low precision runs."""
        check_layouts(self.network(name).eval(), self.images(name))

    def test_gradient_checkpointing_changes_no_gradient(self, name: str) -> None:
        """The gradients with and without gradient checkpointing are equal."""
        plain, saving = self.network(name).train(), self.network(name).train()
        saving.set_grad_checkpointing()
        for model in (plain, saving):
            torch.manual_seed(0)  # for dropout
            model(self.images(name)).square().sum().backward()
        for (key, ours), theirs in zip(plain.named_parameters(), saving.parameters(), strict=True):
            assert ours.grad is not None, key
            torch.testing.assert_close(ours.grad, theirs.grad)

    def test_drop_path_rises_to_the_rate(self, name: str) -> None:
        """Linearly over the blocks, or stage by stage."""
        model = nets.build(self.graphs[name], drop_path_rate=0.3)
        for rule in ("linear", "stagewise"):
            model.set_drop_path(0.3, rule)
            rates = [m.drop_prob for m in model.modules() if isinstance(m, DropPath)]
            assert rates == sorted(rates)
            assert max(rates, default=0.0) <= 0.3

    def test_the_classifier_can_be_replaced_and_removed(self, name: str) -> None:
        """As timm replaces classifiers; other classes and channels are arguments too."""
        model, x = self.network(name).double().eval(), self.images(name).double()
        features = model.forward_head(model.forward_features(x), pre_logits=True)
        assert features.shape == (2, model.head_hidden_size)
        model.reset_classifier(5)
        assert model(x).shape == (2, 5)
        model.reset_classifier(0)
        assert model(x).shape == features.shape
        with pytest.raises(ValueError, match="pools by"):
            model.reset_classifier(5, "max")
        other = nets.build(self.graphs[name], num_classes=3, in_chans=1)
        assert other(self.images(name)[:, :1]).shape == (2, 3)
        with pytest.raises(TypeError):
            nets.build(self.graphs[name], unknown=1)

    def test_layer_decay_orders_the_parameters_from_input_to_output(self, name: str) -> None:
        """And vectors, scalars and what the graph says carry no weight decay."""
        model = self.network(name)
        optimizer = create_optimizer_v2(model, "adamw", lr=1.0, weight_decay=0.1, layer_decay=0.5)
        groups = optimizer.param_groups
        scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
        scales = [scale[id(p)] for p in model.parameters()]
        assert scales == sorted(scales)
        assert len(set(scales)) >= 3
        free = {id(p) for g in groups if not g["weight_decay"] for p in g["params"]}
        for key, parameter in model.named_parameters():
            exempt = parameter.ndim <= 1 or key in model.no_weight_decay() or key.endswith("bias")
            assert (id(parameter) in free) == exempt, key

    def test_levels_of_features_are_those_of_timms_wrappers(self, name: str) -> None:
        """forward_intermediates, FeatureGetterNet and FeatureHookNet agree."""
        check_levels(self.network(name).eval(), self.images(name))

    def test_a_network_can_be_cut_off_at_a_level(self, name: str) -> None:
        """prune_intermediate_layers leaves nothing that is not used."""
        check_pruning(self.network(name).eval(), self.images(name))

    def test_frozen_weights_stay_frozen(self, name: str) -> None:
        """reset_classifier with and without pooling."""
        check_pooling(self.network(name).eval(), self.images(name))

    @pytest.mark.filterwarnings("ignore::UserWarning:timm")  # about the speed of its own code
    def test_images_of_another_size_where_the_network_says_so(self, name: str) -> None:
        """set_input_size is a build at that size with fitted weights; others have none."""
        model = self.network(name)
        height, width = model.input_size[1:]
        if isinstance(model, FixedSize):
            size = (2 * height, 2 * width)
            fresh = nets.build(self.graphs[name], img_size=size)
            assert isinstance(fresh, FixedSize)
            check_resizing(model, fresh)
            with pytest.raises(ValueError, match="must be a multiple"):
                model.set_input_size(height + 1)

    def test_device_and_dtype_are_arguments(self, name: str) -> None:
        """As timm passes them, without a context."""
        model = nets.build(self.graphs[name], device="meta", dtype=torch.bfloat16)
        tensors = [*model.parameters(), *model.buffers()]
        assert {each.device.type for each in tensors} == {"meta"}
        assert {each.dtype for each in tensors if each.is_floating_point()} == {torch.bfloat16}
        made: Any = type(model)
        placed = made(device="meta", dtype=torch.float64)
        assert {each.device.type for each in placed.parameters()} == {"meta"}

    def test_the_source_reads_as_if_a_person_wrote_it(self, name: str) -> None:
        """Lines of at most 100 letters, and a `forward` that fits the eye."""
        source = nets.source(self.graphs[name])
        assert max(map(len, source.splitlines())) <= 100
        bodies = source.split("def forward(")[1:]
        assert all(len(body.split("\n\n\n")[0].splitlines()) <= 14 for body in bodies)

    @pytest.mark.slow
    def test_it_can_be_compiled_whole(self, name: str) -> None:
        """In one graph, forward and backward."""
        torch._dynamo.reset()
        model, x = self.network(name).eval(), self.images(name)
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-4)

    @pytest.mark.slow
    def test_one_step_on_two_processes_is_one_step_on_one(self, name: str) -> None:
        """DistributedDataParallel over gloo gives the gradients of the whole batch."""
        model = roughened(self.network(name).eval(), 0.05)
        x = self.images(name, 4)
        model(x).square().mean().backward()
        wanted = _gradients(model)
        model.zero_grad()
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        context = torch.multiprocessing.get_context("spawn")
        results = context.SimpleQueue()
        workers = [
            context.Process(target=_ddp_step, args=(rank, port, model, x, results))
            for rank in range(2)
        ]
        for worker in workers:
            worker.start()
        found = results.get()
        for worker in workers:
            worker.join()
        for key, gradient in wanted.items():
            torch.testing.assert_close(found[key], gradient, rtol=1e-3, atol=1e-5)


def _ddp_step(rank: int, port: int, model: nn.Module, x: Tensor, results: Any) -> None:
    """Half of a step: one process of two, on its half of the batch."""
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    shared = nn.parallel.DistributedDataParallel(model)
    shared(x.chunk(2)[rank]).square().mean().backward()
    if rank == 0:
        results.put(_gradients(model))
    dist.destroy_process_group()


def _gradients(model: nn.Module) -> dict[str, Any]:
    return {k: p.grad.numpy().copy() for k, p in model.named_parameters() if p.grad is not None}
