#!/usr/bin/env python3
"""Writes optim.txt and schedule.txt: PyTorch's optimizers and learning-rate schedules in float64.

Run with a Python that has torch, from anywhere: tests/golden/make_optim.py. The readers are
tests/unit/kernel/test_optim.c and tests/unit/optim/test_schedule.c, which hold the same cases by
name. Gradients are those of the tests' kt_uniform, so no data needs to be stored.
"""
import os

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
N, STEPS, SHOWN = 20, 50, (1, 10, 50)
DAMPENED = dict(lr=0.02, momentum=0.8, dampening=0.3, weight_decay=0.05)
CASES = {
    "sgd": (torch.optim.SGD, dict(lr=0.05)),
    "sgd_decay": (torch.optim.SGD, dict(lr=0.05, weight_decay=0.1)),
    "sgd_momentum": (torch.optim.SGD, dict(lr=0.02, momentum=0.9)),
    "sgd_dampened": (torch.optim.SGD, DAMPENED),
    "sgd_nesterov": (torch.optim.SGD, dict(lr=0.02, momentum=0.9, nesterov=True)),
    "adam": (torch.optim.Adam, dict(lr=0.01)),
    "adam_decay": (torch.optim.Adam, dict(lr=0.01, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1)),
    "adamw": (torch.optim.AdamW, dict(lr=0.01)),
    "adamw_decay": (torch.optim.AdamW, dict(lr=0.02, betas=(0.9, 0.99), weight_decay=0.5)),
    "adamw_clipped": (torch.optim.AdamW, dict(lr=0.01, weight_decay=0.1)),
}


def uniform(seed, n):
    out = []
    for index in range(n):
        x = (seed * 0x9E3779B9 + index) & 0xFFFFFFFF
        x = ((x ^ x >> 16) * 0x7FEB352D) & 0xFFFFFFFF
        x = ((x ^ x >> 15) * 0x846CA68B) & 0xFFFFFFFF
        out.append(-1 + 2 * (((x ^ x >> 16) >> 8) * 2.0**-24))
    return torch.tensor(out, dtype=torch.float64)


def optimizers(out):
    for name, (kind, options) in CASES.items():
        p = torch.nn.Parameter(uniform(1, N))
        optimizer = kind([p], foreach=False, **options)
        for step in range(1, STEPS + 1):
            p.grad = uniform(100 + step, N)
            if name == "adamw_clipped":
                p.grad *= 0.5
                torch.nn.utils.clip_grad_value_([p], 0.3)
            optimizer.step()
            if step in SHOWN:
                values = " ".join("%.17g" % v for v in p.tolist())
                out.write("%s %d %s\n" % (name, step, values))


def metric(t):
    return (t * 7919 % 101) / 101 + 5 / (1 + t)


def schedules(out):
    lr = torch.optim.lr_scheduler

    def sequential(o):
        parts = [lr.LinearLR(o, 0.01, 1.0, 5), lr.CosineAnnealingLR(o, 25, 0.002)]
        return lr.SequentialLR(o, parts, [5])

    cases = {
        "constant": lambda o: lr.ConstantLR(o, 0.25, 10),
        "step": lambda o: lr.StepLR(o, 7, 0.3),
        "cosine": lambda o: lr.CosineAnnealingLR(o, 20, 0.001),
        "linear": lambda o: lr.LinearLR(o, 0.1, 0.9, 8),
        "warmup": lambda o: lr.LambdaLR(o, lambda t: min(1.0, (t + 1) / 10)),
        "sequential": sequential,
        "plateau_min": lambda o: lr.ReduceLROnPlateau(o, "min", 0.5, 3, 1e-3),
        "plateau_max": lambda o: lr.ReduceLROnPlateau(
            o, "max", 0.3, 2, 0.05, threshold_mode="abs", cooldown=2, min_lr=0.004),
    }
    for name, make in cases.items():
        p = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([p], lr=0.1)
        scheduler = make(optimizer)
        rates = []
        for t in range(60):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step(*([metric(t)] if name.startswith("plateau") else []))
        out.write("%s %s\n" % (name, " ".join("%.17g" % r for r in rates)))


with open(os.path.join(HERE, "optim.txt"), "w") as f:
    optimizers(f)
with open(os.path.join(HERE, "schedule.txt"), "w") as f:
    schedules(f)
