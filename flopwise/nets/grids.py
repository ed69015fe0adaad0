"""Which parts of a network belong to one size of images, and what can fit them to another."""

from __future__ import annotations

from collections.abc import Iterator

from flopwise.blocks.graph import TABLES, Graph, Layer, Type

__all__ = ["base_of", "grids_of"]

Pair = tuple[int, int]


def grids_of(graph: Graph) -> dict[str, Pair] | None:
    """Returns rows and columns of the grid of every table of positions, by the table's name.

    An axis that a table does not have counts 0. None if there is no image that they could grow
    with, or a table or a grid lies on it in a way that does not.
    """
    found = dict(_tables(graph))
    sizes = [grid for _, grid in _pieces(graph)] + list(found.values())
    if graph.inputs[0].kind != "map":
        return None if sizes else found
    rows, columns = graph.inputs[0].shape[1:]
    whole = all(
        size % max(1, side) == 0
        for grid in sizes
        for size, side in zip((rows, columns), grid, strict=True)
    )
    return found if whole and (-1, -1) not in sizes else None


def base_of(graph: Graph, grids: dict[str, Pair] | None) -> str:
    """Returns the class of the runtime that a network is derived from."""
    kinds = {kind for kind, _ in _pieces(graph)}
    if grids is None or not (grids or kinds):
        return "Network"
    return "Windowed" if kinds & {"window_attend", "offset_bias"} else "FixedSize"


def _pieces(graph: Graph) -> Iterator[tuple[str, Pair]]:
    """Yields the steps that hold a grid, and the grid."""
    for _, layer in graph.walk():
        if layer.kind == "to_map":
            yield layer.kind, layer.settings["grid"]
        elif layer.kind == "window_attend":
            yield layer.kind, layer.settings["size"]
        elif layer.kind == "offset_bias":
            yield layer.kind, layer.settings["grid"]
        elif layer.kind == "relative_scores":  # a distance in the sequence is no offset on a grid
            yield layer.kind, (-1, -1)


def _tables(graph: Graph, prefix: str = "") -> Iterator[tuple[str, Pair]]:
    """Yields the tables that are added to or multiplied with tokens position by position."""
    makers: list[Layer | None] = [None] * len(graph.inputs)
    types = graph.types
    for layer in graph.layers:
        reads = [(makers[index], types[index]) for index in layer.inputs]
        if layer.graph:
            yield from _tables(layer.graph, f"{prefix}{layer.name}.")
        elif layer.kind == "grid_table":
            for axis, (maker, type) in zip((1, 0), reads, strict=True):
                grid = (type.shape[1], 0) if axis == 0 else (0, type.shape[1])
                yield f"{prefix}{maker.name if maker else ''}", grid
        elif layer.kind in ("add", "mul"):
            yield from _positions(reads, prefix)
        makers += [layer] * len(layer.outputs)


def _positions(reads: list[tuple[Layer | None, Type]], prefix: str) -> Iterator[tuple[str, Pair]]:
    """Yields the table that a sum or a product lays on tokens, and the grid of these."""
    tables = [
        (maker.name, type)
        for maker, type in reads
        if maker and maker.kind in TABLES and len(type.shape) == 3 and type.shape[1] > 1
    ]
    tokens = next((type for _, type in reads if type.kind == "tokens"), None)
    for name, type in tables if tokens else ():
        assert tokens
        rows, columns = tokens.grid or (-1, -1)
        grows = tokens.grid and type.shape[1] == tokens.extra + rows * columns
        yield f"{prefix}{name}", (rows, columns) if grows else (-1, -1)
