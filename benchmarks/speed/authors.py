"""The authors' TimeVQVAE at the sizes of its README.

    pip install --no-deps --ignore-requires-python timevqvae einops"""
from importlib.util import find_spec

import torch
from torch import Tensor

__all__ = ['is_installed', 'Reference']

CODES = 1024    # of both bands
N_STEPS = 10    # decoding steps of both bands


def is_installed() -> bool: # Whether there is a `timevqvae` to compare with
    "The authors' package needs other versions than tsai: it is not among this one's requirements."
    return find_spec('timevqvae') is not None


class Reference:
    """Stages 1 and 2 of `timevqvae` with its own losses.

    It has no stage 3 and no trainer, so a step is the plain loop of its README."""
    def __init__(self,
        seq_len:int, # Steps
        n_classes:int, # Classes
        c_in:int=1, # Channels
        device='cpu' # Where to train and sample
    ):
        from timevqvae.vqvae import VQVAE
        self.n_classes, self.device = n_classes, device
        self.vqvae, self.maskgit = VQVAE(in_channels=c_in, input_length=seq_len).to(device), None
        self.optimizer = torch.optim.AdamW(self.vqvae.parameters(), 1e-3)

    def tokenizer_step(self,
        x:Tensor # Series [bs, c_in, seq_len]
    ):
        "One training step of stage 1."
        self.vqvae.train()
        out = self.vqvae(x)
        self._step(sum(out.recons_loss.values()) + sum(losses['loss'].sum() for losses in out.vq_losses.values()))

    def start_prior(self):
        "Stage 2 on the tokenizer as it is; its token counts come from a forward pass."
        from timevqvae.maskgit import MaskGIT, PriorModelConfig
        shared = dict(ff_mult=1, use_rmsnorm=True, p_unconditional=0.2)
        self.maskgit = MaskGIT(
            self.vqvae, n_classes=self.n_classes, transformer_embedding_dim=128, classifier_free_guidance_scale=1.,
            lf_codebook_size=CODES, lf_num_sampling_steps=N_STEPS, lf_choice_temperature=10.,
            hf_codebook_size=CODES, hf_num_sampling_steps=N_STEPS, hf_choice_temperature=0.,
            lf_prior_model_config=PriorModelConfig(hidden_dim=128, n_layers=4, heads=2, **shared),
            hf_prior_model_config=PriorModelConfig(hidden_dim=32, n_layers=1, heads=1, **shared)).to(self.device)
        self.optimizer = torch.optim.AdamW([p for p in self.maskgit.parameters() if p.requires_grad], 1e-3)

    def prior_step(self,
        x:Tensor, # Series [bs, c_in, seq_len]
        y:Tensor # Class ids [bs]
    ):
        "One training step of stage 2; it encodes x again each time."
        self.maskgit.train()
        self.maskgit.vqvae.eval()                                        # train() alone would move the frozen codebook
        self._step(self.maskgit(x, y[:, None]).total_mask_prediction_loss)

    @torch.no_grad()
    def sample_tokens(self,
        y:Tensor # Class ids [n]
    ) -> tuple: # (LF, HF) token ids
        "Iterative decoding."
        self.maskgit.eval()
        return self.maskgit.iterative_decoding(len(y), class_condition=y, device=self.device)

    @torch.no_grad()
    def decode(self,
        lf:Tensor, # Token ids
        hf:Tensor # Token ids
    ) -> Tensor: # [n, c_in, seq_len]
        "Series of tokens."
        decode = self.maskgit.decode_token_ind_to_timeseries
        return decode(lf, 'lf') + decode(hf, 'hf')

    def sample(self,
        y:Tensor # Class ids [n]
    ) -> Tensor: # [n, c_in, seq_len]
        "Series of classes."
        return self.decode(*self.sample_tokens(y))

    def sizes(self) -> dict[str, int]: # Trainable numbers, tokens and codes
        "For the table of sizes, once stage 2 has begun."
        vqvae = sum(p.numel() for p in self.vqvae.parameters())          # frozen by stage 2
        prior = sum(p.numel() for p in self.maskgit.parameters() if p.requires_grad)
        return dict(tokenizer=vqvae, prior=prior, mapper=0, lf_tokens=self.maskgit.num_tokens_l,
                    hf_tokens=self.maskgit.num_tokens_h, lf_codes=CODES, hf_codes=CODES)

    def _step(self, loss):
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
