"""Data-parallel training with a checkpoint every 50 steps, for tests/bench/recovery.

    torchrun --standalone --nproc-per-node 2 --max-restarts N torch_ddp.py DIR DATA

The model and the batches of row gpt-small, two micro-batches a rank and step. In DIR: rank-<r>.pid,
checkpoint.pt, and steps, to which rank 0 appends "monotonic_ns step" after each step.
"""
import os
import sys
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from torch_train import make  # noqa: E402

EVERY = 50


def main():
    where, data = sys.argv[1:3]
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    with open(os.path.join(where, f"rank-{rank}.pid"), "w", encoding="utf-8") as f:
        f.write(str(os.getpid()))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, batches, optimizer = make("gpt-small", data)
    model = DistributedDataParallel(model)
    opt = optimizer(model.parameters(), lr=1e-3, fused=True)
    path, step = os.path.join(where, "checkpoint.pt"), 0
    if os.path.exists(path):
        saved = torch.load(path)
        model.load_state_dict(saved["model"])
        opt.load_state_dict(saved["optimizer"])
        step = saved["step"]
    while True:
        opt.zero_grad(set_to_none=True)
        with model.no_sync():
            (model(*batches[2 * step % 30]) / 2).backward()
        (model(*batches[(2 * step + 1) % 30]) / 2).backward()
        opt.step()
        step += 1
        if rank == 0 and step % EVERY == 0:
            torch.save({"model": model.state_dict(), "optimizer": opt.state_dict(), "step": step},
                       path + ".tmp")
            os.replace(path + ".tmp", path)
        if rank == 0:
            with open(os.path.join(where, "steps"), "a", encoding="utf-8") as f:
                f.write(f"{time.monotonic_ns()} {step}\n")


main()
