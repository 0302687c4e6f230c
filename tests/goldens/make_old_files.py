"""Makes tests/goldens/old_files.zip with the code of a commit.

  git worktree add /tmp/old COMMIT
  PYTHONPATH=/tmp/old python tests/goldens/make_old_files.py /tmp/old OUT.zip

What is in it was made by 0be1941; tests/test_old_files.py says that it still
loads and gives the same, and holds the digests of its batches.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

SIZE = ['--config.data.height=16', '--config.data.width=16']
STEPS = [
  *('--config.data.num_frames=5', '--config.data.batch_size=2'),
  *('--config.optimizer.warmup_steps=0', '--config.train.eval_every=9'),
  *('--config.train.sample_every=0', '--config.train.log_every=1'),
]
TOKENIZER = [
  *('--config.tokenizer.base_width=4', '--config.tokenizer.latent_width=4'),
  *('--config.tokenizer.multipliers=(1,1)', *SIZE, *STEPS),
  '--config.tokenizer.scales=((1,1),(4,4))',
]
GENERATOR = [
  *('--config.transformer.num_layers=1', '--config.transformer.width=8'),
  *('--config.transformer.num_heads=2', *SIZE, *STEPS),
]


KEPT = ('tokenizer', 'features', 'generator', 'clips', 'tokens.npz')
KEPT += ('samples/samples.npz', 'decoded.mp4')


def main(code: pathlib.Path, out: pathlib.Path) -> None:
  root = pathlib.Path(tempfile.mkdtemp())

  def run(name, *arguments):
    subprocess.run(
      [sys.executable, '-m', f'videoar_jax.{name}', *arguments],
      check=True,
      cwd=root,
      env={**os.environ, 'PYTHONPATH': str(code)},
    )

  def train(variant, workdir, steps, *arguments):
    run(
      'train',
      f'--config={code}/configs/quickstart.py:{variant}',
      f'--workdir={workdir}',
      f'--config.train.num_steps={steps}',
      *arguments,
    )

  sources = ['--config.data.source=features:features']
  sources += ['--config.tokenizer=tokenizer']
  train('tokenizer', 'tokenizer_run', 2, *TOKENIZER)
  run('train', 'export', '--workdir=tokenizer_run', '--out=tokenizer')
  run(
    *('data.prepare', '--features', '--source=synthetic', '--num_clips=4'),
    *('--num_frames=5', '--height=16', '--width=16'),
    *('--checkpoint=tokenizer', '--out=features'),
  )
  train('generator', 'generator', 2, *GENERATOR, *sources)
  make_rest(run, root)
  with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED, compresslevel=9) as file:
    for name in KEPT:
      for path in sorted([root / name, *(root / name).rglob('*')]):
        if path.is_file() and 'tensorboard' not in path.parts:
          file.write(path, path.relative_to(root))
    # Where the run goes on: the losses of two more steps.
    train('generator', 'generator', 4, *GENERATOR, *sources)
    lines = (root / 'generator' / 'metrics.jsonl').read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    losses = [row['loss'] for row in rows if row['step'] > 2]
    file.writestr('losses.json', json.dumps(losses))


def make_rest(run, root: pathlib.Path) -> None:
  """Samples, and from one of them clips and tokens."""
  run(
    *('sample', '--checkpoint=generator', '--class=all', '--num_videos=8'),
    *('--temperature=0', '--out=samples'),
  )
  run(
    *('sample', '--checkpoint=generator', '--num_videos=1', '--class=left'),
    *('--num_frames=17', '--out=long'),
  )
  video = root / 'long' / '00000_left.mp4'
  (root / 'videos' / 'left').mkdir(parents=True)
  for i in range(4):
    (root / 'videos' / 'left' / f'{i}.mp4').write_bytes(video.read_bytes())
  run(
    *('data.prepare', '--source=folder:videos', '--height=16', '--width=16'),
    '--out=clips',
  )
  run(
    *('tokenizer', 'encode', '--checkpoint=tokenizer', f'--video={video}'),
    '--out=tokens.npz',
  )
  run(
    *('tokenizer', 'decode', '--checkpoint=tokenizer', '--tokens=tokens.npz'),
    '--out=decoded.mp4',
  )


if __name__ == '__main__':
  main(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve())
