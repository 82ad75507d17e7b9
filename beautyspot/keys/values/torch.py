"""Tensors of PyTorch: their elements and what autograd knows, wherever they lie."""

from __future__ import annotations

import sys
from typing import Any

from beautyspot.keys.values.extras import extras
from beautyspot.keys.values.libraries import Parts


def parts_of(value: Any) -> Parts | None:
    """The tag and the parts of a tensor; ``None`` for any other value.

    The device does not count, nor strides; ``requires_grad`` and a gradient do.
    """
    torch: Any = sys.modules["torch"]
    if isinstance(value, torch.Generator):
        return (b"v", "torch generator", value.get_state())
    if not isinstance(value, torch.Tensor):
        return None
    data = value.detach()
    gradient = value.grad if value.is_leaf else None
    return (
        b"v", "tensor", type(value), str(value.dtype), value.requires_grad, gradient,
        extras(value, torch.Tensor), *_elements(data, torch),
    )  # fmt: skip


def _elements(data: Any, torch: Any) -> tuple[Any, ...]:
    """The layout of a tensor, and its elements as arrays of NumPy."""
    if data.is_nested:
        return ("nested", list(data.unbind()))
    shape = tuple(data.shape)
    if data.device.type == "meta":  # it has a shape, and no elements
        return ("meta", shape)
    if data.is_quantized:
        return ("quantized", _array(data.int_repr(), torch), str(data.qscheme()), *_scales(data, torch))
    if data.layout == torch.sparse_coo:
        data = data.coalesce()
        return ("coo", shape, _array(data.indices(), torch), _array(data.values(), torch))
    if data.layout in (torch.sparse_csr, torch.sparse_bsr):
        places = (data.crow_indices(), data.col_indices())
        return (str(data.layout), shape, *(_array(part, torch) for part in (*places, data.values())))
    if data.layout in (torch.sparse_csc, torch.sparse_bsc):
        places = (data.ccol_indices(), data.row_indices())
        return (str(data.layout), shape, *(_array(part, torch) for part in (*places, data.values())))
    return (shape, _array(data, torch))


def _scales(data: Any, torch: Any) -> tuple[Any, ...]:
    """What the integers of a quantized tensor stand for."""
    if data.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return (data.q_scale(), data.q_zero_point())
    scales, zeros = data.q_per_channel_scales(), data.q_per_channel_zero_points()
    return (data.q_per_channel_axis(), _array(scales, torch), _array(zeros, torch))


def _array(data: Any, torch: Any) -> Any:
    data = data.cpu().resolve_conj().resolve_neg()
    try:
        return data.numpy()
    except TypeError:  # a dtype that NumPy does not have
        if data.is_floating_point():
            data = torch.where(torch.isnan(data), torch.full_like(data, float("nan")), data)
        return data.contiguous().reshape(-1).view(torch.uint8).numpy()
