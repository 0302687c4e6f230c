"""Does a distance rise as real clips are made worse? Writes figures and a plot.

  python launch/distortions.py --data=array_record:data_cache/ucf9_64 \
    --resolution=64 --num_videos=64 --out=distortions.json

Windows of training clips are set against themselves, distorted: by noise, blur,
frames in another order and frozen frames, each in four degrees. Beside
distortions.json comes distortions.svg. Exits with 1 where FVD or KVD falls from
one degree to the next.
"""

import pathlib
import sys

import jax

from videoar_jax.core import cache, command, files
from videoar_jax.data.config import DataConfig
from videoar_jax.evaluate import (
  baselines,
  compare,
  distortions,
  i3d,
  protocols,
  provenance,
)
from videoar_jax.evaluate.stages import Stages
from videoar_jax.evaluate.windows import draw_windows
from videoar_jax.report import chart

FLAGS = command.Flags()
_DATA = FLAGS.text('data', None, 'Source of the clips.')
_SPLIT_FILE = FLAGS.text(
  'split_file', '', 'List of training videos, of folders.'
)
_OUT = FLAGS.text('out', None, 'The JSON file to write.')
_RESOLUTION = FLAGS.count('resolution', 64, 'Height and width of a clip.')
_NUM_VIDEOS = FLAGS.count('num_videos', 64, 'N.', least=4)
_NUM_FRAMES = FLAGS.count('num_frames', 17, 'T.', least=i3d.MIN_FRAMES)
_SEED = FLAGS.number('seed', 0, 'Of all draws.', int, least=0, most=2**32 - 2)
_FIGURES = {'fvd': 'FVD', 'kvd': 'KVD'}


def main(words: list[str]) -> None:
  command.check_arguments(words, (_DATA, _OUT))
  out = files.output_file(_OUT.value, inputs=[_SPLIT_FILE.value])
  cache.keep_programs()
  config = DataConfig(
    source=_DATA.value,
    split_file=_SPLIT_FILE.value,
    batch_size=8,
    num_frames=_NUM_FRAMES.value,
    height=_RESOLUTION.value,
    width=_RESOLUTION.value,
  )
  found = measure(config, num_videos=_NUM_VIDEOS.value, seed=_SEED.value)
  compare.write_json(out, found)
  picture = pathlib.Path(out).with_suffix('.svg')
  with files.replacing(picture) as partial:
    partial.write_text(draw(found['degrees']))
  print(f'written to {out} and {picture}')
  if faults := falls(found['degrees']):
    sys.exit('\n'.join(faults))


def measure(config: DataConfig, *, num_videos: int, seed: int) -> dict:
  """Distances of distorted clips from the clips themselves, for JSON."""
  stages, rules = Stages(), protocols.get_protocol(protocols.DEFAULT)
  model = i3d.load_i3d(rules.i3d)
  with stages.counted('real clips', num_videos) as progress:
    real = draw_windows(
      config, num_videos=num_videos, train=True, seed=seed, progress=progress
    )
  with stages.timed('I3D: real clips'):
    real_nd = i3d.logits(model, real.videos_nTHWc)
  degrees = {}
  for kind in distortions.KINDS:
    degrees[kind] = []
    for degree in distortions.DEGREES[kind]:
      worse = distortions.distort(real.videos_nTHWc, kind, degree, seed=seed)
      with stages.timed(f'I3D: {kind} {degree}'):
        rows_nd = i3d.logits(model, worse)
      figures = baselines.distances(
        real_nd,
        baselines.Features(rows_nd, paired=True),
        covariance=rules.covariance,
        seed=seed,
      )
      degrees[kind].append({'degree': degree, **figures})
      print(
        f'{kind} {degree}: fvd {figures["fvd"]:.1f} kvd {figures["kvd"]:.1f}'
      )
  return {
    'degrees': degrees,
    'source': config.source,
    'num_videos': num_videos,
    'frames': config.num_frames,
    'resolution': [config.height, config.width],
    'rules': f'feature rules of {rules.name}, paired',
    'weights_sha256': model.sha256,
    'videos_substituted': real.substituted,
    'seed': seed,
    'device': jax.devices()[0].device_kind,
    'versions': provenance.versions(),
    'seconds': stages.seconds,
  }


def draw(degrees: dict[str, list[dict]]) -> str:
  """Both distances by degree, SVG."""
  charts = [
    chart.line_chart(
      [
        chart.Series(
          kind, [(0, 0.0), *((i, x[name]) for i, x in enumerate(rows, 1))]
        )
        for kind, rows in degrees.items()
      ],
      title=f'{label} of real clips made worse',
      y_label=label,
      x_label='degree',
    )
    for name, label in _FIGURES.items()
  ]
  return chart.document(charts, columns=2)


def falls(degrees: dict[str, list[dict]]) -> list[str]:
  """Where a distance is smaller than at the degree before."""
  return [
    f'{kind}: {name} falls from {before[name]:.1f} to {after[name]:.1f} at '
    f'degree {after["degree"]}'
    for kind, rows in degrees.items()
    for name in _FIGURES
    for before, after in zip([dict.fromkeys(_FIGURES, 0.0), *rows], rows)
    if after[name] < before[name]
  ]


if __name__ == '__main__':
  sys.exit(command.run(sys.modules[__name__], sys.argv))
