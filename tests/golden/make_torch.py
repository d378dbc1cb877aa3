#!/usr/bin/env python3
"""Writes torch/NAME.txt for every job torch/NAME.yaml: what PyTorch makes of the same job.

Run with a Python that has torch, yaml and safetensors, from anywhere, after a build:
tests/golden/make_torch.py [NAME...]. It trains from Stoker's initial weights (`stoker
init-weights`) and in its sample order (`stoker order`), in float64 and float32; models, data,
optimizers, schedules and clipping are PyTorch's own or written here, never Stoker's. The reader is
tests/exact/test_torch.c. Lines: `f64 loss V...`, `f32 loss V...` (the last micro-batch of each
step, a mean over lanes) and, of the float64 run, `weight NAME L2-NORM V...` (elements 0, n/3, n/2
and n-1 of each parameter and running statistic at the end). With validation data also
`f64 val_loss V...`, `f64 val_acc V...` or `f64 val_perplexity V...`, at the end of each epoch, over
all samples.
"""
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import load_file
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))
BIN = os.environ.get("STOKER_BIN", os.path.join(HERE, "../../build/release/bin"))
LABEL, TEMPLATE, NOISE, TOKEN, NEXT = 1, 2, 3, 4, 5  # streams of the generator


# ---- made-up data, as engine/data/synthetic.c describes it


def draw(stream, a, b):
    a, b = np.broadcast_arrays(np.asarray(a, np.uint64), np.asarray(b, np.uint64))
    h = np.zeros(a.shape, np.uint64)
    golden = np.uint64(0x9E3779B97F4A7C15)
    seed = np.full(a.shape, stream * 0xD1342543DE82EF95 % 2**64, np.uint64)
    with np.errstate(over="ignore"):
        for key in (seed, a, b):
            h = h * golden + key + golden
            h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            h = h ^ (h >> np.uint64(31))
    return h


def unit(h):
    return (h >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def images(data, ids):
    n, shape = len(ids), data["shape"]
    label = draw(LABEL, ids, 0) % np.uint64(data.get("num_classes", 10))
    elements = np.arange(int(np.prod(shape)))[None, :]
    x = np.float32(0.75) * unit(draw(TEMPLATE, label[:, None], elements))
    x = x + np.float32(0.25) * unit(draw(NOISE, ids[:, None], elements))
    return torch.from_numpy(x.reshape(n, *shape)), torch.from_numpy(label.astype(np.int64))


def tokens(data, ids):
    vocab, length = np.uint64(data["num_classes"]), data["seq_len"]
    token = draw(TOKEN, ids, 0) % vocab
    text = [token]
    for t in range(length):
        h = draw(TOKEN, ids, t + 1)
        other = (h >> np.uint64(32)) % vocab
        token = np.where(h % np.uint64(10) == 0, other, draw(NEXT, token, 0) % vocab)
        text.append(token)
    text = torch.from_numpy(np.stack(text, 1).astype(np.int64))
    return text[:, :-1], text[:, 1:]


# ---- models, with the names that Stoker gives their parameters


class Autoencoder(nn.Module):
    def __init__(self, x, hidden=64, code=3):
        super().__init__()
        n = x[0].numel()
        self.encoder = nn.Sequential(nn.Linear(n, hidden), nn.ReLU(), nn.Linear(hidden, code))
        self.decoder = nn.Sequential(nn.Linear(code, hidden), nn.ReLU(), nn.Linear(hidden, n))

    def forward(self, x):
        return self.decoder(self.encoder(x.flatten(1)))

    def loss(self, x, y):
        return F.mse_loss(self(x), x.flatten(1))


class Classifier(nn.Module):
    def loss(self, x, y):
        return F.cross_entropy(self(x).flatten(0, -2), y.flatten())


class Mlp(Classifier):
    ACTIVATIONS = {
        "relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "silu": nn.SiLU,
        "gelu": nn.GELU, "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    }

    def __init__(self, x, hidden, classes, activation):
        super().__init__()
        layers, n = [], x[0].numel()
        for width in map(int, hidden.split(",")):
            layers += [nn.Linear(n, width), self.ACTIVATIONS[activation]()]
            n = width
        self.net = nn.Sequential(*layers, nn.Linear(n, classes))

    def forward(self, x):
        return self.net(x.flatten(1))


class Cnn(Classifier):
    def __init__(self, x, conv1, conv2, batch_norm, classes=10):
        super().__init__()
        _, channels, height, width = x.shape
        self.conv1, self.bn1 = nn.Conv2d(channels, conv1, 3, padding=1), nn.BatchNorm2d(conv1)
        self.conv2, self.bn2 = nn.Conv2d(conv1, conv2, 3, padding=1), nn.BatchNorm2d(conv2)
        self.fc = nn.Linear(conv2 * (height // 4) * (width // 4), classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        return self.fc(x.flatten(1))


class Block(nn.Module):
    def __init__(self, heads, c):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(c), nn.LayerNorm(c)
        self.attn = nn.ModuleDict({"c_attn": nn.Linear(c, 3 * c), "c_proj": nn.Linear(c, c)})
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(c, 4 * c), "c_proj": nn.Linear(4 * c, c)})

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (
            part.view(b, t, self.heads, c // self.heads).transpose(1, 2)
            for part in self.attn["c_attn"](self.ln_1(x)).split(c, 2)
        )
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn["c_proj"](a.transpose(1, 2).reshape(b, t, c))
        f = F.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate="tanh")
        return x + self.mlp["c_proj"](f)


class Gpt(Classifier):
    def __init__(self, x, n_layer, n_head, n_embd, vocab_size):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab_size, n_embd), nn.Embedding(x.shape[1], n_embd)
        self.h = nn.ModuleList(Block(n_head, n_embd) for _ in range(n_layer))
        self.ln_f = nn.LayerNorm(n_embd)

    def forward(self, x):
        h = self.wte(x) + self.wpe.weight[: x.shape[1]]
        for block in self.h:
            h = block(h)
        return F.linear(self.ln_f(h), self.wte.weight)


def layer(kind, o, shape):
    """A layer of model.layers over samples of a shape, and the shape that it makes."""
    if kind == "linear":
        made = nn.Linear(shape[-1], o["out"], o.get("bias", True))
    elif kind == "conv2d":
        rest = {k: o[k] for k in ("stride", "padding", "dilation", "groups", "bias") if k in o}
        made = nn.Conv2d(shape[0], o["out"], o["kernel"], **rest)
    elif kind in ("max_pool", "avg_pool"):
        pool = nn.MaxPool2d if kind == "max_pool" else nn.AvgPool2d
        made = pool(o["kernel"], o.get("stride"))
    elif kind == "batch_norm":
        made = nn.BatchNorm2d(shape[0], **o)
    elif kind == "layer_norm":
        made = nn.LayerNorm(shape[-1], **o)
    elif kind == "reshape":
        made = nn.Unflatten(1, o["shape"])
    elif kind == "flatten":
        made = nn.Flatten()
    elif kind == "softplus":
        made = nn.Softplus()
    else:
        made = nn.GELU(**o) if kind == "gelu" else Mlp.ACTIVATIONS[kind]()
    with torch.no_grad():
        return made, made.eval()(torch.zeros(1, *shape)).shape[1:]


class Sequential(Classifier):
    def __init__(self, x, layers):
        super().__init__()
        made, shape = [], x.shape[1:]
        for one in layers:
            kind, options = (one, {}) if isinstance(one, str) else next(iter(one.items()))
            module, shape = layer(kind, options, shape)
            made.append(module)
        self.layers = nn.Sequential(*made).train()

    def forward(self, x):
        return self.layers(x)


MODELS = {"autoencoder": Autoencoder, "mlp": Mlp, "cnn": Cnn, "gpt": Gpt, "sequential": Sequential}


# ---- optimizers and schedules


def matches(pattern, name):
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), name)


def optimizer_of(spec, model):
    spec = dict(spec)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    kind, rules = kind[spec.pop("class")], spec.pop("groups", [])
    groups = [{"params": []}] + [
        {"params": [], **{k: v for k, v in rule.items() if k != "match"}} for rule in rules
    ]
    for name, p in model.named_parameters():
        hits = [i + 1 for i, rule in enumerate(rules) if matches(rule["match"], name)]
        groups[hits[0] if hits else 0]["params"].append(p)
    return kind([g for g in groups if g["params"]], foreach=False, **spec)


def schedulers_of(spec, optimizer):
    """(scheduler, "step" or "epoch", watches the loss) of one schedule or a list."""
    kinds = {
        "constant": torch.optim.lr_scheduler.ConstantLR,
        "step": torch.optim.lr_scheduler.StepLR,
        "linear_warmup": torch.optim.lr_scheduler.LinearLR,
        "reduce_on_plateau": torch.optim.lr_scheduler.ReduceLROnPlateau,
    }
    out = []
    for one in spec if isinstance(spec, list) else [spec] if spec else []:
        one = dict(one)
        kind, interval = one.pop("class"), one.pop("interval", "epoch")
        one.pop("monitor", None)
        if kind != "cosine":
            out.append((kinds[kind](optimizer, **one), interval, kind == "reduce_on_plateau"))
    return out


class Chain:
    """A warm-up whose rate a cosine then pulls towards eta_min: each link works on the rate of the
    one before. PyTorch's own ChainedScheduler is defined by recurrences and rounds differently."""

    def __init__(self, spec, optimizer):
        self.warm, self.cosine = spec
        self.optimizer, self.count = optimizer, 0
        self.base = [g["lr"] for g in optimizer.param_groups]
        self.set()

    def set(self):
        part = min(self.count, self.warm["total_iters"]) / self.warm["total_iters"]
        warm = self.warm["start_factor"] + (1 - self.warm["start_factor"]) * part
        low, turn = float(self.cosine["eta_min"]), self.count / self.cosine["t_max"]
        for group, base in zip(self.optimizer.param_groups, self.base):
            group["lr"] = low + (base * warm - low) * (1 + np.cos(np.pi * turn)) / 2

    def step(self):
        self.count += 1
        self.set()


# ---- one run


def numbers(tree):
    """YAML 1.1 takes 1e-3 for text."""
    if isinstance(tree, dict):
        return {k: numbers(v) for k, v in tree.items()}
    if isinstance(tree, list):
        return [numbers(v) for v in tree]
    if isinstance(tree, str) and re.fullmatch(r"-?\d+(\.\d*)?e-?\d+", tree):
        return float(tree)
    return tree


def order_of(path, steps):
    """Per step: its epoch and, per lane, the ids of its micro-batches."""
    out = subprocess.run([os.path.join(BIN, "stoker"), "order", path, "--steps", "0:%d" % steps],
                         check=True, capture_output=True, text=True).stdout
    result = {}
    for line in out.splitlines():
        head, ids = line.split(":")
        step, epoch, lane = (int(head.split()[i]) for i in (1, 3, 5))
        lanes = result.setdefault(step, (epoch, {}))[1]
        lanes.setdefault(lane, []).append([int(i) for i in ids.split()])
    return [(e, [lanes[i] for i in sorted(lanes)]) for e, lanes in
            (result[s] for s in sorted(result))]


def micro_batches(model, x, y, lanes, accumulate):
    """Leaves the lanes' mean gradient in model, and running statistics as lane 0 alone makes them;
    returns the loss of the last micro-batch over all lanes."""
    kept, total, weight = None, 0.0, 0
    before = {n: b.clone() for n, b in model.named_buffers()}
    for lane, batches in enumerate(lanes):
        for n, b in model.named_buffers():
            b.copy_(before[n])
        for ids in batches:
            loss = model.loss(x[ids], y[ids])
            (loss / accumulate / len(lanes)).backward()
        total, weight = total + loss.item() * len(ids), weight + len(ids)
        kept = kept or {n: b.clone() for n, b in model.named_buffers()}
    for n, b in model.named_buffers():
        b.copy_(kept[n])
    return total / weight


def validate(model, x, y):
    """Name and value of each metric over all samples."""
    model.eval()
    with torch.no_grad():
        loss = model.loss(x, y).item()
        result = {"val_loss": loss}
        if isinstance(model, Gpt):
            result["val_perplexity"] = np.exp(loss)
        elif isinstance(model, Classifier):
            result["val_acc"] = (model(x).argmax(-1) == y).double().mean().item()
    model.train()
    return result


def load(job, real, first, n):
    data = tokens if job["data"].get("synthetic") == "tokens" else images
    x, y = data(job["data"], np.arange(first, first + n))
    return x.to(real) if x.is_floating_point() else x, y


def train(job, path, weights, real):
    """Values by name, in the order of steps and epochs, and the final state."""
    trainer, n = job["trainer"], job["data"]["num_samples"]
    x, y = load(job, real, 0, n)
    n_val = job["data"].get("num_val_samples", 0)
    options = {k: v for k, v in job["model"].items() if k != "class"}
    model = MODELS[job["model"]["class"]](x, **options).to(real)
    missing, unexpected = model.load_state_dict(load_file(weights), strict=False)
    assert not unexpected and all(n.endswith("num_batches_tracked") for n in missing)
    optimizer, spec = optimizer_of(job["optimizer"], model), job.get("lr_scheduler")
    chain = isinstance(spec, list) and len(spec) == 2
    schedulers = [(Chain(spec, optimizer), "step", False)] if chain else \
        schedulers_of(spec, optimizer)
    clip, values = trainer.get("gradient_clip_val"), {"loss": []}
    order = order_of(path, trainer["max_steps"] + 1)
    for i, (epoch, lanes) in enumerate(order[:-1]):
        optimizer.zero_grad()
        loss = micro_batches(model, x, y, lanes, trainer.get("accumulate_grad_batches", 1))
        values["loss"].append(loss)
        if clip and trainer.get("gradient_clip_algorithm") == "value":
            nn.utils.clip_grad_value_(model.parameters(), clip)
        elif clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        last = order[i + 1][0] != epoch
        for scheduler, interval, watches in schedulers:
            if interval == "step" or last:
                scheduler.step(*([loss] if watches else []))
        for name, value in validate(model, *load(job, real, n, n_val)).items() \
                if last and n_val else ():
            values.setdefault(name, []).append(value)
    return values, model.state_dict()


def text(values):
    return " ".join("%.17g" % v for v in values)


def main(names):
    torch.set_num_threads(1)
    folder = os.path.join(HERE, "torch")
    for name in names or sorted(f[:-5] for f in os.listdir(folder) if f.endswith(".yaml")):
        path = os.path.join(folder, name + ".yaml")
        with open(path) as f:
            job = numbers(yaml.safe_load(f))
        with tempfile.TemporaryDirectory() as work, \
                open(os.path.join(folder, name + ".txt"), "w") as out:
            for label, real in (("f64", torch.float64), ("f32", torch.float32)):
                weights = os.path.join(work, label)
                precision = "64-true" if label == "f64" else "32-true"
                subprocess.run([os.path.join(BIN, "stoker"), "init-weights", path, "-o", weights,
                                "--trainer.precision", precision], check=True, capture_output=True)
                values, state = train(job, path, weights, real)
                for key, numbers_of in values.items():
                    out.write("%s %s %s\n" % (label, key, text(numbers_of)))
                for key, value in state.items() if label == "f64" else ():
                    v = value.flatten().double()
                    if not key.endswith("num_batches_tracked"):
                        at = [0, v.numel() // 3, v.numel() // 2, v.numel() - 1]
                        out.write("weight %s %s\n" % (key, text([v.norm()] + v[at].tolist())))
        print(name, "loss", values["loss"][0], "to", values["loss"][-1])


main(sys.argv[1:])
