"""The networks themselves, in the child process: built by neuralforecast, fitted, asked, taken apart.

A row is a sample: its window of past values in, the label out; no window ever reaches over a gap, and
labels that were shuffled are learnt as such. The library's architectures, not its loop: that one would take
the label from the series itself, and samples windows across what is missing.
"""

from __future__ import annotations

import copy
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from neuralforecast.losses.pytorch import MSE
from neuralforecast.models import NHITS, PatchTST

from clm.training.neural import tensors
from clm.training.neural.messages import Message
from clm.training.neural.tensors import Described

#: Called with how many steps are done.
Tell = Callable[[int], None]
Arrays = Mapping[str, np.ndarray[Any, Any]]
#: Points on the way from the baseline to the row at which gradients are taken (Gauss–Legendre).
_IG_POINTS = 64
_FORECAST_ROWS = 4096
_QUIET = {
    "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
    "enable_checkpointing": False, "accelerator": "cpu",
}  # fmt: skip

torch.set_num_interop_threads(1)


def build(described: Described) -> Any:
    """An untrained network; weights depend on the seed alone."""
    p, exogenous = described.params, list(described.exogenous)
    common = {
        "h": 1, "input_size": int(p["input_size"]), "loss": MSE(), "random_seed": int(p["seed"]), **_QUIET,
    }  # fmt: skip
    torch.manual_seed(int(p["seed"]))
    if described.model_type == "nhits":
        width = int(p["hidden_size"])
        return NHITS(
            hist_exog_list=exogenous or None, mlp_units=3 * [[width, width]], n_pool_kernel_size=[4, 2, 1],
            n_freq_downsample=[4, 2, 1], dropout_prob_theta=float(p["dropout"]), **common,
        )  # fmt: skip
    return PatchTST(
        patch_len=int(p["patch_len"]), stride=int(p["stride"]), hidden_size=int(p["hidden_size"]),
        linear_hidden_size=2 * int(p["hidden_size"]), encoder_layers=int(p["encoder_layers"]),
        n_heads=int(p["n_heads"]), dropout=float(p["dropout"]), fc_dropout=float(p["dropout"]), revin=False,
        **common,
    )  # fmt: skip


class Network:
    """A network in use, float32 while it is fitted, float64 afterwards: forecasts in units of volatility."""

    def __init__(self, described: Described, module: Any, device: torch.device) -> None:
        self.described, self.device = described, device
        self.module = module.to(device)
        self._nhits = described.model_type == "nhits"

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """windows: (rows, channels, input_size), oldest first, the returns' channel first."""
        returns = windows[:, 0, :, None]
        exogenous = windows[:, 1:].transpose(1, 2) if windows.shape[1] > 1 else None
        batch = {
            "insample_y": returns, "insample_mask": torch.ones_like(returns), "hist_exog": exogenous,
            "futr_exog": None, "stat_exog": None,
        }  # fmt: skip
        out = self.module(batch).reshape(-1)
        # N-HiTS starts from the last value, as from a level; the level of a return is zero.
        forecast: torch.Tensor = out - windows[:, 0, -1] if self._nhits else out
        return forecast

    def forecast(self, arrays: Arrays) -> np.ndarray[Any, Any]:
        self.module.eval()
        windows = self._tensor(arrays["windows"])
        with torch.no_grad():
            parts = [self.forward(windows[at : at + _FORECAST_ROWS]) for at in _starts(len(windows))]
        # Computed in double and rounded: the same to the last bit, whatever rows are asked for together.
        rounded: np.ndarray[Any, Any] = torch.cat(parts).cpu().numpy().astype(np.float32)
        return rounded

    def attributions(self, arrays: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        """Integrated gradients (Sundararajan, Taly & Yan 2017) against a window of zeros: no move at all.

        parts: (rows, channels, input_size); base: what the network says of the baseline.
        """
        self.module.eval()
        windows = self._tensor(arrays["windows"])
        nodes, weights = np.polynomial.legendre.leggauss(_IG_POINTS)
        total = torch.zeros_like(windows)
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            at = (windows * float(node)).requires_grad_()
            (gradient,) = torch.autograd.grad(self.forward(at).sum(), at)
            total += float(weight) * gradient
        with torch.no_grad():
            base = self.forward(torch.zeros_like(windows[:1]))
        parts = (total * windows).cpu().numpy().astype(np.float64)
        return {"parts": parts, "base": base.cpu().numpy().astype(np.float64)}

    def _tensor(self, windows: np.ndarray[Any, Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(windows, dtype=np.float64)).to(self.device)


def train(question: Message, tell: Tell = lambda steps: None) -> Message:
    """Fits on all rows but the last few, which say when to stop; answers the model's bytes and its cost.

    tell: hears of each step that is done.
    """
    began = time.perf_counter()
    described = Described.from_json(question.head["described"])
    p = described.params
    torch.set_num_threads(int(p["num_threads"]))
    torch.use_deterministic_algorithms(True, warn_only=True)
    device = _device(p)
    network = Network(described, build(described), device)
    windows, label = (torch.from_numpy(question.arrays[name]).to(device) for name in ("windows", "label"))
    apart = int(p["input_size"])
    judged = max(1, int(len(label) * float(p["validation_share"])))
    # Rows right before the validation share their window with it.
    fitted = len(label) - judged - apart
    if fitted < apart:
        raise ValueError(f"{len(label)} rows are too few for windows of {apart} and a validation of {judged}")
    _fit(network, windows[:fitted], label[:fitted], windows[-judged:], label[-judged:], tell)
    raw = tensors.to_bytes(described, network.module.state_dict())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    cost = {"seconds": round(time.perf_counter() - began, 3), "peak_bytes": peak, "device": device.type}
    return Message({"cost": cost}, raw=raw)


def _fit(
    network: Network,
    x: torch.Tensor,
    y: torch.Tensor,
    x_judged: torch.Tensor,
    y_judged: torch.Tensor,
    tell: Tell,
) -> None:
    """Adam on shuffled batches; the weights that were best on the validation rows stay."""
    p, module = network.described.params, network.module
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=float(p["learning_rate"]), weight_decay=float(p["weight_decay"])
    )
    order = torch.Generator().manual_seed(int(p["seed"]))
    best, kept, waited = _loss_on(network, x_judged, y_judged), copy.deepcopy(module.state_dict()), 0
    for step, rows in enumerate(_batches(len(y), int(p["batch_size"]), int(p["max_steps"]), order), 1):
        module.train()
        optimizer.zero_grad()
        loss = torch.mean((network.forward(x[rows]) - y[rows]) ** 2)
        if not torch.isfinite(loss):
            raise ValueError(f"the loss is not finite after {step} steps; a smaller learning_rate may help")
        loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        tell(step)
        if step % int(p["val_check_steps"]) == 0:
            now = _loss_on(network, x_judged, y_judged)
            if now < best:
                best, kept, waited = now, copy.deepcopy(module.state_dict()), 0
            else:
                waited += 1
            if waited >= int(p["early_stop_patience"]):
                break
    module.load_state_dict(kept)


def _loss_on(network: Network, x: torch.Tensor, y: torch.Tensor) -> float:
    network.module.eval()
    with torch.no_grad():
        parts = [network.forward(x[at : at + _FORECAST_ROWS]) for at in _starts(len(x))]
    return float(torch.mean((torch.cat(parts) - y) ** 2))


def _batches(rows: int, size: int, most: int, order: torch.Generator) -> Iterator[torch.Tensor]:
    made = 0
    while True:
        shuffled = torch.randperm(rows, generator=order)
        for at in range(0, rows, size):
            if made == most:
                return
            made += 1
            yield shuffled[at : at + size]


def load(raw: bytes) -> Network:
    """From the bytes `train` answered; they were looked at before they came here."""
    described, weights = tensors.from_bytes(raw)
    torch.set_num_threads(1)
    module = build(described)
    state = {name: torch.from_numpy(values.copy()) for name, values in weights.items()}
    module.load_state_dict(state, strict=True)
    return Network(described, module.double(), torch.device("cpu"))


def _device(params: Mapping[str, Any]) -> torch.device:
    allowed = bool(params["gpu"]) and torch.cuda.is_available()
    return torch.device("cuda" if allowed else "cpu")


def _starts(rows: int) -> range:
    return range(0, rows, _FORECAST_ROWS)
