"""CLIP: a vision transformer for frames and a causal transformer for text, in one space.

The module names are OpenAI's, so that every published checkpoint fits without renaming. Two things
differ from the released model on purpose: all tokens come out after the projection (patches and
words, not only the pooled one), and the patch projection may span three frames ("3d").

Sources: Radford et al. 2021 (arXiv 2103.00020); CLIP4Clip (arXiv 2104.08860) for 3D patches,
freezing and the fp16 weights. Letters: B videos or texts, F frames, P patches, W words,
E joint width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finecut.errors import ShapeError

HEAD_WIDTH = 64  # channels per attention head in every OpenAI CLIP
LOGIT_SCALE_INIT = math.log(1 / 0.07)  # CLIP section 2.5
LOGIT_SCALE_MAX = math.log(100.0)  # the learned scale is clamped here after every step
TEMPORAL_KERNEL = 3  # frames seen by one 3D patch (CLIP4Clip section 3.1)

Activation = Literal["quick_gelu", "gelu"]
PatchKind = Literal["2d", "3d"]


@dataclass(frozen=True, slots=True)
class ClipConfig:
    """Sizes of a CLIP; ``clip_load.infer_config`` reads them off a state dict."""

    embed_dim: int = 512
    image_size: int = 224  # pixels
    patch_size: int = 32  # pixels
    vision_width: int = 768
    vision_layers: int = 12
    context_length: int = 77  # words, start and end token included
    vocab_size: int = 49408
    text_width: int = 512
    text_layers: int = 12
    vision_heads: int = 0  # 0: width // 64
    text_heads: int = 0
    activation: Activation = "quick_gelu"
    patches: PatchKind = "2d"

    @property
    def patch_count(self) -> int:
        """P, patches per frame.

        >>> ClipConfig().patch_count
        49
        """
        return (self.image_size // self.patch_size) ** 2

    def with_patches(self, patches: PatchKind) -> ClipConfig:
        """The same model with 2D or 3D patches."""
        return replace(self, patches=patches)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation computed in float32 whatever the input: half precision overflows."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(
            x.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps
        ).to(x.dtype)


class QuickGELU(nn.Module):
    """x·σ(1.702 x), the approximation OpenAI trained with; other CLIPs use the exact GELU."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Multi-head self-attention with the parameter names of ``nn.MultiheadAttention``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ShapeError(f"width {width} cannot be divided into {heads} attention heads.")
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x [B, N, width]; mask is added to the scores and broadcasts to [B, heads, N, N]."""
        batch, length, width = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        qkv = qkv.view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, heads, N, width/heads]
        mask = None if mask is None else mask.to(x.dtype)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out_proj(out.transpose(1, 2).reshape(batch, length, width))


class Mlp(nn.Module):
    def __init__(self, width: int, activation: Activation) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.gelu = QuickGELU() if activation == "quick_gelu" else nn.GELU()
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(self.gelu(self.c_fc(x)))


class Block(nn.Module):
    """Pre-norm residual block: x += attention(LN(x)); x += MLP(LN(x)). No dropout."""

    def __init__(
        self, width: int, heads: int, activation: Activation = "quick_gelu", eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.ln_1 = LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, activation)
        self.ln_2 = LayerNorm(width, eps=eps)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """A stack of blocks; also the temporal and the cross transformer of CLIP4Clip."""

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int = 0,
        activation: Activation = "quick_gelu",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        heads = heads or max(width // HEAD_WIDTH, 1)
        self.width = width
        self.resblocks = nn.ModuleList(Block(width, heads, activation, eps) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class VisionTransformer(nn.Module):
    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        width, patch = config.vision_width, config.patch_size
        self.patches = config.patches
        self.image_size = config.image_size
        scale = width**-0.5
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(config.patch_count + 1, width))
        self.proj = nn.Parameter(scale * torch.randn(width, config.embed_dim))
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        if config.patches == "3d":
            self.conv2 = nn.Conv3d(
                3,
                width,
                kernel_size=(TEMPORAL_KERNEL, patch, patch),
                stride=(1, patch, patch),
                padding=(TEMPORAL_KERNEL // 2, 0, 0),
                bias=False,
            )
            self.inflate_patches()
        self.ln_pre = LayerNorm(width)
        self.transformer = Transformer(
            width, config.vision_layers, config.vision_heads, config.activation
        )
        self.ln_post = LayerNorm(width)

    @torch.no_grad()
    def inflate_patches(self) -> None:
        """Start the 3D projection as the 2D one: conv1 on the middle frame, zero around it."""
        self.conv2.weight.zero_()
        self.conv2.weight[:, :, TEMPORAL_KERNEL // 2] = self.conv1.weight

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels [B, F, 3, H, H], normalised → all tokens [B, F, 1 + P, E], the frame's first."""
        batch, frames = pixels.shape[:2]
        x = pixels.to(self.conv1.weight.dtype)
        if self.patches == "3d":
            x = self.conv2(x.transpose(1, 2))  # [B, width, F, grid, grid]
            x = x.transpose(1, 2).flatten(0, 1)  # [B·F, width, grid, grid]
        else:
            x = self.conv1(x.flatten(0, 1))  # [B·F, width, grid, grid]
        x = x.flatten(2).transpose(1, 2)  # [B·F, P, width]
        cls = self.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
        x = torch.cat([cls, x], dim=1) + self.positional_embedding.to(x.dtype)
        x = self.ln_post(self.transformer(self.ln_pre(x)))
        x = x @ self.proj  # [B·F, 1 + P, E]
        return x.view(batch, frames, *x.shape[1:])


class CLIP(nn.Module):
    """Both towers. Nothing that comes out is normalised; the methods do that, each its own way."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        width = config.text_width
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, width))
        self.text_projection = nn.Parameter(torch.empty(width, config.embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(LOGIT_SCALE_INIT))
        self.visual = VisionTransformer(config)
        self.transformer = Transformer(
            width, config.text_layers, config.text_heads, config.activation
        )
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.ln_final = LayerNorm(width)
        self._init_weights()

    def _init_weights(self) -> None:
        """OpenAI's initialisation; matters only where a CLIP is trained from nothing."""
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=self.config.text_width**-0.5)
        for tower in (self.transformer, self.visual.transformer):
            depth = max(len(tower.resblocks), 1)
            residual_std = (tower.width**-0.5) * ((2 * depth) ** -0.5)
            for block in tower.resblocks:
                nn.init.normal_(block.attn.in_proj_weight, std=tower.width**-0.5)
                nn.init.normal_(block.attn.out_proj.weight, std=residual_std)
                nn.init.normal_(block.mlp.c_fc.weight, std=(2 * tower.width) ** -0.5)
                nn.init.normal_(block.mlp.c_proj.weight, std=residual_std)

    @property
    def dtype(self) -> torch.dtype:
        return self.visual.conv1.weight.dtype

    def encode_frames(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Frame and patch embeddings.

        Args:
            pixels: [B, F, 3, H, H] float, normalised as ``preprocess.normalise`` does.

        Returns: frame_embeds_raw [B, F, E] and patch_embeds_raw [B, F, P, E], not normalised.
        Raises:
            ShapeError: another number of axes, or frames of another size than the model's.
        """
        size = self.config.image_size
        if pixels.ndim != 5 or tuple(pixels.shape[2:]) != (3, size, size):
            raise ShapeError(
                f"`pixels` must be [B, F, 3, {size}, {size}], got {tuple(pixels.shape)}; "
                "resize the frames to the model's size."
            )
        tokens = self.visual(pixels)
        return tokens[:, :, 0], tokens[:, :, 1:]

    def encode_words(self, input_ids: Tensor, added: Tensor | None = None) -> Tensor:
        """Word embeddings [B, W, E], not normalised, for ids [B, W] of any W up to the context.

        ``added`` [B, W, width] goes onto the embeddings of the ids (CAMoE marks key words so).

        A causal tower: what follows the end token changes nothing before it, so W may be the
        true length instead of 77.

        Raises:
            ShapeError: more words than the context holds.
        """
        length = input_ids.shape[1]
        if length > self.config.context_length:
            raise ShapeError(
                f"`input_ids` has {length} words, expected at most {self.config.context_length} "
                "(the model's context); truncate the text."
            )
        x = self.token_embedding(input_ids).to(self.dtype)
        x = x if added is None else x + added.to(self.dtype)
        x = x + self.positional_embedding[:length].to(self.dtype)  # [B, W, width]
        # Filled with −inf above the diagonal: a word sees itself and what came before.
        position = torch.arange(length, device=x.device)
        later = position[None, :] > position[:, None]
        mask = torch.zeros_like(later, dtype=x.dtype).masked_fill(later, float("-inf"))
        x = self.ln_final(self.transformer(x, mask))
        return x @ self.text_projection

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """text_embeds_raw [B, E]: the embedding at the end token, which has the highest id."""
        return pool_text(self.encode_words(input_ids), input_ids)

    @torch.no_grad()
    def clamp_logit_scale(self) -> None:
        """Keep the learned scale at most 100, as after every published training step."""
        self.logit_scale.clamp_(max=LOGIT_SCALE_MAX)

    def freeze(self, layers: int) -> list[str]:
        """Stop the gradient of the lower part of both towers, as CLIP4Clip's freeze_layer_num.

        Always trained: the two projections, logit_scale, ln_final, ln_post, and blocks with an
        index of at least ``layers``. The rest is frozen, the embeddings and conv1 included, even
        with ``layers=0``; −1 freezes nothing. The released code freezes nothing at all with 3D
        patches because of a wrong string test; here 3D freezes as 2D does and trains conv2.

        Returns: the names of the frozen parameters.
        """
        frozen = []
        for name, parameter in self.named_parameters():
            stop = layers >= 0 and not _stays_trainable(name, layers)
            parameter.requires_grad_(not stop)
            if stop:
                frozen.append(name)
        return frozen

    def to_official_fp16(self) -> CLIP:
        """Store convolution, linear, attention and projection weights in half precision.

        The state in which CLIP4Clip and EERCF were trained (spec: no master copy, no loss
        scaling): with BertAdam the update is not that of fp32, and published figures depend on
        it. LayerNorm, embeddings and logit_scale stay float32.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
                module.half()
            elif isinstance(module, Attention):
                module.in_proj_weight.data = module.in_proj_weight.data.half()
                module.in_proj_bias.data = module.in_proj_bias.data.half()
        self.text_projection.data = self.text_projection.data.half()
        self.visual.proj.data = self.visual.proj.data.half()
        return self


def pool_text(word_embeds: Tensor, input_ids: Tensor) -> Tensor:
    """The word embedding at the end token: [B, W, E], [B, W] → [B, E]."""
    end = input_ids.argmax(dim=-1)  # [B]; padding (0) and words have lower ids
    index = end[:, None, None].expand(-1, 1, word_embeds.shape[-1])
    return word_embeds.gather(1, index).squeeze(1)


_ALWAYS_TRAINED = ("text_projection", "logit_scale", "ln_final.", "visual.ln_post.", "visual.proj")


def _stays_trainable(name: str, layers: int) -> bool:
    if name.startswith(_ALWAYS_TRAINED) or name == "visual.conv2.weight":
        return True
    parts = name.split(".resblocks.")
    return len(parts) == 2 and int(parts[1].split(".")[0]) >= layers
