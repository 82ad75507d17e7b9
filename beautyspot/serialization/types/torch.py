"""torch: tensors and parameters, dense and sparse. A tensor comes back without the operations that made it."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from beautyspot._internal.names import full_name
from beautyspot.errors import DeserializationError, SerializationError
from beautyspot.serialization.types.codes import Apart, Code, Decoder, Encoder


def _torch() -> Any:
    return importlib.import_module("torch")


def _tensor(v: Any, apart: Apart) -> Any:
    torch = _torch()

    plain = v.detach()
    if plain.layout == torch.sparse_coo:
        content = ["sparse", plain._indices(), plain._values(), list(plain.shape), plain.is_coalesced()]
    elif plain.layout == torch.strided and not plain.is_quantized and not plain.is_meta:
        content = _memory(plain, apart)
    else:
        raise SerializationError(f"a tensor of the layout {v.layout} cannot be kept; return tensor.to_dense()")
    return [content, type(v) is torch.nn.Parameter, v.requires_grad, v.grad if v.is_leaf else None]


def _memory(v: Any, apart: Apart) -> list[Any]:
    torch = _torch()

    flat = v.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    if flat.numel() == 1:  # its stride may be that of the tensor that it was a part of
        flat = flat.clone(memory_format=torch.contiguous_format)
    content = flat.view(torch.uint8).numpy().data if v.numel() else memoryview(b"")
    return ["dense", str(v.dtype).partition(".")[2], list(v.shape), str(v.device), apart(content)]


def _to_tensor(data: Any) -> Any:
    torch = _torch()

    if data[0][0] == "size":
        return torch.Size(data[0][1:])
    (kind, *content), is_parameter, requires_grad, grad = data
    if kind == "sparse":
        indices, values, shape, is_coalesced = content
        torch._validate_sparse_coo_tensor_args(indices, values, shape)  # else a position could be outside of it
        made = torch.sparse_coo_tensor(indices, values, shape)
        made = made.coalesce() if is_coalesced else made
    else:
        made = _of_memory(*content)
    if is_parameter:
        made = torch.nn.Parameter(made, requires_grad)
    else:
        made.requires_grad_(requires_grad)
    made.grad = grad
    return made


def _of_memory(name: str, shape: list[int], device: str, content: Any) -> Any:
    torch = _torch()

    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise DeserializationError(f"torch has no dtype {name!r}")
    if not len(content):
        return torch.empty(shape, dtype=dtype, device=device) if 0 in shape else _wrong(shape)
    memory = bytearray(content) if memoryview(content).readonly else content
    flat = torch.frombuffer(memory, dtype=dtype)
    return flat.reshape(shape).to(device)


def _wrong(shape: list[int]) -> Any:
    raise DeserializationError(f"a tensor of shape {shape} without content")


DECODERS: dict[int, Decoder] = {Code.TORCH: _to_tensor}


def family_of(kind: type) -> tuple[int, Encoder] | None:
    """The code and the encoder of a type of torch; ``None`` for any other type."""
    torch: Any = sys.modules["torch"]
    if kind in (torch.Tensor, torch.nn.Parameter):
        return Code.TORCH, _tensor
    if issubclass(kind, torch.Tensor):
        raise SerializationError(f"a {full_name(kind)} cannot be kept; return tensor.as_subclass(torch.Tensor)")
    if kind is torch.Size:
        return Code.TORCH, lambda v, _: [["size", *v]]
    return None
