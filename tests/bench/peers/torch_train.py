"""Training steps of PyTorch or Lightning on demand, for tests/bench/run.

    torch_train.py MODEL VARIANT THREADS DATA

MODEL: autoencoder, mlp, cnn, gpt-small, gpt-medium, gpt2-124m. VARIANT: fused, one (eager, fused
optimizer), compiled (torch.compile and fused optimizer), lightning (its defaults; barebones: its
fastest). For each line "step S" of input one line of output: seconds per step over about S seconds.
Batches are tensors made beforehand; Lightning takes them from a DataLoader, as its users do.
"""
import gzip
import os
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


class Classifier(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x, y):
        return F.cross_entropy(self.layers(x), y)


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 3),
            nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 784))

    def forward(self, x, _):
        return F.mse_loss(self.layers(x), x)


class Block(nn.Module):
    def __init__(self, heads, width):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        n, t, width = x.shape
        qkv = self.attn(self.ln_1(x)).view(n, t, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(a.transpose(1, 2).reshape(n, t, width))
        return x + self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, vocabulary, context, layers, heads, width):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*[Block(heads, width) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, x, y):
        h = self.norm(self.blocks(self.tokens(x) + self.places.weight[:x.shape[1]]))
        return F.cross_entropy((h @ self.tokens.weight.T).flatten(0, 1), y.flatten())


def digits(directory):
    def read(name, skip):
        for path in (os.path.join(directory, name + ".gz"), os.path.join(directory, name)):
            if os.path.exists(path):
                with (gzip.open if path.endswith(".gz") else open)(path, "rb") as f:
                    return torch.frombuffer(bytearray(f.read()[skip:]), dtype=torch.uint8)
        return None
    x, y = read("t10k-images-idx3-ubyte", 16), read("t10k-labels-idx1-ubyte", 8)
    if x is None:
        x, y = read("mnist-t10k-images-idx3-ubyte", 16), read("mnist-t10k-labels-idx1-ubyte", 8)
    return x.view(-1, 784).float() / 255, y.long()


def text(path, n, length, vocabulary=256):
    with open(path, "rb") as f:
        data = torch.frombuffer(bytearray(f.read()), dtype=torch.uint8).long()
    if vocabulary > 256:
        data = torch.randint(vocabulary, (1 << 20,))
    starts = torch.randint(len(data) - length - 1, (32, n, 1))
    window = data[starts + torch.arange(length + 1)]
    return [(w[:, :-1].contiguous(), w[:, 1:].contiguous()) for w in window]


def make(name, data):
    def images(size):
        x, y = digits(data)
        return list(zip(x.split(size), y.split(size)))
    if name == "autoencoder":
        return Autoencoder(), images(64), torch.optim.Adam
    if name == "mlp":
        model = Classifier(nn.Linear(784, 500), nn.ReLU(), nn.Linear(500, 10))
        return model, images(500), torch.optim.AdamW
    if name == "cnn":
        layers = (nn.Unflatten(1, (1, 28, 28)),
                  nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                  nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                  nn.Linear(784, 10))
        return Classifier(*layers), images(500), torch.optim.AdamW
    sizes = {"gpt-small": (256, 64, 4, 4, 128, 12, 64), "gpt-medium": (256, 256, 6, 6, 384, 8, 256),
             "gpt2-124m": (50304, 1024, 12, 12, 768, 4, 64)}
    vocabulary, context, layers, heads, width, n, length = sizes[name]
    model = Gpt(vocabulary, context, layers, heads, width)
    return model, text(data, n, length, vocabulary), torch.optim.AdamW


def wait_for_request():
    line = sys.stdin.readline().split()
    return float(line[1]) if len(line) == 2 else None


def plain(model, batches, optimizer, compiled):
    run = torch.compile(model) if compiled else model
    opt = optimizer(model.parameters(), lr=1e-3, fused=True)

    def step(i):
        opt.zero_grad(set_to_none=True)
        loss = run(*batches[i % (len(batches) - 1)])
        loss.backward()
        opt.step()

    for i in range(3):
        step(i)
    print("ready", file=answers, flush=True)
    while (seconds := wait_for_request()) is not None:
        begin, n = time.perf_counter(), 0
        while n == 0 or time.perf_counter() - begin < seconds:
            step(n)
            n += 1
        print((time.perf_counter() - begin) / n, file=answers, flush=True)


def lightning(model, batches, optimizer, barebones):
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = model

        def training_step(self, batch, _):
            loss = self.model(*batch)
            if not barebones:
                self.log("train_loss", loss)
            return loss

        def configure_optimizers(self):
            return optimizer(self.parameters(), lr=1e-3)

    class Ask(L.Callback):
        begin = n = seconds = None

        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 20:
                print("ready", file=answers, flush=True)
            if trainer.global_step < 20:
                return
            if self.begin is not None:
                self.n += 1
                if time.perf_counter() - self.begin < self.seconds:
                    return
                print((time.perf_counter() - self.begin) / self.n, file=answers, flush=True)
            self.seconds = wait_for_request()
            if self.seconds is None:
                os._exit(0)
            self.begin, self.n = time.perf_counter(), 0

    x, y = torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, y), batch_size=len(batches[0][0]), shuffle=True,
        drop_last=True)
    ask = Ask()
    if barebones:  # callbacks are not for barebones: the question goes into the module
        Module.on_train_batch_end = lambda self, *a: ask.on_train_batch_end(self.trainer)
    options = {"barebones": True} if barebones else {"callbacks": [ask]}
    root = os.environ.get("TMPDIR", "/tmp")
    L.Trainer(max_epochs=-1, default_root_dir=root, **options).fit(Module(), loader)


def main():
    name, variant, threads, data = sys.argv[1:5]
    global answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # progress bars are not answers
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    model, batches, optimizer = make(name, data)
    if variant in ("lightning", "barebones"):
        lightning(model, batches, optimizer, variant == "barebones")
    else:
        plain(model, batches, optimizer, variant == "compiled")


if __name__ == "__main__":
    main()
