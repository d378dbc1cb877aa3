"""Process start to the autoencoder's first finished step, in PyTorch: run and timed as a whole."""
import torch
from torch import nn

model = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 3), nn.Linear(3, 64), nn.ReLU(),
                      nn.Linear(64, 784))
opt = torch.optim.Adam(model.parameters(), lr=1e-3)
x = torch.rand(64, 784)
nn.functional.mse_loss(model(x), x).backward()
opt.step()
