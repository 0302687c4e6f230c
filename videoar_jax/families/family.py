"""What train, sample, evaluate and benchmark ask of a family of generators."""

from typing import Any, Protocol

import jax

from videoar_jax.objectives.context import Objective
from videoar_jax.objectives.corruption import CorruptionConfig
from videoar_jax.objectives.frame_mask import FrameMaskConfig
from videoar_jax.plan.unit import UnitPlan
from videoar_jax.rollout import walk
from videoar_jax.tokenizer.autoencoder import Autoencoder
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.transformer.config import TransformerConfig


class Family(walk.Family, Protocol):
  """A network, what it predicts in which order, learns and draws; frozen.

  Two that are equal compile to the same programs.

  Attributes:
    net: the network's name among a run's networks.
    transformer: its shape.
    tokenizer: shape of the tokenizer whose latents it predicts.
    autoencoder: the tokenizer's networks.
    is_causal: whether frames follow one another, so that a video can go on.
  """

  net: str
  transformer: TransformerConfig
  tokenizer: TokenizerConfig

  @property
  def autoencoder(self) -> Autoencoder: ...

  @property
  def is_causal(self) -> bool: ...

  @property
  def without_remat(self) -> 'Family':
    """The same, computing nothing again in a backward pass."""

  def of_classes(self, number: int) -> 'Family':
    """The same for so many classes, if its config leaves that to the data."""

  def plan(self, frames: int, height: int, width: int) -> UnitPlan:
    """The order of prediction of a clip: latent frames, and pixels.

    Raises:
      ValueError: the tokenizer or the network does not serve such clips.
    """

  def init(self, key: jax.Array) -> Any:
    """Initial parameters with their logical axes."""

  def shapes(self) -> Any:
    """Shapes and dtypes of the parameters; nothing is computed."""

  def inference_params(self, params: Any) -> Any:
    """Parameters as a rollout reads them fastest; changes no prediction."""

  def inference_shapes(self) -> Any:
    """Their shapes and dtypes with logical axes; nothing is computed."""

  def objective(
    self,
    corruption: CorruptionConfig,
    frame_mask: FrameMaskConfig,
    *,
    dropout: float | None = None,
  ) -> Objective:
    """What training minimises, on a batch's `features` and conditions."""

  def begin(self, params: Any, **video: Any) -> walk.State:
    """The state before the first frame, see `walk.begin`."""

  def advance(
    self, params: Any, state: walk.State, **video: Any
  ) -> tuple[walk.State, Any]:
    """The state after the next frames, and those; see `walk.advance`."""

  def roll(self, params: Any, **video: Any) -> Any:
    """A whole video, with its latents as `f_bthwd`; see `walk.walk`."""
