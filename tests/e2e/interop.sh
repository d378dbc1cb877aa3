#!/usr/bin/env bash
# PyTorch opens a checkpoint's weights under its own names and types, batch norm's counter included,
# and Stoker goes on from what PyTorch saves. STOKER_PYTHON names a Python that has torch and
# safetensors.
. "$(dirname "$0")/lib.sh"
python=${STOKER_PYTHON:-python3}
"$python" -c 'import torch, safetensors.torch' 2>/dev/null ||
  { echo "skip: $python has no torch and safetensors (STOKER_PYTHON)"; exit 77; }

cat >job.yaml <<'JOB'
model:
  class: sequential
  layers: [conv2d: {out: 2, kernel: 3}, batch_norm, relu, flatten, linear: {out: 4}]
  loss: cross_entropy
data:
  {kind: synthetic, shape: [1, 6, 6], num_classes: 4, num_samples: 40, num_val_samples: 8,
   batch_size: 8}
trainer: {max_epochs: 2, accumulate_grad_batches: 2}
JOB
cat >read.py <<'PY'
import sys
import torch
from safetensors.torch import load_file, save_file
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(),
                                    nn.Linear(32, 4))

net = Net()
net.load_state_dict(load_file(sys.argv[1]), strict=True)
print(net.layers[1].num_batches_tracked.dtype, net.layers[1].num_batches_tracked.item())
save_file(net.state_dict(), sys.argv[2])
PY

path=$(train job.yaml)
got=$("$python" read.py "$path/model.safetensors" torch.safetensors 2>err.log) ||
  fail "torch: $(tail -n 1 err.log)"
[ "$got" = "torch.int64 10" ] || fail "num_batches_tracked is '$got', not 'torch.int64 10'"
mine=$("$stoker" ckpt hash "$path") theirs=$("$stoker" ckpt hash torch.safetensors)
[ "$mine" = "$theirs" ] || fail "the file that torch saved has hash $theirs, not $mine"
"$stoker" fit job.yaml --weights.path torch.safetensors --trainer.max_steps 1 >tune.log 2>&1 ||
  fail "weights that torch saved: $(tail -n 1 tune.log)"
finish
