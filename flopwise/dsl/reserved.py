"""Words that a stage or a variable cannot be called, because they mean something already."""

from __future__ import annotations

import keyword

from flopwise.dsl.functions import FUNCTIONS
from flopwise.dsl.grammar import WORDS
from flopwise.dsl.sections import METRICS

__all__ = ["RESERVED_STAGES", "RESERVED_VARIABLES"]

# Stages become attributes of a torch module, which has these already (a test keeps the list true).
ATTRIBUTES = frozenset(
    {
    "CLASSIFIER", "DROP_PATHS", "FIRST_CONV", "GRIDS", "NORM", "NO_DECAY", "POOL", "PREFIX",
    "STARTS", "T_destination", "add_module", "apply", "bfloat16", "buffers", "call_super_init",
    "children", "compile", "cpu", "cuda", "default_cfg", "double", "drop_rate", "dump_patches",
    "eval", "extra_repr", "feature_info", "finish", "fitted", "float", "forward",
    "forward_features", "forward_head", "forward_intermediates", "forward_trunk", "get_buffer",
    "get_classifier", "get_extra_state", "get_parameter", "get_submodule", "global_pool",
    "grad_checkpointing", "group_matcher", "half", "head_hidden_size", "img_size", "in_chans",
    "init_weights", "input_size", "ipu", "load_state_dict", "modules", "mtia", "named_buffers",
    "named_children", "named_modules", "named_parameters", "no_weight_decay", "num_classes",
    "num_features", "parameters", "pretrained_cfg", "prune_intermediate_layers",
    "register_backward_hook", "register_buffer", "register_forward_hook",
    "register_forward_pre_hook", "register_full_backward_hook", "register_full_backward_pre_hook",
    "register_load_state_dict_post_hook", "register_load_state_dict_pre_hook", "register_module",
    "register_parameter", "register_state_dict_post_hook", "register_state_dict_pre_hook",
    "requires_grad_", "reset_classifier", "rule_of", "set_drop_path", "set_dropout",
    "set_extra_state", "set_grad_checkpointing", "set_input_size", "set_submodule", "share_memory",
    "state_dict", "to", "to_empty", "train", "training", "type", "xpu", "zero_grad",
    }
)  # fmt: skip
RESERVED_STAGES = ATTRIBUTES | frozenset(keyword.kwlist) | {"input"}
RESERVED_VARIABLES = frozenset(
    {"classes", "input", "i", "n", "depth_total", *METRICS, *WORDS, *FUNCTIONS}
)
