"""The vocabulary: blocks as functions over symbolic tensors, and the table that names them.

A new block is one function in this folder and one line in `BLOCKS`.
"""

from __future__ import annotations

from flopwise.blocks.bit import bit, bit_stem
from flopwise.blocks.coatnet import map_vit, mbconv
from flopwise.blocks.conv import conv_block, conv_stem, norm_act, patchify
from flopwise.blocks.convnext import convnext
from flopwise.blocks.densenet import dense
from flopwise.blocks.gates import eca_gate, se_gate
from flopwise.blocks.ghost import ghost, ghost_conv
from flopwise.blocks.graph import Graph, Layer, Type
from flopwise.blocks.head import classifier
from flopwise.blocks.join import (
    act,
    add,
    avgpool,
    cat_tokens,
    concat,
    dropout,
    global_pool,
    identity,
    maxpool,
    mul,
    norm,
    upsample,
    zero,
)
from flopwise.blocks.mobilenet import inverted, separable
from flopwise.blocks.nfnet import nfnet, nfnet_stem, std_conv_block, std_stem
from flopwise.blocks.reach import depends, prune
from flopwise.blocks.residual import basic, residual
from flopwise.blocks.resnetv2 import preact, preact_basic, preact_stem
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
from flopwise.blocks.swin import swin
from flopwise.blocks.t2t import performer, soft_split, token_transformer
from flopwise.blocks.tensor import Map, Tensor, Tokens, Trace, Vec
from flopwise.blocks.tokens import (
    attention_pool,
    class_token,
    linear_block,
    patch_embed,
    position,
    registers,
    to_map,
    to_tokens,
)
from flopwise.blocks.vit import dense_vit, vit

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

BLOCKS: dict[str, Block] = {
    "conv": conv_block,  # blocks/conv.py
    "conv_stem": conv_stem,
    "patchify": patchify,
    "norm_act": norm_act,
    "basic": basic,  # blocks/residual.py
    "residual": residual,
    "preact": preact,  # blocks/resnetv2.py
    "preact_basic": preact_basic,
    "preact_stem": preact_stem,
    "convnext": convnext,  # blocks/convnext.py
    "dense": dense,  # blocks/densenet.py
    "separable": separable,  # blocks/mobilenet.py
    "inverted": inverted,
    "mbconv": mbconv,  # blocks/coatnet.py
    "map_vit": map_vit,
    "ghost": ghost,  # blocks/ghost.py
    "ghost_conv": ghost_conv,
    "se_gate": se_gate,  # blocks/gates.py
    "eca_gate": eca_gate,
    "nfnet_stem": nfnet_stem,  # blocks/nfnet.py
    "std_stem": std_stem,
    "nfnet": nfnet,
    "std_conv": std_conv_block,
    "bit_stem": bit_stem,  # blocks/bit.py
    "bit": bit,
    "patch_embed": patch_embed,  # blocks/tokens.py
    "class_token": class_token,
    "position": position,
    "registers": registers,
    "attention_pool": attention_pool,
    "to_tokens": to_tokens,
    "to_map": to_map,
    "linear": linear_block,
    "vit": vit,  # blocks/vit.py
    "dense_vit": dense_vit,
    "swin": swin,  # blocks/swin.py
    "soft_split": soft_split,  # blocks/t2t.py
    "performer": performer,
    "token_transformer": token_transformer,
    "add": add,  # blocks/join.py
    "mul": mul,
    "concat": concat,
    "cat_tokens": cat_tokens,
    "zero": zero,
    "identity": identity,
    "avgpool": avgpool,
    "maxpool": maxpool,
    "global_pool": global_pool,
    "upsample": upsample,
    "norm": norm,
    "act": act,
    "dropout": dropout,
    "classifier": classifier,  # blocks/head.py
}
