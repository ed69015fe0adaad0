"""`Design`: a loaded spec and its verbs. Torch, timm and optuna arrive when a verb needs them.

>>> import flopwise
>>> design = flopwise.load("std/resnet18")
>>> design.cost().params
11689512
>>> design.set(w=32).cost().macs < design.cost().macs
True
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopwise import dsl
from flopwise.cost import Cost, cost

if TYPE_CHECKING:  # types only: most of these rooms import torch
    from flopwise.design.tables import PaperTable
    from flopwise.dsl.differing import Comparison
    from flopwise.dsl.explained import Explained
    from flopwise.export.tiers import Tiers
    from flopwise.nets.inherit import Start
    from flopwise.nets.latency import Latency
    from flopwise.nets.runtime import Network as Module
    from flopwise.report.explored import Explored
    from flopwise.search import Outcome, Watch, Winner
    from flopwise.train import Epoch

__all__ = ["Design", "settings"]


@dataclass(frozen=True, eq=False)
class Design:
    """A loaded spec: one concrete network, perhaps with a space around it.

    Attributes:
        spec: The checked spec.
    """

    spec: dsl.Spec

    @property
    def name(self) -> str:
        """The spec's name."""
        return self.spec.name

    @property
    def network(self) -> dsl.Network:
        """The network as it is written."""
        return self.spec.network()

    @property
    def hash(self) -> str:
        """Identity of the network: equal for equal layer graphs, whatever their names."""
        return self.network.hash

    def set(self, paths: Mapping[str, object] | None = None, /, **variables: object) -> Design:
        """Returns the same spec with other values at these paths.

        Args:
            paths: Dotted path or variable -> value; a text is read as YAML, so `"$(2*w)"` works.
            **variables: The same, for paths that are Python names.
        """
        return Design(self.spec.set(settings(paths, variables)))

    @property
    def rows(self) -> tuple[str, ...]:
        """The names of the rows of its table, in order; none where it has no table."""
        return self.spec.rows

    def row(self, name: str) -> Design:
        """Returns the design of a row of its table.

        Raises:
            SpecError: There is no such row, or its network cannot be built.
        """
        return Design(self.spec.row(name))

    def table(self) -> PaperTable:
        """Returns its table, counted beside the figures that the table's source prints.

        Raises:
            SpecError: It has no table, or an explanation in the table does not hold.
        """
        from flopwise.design.tables import judge

        return judge(self.spec)

    def tiers(self) -> Tiers:
        """Returns what it can be shipped as, written and at the corners of its space. No torch."""
        from flopwise.export.tiers import tiers

        return tiers(self.spec)

    def space(self, tell: Callable[[float], None] | None = None) -> list[Explored]:
        """Returns what its space holds, once for each budget: size, feasible share, costs, values.

        Args:
            tell: Told which share of the cost tables is filled, where that takes long.

        Raises:
            SpecError: It has no search section (E505).
        """
        from flopwise.design.spaces import explore

        return explore(self.spec, tell)

    def cost(self) -> Cost:
        """Returns MACs, parameters and activations, in total and per stage."""
        return cost(self.network.graph)

    def facts(self) -> dict[str, Any]:
        """Returns what `flopwise show --json` prints: plain values, exact integers."""
        network = self.network
        return {
            "name": network.name,
            "hash": network.hash,
            "input": [network.input.channels, *network.input.size],
            "classes": network.classes,
            **self.cost().as_dict(),
        }

    def explain(self, path: str) -> list[Explained]:
        """Returns why a value, or each value below a path, is what it is.

        Args:
            path: A variable, a dotted place, or a stage such as `net.stage2`.

        Raises:
            SpecError: The path names nothing.
        """
        from flopwise.dsl.explained import explain

        return explain(self.spec, path)

    def diff(self, other: Design) -> Comparison:
        """Returns what changes from this network and its recipe to another one."""
        from flopwise.dsl.differing import compare

        return compare(self.spec, other.spec)

    def render(self) -> str:
        """Returns the resolved spec: the same network without variables, defaults or parents."""
        return self.spec.render()

    def schema(self) -> dict[str, Any]:
        """Returns the JSON Schema (draft-07) of specs that have this spec's blocks, for editors."""
        from flopwise.dsl.schema import make_schema

        return make_schema(self.spec.blocks, complete=True)

    def svg(self) -> str:
        """Returns a picture of the stages as SVG text."""
        from flopwise.report.picture import draw_svg

        return draw_svg(self.name, self.network.graph, self.cost())

    def mermaid(self) -> str:
        """Returns the graph of the stages as Mermaid text."""
        from flopwise.report.picture import draw_mermaid

        return draw_mermaid(self.network.graph, self.cost())

    def latency(self, *, device: str = "cpu", batch: int = 1, runs: int = 20) -> Latency:
        """Measures how long the network takes in inference, with fresh weights.

        Args:
            device: Where it runs.
            batch: Images of a pass.
            runs: Passes that are timed, after a few that are not.
        """
        from flopwise.nets.latency import latency

        return latency(self.network, device=device, batch=batch, runs=runs)

    def source(self) -> str:
        """Returns the network as PyTorch source, the very text that `build` runs."""
        from flopwise import nets

        return nets.source(self.network)

    def build(
        self, *, seed: int | None = None, device: str | None = None, **options: Any
    ) -> Module:
        """Returns the network as a torch module with timm's model contract.

        >>> import flopwise
        >>> model = flopwise.load("std/resnet18").build(device="meta", num_classes=7, in_chans=1)
        >>> model.get_classifier()
        Linear(in_features=512, out_features=7, bias=True)
        >>> model.feature_info[-1]
        {'num_chs': 512, 'reduction': 32, 'module': 'stage4'}

        Args:
            seed: Seed of the weights; None draws from torch's global generator.
            device: Where it is built; `meta` allocates nothing.
            **options: What timm's models take: `num_classes`, `in_chans`, `global_pool` ("" leaves
                features as they are), `drop_rate`, `drop_path_rate`, `dtype`; and `img_size` for a
                network that belongs to one size of images.

        Raises:
            TypeError: The network knows no such option.
            ValueError: It has no such pooling, or its grids do not fit such images.
        """
        from flopwise import nets

        return nets.build(self.network, seed=seed, device=device, **options)

    def train(
        self,
        folder: str | Path | None = None,
        *,
        start: str | Path | None = None,
        on_epoch: Callable[[Epoch], None] | None = None,
        on_note: Callable[[str], None] | None = None,
        command: str = "",
        processes: int = 1,
    ) -> Winner:
        """Trains the written network; the same call on the same folder resumes.

        Args:
            folder: Where everything is kept; `runs/NAME-train` by default.
            start: Where weights to begin from lie, as far as they fit: an exported folder, the
                folder of a training or search, or a safetensors file of a spec's keys.
            on_epoch: Called with every epoch once it is on disk.
            on_note: Called with what a person should know about the data.
            command: The command that asked for it, for the records.
            processes: How many share the training, started by torchrun, each on a GPU of its own
                where there are GPUs.

        Returns:
            Validation and test scores, and the place of the weights.

        Raises:
            SpecError: Data and spec disagree.
            RunError: The folder holds another training, or the training cannot go on.
        """
        from flopwise.design.training import train_written

        home = Path(folder or Path("runs") / f"{self.name}-train")
        found = _opened(start)
        return train_written(
            self.spec,
            home,
            start=found,
            on_epoch=on_epoch,
            on_note=on_note,
            command=command,
            processes=processes,
        )

    def search(
        self,
        folder: str | Path | None = None,
        *,
        trials: int | None = None,
        start: str | Path | None = None,
        watch: Watch | None = None,
        command: str = "",
        workers: int = 1,
        slurm: str = "",
        storage: str = "",
        allow_code: bool = False,
        processes: int = 1,
    ) -> Outcome:
        """Searches the space inside the budget; the same call on the same folder resumes.

        Args:
            folder: Where everything is kept; `runs/NAME` by default.
            trials: Trainings wanted in all, earlier ones included; the spec's by default.
            start: Where weights lie that every training begins from, as for `train`.
            watch: Who is told what happens; nobody by default.
            command: The command that asked for it, for the records.
            workers: Processes that share the work, one per GPU where there are GPUs.
            slurm: Long options of sbatch; the workers are jobs of Slurm then.
            storage: URL of a database for the trials; a journal in the folder by default.
            allow_code: Whether a function or sampler that the spec names may run although nobody
                allowed it before.
            processes: How many share each training, as for `train`.

        Raises:
            SpecError: There is no search section, nothing meets the budget, or the folder holds
                a study of something else.
            RunError: Another process holds the folder, or trainings fail again and again.
        """
        from flopwise.search.run import search

        home = Path(folder or Path("runs") / self.name)
        return search(
            self.spec,
            home,
            trials=trials,
            begin=_opened(start),
            watch=watch,
            command=command,
            workers=workers,
            slurm=slurm,
            storage=storage,
            allow_code=allow_code,
            processes=processes,
        )


def _opened(start: str | Path | None) -> Start | None:
    if start is None:
        return None
    from flopwise.design.starting import open_start

    return open_start(start)


def settings(
    paths: Mapping[str, object] | None, variables: Mapping[str, object]
) -> list[tuple[str, str]]:
    """Returns paths and variables with their values as YAML; texts are YAML already."""
    return [
        (path, value if isinstance(value, str) else json.dumps(value))
        for path, value in {**(paths or {}), **variables}.items()
    ]
