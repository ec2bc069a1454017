"""What the training of one network says while it goes on."""

from __future__ import annotations

from torch import nn


class Listener:
    """Hears the training of one network; this one lets everything pass.

    Whoever wants to hear something overrides a method. Methods return quickly and do not raise.
    """

    def stepped(self, steps: int, loss: float) -> None:
        """Take note of optimizer steps.

        Args:
            steps: How many since the last call.
            loss: Their mean loss.
        """

    def alive(self) -> None:
        """Take note that the work goes on; called often, so most calls should do nothing."""

    def note(self, text: str, *, warning: bool = False) -> None:
        """Take note of something the user should know.

        Args:
            text: A sentence without the name of the network, which is put before it.
            warning: Whether it deserves attention.
        """


def hear(network: nn.Module, listener: Listener) -> None:
    """Let every forward pass of a network be a sign of life, in training and in validation.

    Only the thread that does the work can give it: a thread beside it would still say that all is
    well when the work hangs. A compiled network is given as it was compiled, not what is in it.
    """

    # A function and no bound method: copies of the network are to share the listener.
    def passed(*_: object) -> None:
        listener.alive()

    network.register_forward_hook(passed)
