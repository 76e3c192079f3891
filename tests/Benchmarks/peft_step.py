#!/usr/bin/env python3
"""The training step of the table in docs/performance.md by PyTorch: with PEFT and transformers where Python has both, otherwise with
LoRA layers that compute as PEFT's do, in plain torch. One client at a time, eager or compiled.

    python3 tests/Benchmarks/peft_step.py [--threads N] [--runs N] [--device cpu] [--compile] [--plain]
"""
import argparse
import math
import os
import statistics
import sys
import time


def asked():
    parser = argparse.ArgumentParser(description="Times the training step of the table in docs/performance.md by PyTorch.")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of a matrix product")
    parser.add_argument("--runs", type=int, default=7, help="timed runs of a case")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model")
    parser.add_argument("--plain", action="store_true", help="LoRA in plain torch even where PEFT is installed")
    given = parser.parse_args()
    if given.threads < 1 or given.runs < 1:
        parser.error("--threads and --runs take numbers of at least 1")
    return given


GIVEN = asked()
# OpenBLAS has threads of its own, which torch does not set; it reads this when it is loaded.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(GIVEN.threads)

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError as missing:
    sys.exit(f"peft_step: this Python ({sys.executable}) has no torch ({missing}); install it, for example Debian's python3-torch")

WIDTH, HIDDEN, LAYERS, HEADS, VOCABULARY, POSITIONS, EPSILON, THETA = 288, 768, 6, 6, 32_000, 1024, 1e-5, 10_000.0
RANK, ALPHA, LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM = 8, 16, 1e-3, 0.01, 1.0
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class LoraLinear(nn.Module):
    """PEFT's peft.tuners.lora.Linear without dropout: base(x) + B(A(x)) * alpha / r."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.base = nn.Linear(inputs, outputs, bias=False)
        self.a = nn.Linear(inputs, RANK, bias=False)
        self.b = nn.Linear(RANK, outputs, bias=False)
        nn.init.kaiming_uniform_(self.a.weight, a=math.sqrt(5))
        nn.init.zeros_(self.b.weight)
        self.base.weight.requires_grad_(False)

    def forward(self, x):
        return self.base(x) + self.b(self.a(x)) * (ALPHA / RANK)


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH), requires_grad=False)

    def forward(self, x):
        wide = x.to(torch.float32)
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPSILON)).to(x.dtype)


def rotated(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def attended(q, k, v):
    if hasattr(functional, "scaled_dot_product_attention"):
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    mask = torch.full((q.shape[-2], q.shape[-2]), float("-inf"), device=q.device).triu(1)
    return torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + mask, -1) @ v


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_norm, self.mlp_norm = Norm(), Norm()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (LoraLinear(WIDTH, WIDTH) for _ in range(4))
        self.gate_proj, self.up_proj, self.down_proj = LoraLinear(WIDTH, HIDDEN), LoraLinear(WIDTH, HIDDEN), LoraLinear(HIDDEN, WIDTH)

    def forward(self, x, cos, sin):
        batch, tokens, _ = x.shape
        normed = self.input_norm(x)
        q, k, v = (made(normed).view(batch, tokens, HEADS, -1).transpose(1, 2) for made in (self.q_proj, self.k_proj, self.v_proj))
        mixed = attended(rotated(q, cos, sin), rotated(k, cos, sin), v)
        x = x + self.o_proj(mixed.transpose(1, 2).reshape(batch, tokens, -1))
        normed = self.mlp_norm(x)
        return x + self.down_proj(functional.silu(self.gate_proj(normed)) * self.up_proj(normed))


class PlainLlama(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = Norm()
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        for frozen in (self.embedding.weight, self.head.weight):
            frozen.requires_grad_(False)

    def forward(self, ids, labels):
        steps = torch.arange(0, WIDTH // HEADS, 2, dtype=torch.float32, device=ids.device) / (WIDTH // HEADS)
        angles = torch.outer(torch.arange(ids.shape[1], dtype=torch.float32, device=ids.device), 1.0 / THETA**steps)
        angles = torch.cat((angles, angles), -1)
        cos, sin = angles.cos(), angles.sin()
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, cos, sin)
        logits = self.head(self.norm(x)).float()
        # The label of a place is the next token; PEFT's models shift within the loss.
        return functional.cross_entropy(logits[:, :-1].reshape(-1, VOCABULARY), labels[:, 1:].reshape(-1), ignore_index=-100)


def model_with_peft(device):
    import peft
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=HEADS, max_position_embeddings=POSITIONS, rms_norm_eps=EPSILON, rope_theta=THETA,
        tie_word_embeddings=False, use_cache=False)
    base = transformers.LlamaForCausalLM(config)
    lora = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=PROJECTIONS, task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, lora).to(device)
    return model, lambda ids, labels: model(input_ids=ids, labels=labels).loss, \
        f"PEFT {peft.__version__}, transformers {transformers.__version__}"


def model_of_torch(device, why):
    model = PlainLlama().to(device)
    return model, model, f"LoRA layers as PEFT computes them, in plain torch ({why})"


def build(device, plain):
    if plain:
        return model_of_torch(device, "--plain")
    try:
        return model_with_peft(device)
    except ImportError as missing:
        return model_of_torch(device, f"no PEFT here: {missing}")


def batch_of(rows, tokens, share, device):
    ids = torch.randint(0, VOCABULARY, (rows, tokens), device=device)
    labels = ids.clone()
    labels[:, : max(1, tokens - int(tokens * share))] = -100
    return ids, labels


def gflops(device):
    """Of a product of two 1024 x 1024 matrices: what the installed BLAS is worth."""
    a, seconds = torch.ones(1024, 1024, device=device), []
    for _ in range(6):
        started = time.perf_counter()
        (a @ a)[0, 0].item()
        seconds.append(time.perf_counter() - started)
    return 2 * 1024**3 / statistics.median(seconds[1:]) / 1e9


def main():
    given = GIVEN
    torch.manual_seed(1)
    torch.set_num_threads(given.threads)
    model, loss_of, kind = build(given.device, given.plain)
    if given.compile:
        if not hasattr(torch, "compile"):
            sys.exit(f"peft_step: torch {torch.__version__} has no torch.compile; leave --compile out")
        loss_of = torch.compile(loss_of)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def step(batches):
        for ids, labels in batches:
            optimizer.zero_grad()
            loss_of(ids, labels).backward()
            torch.nn.utils.clip_grad_norm_(trained, CLIP_NORM)
            optimizer.step()
        if given.device.startswith("cuda"):
            torch.cuda.synchronize()

    blas = "MKL" if torch.backends.mkl.is_available() else "another BLAS than MKL"
    print(f"torch {torch.__version__} with {blas}, {gflops(given.device):.0f} GFLOP/s; {kind}; "
          f"{'compiled' if given.compile else 'eager'}; {given.device}, threads {torch.get_num_threads()}, "
          f"{sum(parameter.numel() for parameter in trained):,} parameters train")
    print("| case | ms, median | lowest to highest | processor ms, median |")
    print("| --- | ---: | ---: | ---: |")
    for clients, rows, tokens in ((1, 4, 128), (8, 1, 32), (8, 4, 64)):
        for name, share in (("all", 1.0), ("25 %", 0.25)):
            batches = [batch_of(rows, tokens, share, given.device) for _ in range(clients)]
            for _ in range(3):
                step(batches)
            wall, processor = [], []
            for _ in range(given.runs):
                started, used = time.perf_counter(), time.process_time()
                step(batches)
                wall.append((time.perf_counter() - started) * 1e3)
                processor.append((time.process_time() - used) * 1e3)
            who = "1 client" if clients == 1 else f"{clients} clients one after another"
            print(f"| {who}, {rows} x {tokens}, {name} labelled | {statistics.median(wall):.1f} | {min(wall):.1f} to {max(wall):.1f} | "
                  f"{statistics.median(processor):.1f} |", flush=True)


if __name__ == "__main__":
    main()
