"""The vocabulary: blocks as functions over symbolic tensors, and the table that names them.

A new block is one function in this folder and one line in `BLOCKS`.
"""

from __future__ import annotations

from collections.abc import Mapping

from flopwise.blocks.graph import Graph, Layer, Type
from flopwise.blocks.reach import depends, prune
from flopwise.blocks.signature import (
    Block,
    Field,
    First,
    Local,
    Natural,
    Odd,
    Positive,
    Rate,
    Share,
    block,
)
from flopwise.blocks.stage import add_stage, call_stage, conversions, piece, trace_block
from flopwise.blocks.tensor import Map, Tensor, Tokens, Trace, Vec
from flopwise.blocks.vocabulary import Vocabulary

__all__ = [
    "BLOCKS",
    "Block",
    "Field",
    "First",
    "Graph",
    "Layer",
    "Local",
    "Map",
    "Natural",
    "Odd",
    "Positive",
    "Rate",
    "Share",
    "Tensor",
    "Tokens",
    "Trace",
    "Type",
    "Vec",
    "add_stage",
    "block",
    "call_stage",
    "conversions",
    "depends",
    "piece",
    "prune",
    "trace_block",
]

BLOCKS: Mapping[str, Block] = Vocabulary(
    {
        "conv": "conv.conv_block",
        "conv_stem": "conv.conv_stem",
        "patchify": "conv.patchify",
        "norm_act": "conv.norm_act",
        "basic": "residual.basic",
        "residual": "residual.residual",
        "preact": "resnetv2.preact",
        "preact_basic": "resnetv2.preact_basic",
        "preact_stem": "resnetv2.preact_stem",
        "convnext": "convnext.convnext",
        "dense": "densenet.dense",
        "separable": "mobilenet.separable",
        "inverted": "mobilenet.inverted",
        "mbconv": "coatnet.mbconv",
        "map_vit": "coatnet.map_vit",
        "ghost": "ghost.ghost",
        "ghost_conv": "ghost.ghost_conv",
        "se_gate": "gates.se_gate",
        "eca_gate": "gates.eca_gate",
        "nfnet_stem": "nfnet.nfnet_stem",
        "std_stem": "nfnet.std_stem",
        "nfnet": "nfnet.nfnet",
        "std_conv": "nfnet.std_conv_block",
        "bit_stem": "bit.bit_stem",
        "bit": "bit.bit",
        "patch_embed": "tokens.patch_embed",
        "class_token": "tokens.class_token",
        "position": "tokens.position",
        "registers": "tokens.registers",
        "attention_pool": "tokens.attention_pool",
        "to_tokens": "tokens.to_tokens",
        "to_map": "tokens.to_map",
        "linear": "tokens.linear_block",
        "vit": "vit.vit",
        "dense_vit": "vit.dense_vit",
        "swin": "swin.swin",
        "soft_split": "t2t.soft_split",
        "performer": "t2t.performer",
        "token_transformer": "t2t.token_transformer",
        "add": "join.add",
        "mul": "join.mul",
        "concat": "join.concat",
        "cat_tokens": "join.cat_tokens",
        "zero": "join.zero",
        "identity": "join.identity",
        "avgpool": "join.avgpool",
        "maxpool": "join.maxpool",
        "global_pool": "join.global_pool",
        "upsample": "join.upsample",
        "norm": "join.norm",
        "act": "join.act",
        "dropout": "join.dropout",
        "classifier": "head.classifier",
    }
)
