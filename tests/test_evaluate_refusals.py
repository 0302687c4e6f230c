"""What evaluate cannot or need not measure is told before any slow work."""

import os
import pickle
import types

import numpy as np
import pytest
import safetensors.numpy
from tiny_runs import CLASSES, runs  # noqa: F401

from videoar_jax import media
from videoar_jax.commands import evaluate
from videoar_jax.core import command, export, pretrained
from videoar_jax.evaluate import i3d, task, video_sets, windows


def ended(*flags, expect=2):
  """The line that `evaluate` ends with."""
  with pytest.MonkeyPatch.context() as patch:
    told = []
    patch.setattr(
      'sys.stderr', types.SimpleNamespace(write=told.append, flush=lambda: None)
    )
    try:
      status = command.run(evaluate, ['evaluate', *map(str, flags)])
    except SystemExit as end:
      assert expect == 1
      return end.code
  assert status == expect
  return ''.join(told)


@pytest.fixture
def nothing_loads(monkeypatch):
  """Loading and drawing are faults."""
  for module, name in (
    (task, 'load_weights'),
    (task, 'open_split'),
    (i3d, 'load_i3d'),
    (video_sets, 'load_videos'),
  ):
    monkeypatch.setattr(
      module, name, lambda *_, name=name, **__: pytest.fail(f'{name} called')
    )


CHECKPOINT = ('--checkpoint=x', '--out=o.json')
SETS = ('--real=a', '--generated=b', '--out=o.json')
EXPOSURE = ('exposure', *CHECKPOINT)
CONTINUATION = ('continuation', *CHECKPOINT)


@pytest.mark.parametrize(
  ('flags', 'words'),
  [
    ((), '--real (or --checkpoint) is missing'),
    (('--checkpoint=x',), '--out is missing'),
    (('--checkpoint=', '--out=o.json'), '--checkpoint=: it is empty'),
    (('exposure', '--out=o.json'), '--checkpoint is missing'),
    ((*CHECKPOINT, 'more'), 'unexpected argument: more'),
    ((*CHECKPOINT, '--seed=-5'), 'at least 0'),
    ((*CHECKPOINT, '--seed=4294967295'), 'at most 4294967294'),
    ((*CHECKPOINT, '--batch_size=-1'), 'at least 1'),
    ((*CHECKPOINT, '--batch_size=0'), 'at least 1'),
    ((*CHECKPOINT, '--num_videos=0'), 'at least 2'),
    ((*CHECKPOINT, '--num_videos=1'), 'at least 2'),
    ((*CHECKPOINT, '--num_videos=1e9'), 'a whole number'),
    ((*CHECKPOINT, f'--num_videos={10**30}'), 'below 2**63'),
    ((*CHECKPOINT, '--num_frames=0'), 'at least 1'),
    ((*CHECKPOINT, '--temperature=nan'), 'finite'),
    ((*CHECKPOINT, '--temperature=-1'), 'at least 0'),
    ((*CHECKPOINT, '--top_p=0.4'), 'at least 0.5'),
    ((*CHECKPOINT, '--top_p=inf'), 'finite'),
    ((*CHECKPOINT, '--split=test'), 'split'),
    ((*CHECKPOINT, '--real=a'), '--real is not read'),
    ((*CHECKPOINT, '--share=0.2'), '--share is not read'),
    ((*SETS, '--nofvd'), '--fvd is not read'),
    ((*SETS, '--data=folder:x'), '--data is not read'),
    ((*SETS, '--save=x'), '--save is not read'),
    ((*SETS, '--probe'), '--probe is not read'),
    ((*CHECKPOINT, '--train_windows=7'), 'at least 8'),
    ((*CHECKPOINT, '--given_frames=1'), '--given_frames is not read'),
    ((*CONTINUATION, '--given_frames=1,0'), 'at least 1'),
    ((*CONTINUATION, '--split=train'), '--split is not read'),
    ((*EXPOSURE, '--share=0'), 'more than 0 and at most 0.5'),
    ((*EXPOSURE, '--share=1'), 'more than 0 and at most 0.5'),
    ((*EXPOSURE, '--share=nan'), 'finite'),
    ((*EXPOSURE, '--save=x'), '--save is not read'),
    ((*EXPOSURE, '--protocol=x'), '--protocol is not read'),
  ],
)
def test_a_bad_command_line_loads_nothing(nothing_loads, flags, words):
  said = ended(*flags)
  assert words in said and said.count('\n') == 1


@pytest.mark.parametrize(
  ('flags', 'words'),
  [
    (
      (*CHECKPOINT, '--protocol=ucf101_train10k_17f'),
      'ucf101_train10k_17f_128',
    ),
    ((*CHECKPOINT, '--protocol=x', '--num_videos=9'), 'leave out one'),
    ((*CHECKPOINT, '--baselines', '--nofvd'), 'leave out one'),
    ((*CHECKPOINT, '--probe', '--nofvd'), 'leave out one'),
    ((*CHECKPOINT, '--save=file'), 'a file; give a folder'),
    ((*CHECKPOINT, '--save=/proc/x'), 'no file can be made there'),
    (('--checkpoint=x', '--out=.'), 'a folder'),
    (('--checkpoint=x', '--out=/proc/x'), 'no file can be made there'),
    (('--checkpoint=x', '--out=file', '--split_file=file'), 'which is read'),
    (('--checkpoint=x', '--out=file', '--captions=file'), 'which is read'),
    (('--real=file', '--generated=b', '--out=file'), 'which is read'),
    ((*SETS, '--num_frames=8'), 'FVD needs at least 9'),
    ((*SETS, '--protocol=zzz'), 'unknown'),
  ],
)
def test_what_cannot_be_is_told_before_loading(
  nothing_loads, tmp_path, monkeypatch, flags, words
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'file').write_text('kept')
  said = ended(*flags, expect=1)
  assert words in said and '\n' not in said
  assert [x.name for x in tmp_path.iterdir()] == ['file']
  assert (tmp_path / 'file').read_text() == 'kept'


@pytest.fixture
def nothing_drawn(monkeypatch):
  monkeypatch.setattr(
    windows.Draw, 'blocks', lambda *_: pytest.fail('clips drawn')
  )


@pytest.fixture(scope='module')
def real_clips(tmp_path_factory):
  """A folder with a video of each class that the generator knows."""
  root = tmp_path_factory.mktemp('real')
  video = np.zeros((12, 16, 16, 3), np.uint8)
  for name in CLASSES:
    (root / name).mkdir()
    for i in range(3):
      media.write_mp4(root / name / f'{i}.mp4', video)
  (root / 'list.txt').write_text(
    '\n'.join(f'{name}/{i}.mp4' for name in CLASSES for i in range(2))
  )
  return root


def test_a_generator_on_real_data_without_fvd_is_refused_unsampled(
  runs, real_clips, nothing_drawn, tmp_path
):
  loaded = export.load_weights(runs / 'generator')
  config = {**loaded.config.to_dict(), 'classes': sorted(CLASSES)}
  made = tmp_path / 'generator'
  export.write_export(made, loaded.nets, config, tokenizer=loaded.tokenizer)
  out = tmp_path / 'o.json'
  base = (f'--checkpoint={made}', f'--out={out}', '--num_videos=2')
  data = f'--data=folder:{real_clips}'
  said = ended(*base, data, '--nofvd', expect=1)
  assert 'nothing is left to measure' in said
  base = (f'--checkpoint={runs}/generator', *base[1:])
  said = ended(*base, '--num_frames=1', '--nofvd', expect=1)
  assert 'nothing is left to measure' in said and '3 frames' in said
  said = ended(*base, '--nofvd', '--i3d_weights=x', expect=1)
  assert 'nothing reads them' in said
  assert not out.exists()


@pytest.mark.parametrize(
  ('net', 'flags', 'words'),
  [
    ('generator', ('--guidance=much',), 'guidance'),
    ('generator', ('--captions=x.jsonl',), 'nothing here reads prompts'),
    ('tokenizer', ('--captions=x.jsonl',), 'samples nothing'),
    ('tokenizer', ('--split_file=x.txt',), 'split_file'),
    ('tokenizer', ('--num_frames=10',), 'use 9'),
    ('tokenizer', ('--i3d_weights=/no/such',), 'no such weight file'),
    ('tokenizer', ('--data=folder:/no/such',), '/no/such'),
    ('tokenizer', ('--data=film',), 'film'),
    ('generator', (f'--num_frames={10**12 + 1}',), 'at most'),
    ('tokenizer', (f'--num_frames={10**12 + 1}',), 'at most'),
  ],
)
def test_what_does_not_fit_the_checkpoint_is_told_before_clips_are_drawn(
  runs, nothing_drawn, tmp_path, net, flags, words
):
  base = (f'--checkpoint={runs}/{net}', f'--out={tmp_path}/o.json')
  said = ended(*base, '--num_videos=2', *flags, expect=1)
  assert words in said and '\n' not in said
  assert not list(tmp_path.iterdir())


def test_a_set_with_an_unreadable_video_is_refused_by_its_name(tmp_path):
  video = np.zeros((9, 16, 16, 3), np.uint8)
  for name in ('a.mp4', 'b.mp4', 'c.mp4'):
    media.write_mp4(tmp_path / name, video)
  whole = (tmp_path / 'b.mp4').read_bytes()
  for data in (b'', b'no video', whole[: len(whole) // 3]):
    (tmp_path / 'b.mp4').write_bytes(data)
    with pytest.raises(ValueError, match='b.mp4: not a readable video'):
      video_sets.load_videos(tmp_path)


def save_pickle(path, tree):
  path.write_bytes(pickle.dumps(tree))


def laughing(levels=60):
  tree = {'a': np.zeros(1)}
  for _ in range(levels):
    tree = {'a': tree, 'b': tree}
  return tree


def nested(levels):
  tree = np.zeros(1)
  for _ in range(levels):
    tree = {'a': tree}
  return tree


class Evil:
  def __reduce__(self):
    return os.system, ('echo unsafe',)


class Huge:
  """A pickle of a few bytes for an array of 8 GB that nobody filled."""

  def __reduce__(self):
    return np.ndarray, ((10**9,),)


@pytest.mark.parametrize(
  'tree',
  [laughing(), laughing(13), nested(200), [1], 'text']
  + [{'params': 3}, {'a': np.array([None])}, Evil(), {'a': Huge()}],
  ids=lambda x: type(x).__name__,
)
def test_weights_that_are_a_trap_are_one_line(tmp_path, tree):
  save_pickle(tmp_path / 'w.ckpt', tree)
  with pytest.raises(ValueError, match='w.ckpt') as caught:
    i3d.load_i3d(path=str(tmp_path / 'w.ckpt'))
  assert '\n' not in str(caught.value)


def test_weights_of_another_network_are_refused_before_clips_are_seen(tmp_path):
  try:
    arrays = pretrained.load_weights(pretrained.I3D_KINETICS_400).arrays
  except pretrained.MissingWeightsError as error:
    pytest.skip(str(error))
  first = 'params.Conv3d_1a_7x7.Conv_0.kernel'
  path = tmp_path / 'w.safetensors'
  for name, change, words in (
    (first, lambda x: x[:, :, :, :2], 'another network'),
    (first, lambda x: x[..., 0], 'another network'),
    (first, lambda x: x * np.nan, 'Conv3d_1a_7x7 holds NaN'),
    (f'batch_stats.{first.split(".")[1]}.BatchNorm_0.var', np.negative, 'NaN'),
  ):
    wrong = {**arrays, name: np.ascontiguousarray(change(arrays[name]))}
    safetensors.numpy.save_file(wrong, path)
    with pytest.raises(ValueError, match=words) as caught:
      i3d.load_i3d(path=str(path))
    assert 'w.safetensors' in str(caught.value)
  path.write_bytes(b'\0' * 100)
  with pytest.raises(ValueError, match='w.safetensors: damaged'):
    i3d.load_i3d(path=str(path))


def test_an_export_is_not_measured_by_weights_it_lacks(runs, tmp_path):
  loaded = export.load_weights(runs / 'generator')
  export.write_export(tmp_path / 'half', loaded.nets, loaded.config)
  said = ended(
    f'--checkpoint={tmp_path}/half', f'--out={tmp_path}/o.json', expect=1
  )
  assert 'no tokenizer/' in said
