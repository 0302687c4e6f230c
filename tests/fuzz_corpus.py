"""A small sound file of each format that the project reads."""

import dataclasses
import json
import pathlib

import numpy as np
import tiny_runs
from PIL import Image

from videoar_jax import media
from videoar_jax.core.checkpoint import Checkpoints
from videoar_jax.core.config import save_config
from videoar_jax.core.export import load_weights
from videoar_jax.data import preparation
from videoar_jax.data.config import DataConfig
from videoar_jax.tokenizer.features import make_encoder
from videoar_jax.tokenizer.stream import Codec
from videoar_jax.tokenizer.token_file import TokenWriter
from videoar_jax.train import starts

SIDE, FRAMES = tiny_runs.SIDE, tiny_runs.FRAMES


@dataclasses.dataclass(frozen=True)
class Target:
  """A format, and a command that reads it.

  Attributes:
    source: file or folder of the corpus; a case works on a copy of it.
    pattern: glob of the files below it that may be damaged.
    command: name and arguments; {in} is the copy, {out} where to write,
      {corpus} the sound files.
    out: what the command makes when it succeeds, below the case's folder.
  """

  source: str
  pattern: str
  command: tuple[str, ...]
  out: str = 'out'


SAMPLE = ('--num_videos=2', '--num_frames=5', '--guidance=1', '--batch_size=2')
FEW = ('--nofvd', '--num_videos=2', '--batch_size=2')
TARGETS = (
  Target(
    'videos',
    '*/*',
    (
      'data.prepare',
      *('--source=folder:{in}', '--height=16', '--width=16'),
      *('--min_frames=5', '--max_bad_share=1', '--out={out}'),
    ),
  ),
  Target(
    'videos',
    '*/*',
    (
      'tokenizer',
      'encode',
      *('--checkpoint={corpus}/tokenizer', '--video={in}/right/0.mp4'),
      '--out={out}',
    ),
  ),
  Target(
    'videos',
    'right/0.mp4',
    (
      'sample',
      *('--checkpoint={corpus}/generator', '--video={in}/right/0.mp4'),
      *('--given_frames=5', '--out={out}', '--num_frames=9', *SAMPLE[2:]),
      '--num_videos=1',
    ),
  ),
  Target(
    'pictures',
    '*',
    (
      'sample',
      *('--checkpoint={corpus}/generator', '--image={in}/0.png'),
      *('--out={out}', *SAMPLE),
    ),
  ),
  Target(
    'sets',
    '*.npz',
    (
      'evaluate',
      *('--real={in}/0.npz', '--generated={corpus}/sets/0.npz'),
      *('--out={out}', '--i3d_weights={corpus}/sets/0.npz'),
    ),
  ),
  Target(
    'tokens',
    '*',
    (
      'tokenizer',
      'decode',
      *('--checkpoint={corpus}/tokenizer', '--tokens={in}/0.tokens'),
      '--out={out}.mp4',
    ),
    'out.mp4',
  ),
  Target(
    'tokenizer',
    '*',
    (
      'tokenizer',
      'encode',
      *('--checkpoint={in}', '--video={corpus}/videos/right/0.mp4'),
      '--out={out}',
    ),
  ),
  Target(
    'generator',
    '**/*.*',
    ('sample', '--checkpoint={in}', '--out={out}', *SAMPLE),
  ),
  Target(
    'generator', '**/*.*', ('train', 'export', '--workdir={in}', '--out={out}')
  ),
  Target('run', '**/*', ('train', 'export', '--workdir={in}', '--out={out}')),
  Target(
    'prepared',
    '*',
    (
      'evaluate',
      *('--checkpoint={corpus}/tokenizer', '--data=array_record:{in}'),
      *('--out={out}', *FEW),
    ),
  ),
  Target('report', '**/*', ('report', '--run={in}', '--out={out}')),
  Target(
    'splits',
    '*',
    (
      'data.prepare',
      *('--source=folder:{corpus}/videos', '--split_file={in}/train.txt'),
      *('--height=16', '--width=16', '--min_frames=5', '--out={out}'),
    ),
  ),
  Target(
    'configs',
    '*.py',
    (
      'tokenizer',
      'import',
      *('--config={in}/tiny.py', '--weights={corpus}/none', '--out={out}'),
    ),
  ),
  Target(
    'configs',
    '*.py',
    (
      'train',
      *('--config={corpus}/configs/tiny.py', '--config.train.num_steps=1'),
      *('--config.init_from={corpus}/none', '--workdir={out}'),
    ),
  ),
)


def make_corpus(root: pathlib.Path) -> pathlib.Path:
  """Writes the corpus."""
  rng = np.random.default_rng(0)
  tiny_runs.make_runs(root)
  clips = rng.integers(0, 256, (8, FRAMES, SIDE, SIDE, 3)).astype(np.uint8)
  for i, clip in enumerate(clips):
    folder = root / 'videos' / ('right', 'left')[i % 2]
    folder.mkdir(parents=True, exist_ok=True)
    media.write_mp4(folder / f'{i}.mp4', clip)
  for name in ('pictures', 'sets', 'splits', 'configs', 'tokens'):
    (root / name).mkdir()
  Image.fromarray(clips[0, 0]).save(root / 'pictures' / '0.png')
  np.savez_compressed(root / 'sets' / '0.npz', videos=clips)
  lines = [f'right/{i}.mp4 {i}' for i in (0, 2, 4)] + ['left/1.mp4 1']
  (root / 'splits' / 'train.txt').write_text('\n'.join(lines) + '\n')
  (root / 'configs' / 'tiny.py').write_text(CONFIG)
  _write_captions(root / 'captions.jsonl')
  source = f'folder:{root / "videos"}'
  size = {'height': SIDE, 'width': SIDE}
  preparation.prepare_videos(
    source, str(root / 'prepared'), min_frames=5, **size
  )
  digest, encode = make_encoder(str(root / 'tokenizer'), num_frames=5)
  config = DataConfig(source=source, num_frames=5, batch_size=4, **size)
  preparation.prepare_features(
    config, str(root / 'features'), tokenizer_digest=digest, encode=encode
  )
  _write_tokens(root, clips[:1])
  _write_run(root)
  _write_report(root, clips)
  return root


def _write_captions(path: pathlib.Path) -> None:
  lines = [{'video': f'right/{i}', 'caption': f'number {i}'} for i in range(4)]
  path.write_text(''.join(json.dumps(line) + '\n' for line in lines))


def _write_tokens(root: pathlib.Path, clip_bTHWc: np.ndarray) -> None:
  tokenizer = Codec.load(root / 'tokenizer')
  with TokenWriter(
    str(root / 'tokens' / '0.tokens'), digest=tokenizer.digest, fps=8.0
  ) as writer:
    bits = tokenizer.encode(clip_bTHWc)
    writer.add(bits, num_frames=clip_bTHWc.shape[1])


def _write_run(root: pathlib.Path) -> None:
  """A workdir with two checkpoints, as training leaves it."""
  loaded = load_weights(root / 'tokenizer')
  params = loaded.nets['autoencoder']
  tree = {'nets': {'autoencoder': {'params': params, 'ema': params}}}
  checkpoints = Checkpoints(root / 'run' / 'checkpoints')
  for step in (1, 2):
    meta = {'config': loaded.config.to_dict(), 'best': None}
    checkpoints.save(step, tree, meta, wait=True)
  checkpoints.close()
  save_config(loaded.config, root / 'run' / 'config.json')


def _write_report(root: pathlib.Path, clips: np.ndarray) -> None:
  """What `report` reads."""
  folder = root / 'report'
  (folder / 'samples').mkdir(parents=True)
  np.savez_compressed(
    folder / 'samples' / 'samples.npz',
    videos=clips,
    labels=np.arange(8, dtype=np.int32) % 2,
    classes=np.asarray(['right', 'left']),
  )
  for half in ('tokenizer', 'generator'):
    workdir = folder / half
    (workdir / 'samples').mkdir(parents=True)
    config = load_weights(root / half).config
    save_config(config, workdir / 'config.json')
    lines = [
      {'step': i, 'kind': kind, 'loss': 1.0 / i, 'psnr': 20.0}
      for i in (1, 2, 3)
      for kind in ('train', 'heldout')
    ]
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (workdir / 'metrics.jsonl').write_text(text)
    for name in ('reconstructions', 'samples'):
      picture = workdir / 'samples' / f'{name}_0000002.png'
      Image.fromarray(clips[0, 0]).save(picture)
    np.savez_compressed(
      workdir / 'samples' / 'newest.npz',
      videos=clips[:2],
      prompts=np.asarray(['original', 'decoded']),
    )
    starts.write_start(workdir, step=0, parameters={'net': 5})
    result = {'fvd': 1.5, 'psnr': 20.0, 'num_generated': 4, 'split': 'train'}
    (folder / f'{half}.json').write_text(json.dumps(result))


CONFIG = '''
"""A tiny run."""

from videoar_jax.train import defaults


def get_config(variant=''):
  config = defaults.tokenizer_config()
  config.data.update(num_frames=5, height=16, width=16, batch_size=4)
  return config.lock()
'''
