"""gloo's all-reduce of two processes' gradients, and with it AdamW, on demand, for tests/bench/run.

    torch_reduce.py MIB RENDEZVOUS

RENDEZVOUS is a file that does not exist yet. A line of facts, then for each line of input one of
output: "reduce S" seconds per all_reduce over about S seconds; "step S" the same, then the mean and
fused AdamW over all of it, as every process of a DDP job does. One thread per process.
"""
import os
import sys
import time

import torch
import torch.distributed as dist


def measure(rank, with_step, seconds, fresh, param, opt):
    begin, spent, n, more = time.perf_counter(), 0.0, 0, torch.ones(1)
    while more.item():
        param.grad.copy_(fresh)
        dist.barrier()
        start = time.perf_counter()
        dist.all_reduce(param.grad)
        if with_step:
            param.grad /= 2
            opt.step()
        dist.barrier()
        spent += time.perf_counter() - start
        n += 1
        if rank == 0:
            more[0] = float(time.perf_counter() - begin < seconds)
        dist.broadcast(more, 0)
    return spent / n


def main():
    mib, path = int(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    read, write = os.pipe()
    rank = 0 if os.fork() else 1
    dist.init_process_group("gloo", init_method="file://" + path, rank=rank, world_size=2)
    param = torch.nn.Parameter(torch.zeros(mib << 18))
    fresh = (torch.arange(mib << 18) % 1000) * 1e-6
    param.grad = fresh.clone()
    opt = torch.optim.AdamW([param], fused=True)
    if rank == 1:  # waits without spinning: the other peers measure meanwhile
        os.close(write)
        while word := os.read(read, 1):
            measure(rank, word == b"s", 0.0, fresh, param, opt)
        return
    print("elements", mib << 18, flush=True)
    for line in sys.stdin:
        word, seconds = line.split()
        os.write(write, b"s" if word == "step" else b"r")
        print(f"{measure(rank, word == 'step', float(seconds), fresh, param, opt):.9f}", flush=True)
    os.close(write)
    os.wait()


main()
