"""What is run in a slice of at most ten minutes, and what it needs."""

import dataclasses
from collections.abc import Sequence

BUNDLE, WORK = '{bundle}', '{work}'
RUN = f'{WORK}/run'

# What a bundle may hold besides the code: name -> its path there.
CONTENTS = {
  'site': 'site.tar.xz',
  'i3d': 'cache',
  'clips': 'clips',
  'tokenizer': 'tokenizer',
  'generator': 'generator',
  'features': 'real.npz',
}
TRAIN_LIST = 'trainlist.txt'

# What a machine with JAX, Flax, Optax and Orbax usually lacks.
_ALWAYS = (
  'array-record',
  'dm-pix',
  'grain',
  'ml-collections',
  'portpicker',
  'tensorboardX',
)
_VIDEO_FILES = ('av',)
_LARGE = {'i3d', 'clips'}  # one of them fills a bundle

_DATA = (
  f'--config.data.source=folder:{BUNDLE}/clips',
  f'--config.data.split_file={BUNDLE}/{TRAIN_LIST}',
)
_KERNELS = ('prefix', 'xla', 'cudnn')
_PAPER = {
  'S': ('configs/videoar_ucf101.py:S', 'configs/tokenizer_ucf101.py:tokenizer'),
  'L': ('configs/videoar_ucf101.py:L', 'configs/tokenizer_ucf101.py:tokenizer'),
  'XL': (
    'configs/videoar_ucf101.py:XL',
    'configs/tokenizer_ucf101.py:tokenizer',
  ),
}
_UCF9 = 'configs/ucf9_gpu.py'
# Networks of a smoke run, which a CPU compiles in seconds.
_TINY_DATA = (
  '--config.data.height=16',
  '--config.data.width=16',
  '--config.data.num_workers=0',
)
_TINY_NET = (
  'tokenizer.base_width=4',
  'tokenizer.multipliers=(1,1,1)',
  'tokenizer.scales=((1,1),(4,4))',
  'tokenizer.latent_width=4',
  'tokenizer.dtype=float32',
)
_NO_EVALUATION = '--config.train.eval_every=0'
_TINY_TOKENIZER = (*_TINY_DATA, *(f'--config.{word}' for word in _TINY_NET))
_TINY_GENERATOR = (
  *_TINY_DATA,
  '--config.transformer.num_layers=1',
  '--config.transformer.width=16',
  '--config.transformer.num_heads=2',
  '--config.transformer.dtype=float32',
)


@dataclasses.dataclass(frozen=True)
class Step:
  """One command of a slice.

  Attributes:
    name: of its row.
    words: of `python -m videoar_jax.…`, with `{bundle}` and `{work}` for
      folders.
    least_s: seconds that it is given; with less left it does not begin.
    trains: takes what time the later steps leave, and saves at a SIGTERM.
    needs: what of the bundle's contents it does not run without.
  """

  name: str
  words: tuple[str, ...]
  least_s: float = 45.0
  trains: bool = False
  needs: str = ''


@dataclasses.dataclass(frozen=True)
class Slice:
  """What one lease is used for.

  Attributes:
    steps: the most telling first; what there was no time for is left to the
      next slice.
    brings: names of `CONTENTS` that must be there.
    may_bring: names of those that are brought where they are at hand.
    packages: installed where the machine lacks them.
    state_mib: the most that a run's state takes, which goes on in the next
      slice; 0 where nothing does.
    pictures: files of the work folder to bring back.
  """

  steps: tuple[Step, ...]
  brings: tuple[str, ...] = ()
  may_bring: tuple[str, ...] = ()
  packages: tuple[str, ...] = _ALWAYS
  state_mib: int = 0
  pictures: tuple[str, ...] = ()

  def __post_init__(self):
    if len(_LARGE & {*self.brings, *self.may_bring}) > 1:
      raise ValueError(f'brings={self.brings}: {_LARGE} do not fit together')


def make_slices(*, smoke: bool) -> dict[str, Slice]:
  """The slices by name; a smoke run takes a few small steps of each."""
  with_files = _ALWAYS + _VIDEO_FILES
  return {
    'kernels': Slice(_kernels(smoke), may_bring=('i3d',)),
    'tokenizer': Slice(
      _tokenizer(smoke),
      brings=('clips',),
      packages=with_files,
      state_mib=16,
    ),
    'generator': Slice(
      _generator(smoke),
      brings=('clips', 'tokenizer'),
      packages=with_files,
      state_mib=17,
      pictures=('samples/grid.png', 'samples/grid.webp'),
    ),
    'gfvd': Slice(_gfvd(smoke), brings=('i3d', 'generator', 'features')),
  }


def find_slice(name: str, *, smoke: bool = False) -> Slice:
  """A slice by its name.

  Raises:
    ValueError: there is none of that name.
  """
  slices = make_slices(smoke=smoke)
  if name not in slices:
    raise ValueError(f'slice {name!r}: use one of {", ".join(slices)}')
  return slices[name]


def _kernels(smoke: bool) -> tuple[Step, ...]:
  if smoke:
    pair = f'{_UCF9}:generator,smoke', f'{_UCF9}:tokenizer,smoke'
    tiny = (*(f'--tokenizer.{word}' for word in _TINY_NET), *_TINY_GENERATOR)
    return (
      _sample('tiny', pair, '1', tiny),
      _train('tiny', pair, 'prefix', tiny),
    )
  steps = []
  for size, pair in _PAPER.items():
    steps.append(_sample(size, pair, '1,8'))
    steps += [_train(size, pair, kernel) for kernel in _KERNELS]
    if size == 'S':
      steps += [_streams(), _fvd(64)]
  return tuple(steps)


def _sample(size: str, pair, batch_sizes: str, words: Sequence[str] = ()):
  return _benchmark(
    f'sample_{size}',
    'sample',
    f'--config={pair[0]}',
    f'--tokenizer={pair[1]}',
    f'--batch_sizes={batch_sizes}',
    *words,
  )


def _train(size: str, pair, kernel: str, words: Sequence[str] = ()) -> Step:
  return _benchmark(
    f'train_{size}_{kernel}',
    'train',
    f'--config={pair[0]}',
    f'--tokenizer={pair[1]}',
    '--batch_sizes=8',
    f'--attention={kernel}',
    *words,
  )


def _streams() -> Step:
  return _benchmark(
    'tokenizer',
    'tokenizer',
    '--config=configs/tokenizer_ucf101.py:tokenizer',
    '--frames=65,1025',
  )


def _fvd(num_videos: int) -> Step:
  step = _benchmark(
    'fvd',
    'fvd',
    '--config=configs/tokenizer_ucf101.py:tokenizer',
    f'--num_videos={num_videos}',
  )
  return dataclasses.replace(step, needs='i3d')


def _benchmark(name: str, *words: str) -> Step:
  return Step(name, ('benchmark', *words, f'--out={WORK}/{name}.json'))


def _tokenizer(smoke: bool) -> tuple[Step, ...]:
  return (
    _training('tokenizer', smoke, _TINY_TOKENIZER if smoke else ()),
    Step(
      'evaluate_tokenizer',
      (
        'evaluate',
        f'--checkpoint={RUN}',
        f'--data=folder:{BUNDLE}/clips',
        f'--split_file={BUNDLE}/{TRAIN_LIST}',
        '--split=validation',
        f'--num_videos={2 if smoke else 64}',
        '--nofvd',
        f'--out={WORK}/evaluate_tokenizer.json',
      ),
    ),
  )


def _generator(smoke: bool) -> tuple[Step, ...]:
  words = (
    f'--config.tokenizer={BUNDLE}/tokenizer',
    *(_TINY_GENERATOR if smoke else ()),
  )
  return (
    _training('generator', smoke, words),
    Step(
      'sample',
      (
        'sample',
        f'--checkpoint={RUN}',
        '--class=all',
        f'--num_videos={9 if smoke else 36}',
        f'--out={WORK}/samples',
      ),
    ),
  )


def _training(half: str, smoke: bool, words: Sequence[str]) -> Step:
  variant = f'{half},smoke' if smoke else half
  return Step(
    f'train_{half}',
    (
      'train',
      f'--config={_UCF9}:{variant}',
      *_DATA,
      f'--workdir={RUN}',
      *words,
      *([_NO_EVALUATION] if smoke else []),
    ),
    trains=True,
  )


def _gfvd(smoke: bool) -> tuple[Step, ...]:
  beside = () if smoke else (_fvd(64),)
  return (
    Step(
      'gfvd',
      (
        'evaluate',
        'samples',
        f'--checkpoint={BUNDLE}/generator',
        f'--features={BUNDLE}/real.npz',
        f'--batch_size={2 if smoke else 32}',
        f'--out={WORK}/gfvd.json',
      ),
    ),
    *beside,
  )
