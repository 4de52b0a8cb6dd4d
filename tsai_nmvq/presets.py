"""Every setting of every stage, once: type, default (preset 'fast'), meaning and source; and what each preset replaces.

'fast' is what a laptop learns in minutes. 'paper' has the sizes of the papers and of their authors' packages
[arXiv 2303.04743 for stages 1 and 2, 2501.17553 for stage 3]. Numbers of our own were measured in
benchmarks/results/fidelity_log.md and speed_log.md; the section is named beside them."""
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeVar

__all__ = ['TokenizerSettings', 'PriorSettings', 'MapperSettings', 'StageSchedule', 'TOKENIZER_PRESETS',
           'PRIOR_PRESETS', 'MAPPER_PRESETS', 'SCHEDULES', 'STAGE_PRESETS', 'STAGES', 'stage_schedule', 'check_epochs',
           'resolve_settings', 'preset_of', 'stage_overrides', 'settings_to_dict', 'replaced_settings']


@dataclass(frozen=True)
class TokenizerSettings:
    "Stage 1, `VQTokenizer`."
    n_fft:int = 4                   # STFT size; its hop is a quarter [2303.04743, section 3.1]
    lf_width:int = 8                # Positions along time that LF tokens aim at [2303.04743, appendix]
    hf_width:int = 32               # The same for HF
    dim:int = 16                    # Channels after the first halving; they double with each (speed_log.md)
    max_dim:int = 64                # Most channels of a level
    stride:int = 4                  # Steps merged by a level's convolution: 2, 4, 8 or 16 (speed_log.md)
    hidden_dim:int = 64             # Width at the bottleneck
    n_blocks:int = 1                # Residual blocks a level
    dropout:float = 0.              # Of the residual blocks
    separable:bool = False          # Depthwise and pointwise convolutions in place of dense ones
    snake:bool = False              # Snake activations [2006.08195] in place of SiLU
    mix_bins:bool = True            # HF's frequency bins as channels, one row of tokens; else a row of tokens a bin
    codebook_size:int|None = None   # Codes of a band; None follows the training split, see `adaptive_codebook_size`
    codebook_dim:int = 8            # Width of a code
    ema_decay:float = 0.8           # Of the codes' moving averages [1711.00937, appendix A.1]
    commitment_weight:float = 1.    # Of ‖z - sg(e)‖² in the loss
    dead_code_threshold:int|None = None # Steps without a hit after which a code is moved; None is an epoch, 0 never


@dataclass(frozen=True)
class PriorSettings:
    "Stage 2, `MaskedPrior`."
    lf_dim:int = 128                # Width of LF's transformer (fidelity_log.md, "Where the gap was")
    lf_layers:int = 2               # Its layers
    lf_heads:int = 2                # Its attention heads
    hf_dim:int = 96                 # Width of HF's transformer
    hf_layers:int = 2               # Its layers
    hf_heads:int = 2                # Its attention heads
    ff_mult:float = 2               # Hidden width of feed-forward layers over the width
    head_dim:int = 32               # Width of an attention head
    dropout:float = 0.              # Of the transformer blocks
    emb_dropout:float = 0.2         # Of embedded tokens: few series are copied less (fidelity_log.md, first section)
    p_uncond:float = 0.1            # Probability that the class is hidden, for guidance [2207.12598]
    hf_batch_fraction:float = 0.25  # Share of a batch that HF learns from: given LF it is soon learnt (same section)
    lf_token_noise:float = 0.1      # Of few series LF tokens are drawn anew at this τ, in units of `code_spacing`
    embed_codes:bool = True         # Embeddings start from the codes' vectors (fidelity_log.md, second section)
    n_steps:Mapping[str, int] = field(default_factory=lambda: dict(lf=12, hf=12)) # Decoding steps of each band
    choice_temp:Mapping[str, float] = field(default_factory=lambda: dict(lf=math.inf, hf=math.inf))
                                    # Temperature of the confidence's noise, which falls to 0 at the last step; inf is
                                    # random order: confident tokens first favour the commonest series (fidelity_log.md)


@dataclass(frozen=True)
class MapperSettings:
    "Stage 3, `NeuralMapper`."
    patch:int = 4                   # Steps that are one position: few, wide positions suit a CPU (speed_log.md)
    dim:int = 32                    # Channels of the first level
    mults:tuple[int, ...] = (1, 2)  # Channels of each level over dim
    n_blocks:int = 1                # Residual blocks a level
    n_heads:int = 2                 # Attention heads
    snake:bool = False              # Snake activations in place of SiLU
    linear_attention:bool = False   # Linear attention [1812.01243] at every level
    dropout:float = 0.              # Of the residual blocks
    residual:bool = True            # Learn a correction, from the identity on: little to lose where the gap is small
    noise_channels:int = 1          # Channels of noise beside the series: a stochastic mapper


@dataclass(frozen=True)
class StageSchedule:
    "How long a stage learns: epochs of at least 24 batches, bounded where the training split is large or small."
    epochs:int                      # At most
    max_steps:int                   # Batches at most: a bound for large training splits
    bs:int                          # Batch size
    lr:float                        # Highest learning rate of the one-cycle schedule
    max_passes:float = math.inf     # Passes over the series at most: few are copied (fidelity_log.md, first section)

    def n_epochs(self,
        n_batches:int, # Batches of an epoch
        bs:int, # Series of a batch
        n_series:int # Training series
    ) -> int: # 1 or more
        "Epochs for a training split."
        passes = self.max_passes * n_series / (n_batches * bs)
        return max(1, round(min(self.epochs, self.max_steps / n_batches, passes)))


TOKENIZER_PRESETS = {
    'fast': TokenizerSettings(),
    'paper': TokenizerSettings(dim=4, max_dim=512, stride=2, hidden_dim=128, n_blocks=2, dropout=0.3, separable=True,
                               snake=True, mix_bins=False, codebook_size=1024),
}
PRIOR_PRESETS = {
    'fast': PriorSettings(),
    'paper': PriorSettings(lf_layers=4, hf_dim=32, hf_layers=1, hf_heads=1, ff_mult=1, head_dim=64, emb_dropout=0.3,
                           p_uncond=0.2, hf_batch_fraction=1., lf_token_noise=0., embed_codes=False,
                           n_steps=dict(lf=10, hf=10), choice_temp=dict(lf=10., hf=0.)),
}
MAPPER_PRESETS = {
    'fast': MapperSettings(),
    'paper': MapperSettings(patch=1, dim=8, mults=(1, 2, 4, 8), n_blocks=2, n_heads=4, snake=True,
                            linear_attention=True, dropout=0.5, residual=False, noise_channels=0),
}
STAGE_PRESETS:dict[str, dict] = dict(tokenizer=TOKENIZER_PRESETS, prior=PRIOR_PRESETS, mapper=MAPPER_PRESETS)
SCHEDULES = {
    'fast': dict(tokenizer=StageSchedule(epochs=40, max_steps=2500, bs=32, lr=2e-3),
                 prior=StageSchedule(epochs=320, max_steps=10000, max_passes=600, bs=64, lr=3e-3),
                 mapper=StageSchedule(epochs=20, max_steps=1500, bs=32, lr=3e-3)),
    'paper': dict(tokenizer=StageSchedule(epochs=60, max_steps=10000, bs=32, lr=1e-3),
                  prior=StageSchedule(epochs=120, max_steps=20000, bs=32, lr=1e-3),
                  mapper=StageSchedule(epochs=40, max_steps=10000, bs=32, lr=1e-3)),
}
STAGES = tuple(STAGE_PRESETS) # in the order in which they are learnt

Settings = TypeVar('Settings', TokenizerSettings, PriorSettings, MapperSettings)


def stage_schedule(
    preset:str, # Name of the preset
    stage:str # 'tokenizer', 'prior' or 'mapper'
) -> StageSchedule:
    "How long a preset's stage learns. ValueError for an unknown preset."
    if preset not in SCHEDULES: raise ValueError(f"preset is {preset!r}, expected one of {sorted(SCHEDULES)}")
    return SCHEDULES[preset][stage]


def check_epochs(
    epochs:Mapping[str, int|None]|None # {stage: epochs}, for any of the stages
) -> dict[str, int|None]: # The same
    "ValueError for unknown stages and for numbers below 1."
    if epochs is not None and not isinstance(epochs, Mapping):
        raise TypeError(f"epochs is {epochs!r}, expected a number for each stage: {dict.fromkeys(STAGES, 20)}, or some")
    epochs = dict(epochs or {})
    wrong = {stage: n for stage, n in epochs.items() if stage not in STAGES or (n is not None and n < 1)}
    if wrong: raise ValueError(f"epochs has {wrong}, expected 1 or more for any of {list(STAGES)}")
    return epochs


def resolve_settings(
    presets:Mapping[str, Settings], # {name: settings} of a stage
    preset:str, # Name of the preset
    overrides:Mapping[str, Any], # Settings that replace the preset's
    owner:str # Class name, for the messages
) -> Settings:
    "The preset's settings with the caller's on top. ValueError for an unknown preset, TypeError for unknown settings."
    if preset not in presets:
        raise ValueError(f"{owner}: preset {preset!r} is unknown; choose one of {sorted(presets)}")
    known = [f.name for f in fields(presets[preset])]
    unknown = sorted(set(overrides) - set(known))
    if unknown: raise TypeError(f"{owner}: unknown settings {unknown}; it takes {sorted(known)}")
    values:dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in overrides.items()} # from JSON
    return replace(presets[preset], **values)


def preset_of(
    model # Of a stage
) -> str:
    "The preset that a model was made from."
    return model.config.get('preset', 'fast')


def stage_overrides(
    model, # Of a stage, or None
    stage:str, # 'tokenizer', 'prior' or 'mapper'
    preset:str # A generator's
) -> dict[str, Any]: # {setting: value}; 'preset' where the model has another
    "What a model has in place of a preset's settings."
    if getattr(model, 'settings', None) is None: return {} # no model, or not one of ours
    own = preset_of(model)
    replaced = replaced_settings(model.settings, STAGE_PRESETS[stage][own])
    return replaced if own == preset else replaced | dict(preset=own)


def settings_to_dict(
    settings # `TokenizerSettings`, `PriorSettings` or `MapperSettings`
) -> dict[str, Any]: # {setting: value}
    "The keyword arguments that give these settings again."
    return asdict(settings)


def replaced_settings(
    settings, # Settings of a stage
    preset_settings # Settings of its preset
) -> dict[str, Any]: # {setting: value}
    "Settings that differ from the preset's."
    standard = asdict(preset_settings)
    return {name: value for name, value in asdict(settings).items() if value != standard[name]}
