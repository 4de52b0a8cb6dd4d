"""The authors' TimeVQVAE, `pip install --no-deps --ignore-requires-python timevqvae einops`, at the sizes of its README."""
import torch


class Reference:
    "Stages 1 and 2 of `timevqvae` with its own losses; it has no stage 3 and no trainer, so a step is the plain loop of its README."
    def __init__(self,
        seq_len:int, # Steps
        n_classes:int, # Classes
        c_in:int=1, # Channels
        device='cpu' # Where to train and sample
    ):
        from timevqvae.vqvae import VQVAE
        self.seq_len, self.n_classes, self.device = seq_len, n_classes, device
        self.vqvae, self.maskgit = VQVAE(in_channels=c_in, input_length=seq_len).to(device), None
        self.optimizer = torch.optim.AdamW(self.vqvae.parameters(), 1e-3)

    def tokenizer_step(self, x): # x [bs, c_in, seq_len]
        "One training step of stage 1."
        self.vqvae.train()
        out = self.vqvae(x)
        self._step(sum(out.recons_loss.values()) + sum(losses['loss'].sum() for losses in out.vq_losses.values()))

    def start_prior(self):
        "Stage 2 on the tokenizer as it is; its token counts come from a forward pass."
        from timevqvae.maskgit import MaskGIT, PriorModelConfig
        shared = dict(ff_mult=1, use_rmsnorm=True, p_unconditional=0.2)
        self.maskgit = MaskGIT(
            self.vqvae, lf_choice_temperature=10., hf_choice_temperature=0., lf_num_sampling_steps=10, hf_num_sampling_steps=10,
            lf_codebook_size=1024, hf_codebook_size=1024, transformer_embedding_dim=128, classifier_free_guidance_scale=1.,
            lf_prior_model_config=PriorModelConfig(hidden_dim=128, n_layers=4, heads=2, **shared),
            hf_prior_model_config=PriorModelConfig(hidden_dim=32, n_layers=1, heads=1, **shared), n_classes=self.n_classes).to(self.device)
        self.optimizer = torch.optim.AdamW([p for p in self.maskgit.parameters() if p.requires_grad], 1e-3)

    def prior_step(self, x, y): # x [bs, c_in, seq_len], y [bs]
        "One training step of stage 2; it encodes x again each time."
        self.maskgit.train(), self.maskgit.vqvae.eval()                       # train() alone would move the frozen codebook
        self._step(self.maskgit(x, y[:, None]).total_mask_prediction_loss)

    @torch.no_grad()
    def sample_tokens(self, y): # y [n] -> (LF, HF) token ids
        "Iterative decoding."
        self.maskgit.eval()
        return self.maskgit.iterative_decoding(len(y), class_condition=y, device=self.device)

    @torch.no_grad()
    def decode(self, lf, hf): # -> series [n, c_in, seq_len]
        "Series of tokens."
        return self.maskgit.decode_token_ind_to_timeseries(lf, 'lf') + self.maskgit.decode_token_ind_to_timeseries(hf, 'hf')

    def sizes(self) -> dict: # Trainable numbers and token counts
        "For the table of sizes."
        def n_params(model): return sum(p.numel() for p in model.parameters() if p.requires_grad)
        vqvae = sum(p.numel() for p in self.vqvae.parameters())               # frozen by stage 2
        return dict(tokenizer=vqvae, prior=n_params(self.maskgit), lf_tokens=self.maskgit.num_tokens_l, hf_tokens=self.maskgit.num_tokens_h)

    def _step(self, loss):
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
