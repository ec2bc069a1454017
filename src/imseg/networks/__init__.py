"""Networks. Anything callable that returns an ``nn.Module`` can take the U-Net's place."""
