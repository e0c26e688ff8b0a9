"""What rewards share that put a head of another kind, with settings of its own, on a fine-tuned backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from guerdon.errors import ModelError
from guerdon.reward.learned.backbone import BackboneReward
from guerdon.reward.registry import documented_parameters, parameter_docs


class HeadedBackbone(BackboneReward):
    """A backbone with a head of another kind.

    A subclass declares its own settings as keyword-only arguments and takes others of the backbone, those that
    :attr:`shared` names, as ``**settings``: with the defaults of :class:`BackboneReward`, and with its documentation
    where the subclass says nothing else.
    """

    shared: ClassVar[tuple[str, ...]] = (
        *("lora_rank", "lora_alpha", "learning_rate", "head_learning_rate", "weight_decay", "epochs", "batch"),
        *("batch_tokens", "warmup", "patience", "max_length", "too_long", "max_pairs", "keep", "gradient_clip"),
        *("share_prefix", "seed", "device"),
    )

    @classmethod
    def parameters(cls) -> list[tuple[str, Any, str]]:
        """Those of the subclass, then those it shares with every backbone."""
        own = documented_parameters(cls)
        mine, docs = {name for name, _, _ in own}, parameter_docs(cls)
        return own + [
            (name, default, docs.get(name, doc))
            for name, default, doc in documented_parameters(BackboneReward)
            if name in cls.shared and name not in mine
        ]

    def begin(self, name: str, own: Mapping[str, Any], settings: Mapping[str, Any], **fixed: Any) -> None:
        """Start as ``name`` with the subclass's ``own`` settings and the shared ones.

        fixed   settings of the backbone that are not the user's to choose, or mean something else here
        """
        known = {parameter: default for parameter, default, _ in self.parameters()}
        unknown = sorted(settings.keys() - known.keys())
        if unknown:
            raise TypeError(f"{type(self).__name__}() has no parameter {unknown[0]!r}")
        given = {**known, **own, **settings}
        backbone = {parameter for parameter, _, _ in documented_parameters(BackboneReward)}
        BackboneReward.__init__(self, **{**{k: v for k, v in given.items() if k in backbone}, **fixed})
        self.name = name
        self.settings |= given
        self._given = tuple(given)

    @property
    def params(self) -> dict[str, Any]:
        return {name: self.settings[name] for name in self._given}

    @property
    def head(self) -> Any:
        """The head of the readout.

        Raises
        ------
        ModelError
            before a fit
        """
        if self.readout is None or self.renderer is None:
            raise ModelError("this reward is not fitted yet; call fit(feedback), or open a saved one with guerdon.load")
        return self.readout.head
