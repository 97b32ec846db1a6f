"""Figures of frozen features: how well they tell classes apart, how many dimensions they fill."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.nn.neighbours import unit_rows

NEIGHBOURS, TEMPERATURE = 20, 0.07
RIDGE = 0.01  # penalty of the linear probe for each training row


def knn_accuracy(train: Tensor, labels: Tensor, test: Tensor, truth: Tensor) -> float:
    """Percent of test rows (M, D) whose label gets most of the votes exp((cos - c) / T) of the k
    nearest of the training rows (N, D), c the row's largest cosine; k = 20, T = .07."""
    bank, labels, truth = (
        unit_rows(train),
        labels.to(train.device),
        truth.to(train.device),
    )
    near = (unit_rows(test) @ bank.T).topk(min(NEIGHBOURS, len(bank)), dim=1)
    votes = near.values.new_zeros(len(test), int(labels.max()) + 1)
    weights = ((near.values - near.values[:, :1]) / TEMPERATURE).exp()
    votes.scatter_add_(1, labels[near.indices], weights)
    return 100 * float((votes.argmax(1) == truth).float().mean())


def linear_accuracy(train: Tensor, labels: Tensor, test: Tensor, truth: Tensor) -> float:
    """Percent of test rows (M, D) that ridge regression on the labels of the training rows (N, D)
    classifies rightly.

    W, b minimise ||Y - XW - b||^2 + .01 N ||W||^2 in double precision; Y (N, K) is 1 for the class
    of a row and -1 elsewhere, and X has been divided by the standard deviations of its columns. It
    is solved exactly, so that it needs no rate, no steps and no random numbers.
    """
    x, y = train.double().cpu(), -torch.ones(len(train), int(labels.max()) + 1).double()
    y[torch.arange(len(y)), labels.cpu()] = 1
    mean, scale = x.mean(0), x.std(0, correction=0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    x, level = (x - mean) / scale, y.mean(0)
    gram = x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, x.T @ (y - level))
    scores = (test.double().cpu() - mean) / scale @ weights + level
    return 100 * float((scores.argmax(1) == truth.cpu()).double().mean())


def rankme(features: Tensor) -> float:
    """The effective rank of features (N, D): exp(-sum p_k log p_k), p_k = s_k / sum s the
    normalised singular values (Garrido et al., RankMe, ICML 2023, equation 1). From 1, all rows
    alike, to min(N, D)."""
    values = torch.linalg.svdvals(features.double().cpu())
    shares = values / values.sum().clamp_min(torch.finfo(torch.float64).tiny) + 1e-7
    return float(torch.exp(-(shares * shares.log()).sum()))


def feature_std(features: Tensor) -> float:
    """The mean over columns of the standard deviation of the unit rows of features (N, D), times
    sqrt(D): 0 where the network has collapsed, near 1 where it has not (Chen and He, SimSiam,
    Figure 2)."""
    rows = F.normalize(features.double(), dim=1)
    return float(rows.std(0).mean()) * rows.shape[1] ** 0.5
