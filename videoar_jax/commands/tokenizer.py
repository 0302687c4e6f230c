"""Turns video files into compact token files and back.

  python -m videoar_jax.tokenizer encode --checkpoint=RUN \\
    --video=clip.mp4 --out=clip.tokens [--size=HEIGHTxWIDTH]
  python -m videoar_jax.tokenizer decode --checkpoint=RUN \\
    --tokens=clip.tokens --out=decoded.mp4 [--num_scales=K]
  python -m videoar_jax.tokenizer reconstruct --checkpoint=RUN \\
    --video=clip.mp4 --out=decoded.mp4 [--num_scales=K] [--size=HEIGHTxWIDTH]
  python -m videoar_jax.tokenizer import --weights=vae_d32.safetensors \\
    --config=configs/tokenizer_ucf101.py --out=EXPORT

A video is cropped to the centre and scaled to the tokenizer's first resolution,
or to the one of --size, which must be among those it was trained on. It is
read, coded and written a piece at a time, so that its length costs no memory.
Its frames are coded one by one, also where the frame rate varies.
`encode` and `reconstruct` print the number of bits, bits per pixel, and
`reconstruct` PSNR, SSIM and LPIPS against the frames that were coded.
`import` makes an export, for `train --config.init_from`, of the weights of
Infinity's image tokenizer, and says what became of each of its arrays; of a
PyTorch file, launch/torch_to_safetensors.py makes safetensors.
"""

import itertools
import pathlib
from collections.abc import Iterator

import jax
import numpy as np
from etils import epath

from videoar_jax import media
from videoar_jax.core import cache, command, console, files, pretrained
from videoar_jax.core.config import from_section
from videoar_jax.core.export import CONFIG, locate, write_export
from videoar_jax.core.mesh import unbox
from videoar_jax.data import clips
from videoar_jax.data import decode as decode_lib
from videoar_jax.evaluate import compare
from videoar_jax.tokenizer import token_file
from videoar_jax.tokenizer.autoencoder import make_tokenizer
from videoar_jax.tokenizer.config import TokenizerConfig
from videoar_jax.tokenizer.infinity import import_weights
from videoar_jax.tokenizer.stream import Bits, Codec, DecodeState

FLAGS = command.Flags()

_CHECKPOINT = FLAGS.text(
  'checkpoint', None, 'Tokenizer: workdir, step folder, export or zoo:NAME.'
)
_VIDEO = FLAGS.text('video', None, 'The video file to code.')
_TOKENS = FLAGS.text('tokens', None, 'The token file to decode.')
_OUT = FLAGS.text('out', None, 'The file to write.')
_NUM_SCALES = FLAGS.count(
  'num_scales', None, 'Decode the coarsest so many scales; default: all.'
)
_SIZE = FLAGS.text(
  'size', None, "HEIGHTxWIDTH to code at; default: the tokenizer's first."
)
_FPS = FLAGS.number(
  'fps',
  None,
  "Frames per second; default: the video's own.",
  **media.FRAME_RATES,
)

_WEIGHTS = FLAGS.text('weights', None, "Infinity's weights as safetensors.")
_CONFIG = FLAGS.config('config', 'Whose tokenizer to import to.')

_GOES_WITH = {
  'checkpoint': ('encode', 'decode', 'reconstruct'),
  'video': ('encode', 'reconstruct'),
  'tokens': ('decode',),
  'size': ('encode', 'reconstruct'),
  'num_scales': ('decode', 'reconstruct'),
  'fps': ('encode', 'decode', 'reconstruct'),
  'weights': ('import',),
  'config': ('import',),
}
_NET = 'autoencoder'
_COMPILING = 'compiling, and coding the first frames'
_PIECE = 32  # frames at a time
_DEFAULT_FPS = 25.0  # of a video that states none


def main(words: list[str]) -> None:
  cache.keep_programs()
  actions = {
    'encode': (encode, (_VIDEO,)),
    'decode': (decode, (_TOKENS,)),
    'reconstruct': (reconstruct, (_VIDEO,)),
    'import': (import_infinity, (_WEIGHTS, _CONFIG)),
  }
  name = command.chosen_action(words, actions)
  action, needed = actions[name]
  if name != 'import':
    needed = (_CHECKPOINT, *needed)
  command.check_arguments(words[1:], (*needed, _OUT))
  for flag, goes_with in _GOES_WITH.items():
    if FLAGS.given(flag) and name not in goes_with:
      raise command.UsageError(f'--{flag} goes with {" and ".join(goes_with)}')
  _check_out(name)
  action()


def _check_out(action: str) -> None:
  """Raises where --out cannot be written, or is read."""
  inputs = (_VIDEO.value, _TOKENS.value, _WEIGHTS.value)
  if action == 'import':
    files.output_folder(_OUT.value, inputs=inputs, local=True)
    for name in (f'{_NET}.safetensors', CONFIG):
      files.check_replaceable(pathlib.Path(_OUT.value) / name, inputs=inputs)
  else:
    config = locate(_CHECKPOINT.value) / CONFIG
    files.output_file(_OUT.value, inputs=(*inputs, config))


def encode() -> None:
  """--video to the token file --out."""
  size, fps = _chosen_size(), _frame_rate()
  tokenizer = Codec.load(_CHECKPOINT.value)
  size = _checked_size(size, tokenizer)
  with token_file.TokenWriter(
    _OUT.value, digest=tokenizer.digest, fps=fps
  ) as writer:
    coded = console.first_slow(_encoded(tokenizer, size), _COMPILING)
    for piece, bits in coded:
      writer.add(bits, num_frames=len(piece))
  about = writer.about
  _print_bits(about.num_bits, about.num_frames, size)
  print(f'{_OUT.value}: {epath.Path(_OUT.value).stat().length} bytes')


def decode() -> None:
  """--tokens to the video --out."""
  about = token_file.read_about(_TOKENS.value)
  writer = media.Mp4Writer(_OUT.value, fps=_FPS.value or about.fps)
  tokenizer = Codec.load(_CHECKPOINT.value)
  if about.digest != tokenizer.digest:
    raise ValueError(
      f'{_TOKENS.value} was made with another tokenizer (digest '
      f'{about.digest[:12]}) than {_CHECKPOINT.value} (digest '
      f'{tokenizer.digest[:12]}); decode with that one'
    )
  try:
    about.check_made_by(tokenizer.config)
  except ValueError as error:
    raise ValueError(f'{_TOKENS.value}: damaged token file: {error}') from None
  left = about.num_frames
  with writer:
    for video in console.first_slow(_decoded(tokenizer), _COMPILING):
      writer.add(video[0, :left])
      left -= min(left, video.shape[1])
  print(f'{_OUT.value}: {about.num_frames} frames')


def reconstruct() -> None:
  """--video through bits to the video --out, and how near it is."""
  size = _chosen_size()
  writer = media.Mp4Writer(_OUT.value, fps=_frame_rate())
  tokenizer = Codec.load(_CHECKPOINT.value)
  size = _checked_size(size, tokenizer)
  scores, frames, num_bits = _Scores(), 0, 0
  decoding = DecodeState()
  waiting = np.zeros((0,))  # originals whose reconstruction is still to come
  with writer:
    coded = console.first_slow(_encoded(tokenizer, size), _COMPILING)
    for piece, bits in coded:
      waiting = np.concatenate([waiting, piece]) if len(waiting) else piece
      num_bits += sum(scale.size for scale in bits[: _NUM_SCALES.value])
      video, decoding = tokenizer.decode_stream(
        bits, decoding, num_scales=_NUM_SCALES.value
      )
      done = min(len(waiting), video.shape[1])
      if done:
        writer.add(video[0, :done])
        scores.add(waiting[:done], video[0, :done])
        frames, waiting = frames + done, waiting[done:]
  _print_bits(num_bits, frames, size)
  scores.print()
  print(f'{_OUT.value}: {frames} frames')


def import_infinity() -> None:
  """--weights to the export --out."""
  config = FLAGS['config']
  shape = from_section(TokenizerConfig, config, 'tokenizer')
  arrays = pretrained.load_file(_WEIGHTS.value).arrays
  model = make_tokenizer(shape)
  init = jax.jit(model.init)(
    jax.random.key(config.seed), np.zeros((1, 1, *shape.resolution, 3))
  )
  params, report = import_weights(arrays, unbox(init['params']), shape)
  print('\n'.join(report.lines()))
  write_export(_OUT.value, {_NET: params}, config)
  print(f'written to {_OUT.value}')


def _decoded(tokenizer: Codec) -> Iterator[np.ndarray]:
  """Yields the frames of --tokens, uint8 (1, T, H, W, 3)."""
  state = DecodeState()
  for bits in token_file.read_bits(_TOKENS.value):
    video, state = tokenizer.decode_stream(
      bits, state, num_scales=_NUM_SCALES.value
    )
    yield video


def _encoded(
  tokenizer: Codec, size: tuple[int, int]
) -> Iterator[tuple[np.ndarray, Bits]]:
  """Yields frames of --video, and the bits that are complete with them."""
  state = None
  for piece in _pieces(size):
    bits, state = tokenizer.encode_stream(piece, state)
    yield piece[0], bits
  yield piece[0, :0], tokenizer.finish_encoding(state)


class _Scores:
  """PSNR, SSIM and LPIPS, averaged over frames as they come."""

  def __init__(self):
    self._sums: dict[str, float] = {}
    self._frames = 0

  def add(self, real_THWc: np.ndarray, other_THWc: np.ndarray) -> None:
    found = compare.compare_pairs(real_THWc[None], other_THWc[None])
    for name in ('psnr', 'ssim', 'lpips'):
      if found[name] is not None:
        share = found[name] * len(real_THWc)
        self._sums[name] = self._sums.get(name, 0.0) + share
    self._frames += len(real_THWc)

  def print(self) -> None:
    for name, value in self._sums.items():
      print(f'{name} {value / self._frames:.4f}')


def _pieces(size: tuple[int, int]) -> Iterator[np.ndarray]:
  """The frames of --video at a resolution, uint8 (1, T, …)."""
  frames = clips.fitted_frames(_VIDEO.value, size)
  while piece := list(itertools.islice(frames, _PIECE)):
    yield np.stack(piece)[None]


def _chosen_size() -> tuple[int, int] | None:
  """Height and width of --size, pixels; None where it is not given."""
  return None if _SIZE.value is None else command.parse_size(_SIZE.value)


def _checked_size(
  size: tuple[int, int] | None, tokenizer: Codec
) -> tuple[int, int]:
  """Height and width that --video is coded at, pixels."""
  if size is None:
    return tokenizer.config.resolution
  tokenizer.config.check_resolution(*size)
  return size


def _frame_rate() -> float:
  """Frames per second: --fps, or what --video states."""
  path = _VIDEO.value
  try:
    rate = decode_lib.frame_rate(path)
  except decode_lib.BadRecordError as error:
    raise ValueError(f'{path}: {error}') from None
  if _FPS.value is not None:
    return _FPS.value
  if rate.varies:
    print(
      f'{path}: the frame rate varies; frames are coded one by one and shown '
      f'at their mean of {rate.fps:.2f} per second'
    )
  fps = rate.fps or _DEFAULT_FPS
  try:
    media.check_frame_rate(fps)
  except ValueError as error:
    raise ValueError(f'{path} states {error}; give --fps') from None
  return fps


def _print_bits(num_bits: int, frames: int, size: tuple[int, int]) -> None:
  height, width = size
  per_pixel = num_bits / (frames * height * width)
  print(f'frames {frames} of {height}×{width}')
  print(f'bits {num_bits}\nbits_per_pixel {per_pixel:.4f}')
