"""Small steps through everything that computes a number, each as a hash of its bits: a JSON object.

Run by test_portable.py under the pin, on this processor and on an emulated one. One process, since
importing torch takes minutes under emulation.
"""

import hashlib
import io
import json
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy

from t0qat.exhibits import figures
from t0qat.experiments import (
    arms,
    circuits,
    expansion,
    long_training,
    on_circuits,
    on_text,
    precision,
    published,
    scale,
    theory,
    trial,
)
from t0qat.experiments import trained as asked
from t0qat.experiments.learning import Learner
from t0qat.pipeline import pin, statistics
from t0qat.quantization import quantizers
from t0qat.quantization.quantizers import CODES, SCALES, Grid
from t0qat.quantization.rounding import ROUNDINGS, Network
from t0qat.training import corpora, linear, loop, tasks
from t0qat.training.methods import REGISTRY
from t0qat.training.models import MODELS
from t0qat.training.streams import stream

SCHEDULE = {"schedule": "warmup_cosine", "replicate": 0, "seed": 0, "device": "cpu"}
TEXT = {"dataset": corpora.DEFAULT, "context": 16, "batch_size": 4}


def bits(value) -> bytes:
    """Arrays as their bytes, tables with all digits, everything else as JSON, which has all too."""
    match value:
        case torch.Tensor():
            return value.detach().contiguous().numpy().tobytes()
        case np.ndarray():
            return np.ascontiguousarray(value).tobytes()
        case pd.DataFrame():
            return value.to_csv().encode()
        case dict():
            return b"".join(str(key).encode() + bits(part) for key, part in value.items())
        case list() | tuple():
            return b"".join(map(bits, value))
    return json.dumps(value).encode()


def network(model: str):
    """Three batches of plain training, the outputs, and the weights rounded by GPTQ."""
    inputs, target = map(torch.from_numpy, tasks.digits(0)[:2])
    net = MODELS[model](stream("initialization", 0))
    trained(net, inputs[:192], target[:192], REGISTRY["no_noise"].objective())
    with torch.no_grad():
        answers = net.eval()(inputs[:64])
    return dict(net.state_dict()), answers, ROUNDINGS["gptq"](Network(net, inputs=inputs[:64]), Grid(3))


def trained(net, inputs, target, objective) -> dict:
    extra = objective.extra(dict(net.named_parameters()))
    draws, order = stream("training_noise", 0), stream("batch_order", 0)
    options = {"loss": cross_entropy, "batch_size": 64, "order": order, "schedule": "warmup_cosine"}
    others = (stream("batch_order", 0, 0, replica) for replica in range(1, objective.batches))
    options["replicas"] = [(inputs, target, own) for own in others]
    loop.train(net, inputs, target, objective, draws, epochs=1, extra=extra, **options)
    return extra


def method(name: str):
    """Three batches of a small CNN, and what is learned beside its weights."""
    inputs, target = (torch.from_numpy(part[:192]) for part in tasks.digits(0)[:2])
    net = MODELS["small_cnn"](stream("initialization", 0))
    extra = trained(net, inputs, target, REGISTRY[name].objective())
    return dict(net.state_dict()), extra


def rounding(scale: str, code_range: str):
    """Codes and steps of normal weights at every width."""
    weights = torch.from_numpy(stream("data", 0).standard_normal((16, 40), np.float32))
    widths = range(2 if code_range == "narrow" else 1, 17)
    return [quantizers.quantize(weights, Grid(b, code_range, scale)) for b in widths]


def opened(model: str, method: str, bits: int) -> Learner:
    """A network of the vision benchmark after one epoch."""
    shared = {"epochs": 1, "batch_size": 64, "schedule": "warmup_cosine", "seed": 0}
    shared |= {"part": "validation", "replicate": 0, "device": "cpu"}
    made = trial.train("images", arms.Arm("digits", model, method, bits), 0.01, 0.1, **shared)
    return made.opened(made.made(), **made.arguments)


def cell():
    """One cell of the vision benchmark, every reading of it."""
    network = opened("residual_cnn", "lsq", 4)
    return asked.at_widths(network, method="lsq", widths=[8, 4, 3, 2])


def language(model: str):
    """Two steps from nothing, one of fine-tuning by STE, and its reading at two widths."""
    how = {"model": model} | TEXT | SCHEDULE
    start = on_text.pretrain(pretraining_steps=2, pretraining_rate=0.004, **how)
    how |= {"kind": "text", "layout": "channels", "start": start, "part": "validation", "steps": 1}
    how |= {"method": "ste", "settings": {"bits": 4}, "learning_rate": 0.001}
    opened = trial.opened(trial.fit(**how), **how)
    return start, asked.at_widths(opened, method="ste", widths=[4, 2], blocks=2, block_windows=2)


def shaken(name: str):
    """A small network of the theory: trained, its Hessian probed, its loss under noise."""
    how = {"seed": 0, "epochs": 3, "learning_rate": 0.005, "pairs": 2, "probes": 2}
    how["dataset"] = "digits"
    return expansion._shaken_networks(name, 0, [0.0], **how)


def long_run():
    setup = linear.Setup(target="normal")._asdict()
    settings = {"xi_scaling": 80000.0, "baseline_noise": 0.4}
    return long_training._long_run(0, 2, setup, ["t0_qat"], settings, "constant", [30])


def law():
    """A drop's law by its characteristic function, at weights of replicate 0."""
    moments, _ = linear.moments([tasks.synthetic(0)])
    drop = theory.Drop.of(moments, linear.initial(10, range(1)), 10.667)
    x = np.linspace(-100, 3000, 20)
    return drop.squares, drop.slopes, drop.distribution(x), theory.reduction_chances(drop, drop)


def table1():
    runs = published.published(replicates=3)
    tables = published.table1(runs[0]), published.table1_paired(*runs)
    return [list(losses) for losses in runs[0].values()], tables


def interval():
    draws = stream("data", 0).standard_normal((2, 40))
    found = statistics.paired_difference(*draws), statistics.variance_interval(draws[0])
    return [float(v) for part in found for v in part.values()], statistics.chance(draws[0] > 0)["ci_low"]


def grids():
    cells = published.integer_grids(replicates=2, bits=[4, 2])
    return published.grid_losses(cells), published.grid_overall(cells)


def sweep():
    run = scale.sweep(replicates=3, points=4)
    return list(run.losses), scale.best(run)


def curves():
    """An image network on every grid, and with flipped bits."""
    return precision.every_grid(opened("small_cnn", "no_noise", 0), method="no_noise")


def circuit():
    """Two steps in the channel of noise, and every reading of what they give."""
    plan = circuits.plan(replicates=2, digits=["0123"], steps=2, strengths=[0.1], bits=[2], shots=10)
    arm = arms.Arm("digits", "circuit_0123", on_circuits.CHANNEL, arms.NO_WIDTH)
    (_, cell), _ = plan.tests({arm: (0.1, 3000.0)})
    angles = cell.reads.made()
    return angles, cell.made(cell.reads.opened(angles, **cell.reads.arguments))


def picture():
    """The pixels of a figure."""
    file = io.BytesIO()
    figures.table1(published.published(replicates=5)[0]).savefig(file, format="png", dpi=60)
    return file.getvalue().hex()


STEPS = {
    "the published experiment": table1,
    "integer grids of linear layers": grids,
    "long training": long_run,
    "closed forms": law,
    "statistics": interval,
    "scales": sweep,
    "bits and flips": curves,
    "circuits": circuit,
    "a vision cell": cell,
    "a figure's pixels": picture,
}
STEPS |= {f"network {name}": partial(network, name) for name in MODELS}
STEPS |= {f"method {name}": partial(method, name) for name in REGISTRY}
STEPS |= {f"rounding {s}, {r}": partial(rounding, s, r) for s in SCALES for r in CODES}
STEPS |= {f"theory's {name}": partial(shaken, name) for name in expansion.NETWORKS}
STEPS |= {f"language {name}": partial(language, name) for name in ("small_gpt2", "small_llama")}

if __name__ == "__main__":
    with pin.one_thread():
        hashes = {name: hashlib.sha256(bits(step())).hexdigest()[:16] for name, step in STEPS.items()}
    print(json.dumps({"pinned": pin.in_force()} | hashes, indent=1))
