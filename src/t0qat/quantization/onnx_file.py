"""A model's integer codes as an ONNX file, for ONNX Runtime: our codes and steps, not fitted anew.

The graph is torch's own export. In it each rounded weight becomes packed codes and a step an output
channel: linear layers multiply by MatMulNBits (an operator of ONNX Runtime), everything else gets its
weight from DequantizeLinear (of the standard). Containers have 2, 4 or 8 bits; other widths use the
next.
"""

import copy
import io
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from t0qat.pipeline.parameters import ParameterError
from t0qat.pipeline.quiet import quietly
from t0qat.quantization import sealed_file
from t0qat.quantization.quantizers import Grid
from t0qat.quantization.rounding import Coded, Codes

CONTAINERS = {2: 25, 4: 21, 8: 21}  # bits -> the opset whose DequantizeLinear knows them
BLOCKS = (16, 32, 64, 128, 256)  # weights of a row that may share a step in MatMulNBits


def container(bits: int) -> int:
    """Bits of the smallest container that holds codes of so many. Raises ParameterError above 8."""
    for wide in CONTAINERS:
        if bits <= wide:
            return wide
    raise ParameterError(f"bits = {bits}: ONNX has containers for codes of 1 to {max(CONTAINERS)} bits")


def traced(model: nn.Module, inputs: Tensor):
    """The graph of (n, ...) inputs, any n, as torch exports it, with weights as they are.

    A weight that layers share bears its first name.
    """
    from torch.export import Dim

    alone = _Logits(copy.deepcopy(model).eval())
    nowhere = io.StringIO()  # torch prints what it cannot export, beside that it raises
    with quietly(), redirect_stdout(nowhere), redirect_stderr(nowhere), torch.no_grad():
        program = torch.onnx.export(
            alone, (inputs,), dynamo=True, optimize=False, opset_version=21, verbose=False,
            input_names=["inputs"], output_names=["outputs"],
            # Not 0 or 1 rows, which would be taken for fixed.
            dynamic_shapes=({0: Dim("n")},),
        )  # fmt: skip
    proto, first = program.model_proto, {id(p): name for name, p in alone.named_parameters()}
    every = alone.named_parameters(remove_duplicate=False)
    _rename(proto.graph, {name: first[id(p)] for name, p in every if first[id(p)] != name})
    return _bare(proto)


def _rename(graph, names: dict[str, str]) -> None:
    """Put these weights' names, the values, in the place of others."""
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
    kept = {tensor.name for tensor in graph.initializer}
    for tensor in [tensor for tensor in graph.initializer if tensor.name in names]:
        if names[tensor.name] in kept:
            graph.initializer.remove(tensor)
        else:
            tensor.name = names[tensor.name]


def _bare(proto):
    """The graph without what tells where in the source each node came from: more bytes than a small
    network."""
    del proto.graph.value_info[:]
    for node in proto.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    return proto


def filled(proto, state: Mapping[str, Tensor]):
    """A copy of an exported graph with these weights of the model, by their names there.

    An export takes seconds, and depends on shapes alone.
    """
    from onnx import numpy_helper

    proto = copy.deepcopy(proto)
    for tensor in proto.graph.initializer:
        name = tensor.name.removeprefix("model.")
        if name in state:
            tensor.CopyFrom(numpy_helper.from_array(state[name].detach().cpu().numpy(), tensor.name))
    return proto


def code_bytes(proto) -> int:
    """Bytes of all codes and steps in a graph of `integers`."""
    ends = (".codes", ".steps")
    return sum(len(tensor.raw_data) for tensor in proto.graph.initializer if tensor.name.endswith(ends))


class _Logits(nn.Module):
    """A model of one tensor, whose answer is one tensor: of models of transformers, the logits."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        return logits(self.model, inputs)


def logits(model: nn.Module, inputs: Tensor) -> Tensor:
    """What it answers; of models of transformers, the logits."""
    if getattr(model, "get_output_embeddings", lambda: None)() is not None:
        return model(input_ids=inputs, use_cache=False).logits
    found = model(inputs)
    return getattr(found, "logits", found)


@torch.no_grad()
def outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    """What it answers in evaluation mode, where it stays. Raises ParameterError for no tensor."""
    try:
        found = logits(model.eval(), inputs)
    except Exception as error:  # whatever a layer raises
        raise ParameterError(f"inputs: the model does not take them ({cause(error)})") from None
    if not isinstance(found, Tensor):
        raise ParameterError(f"model: it gives a {type(found).__name__}; allowed is a tensor")
    return found


def write(
    model: nn.Module, codes: Codes, grid: Grid, path: Path, inputs: Tensor, level: int = 0
) -> None:
    """The model with these codes; whole or not at all. Raises ParameterError before anything is written.

    inputs: an example batch (n, ...) of two rows or more. level: 0 multiplies float inputs, 4 rounds
    them to 8 bits (accuracy_level of MatMulNBits).
    """
    import onnx
    from google.protobuf.message import EncodeError

    wide = container(grid.bits)
    outputs(model, inputs)
    try:
        proto = traced(model, inputs)
    except Exception as error:  # whatever the exporter raises
        raise ParameterError(f"model: torch cannot export it to ONNX ({cause(error)})") from None
    about = onnx.ModelProto()  # two such messages, one after the other, are read as one
    about.metadata_props.add(key="t0qat", value=sealed_file.EMPTY)
    try:
        data = integers(proto, codes, wide, level).SerializeToString()
    except EncodeError:
        raise ParameterError("model: it is larger than 2 GB, the most that an ONNX file holds") from None
    sealed_file.write(path, about.SerializeToString() + data)


def cause(error: BaseException) -> str:
    """What was raised first, in one line."""
    while error.__cause__:
        error = error.__cause__
    return " ".join(str(error).split())[:200] or type(error).__name__


def integers(proto, codes: Codes, wide: int, level: int = 0):
    """A copy of an exported graph in which these weights are packed codes of so many bits."""
    import onnx

    proto = copy.deepcopy(proto)
    graph = _Graph(proto.graph)
    for name, coded in codes.items():
        full = f"model.{name}"
        if full not in graph.weights:
            raise ParameterError(f"{name}: the exported graph has no such weight; leave the layer out")
        if graph.weights[full].data_type != onnx.TensorProto.FLOAT:
            kind = onnx.TensorProto.DataType.Name(graph.weights[full].data_type).lower()
            raise ParameterError(f"{name}: its type is {kind}; an ONNX file takes torch.float32")
        shape = tuple(graph.weights[full].dims)
        if not (len(shape) == 2 and not coded.offset and graph.multiply(full, coded, wide, level)):
            graph.dequantize(full, shape, coded, wide)
    graph.close()
    standard = next(one for one in proto.opset_import if one.domain == "")
    standard.version = max(standard.version, CONTAINERS[wide])
    proto.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    return proto


class _Graph:
    """A graph of ONNX whose weights are replaced one after the other."""

    def __init__(self, graph):
        self.graph, self.first = graph, []  # first: nodes before all others
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.nodes = list(graph.node)

    def users(self, name: str) -> list:
        return [node for node in self.nodes if name in node.input]

    def multiply(self, name: str, coded: Coded, wide: int, level: int) -> bool:
        """inputs @ weight.T by MatMulNBits, where that is all that the weight is used for."""
        from onnx import helper

        found = self._product(name)
        if not found:
            return False
        inputs, output, bias, replaced = found
        outputs, width = coded.codes.shape
        # The block that needs the fewest bytes: each has its codes, the last one filled up, and a step.
        block = min(BLOCKS, key=lambda size: -(-width // size) * (size * wide / 8 + 4))
        blocks = -(-width // block)
        zero = 2 ** (wide - 1)  # what MatMulNBits takes off each code
        raised = np.full((outputs, blocks * block), zero, np.uint8)
        raised[:, :width] = coded.codes.cpu().numpy() + zero
        steps = np.repeat(coded.step.cpu().numpy(), blocks, 1)
        self._put(f"{name}.codes", _side_by_side(raised, wide).reshape(outputs, blocks, -1))
        self._put(f"{name}.steps", steps)
        product = output if bias is None else f"{name}.product"
        node = helper.make_node(
            "MatMulNBits", [inputs, f"{name}.codes", f"{name}.steps"], [product], domain="com.microsoft",
            K=width, N=outputs, bits=wide, block_size=block, accuracy_level=level,
        )  # fmt: skip
        new = [node] if bias is None else [node, helper.make_node("Add", [product, bias], [output])]
        place = self.nodes.index(replaced[-1])
        self.nodes[place : place + 1] = new
        self.nodes = [node for node in self.nodes if node not in replaced]
        del self.weights[name]
        return True

    def _product(self, name: str):
        """(inputs, output, bias, nodes) of the one product that uses a weight, if there is one."""
        from onnx import helper

        users = self.users(name)
        if len(users) != 1:
            return None
        (user,) = users
        options = {one.name: helper.get_attribute_value(one) for one in user.attribute}
        if user.op_type == "Transpose" and options.get("perm") == [1, 0]:
            after = self.users(user.output[0])
            if len(after) == 1 and after[0].op_type == "MatMul" and after[0].input[1] == user.output[0]:
                return after[0].input[0], after[0].output[0], None, [user, after[0]]
        plain = {"transA": 0, "transB": 1, "alpha": 1.0, "beta": 1.0}
        given = plain | {"transB": 0} | options
        if user.op_type == "Gemm" and given == plain and user.input[1] == name:
            bias = user.input[2] if len(user.input) > 2 else None
            return user.input[0], user.output[0], bias, [user]
        return None

    def dequantize(self, name: str, shape: tuple[int, ...], coded: Coded, wide: int) -> None:
        """The weight itself as step * (code + offset), in the order in which it was rounded."""
        import ml_dtypes
        from onnx import helper

        integer = {2: ml_dtypes.int2, 4: ml_dtypes.int4, 8: np.int8}[wide]
        codes = coded.codes.cpu().numpy().reshape(shape).astype(np.int8).astype(integer)
        step = coded.step.cpu().numpy().reshape(-1)
        self._put(f"{name}.codes", codes)
        del self.weights[name]
        if not coded.offset:
            self._put(f"{name}.steps", step)
            inputs = [f"{name}.codes", f"{name}.steps"]
            self.first.append(helper.make_node("DequantizeLinear", inputs, [name], axis=0))
            return
        self._put(f"{name}.one", np.float32(1))
        self._put(f"{name}.offset", np.float32(coded.offset))
        self._put(f"{name}.steps", step.reshape(-1, *[1] * (len(shape) - 1)))
        parts = ("codes", "one"), ("float", "offset"), ("levels", "steps")
        operators = ("DequantizeLinear", "float"), ("Add", "levels"), ("Mul", None)
        for (a, b), (operator, made) in zip(parts, operators, strict=True):
            output = f"{name}.{made}" if made else name
            self.first.append(helper.make_node(operator, [f"{name}.{a}", f"{name}.{b}"], [output]))

    def _put(self, name: str, values: np.ndarray) -> None:
        from onnx import numpy_helper

        self.weights[name] = numpy_helper.from_array(values, name)

    def close(self) -> None:
        """Put what was replaced into the graph."""
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend([*self.first, *self.nodes])
        self.graph.initializer.extend(self.weights.values())


def _side_by_side(codes: np.ndarray, wide: int) -> np.ndarray:
    """Codes (..., n) of so many bits in bytes (..., n * bits / 8), the first in the lowest bits."""
    each = 8 // wide
    shifts = np.arange(0, 8, wide, dtype=np.uint8)
    return (codes.reshape(*codes.shape[:-1], -1, each) << shifts).sum(-1, dtype=np.uint8)
